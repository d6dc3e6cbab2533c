"""A cloud as a process of its own, a link to it, and an edge here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from trimtab.partition.controller import Controller, Decision
from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.emulate import ADDRESS, Network, Shape
from trimtab.partition.live.open import open_edge
from trimtab.partition.live.proxy import Proxy
from trimtab.runtime import certs

__all__ = ["Bed", "CloudProcess", "another_cut", "make_bundle", "trimtab"]

_ROOT: Final = Path(__file__).parents[2]
_PORT: Final = 7400
_START_S: Final = 120.0

_PLAN: Final = """
name = "divided"
network = "zoo:{network}"
machine = "this"
output = "out"
[partition]
edge = "raspberry-pi-4"
uplink_mbit_s = 50
rtt_ms = 5
codecs = {codecs}
"""


def trimtab(*arguments: str) -> list[str]:
    """Return the command line of this checkout."""
    return [sys.executable, "-m", "trimtab", *arguments]


def environment() -> dict[str, str]:
    """Return the environment of a process of one thread that finds this checkout."""
    return {
        **os.environ,
        "PYTHONPATH": f"{_ROOT / 'src'}{os.pathsep}{_ROOT}",
        "OMP_NUM_THREADS": "1",
    }


def make_bundle(folder: Path, network: str, codecs: tuple[str, ...] = ("raw",)) -> Path:
    """Return a bundle with cuts, and certificates of cloud and edge beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = _PLAN.format(network=network, codecs=json.dumps(codecs))
    (folder / "plan.toml").write_text(plan, "utf-8")
    subprocess.run(
        trimtab("run", "plan.toml", "--json", "--overwrite"), cwd=folder,
        env=environment(), check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    shutil.rmtree(folder / "certs", ignore_errors=True)
    certs.make(folder / "certs", ["cloud", "edge"], hosts=tuple(ADDRESS.values()))
    return folder / "out" / "divided.trimtab"


class CloudProcess:
    """A process that says where it listens in its first line of JSON.

    Args:
        command: that runs it.
    """

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(),
        )  # fmt: skip
        assert self.process.stdout is not None
        said = ""
        for line in self.process.stdout:
            said += line
            if line.startswith("}"):
                break
        if not said:
            raise RuntimeError(f"{' '.join(command)} ended with {self.process.wait()}")
        self.port: int = json.loads(said)["listening"]["port"]

    @property
    def resident_bytes(self) -> int:
        """Memory that it has now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    @property
    def cpu_s(self) -> float:
        """Processor time that it took so far."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text("ascii")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """End it as a machine that loses power does."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> dict[str, Any]:
        """End it, and return what it counted."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=30)
        found: dict[str, Any] = json.loads(said)
        return found


class Bed:
    """`trimtab cloud` behind a link that can be shaped; a context manager.

    Args:
        bundle: of `make_bundle`.
        emulated: two network namespaces, which need root; else a proxy.

    Attributes:
        cloud: the process that is running.
    """

    def __init__(self, bundle: Path, *, emulated: bool) -> None:
        self.bundle, self.tls = bundle, bundle.parents[1] / "certs"
        self.network = Network() if emulated else None
        self._ends = contextlib.ExitStack()
        if self.network is not None:
            self._ends.enter_context(self.network)
        self._port = _PORT if emulated else 0
        try:
            self.start()
            self.proxy = None
            if not emulated:
                self.proxy = self._ends.enter_context(Proxy(self._port))
        except BaseException:
            self._ends.close()
            raise

    def __enter__(self) -> Bed:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End cloud and link."""
        self.cloud.kill()
        self._ends.close()

    def start(self) -> None:
        """Start the cloud, at the place of the one before."""
        host = ADDRESS["cloud"] if self.network is not None else "127.0.0.1"
        command = trimtab(
            "cloud", str(self.bundle), "--listen", f"{host}:{self._port}",
            "--tls", str(self.tls), "--json",
        )  # fmt: skip
        if self.network is not None:
            command = self.network.command("cloud", *command)
        self.cloud = CloudProcess(command)
        self._port = self.cloud.port

    @property
    def place(self) -> tuple[str, int]:
        """Where a client on the edge's side finds the cloud."""
        if self.proxy is not None:
            return "127.0.0.1", self.proxy.port
        return ADDRESS["cloud"], self._port

    def shape(self, shape: Shape) -> None:
        """Change the link."""
        if self.network is not None:
            self.network.set(shape)
        elif self.proxy is not None:
            self.proxy.shape = shape

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make what is begun here begin on the edge's side."""
        if self.network is None:
            yield
            return
        with self.network.inside("edge"):
            yield

    @contextlib.contextmanager
    def edge(self, patience: Patience, *, tls: Path | None = None) -> Iterator[Edge]:
        """Return an edge that has begun.

        Args:
            patience: how long it waits for what.
            tls: folder of its certificates, if others than the cloud's.
        """
        host, port = self.place
        where = Address(
            host=host, port=port, tls=certs.client(tls or self.tls, "edge"),
            name="cloud",
        )  # fmt: skip
        edge = open_edge(self.bundle, cloud=where, patience=patience)
        with self.inside():
            edge.start()
        try:
            edge.connected(wait_s=patience.connect_s)
            yield edge
        finally:
            edge.close()

    def connect(self) -> socket.socket:
        """Return a connection of a client that is no edge."""
        with self.inside():
            return socket.create_connection(self.place, 10.0)


def another_cut(
    control: Controller, wanted: Callable[[int], int] = lambda number: number
) -> None:
    """Make a controller take cuts in turn instead of the best one.

    Args:
        control: of an edge.
        wanted: from the number of a request to that of the cut, modulo the cuts that
            send something.
    """
    space, decide = control.space, control.decide
    away = [at for at in range(len(space.cuts)) if not space.local[at]]

    def forced(at_s: float, **more: Any) -> Decision:
        decision = decide(at_s, **more)
        if not control.connected:
            return decision
        index = away[wanted(decision.number) % len(away)]
        choice = space.choice(index, decision.conditions)
        return replace(
            decision, index=index, name=choice.name, codec=choice.codec,
            predicted_s=choice.latency_s,
        )  # fmt: skip

    control.decide = forced  # type: ignore[method-assign]


def wait_until(found: Callable[[], bool], *, within_s: float) -> float:
    """Return the seconds until something holds; infinity if it does not in time."""
    begun = time.monotonic()
    while time.monotonic() - begun < within_s:
        if found():
            return time.monotonic() - begun
        time.sleep(0.01)
    return float("inf")
