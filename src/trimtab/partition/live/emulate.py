"""A link between an edge and a cloud that is as slow, far and faulty as it is told.

Two network namespaces of this machine, joined so that rate (a token bucket on either
device), delay, loss and black holes can be set while it runs. Delay is made by a
process of its own, `trimtab.partition.live.delay`: ``netem`` is not in every kernel.
That needs root; `trimtab.partition.live.proxy` does part of it without.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from trimtab.errors import UsageError
from trimtab.partition.live.delay import DEVICE, inside

__all__ = ["ADDRESS", "Achieved", "Network", "Shape", "Side", "unavailable"]

Side = Literal["edge", "cloud"]
_SIDES: Final[tuple[Side, Side]] = ("edge", "cloud")

ADDRESS: Final[dict[Side, str]] = {"edge": "10.213.0.1", "cloud": "10.213.0.2"}
"""Of either side; no other network is in a namespace, so that these are free."""

_QUEUE_MS: Final = 200  # that packets wait for the rate before some are dropped
_BURST_BYTES: Final = 1_600
_ECHOES: Final = 15
_WAIT_S: Final = 10.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a link is to be.

    Attributes:
        uplink_bytes_per_s: from edge to cloud, headers of IP and TCP included.
        downlink_bytes_per_s: from cloud to edge.
        rtt_s: round trip, half of it either way.
        loss_frac: of packets, either way.
        black_hole: nothing arrives, and nobody is told.

    Raises:
        UsageError: a number outside of its limits.
    """

    uplink_bytes_per_s: float = 125e6
    downlink_bytes_per_s: float = 125e6
    rtt_s: float = 0.0
    loss_frac: float = 0.0
    black_hole: bool = False

    def __post_init__(self) -> None:
        rates = (self.uplink_bytes_per_s, self.downlink_bytes_per_s)
        if (
            not all(1e3 <= each <= 1e10 for each in rates)
            or not 0 <= self.rtt_s <= 60
            or not 0 <= self.loss_frac < 1
        ):
            raise UsageError(
                f"a link of {self}",
                rule="rates are from 1 kB/s to 10 GB/s, the round trip up to 60 s, "
                "loss below 1",
                where="trimtab.partition.live.emulate",
                remedy="give what a link can be; for one that is down, black_hole",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """What a link was found to be.

    Attributes:
        asked: what it was to be.
        rtt_s: least round trip of a byte over an open connection, of some.
        uplink_bytes_per_s: goodput of a long transfer, its beginning left out.
        downlink_bytes_per_s: the same, from cloud to edge.
    """

    asked: Shape
    rtt_s: float
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float


def unavailable() -> str:
    """Return why networks cannot be emulated here; empty if they can.

    It makes one, which takes a tenth of a second.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    missing = [each for each in ("ip", "tc", "nsenter") if shutil.which(each) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install iproute2 util-linux"
    try:
        Network().close()
    except UsageError as error:
        return error.rule
    return ""


@final
class Network:
    """Two namespaces with a link between them; a context manager.

    Processes that were started inside should be ended first: they keep a namespace.

    Args:
        shape: of the link, until `set` is called.

    Attributes:
        shape: that it has now.

    Raises:
        UsageError: this machine does not allow it.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trimtab.partition.live.delay"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the caller, who then closes
        )  # fmt: skip
        self._namespaces: dict[Side, int] = {}
        try:
            said = self._answer()
            for side, number in zip(_SIDES, said["namespaces"], strict=True):
                path = f"/proc/{self._process.pid}/fd/{number}"
                self._namespaces[side] = os.open(path, os.O_RDONLY)
                other = _SIDES[1 - _SIDES.index(side)]
                self._do(side, "ip link set lo up")
                self._do(side, f"ip addr add {ADDRESS[side]} peer {ADDRESS[other]} "
                               f"dev {DEVICE}")  # fmt: skip
                self._do(side, f"ip link set {DEVICE} up txqueuelen 1000")
            self.set(shape or Shape())
        except BaseException:
            self.close()
            raise

    @property
    def process(self) -> int:
        """Number of the process that delays."""
        return self._process.pid

    def __enter__(self) -> Network:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.close()

    def set(self, shape: Shape) -> None:
        """Change the link; in force when this returns.

        Raises:
            UsageError: the kernel has no token bucket.
        """
        rates = (shape.uplink_bytes_per_s, shape.downlink_bytes_per_s)
        for side, rate in zip(_SIDES, rates, strict=True):
            # One packet, or what comes while a timer is late.
            burst = max(_BURST_BYTES, round(rate * 4e-4))
            self._do(
                side,
                f"tc qdisc replace dev {DEVICE} root tbf rate {round(8 * rate)}bit "
                f"burst {burst} latency {_QUEUE_MS}ms",
            )
        said = {
            "delay_s": shape.rtt_s / 2,
            "loss_frac": shape.loss_frac,
            "black_hole": shape.black_hole,
            "bytes_per_s": rates,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said).encode() + b"\n")
        self._process.stdin.flush()
        self._answer()
        self.shape = shape

    def command(self, side: Side, *command: str) -> list[str]:
        """Return a command that runs another one on a side, for `subprocess`."""
        path = f"/proc/{os.getpid()}/fd/{self._namespaces[side]}"
        return ["nsenter", f"--net={path}", "--", *command]

    @contextlib.contextmanager
    def inside(self, side: Side) -> Iterator[None]:
        """Make new sockets, threads and processes of this thread those of a side."""
        with inside(self._namespaces[side]):
            yield

    def verify(self, *, bulk_s: float = 1.0) -> Achieved:
        """Return what the link is: an echo, and a long transfer either way.

        Args:
            bulk_s: of a transfer.

        Raises:
            UsageError: nothing arrives.
        """
        try:
            up = _bulk(*self._pair(), for_s=bulk_s)
            down = _bulk(*reversed(self._pair()), for_s=bulk_s)
            # Last, with queues that are empty again.
            rtt = _echo(*self._pair())
        except OSError as error:
            raise _impossible(f"nothing arrives over the link: {error}") from error
        return Achieved(
            asked=self.shape, rtt_s=rtt,
            uplink_bytes_per_s=up, downlink_bytes_per_s=down,
        )  # fmt: skip

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a connection, of edge and cloud."""
        with self.inside("cloud"):
            listener = socket.create_server((ADDRESS["cloud"], 0))
        with listener:
            listener.settimeout(_WAIT_S)
            with self.inside("edge"):
                near = socket.create_connection(listener.getsockname(), _WAIT_S)
            far, _ = listener.accept()
        for each in (near, far):
            each.settimeout(_WAIT_S)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, far

    def _do(self, side: Side, command: str) -> None:
        done = subprocess.run(
            self.command(side, *command.split()),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise _impossible(f"{command}: {done.stderr.strip()[:200]}")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line or b'{"error": "the process ended"}')
        if "error" in said:
            raise _impossible(said["error"])
        return said

    def close(self) -> None:
        """Remove namespaces and devices."""
        for each in (self._process.stdin, self._process.stdout):
            assert each is not None
            with contextlib.suppress(OSError):
                each.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        while self._namespaces:
            os.close(self._namespaces.popitem()[1])


def _echo(near: socket.socket, far: socket.socket) -> float:
    def echo() -> None:
        with far, contextlib.suppress(OSError):
            while byte := far.recv(1):
                far.sendall(byte)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    times = []
    with near:
        for _ in range(_ECHOES):
            begun = time.perf_counter()
            near.sendall(b"x")
            near.recv(1)
            times.append(time.perf_counter() - begun)
    thread.join()
    return min(times)


def _bulk(sender: socket.socket, receiver: socket.socket, *, for_s: float) -> float:
    def send() -> None:
        with sender, contextlib.suppress(OSError):
            while True:
                sender.sendall(bytes(65_536))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    marks: list[tuple[float, int]] = []
    count = 0
    with receiver:
        while not marks or marks[-1][0] < marks[0][0] + for_s:
            count += len(receiver.recv(65_536))
            marks.append((time.perf_counter(), count))
        # What is on its way is dropped: a slow link would take long for it.
        receiver.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    thread.join(_WAIT_S)
    # The first third shows how TCP begins.
    first = max(each for each in marks if each[0] <= marks[0][0] + for_s / 3)
    last = marks[-1]
    return (last[1] - first[1]) / max(1e-9, last[0] - first[0])


def _impossible(rule: str) -> UsageError:
    return UsageError(
        "an emulated network",
        rule=rule,
        where="trimtab.partition.live.emulate",
        remedy="be root, with iproute2 installed; or use trimtab.partition.live.proxy",
    )
