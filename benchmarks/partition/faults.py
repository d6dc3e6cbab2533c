"""What happens to requests while cuts change, clouds die and links fail.

    python -m benchmarks.partition.faults killed 300

Each scenario asks a stream of requests of an edge in this process, of a cloud in
another one,
with mutual TLS, over a link that is emulated as root and a proxy elsewhere.
Every answer is compared bit by bit with the network that is not divided.
"""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.jobs import cache_folder
from benchmarks.partition.bed import Bed, another_cut, make_bundle, wait_until
from trimtab.partition.live.connection import Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.emulate import Shape, unavailable
from trimtab.partition.live.pressure import Stress
from trimtab.partition.live.wire import Kind, record
from trimtab.pipeline.load import load
from trimtab.runtime import certs

__all__ = ["SCENARIOS", "bundle", "main"]

_NETWORK: Final = "lenet5"
_EVERY_S: Final = 0.01
_BACK_S: Final = 60.0
_PATIENCE: Final = Patience(
    connect_s=2.0, hedge_s=0.1, reply_s=1.0, rest_s=0.3, most_rest_s=2.0
)
_USUAL: Final = Shape(uplink_bytes_per_s=50e6 / 8, rtt_s=0.005)
_LORISES: Final = 64  # as many as there may be connections


class _Stream:
    """Requests at a pace, each compared with its one right answer."""

    def __init__(self, bundle: Path, edge: Edge) -> None:
        drawn = torch.Generator().manual_seed(0)
        shape = edge.halves.graph.inputs[0].type.shape  # type: ignore[union-attr]
        self.xs = [torch.randn(shape, generator=drawn) for _ in range(32)]
        whole = load(bundle)
        self.right: list[Tensor] = [whole(x) for x in self.xs]
        self.edge = edge
        self.futures: list[Future[Any]] = []
        self.settled: Counter[int] = Counter()

    def ask(
        self,
        count: int,
        *,
        at: dict[int, Callable[[], object]] | None = None,
        until: Callable[[], bool] = lambda: True,
    ) -> float:
        """Ask `count` times, then go on until something holds.

        Args:
            count: of requests at least.
            at: what to do ahead of which.
            until: holds.

        Returns:
            Seconds from the last of `count` until it held; infinity if it never did.
        """
        begun = time.monotonic()
        number, over = 0, None
        while number < count or not until():
            if number == count:
                over = time.monotonic()
            if over is not None and time.monotonic() - over > _BACK_S:
                return float("inf")
            (at or {}).get(number, lambda: None)()
            time.sleep(max(0.0, begun + number * _EVERY_S - time.monotonic()))
            mine = len(self.futures)
            future = self.edge.submit(self.xs[mine % len(self.xs)])
            future.add_done_callback(functools.partial(self._settled, mine))
            self.futures.append(future)
            number += 1
        return 0.0 if over is None else time.monotonic() - over

    def _settled(self, number: int, _: Future[Any]) -> None:
        self.settled[number] += 1

    def outcome(self) -> dict[str, Any]:
        """Return what became of all of them, once each had its time."""
        lost = wrong = 0
        for number, future in enumerate(self.futures):
            try:
                found = future.result(_BACK_S)
            except Exception as error:
                print(f"  request {number}: {error}", file=sys.stderr)
                lost += 1
            else:
                wrong += not torch.equal(found, self.right[number % len(self.xs)])
        state = self.edge.state()
        return {
            "asked": len(self.futures),
            "lost": lost,
            "wrong": wrong,
            "duplicate": sum(self.settled.values()) - len(self.settled)
            + max(0, state["answers"] - len(self.futures)),
            "edge": {**self.edge.counts, "switches": state["switches"]},
        }  # fmt: skip


@contextlib.contextmanager
def _streaming(bed: Bed) -> Any:
    bed.shape(_USUAL)
    with bed.edge(_PATIENCE) as edge:
        another_cut(edge.controller)
        yield _Stream(bed.bundle, edge)


def _back(edge: Edge) -> Callable[[], bool]:
    """Return whether the cloud has answered since now."""
    before = edge.counts["remote"]
    return lambda: edge.counts["remote"] > before


def switching(bed: Bed, count: int) -> dict[str, Any]:
    """Change the cut with every request."""
    with _streaming(bed) as stream:
        stream.ask(count)
        return {**stream.outcome(), "back_s": 0.0}


def killed(bed: Bed, count: int) -> dict[str, Any]:
    """Kill the cloud in mid-stream, and start it again."""
    with _streaming(bed) as stream:
        stream.ask(count // 2, at={count // 4: bed.cloud.kill})
        again = threading.Thread(target=bed.start)
        again.start()
        stream.ask(count // 4, until=lambda: not again.is_alive())
        back_s = stream.ask(1, until=_back(stream.edge))
        stream.ask(count // 4)
        return {**stream.outcome(), "back_s": back_s}


def black_hole(bed: Bed, count: int) -> dict[str, Any]:
    """Let the link swallow everything for a while."""
    with _streaming(bed) as stream:
        hole = Shape(black_hole=True)
        stream.ask(3 * count // 4, at={count // 4: lambda: bed.shape(hole)})
        bed.shape(_USUAL)
        back_s = stream.ask(1, until=_back(stream.edge))
        stream.ask(count // 4)
        return {**stream.outcome(), "back_s": back_s}


def slower(bed: Bed, count: int) -> dict[str, Any]:
    """Take nine tenths of the bandwidth away for a while."""
    with _streaming(bed) as stream:
        narrow = Shape(
            uplink_bytes_per_s=_USUAL.uplink_bytes_per_s / 10, rtt_s=_USUAL.rtt_s
        )
        stream.ask(3 * count // 4, at={count // 4: lambda: bed.shape(narrow)})
        bed.shape(_USUAL)
        back_s = stream.ask(1, until=_back(stream.edge))
        stream.ask(count // 4)
        return {**stream.outcome(), "back_s": back_s}


def pressed(bed: Bed, count: int) -> dict[str, Any]:
    """Take both cores and their memory away, as far as others can."""
    with _streaming(bed) as stream:
        with Stress(cpu=2, memory_bytes=256 * 2**20):
            stream.ask(count)
        back_s = stream.ask(1, until=_back(stream.edge))
        return {**stream.outcome(), "back_s": back_s}


def slow_loris(bed: Bed, count: int) -> dict[str, Any]:
    """Take all connections with clients that say a byte now and then."""
    bed.shape(_USUAL)
    context = certs.client(bed.tls, "edge")
    hello = record(Kind.HELLO, {"graph": "x" * 1000})
    clients: list[ssl.SSLSocket] = []
    ended = []

    def dribble(client: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            for byte in hello:
                client.sendall(bytes([byte]))
                time.sleep(0.2)
            return
        ended.append(client)

    for _ in range(_LORISES):
        client = context.wrap_socket(bed.connect(), server_hostname="cloud")
        clients.append(client)
        threading.Thread(target=dribble, args=(client,), daemon=True).start()
    try:
        with _streaming(bed) as stream:
            stream.ask(count)
            back_s = stream.ask(1, until=_back(stream.edge))
            found = {**stream.outcome(), "back_s": back_s}
        wait_until(lambda: len(ended) == _LORISES, within_s=_BACK_S)
    finally:
        for client in clients:
            client.close()
    return {**found, "lorises": _LORISES, "shown_out": len(ended)}


def certificate(bed: Bed, count: int) -> dict[str, Any]:
    """Come without a certificate, with a stranger's, or without TLS."""
    bed.shape(_USUAL)
    strange = bed.tls.with_name("strange")
    if not strange.exists():
        certs.make(strange, ["cloud", "edge"])
    trusting = ssl.create_default_context(cafile=str(bed.tls / "ca.pem"))
    stranger = ssl.create_default_context(cafile=str(bed.tls / "ca.pem"))
    stranger.load_cert_chain(strange / "edge.pem", strange / "edge.key")
    let_in = 0
    for context in (trusting, stranger, None):
        for _ in range(5):
            with contextlib.suppress(OSError), contextlib.ExitStack() as ends:
                client = ends.enter_context(bed.connect())
                if context is not None:
                    client = ends.enter_context(
                        context.wrap_socket(client, server_hostname="cloud")
                    )
                client.sendall(record(Kind.HELLO, {}))
                # An alert of TLS, or an end; what an edge understands is let in.
                let_in += client.recv(64).startswith(b"TT")
    with bed.edge(_PATIENCE, tls=strange) as other:
        another_cut(other.controller)
        foreign = _Stream(bed.bundle, other)
        foreign.ask(count // 2)
        distrusting = foreign.outcome()
    with _streaming(bed) as stream:
        stream.ask(count // 2)
        back_s = stream.ask(1, until=_back(stream.edge))
        found = stream.outcome()
    for key in ("asked", "lost", "wrong", "duplicate"):
        found[key] += distrusting[key]
    return {**found, "back_s": back_s, "let_in": let_in + distrusting["edge"]["remote"]}


SCENARIOS: Final[dict[str, Callable[[Bed, int], dict[str, Any]]]] = {
    "switching": switching,
    "killed": killed,
    "black_hole": black_hole,
    "slower": slower,
    "pressed": pressed,
    "slow_loris": slow_loris,
    "certificate": certificate,
}


def bundle() -> Path:
    """Return the bundle that is asked, made by this version."""
    return make_bundle(cache_folder("partition") / _NETWORK, _NETWORK)


def main(name: str, count: str) -> None:
    """Run a scenario; print the result."""
    why = unavailable()
    with Bed(bundle(), emulated=not why) as bed:
        before = bed.cloud.resident_bytes
        found = SCENARIOS[name](bed, int(count))
        after = bed.cloud.resident_bytes
    print(
        json.dumps(
            {
                **found,
                "link": f"a proxy, since {why}" if why else "two network namespaces",
                "resident_bytes": [before, after],
            }
        )
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
