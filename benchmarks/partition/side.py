"""Either side of a network of the zoo, as a process that is told what to do.

    python -m benchmarks.partition.side cloud mobilenet_v1 HOST
    python -m benchmarks.partition.side edge mobilenet_v1 HOST PORT PROFILE

Weights are random, of one seed, and so the same on both sides. The edge takes cut and
codec of its input, a line a point, instead of choosing them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from trimtab.graph.types import Graph
from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Controller, Decision, Seen
from trimtab.partition.live.cloud import Cloud, Quotas
from trimtab.partition.live.connection import Address, Patience
from trimtab.partition.live.edge import Edge
from trimtab.partition.live.halves import Halves
from trimtab.partition.live.run import serve
from trimtab.partition.profiles import Profile, measured, read, write
from trimtab.partition.space import Space
from trimtab.pipeline.network import Traced, open_graph

__all__ = ["CODECS", "opened", "profile_of", "space_of"]

CODECS: Final = ("raw", "int8")
_WARM: Final = 2  # requests of a point that are thrown away
_LEAST: Final = 3  # that count, however long they take

# Whoever is slow here is slow on purpose: nobody hedges or gives up.
_PATIENT: Final = Patience(connect_s=60.0, hedge_s=1e6, reply_s=300.0)


def opened(network: str) -> Traced:
    """Return a network of the zoo with the weights of all processes."""
    torch.manual_seed(0)
    return open_graph(f"zoo:{network}")


def profile_of(network: str, path: Path) -> tuple[Graph, Profile]:
    """Return a network, and its profile on this machine; measured once."""
    traced = opened(network)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = measured(traced.graph, traced.weights, "this", threads=1, calls=9)
        write(made, path)
    return traced.graph, read(path)


def space_of(graph: Graph, profile: Profile) -> Space:
    """Return the cuts and codecs that points are drawn from."""
    return Space(graph, profile, profile, codecs=CODECS)


def _halves(traced: Traced) -> Halves:
    positions = list(range(len(traced.graph.nodes)))
    return Halves(traced.graph, traced.weights, positions, CODECS)


def _cloud(network: str, host: str) -> None:
    def ready(port: int) -> None:
        print(json.dumps({"listening": {"port": port}}, indent=1), flush=True)

    patient = Quotas(message_s=_PATIENT.reply_s)
    serve(Cloud(_halves(opened(network)), quotas=patient), host, 0, ready)


class _Told:
    """A controller's choice, made by somebody else, and what came of it."""

    def __init__(self, control: Controller, index: int) -> None:
        self.index, self.seen = index, list[Seen]()
        decide, see = control.decide, control.see

        def told(at_s: float, **more: Any) -> Decision:
            return replace(decide(at_s, **more), index=index,
                           codec=control.space.codecs[index])  # fmt: skip

        def kept(decision: Decision, seen: Seen, *, at_s: float) -> Decision:
            self.seen.append(seen)
            return see(decision, seen, at_s=at_s)

        control.decide, control.see = told, kept  # type: ignore[method-assign]


def _edge(network: str, host: str, port: str, profile: str) -> None:
    traced = opened(network)
    space = space_of(traced.graph, read(Path(profile)))
    halves = _halves(traced)
    drawn = torch.Generator().manual_seed(0)
    kind = traced.graph.inputs[0].type
    assert kind is not None
    _say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        control = Controller(space, Conditions(uplink_bytes_per_s=1e6, rtt_s=0.01))
        told = _Told(control, asked["index"])
        # A connection of its own: TCP knows nothing of the link as it was before.
        with Edge(
            halves, control, cloud=Address(host=host, port=int(port)), patience=_PATIENT
        ) as edge:
            x = torch.randn(kind.shape, generator=drawn)
            _say(_asked(edge, x, told, asked["repeats"], asked["most_s"]))


def _asked(
    edge: Edge, x: torch.Tensor, told: _Told, repeats: int, most_s: float
) -> dict[str, Any]:
    """Return what a request took, some times; the first ones are thrown away.

    Until TCP knows the link and caches are warm they are not like those that follow.
    """
    for _ in range(_WARM):
        edge(x)
    told.seen.clear()
    latency: list[float] = []
    begun = time.monotonic()
    while len(latency) < repeats:
        start = time.perf_counter()
        edge(x)
        latency.append(time.perf_counter() - start)
        if len(latency) >= _LEAST and time.monotonic() - begun > most_s:
            break
    sent = not edge.controller.space.local[told.index]
    if any((each.link_s is None) == sent for each in told.seen):
        raise RuntimeError("a request went another way than it was told")
    return {
        "latency_s": latency,
        "edge_s": [each.edge_s for each in told.seen],
        "cloud_s": [each.cloud_s or 0.0 for each in told.seen],
    }


def _say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "cloud":
        _cloud(*sys.argv[2:])
    else:
        _edge(*sys.argv[2:])
