"""Every cut and codec of a network, evaluated at once under given conditions.

With E the time on the edge, X on the link and C in the cloud (codecs included),

    latency       E + X + C
    p95           E, C and the goodput at their slow end
    throughput    1 / max(E, X without the round trip, C), requests in a pipeline
    energy        E + the time that the edge's radio sends: seconds, a proxy

That takes microseconds, so that a controller can do it with every request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.cost.verdict import Verdict
from trimtab.errors import BudgetInfeasibleError, UsageError
from trimtab.graph.liveness import activation_sizes
from trimtab.graph.types import ConstantKind, Graph, refs_in
from trimtab.partition.codec import codec, size_of
from trimtab.partition.conditions import (
    Conditions,
    Limits,
    Objective,
)
from trimtab.partition.cuts import Candidate, candidates
from trimtab.partition.profiles import Profile, require_of
from trimtab.partition.quality import Quality, ratios, too_costly

__all__ = ["Choice", "Space", "combined", "private_position"]

Floats = NDArray[np.float64]

CODEC_S: Final = 1.0
"""Seconds to encode or decode a million numbers where a profile has no time for it.

Slow, so that a codec that was not measured is not chosen for its speed.
"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A cut with a codec, and what is predicted for it.

    Attributes:
        name: ``edge only``, ``cloud only`` or the node it comes after.
        cut: where.
        codec: how values are sent.
        bytes: over the link; after compression, where that was measured.
        edge_s: on the edge, encoding included.
        link_s: on the link, round trip included.
        cloud_s: in the cloud, decoding and queue included.
        latency_s: of a request.
        p95_s: at the slow end of edge, cloud and link.
        throughput_per_s: of requests in a pipeline.
        energy_s: seconds of the edge's processor and radio.
    """

    name: str
    cut: Candidate
    codec: str
    bytes: int
    edge_s: float
    link_s: float
    cloud_s: float
    latency_s: float
    p95_s: float
    throughput_per_s: float
    energy_s: float


class Space:
    """Every cut and codec of a network, ready to be evaluated at once.

    Args:
        graph: the network.
        edge: times on the edge.
        cloud: times in the cloud.
        codecs: names, of those that may be used.
        limits: what must be kept to.
        quality: what codecs do at cuts, where measured; elsewhere compression saves
            nothing and costs no accuracy.
        positions: that cuts may have; by default those worth comparing on this edge.

    Raises:
        DataError: a profile of another graph.
        BudgetInfeasibleError: no cut keeps to the limits.
    """

    def __init__(
        self,
        graph: Graph,
        edge: Profile,
        cloud: Profile,
        *,
        codecs: Sequence[str] = ("raw",),
        limits: Limits | None = None,
        quality: Sequence[Quality] = (),
        positions: Collection[int] | None = None,
    ) -> None:
        require_of(edge, graph, "edge")
        require_of(cloud, graph, "cloud")
        self.graph, self.edge, self.cloud = graph, edge, cloud
        self.limits = limits or Limits()
        self.quality = tuple(quality)
        for name in codecs:
            codec(name)  # refuses an unknown one
        if not codecs:
            raise UsageError(
                "no codec",
                rule="values are sent in some form",
                where="trimtab.partition",
                remedy="give raw",
            )
        position = private_position(graph, self.limits.private_layers)
        every = candidates(
            graph, edge.p50_s, least_position=position, dominated=positions is not None
        )
        if positions is not None:
            every = tuple(each for each in every if each.position in positions)
        end = len(graph.nodes)
        measured = ratios(quality)
        costly = too_costly(quality, self.limits.accuracy_loss_frac)
        rows = [
            (cut, name)
            for cut in every
            for name in (codecs if cut.position < end else codecs[:1])
            if cut.position == end or (cut.position, name) not in costly
        ]
        self.cuts = [cut for cut, _ in rows]
        self.codecs = [name for _, name in rows]
        self.positions = np.array([cut.position for cut in self.cuts])
        self.local = self.positions == end
        self.sizes = np.array(
            [
                0.0 if cut.position == end else self._size(cut, name, measured)
                for cut, name in rows
            ]
        )
        self._times()
        self._limit()

    def _size(
        self, cut: Candidate, name: str, measured: Mapping[tuple[int, str], float]
    ) -> float:
        form = codec(name).form
        size = sum(size_of(form, kind) for kind in map(self.graph.type_of, cut.values))
        return size * measured.get((cut.position, name), 1.0)

    def _times(self) -> None:
        """Work out what does not depend on conditions."""
        self.edge_s, self.encode_s = self._side(self.edge, before=True)
        self.cloud_s, self.decode_s = self._side(self.cloud, before=False)
        self.result_bytes = float(
            sum(
                self.graph.type_of(ref).size_bytes
                for argument in self.graph.outputs
                for ref in refs_in(argument)
            )
        )

    def _side(self, profile: Profile, *, before: bool) -> tuple[Floats, Floats]:
        """Return seconds of nodes before or after each cut, and of coding."""
        millions = np.array(
            [0.0 if here else sum(cut.elements) / 1e6
             for cut, here in zip(self.cuts, self.local, strict=True)]
        )  # fmt: skip
        done = np.concatenate([[0.0], np.cumsum(profile.p50_s)])
        nodes = done[self.positions] if before else done[-1] - done[self.positions]
        known = profile.encode_s if before else profile.decode_s
        coding = millions * np.array([known.get(name, CODEC_S) for name in self.codecs])
        return nodes, coding

    def head_s(self, profile: Profile) -> Floats:
        """Return seconds on an edge of another profile, of each cut and codec.

        Raises:
            DataError: the profile is of another graph.
        """
        require_of(profile, self.graph, "edge")
        return np.add(*self._side(profile, before=True))

    def tail_s(self, profile: Profile) -> Floats:
        """Return seconds in a cloud of another profile, of each cut and codec.

        Raises:
            DataError: the profile is of another graph.
        """
        require_of(profile, self.graph, "cloud")
        return np.add(*self._side(profile, before=False))

    def _limit(self) -> None:
        """Keep what keeps to the limits."""
        limits, graph = self.limits, self.graph
        allowed = np.ones(len(self.cuts), dtype=bool)
        binding: dict[str, tuple[float, float]] = {}
        if limits.most_bytes is not None:
            allowed &= self.sizes <= limits.most_bytes
            binding["request_bytes"] = (float(self.sizes.min()), limits.most_bytes)
        head, tail = _memory(graph)
        for name, sizes, most in (
            ("edge_bytes", head, limits.edge_bytes),
            ("cloud_bytes", tail, limits.cloud_bytes),
        ):
            if most is not None:
                allowed &= sizes[self.positions] <= most
                binding[name] = (float(sizes[self.positions].min()), most)
        if not bool(allowed.any()):
            verdicts = [
                Verdict(
                    name=name, value=value, limit=limit, unit="bytes", at_least=False
                )
                for name, (value, limit) in binding.items()
            ]
            raise BudgetInfeasibleError(
                f"a cut of {graph.name!r} within "
                + ", ".join(
                    f"{name} {limit:g}" for name, (_, limit) in binding.items()
                ),
                rule="none keeps to all of these; the least of each is "
                + ", ".join(
                    f"{name} {value:g}" for name, (value, _) in binding.items()
                ),
                where="trimtab.partition",
                remedy="raise a limit, allow fewer private layers, or take a narrower "
                "codec",
                best=verdicts,
                binding=max(
                    binding, key=lambda name: binding[name][0] / binding[name][1]
                ),
            )
        for name in (
            "positions", "local", "sizes", "edge_s", "encode_s", "cloud_s", "decode_s",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name)[allowed])
        self.cuts = [
            each for each, keep in zip(self.cuts, allowed, strict=True) if keep
        ]
        self.codecs = [
            each for each, keep in zip(self.codecs, allowed, strict=True) if keep
        ]

    def parts(
        self, at: Conditions, *, slow: bool = False
    ) -> tuple[Floats, Floats, Floats]:
        """Return seconds on edge, link and cloud, of each cut and codec.

        Args:
            at: conditions.
            slow: at the slow end of each, for ``p95``.
        """
        edge_more = at.edge_slowdown * (self.edge.spread if slow else 1.0)
        cloud_more = at.cloud_slowdown * (self.cloud.spread if slow else 1.0)
        away = ~self.local
        link = np.where(
            away,
            at.sent_s(self.sizes, low=slow)
            + self.result_bytes / at.downlink_bytes_per_s,
            0.0,
        )
        return (
            edge_more * (self.edge_s + self.encode_s),
            link,
            np.where(
                away, cloud_more * (self.cloud_s + self.decode_s) + at.queue_s, 0.0
            ),
        )

    def costs(self, at: Conditions, objective: Objective) -> Floats:
        """Return what is to be least, of each cut and codec: seconds."""
        edge, link, cloud = self.parts(at, slow=objective == "p95")
        busy = np.where(self.local, 0.0, link - at.rtt_s)
        return combined(objective, edge, link, busy, cloud)

    def name(self, index: int) -> str:
        """Return the name of a cut: ``edge only``, ``cloud only`` or its node."""
        if self.local[index]:
            return "edge only"
        cut = self.cuts[index]
        return "cloud only" if cut.position == 0 else f"after {cut.after}"

    def choice(self, index: int, at: Conditions) -> Choice:
        """Return a cut and codec with all its predictions."""
        edge, link, cloud = (float(each[index]) for each in self.parts(at))
        busy = 0.0 if self.local[index] else link - at.rtt_s
        return Choice(
            name=self.name(index),
            cut=self.cuts[index],
            codec=self.codecs[index],
            bytes=round(float(self.sizes[index])),
            edge_s=edge,
            link_s=link,
            cloud_s=cloud,
            latency_s=edge + link + cloud,
            p95_s=float(sum(each[index] for each in self.parts(at, slow=True))),
            throughput_per_s=1.0 / max(edge, busy, cloud, 1e-12),
            energy_s=edge + busy,
        )


def combined(
    objective: Objective, edge: Floats, link: Floats, busy: Floats, cloud: Floats
) -> Floats:
    """Return what an objective makes of the times of a request, seconds.

    Args:
        objective: what is to be best.
        edge: time on the edge, at its slow end for ``p95``, as the others.
        link: time on the link.
        busy: of it without the round trip.
        cloud: time in the cloud.
    """
    if objective == "throughput":
        return np.maximum(np.maximum(edge, busy), cloud)
    if objective == "energy":
        return edge + busy
    return edge + link + cloud


def private_position(graph: Graph, layers: int) -> int:
    """Return the position after so many layers with weights.

    Raises:
        UsageError: the graph has fewer.
    """
    if not layers:
        return 0
    weights = {
        constant.name
        for constant in graph.tensors
        if constant.kind is ConstantKind.PARAMETER
    }
    seen: list[str] = []
    for position, node in enumerate(graph.nodes):
        used = any(ref.name in weights for ref in node.inputs)
        if used and node.module not in seen:
            seen.append(node.module)
            if len(seen) == layers:
                return position + 1
    raise UsageError(
        f"{layers} private layers",
        rule=f"the network has {len(seen)} layers with weights",
        where=f"graph {graph.name!r}",
        remedy="give fewer",
    )


def _memory(graph: Graph) -> tuple[Floats, Floats]:
    """Return bytes of weights and activations before and after each position."""
    count = len(graph.nodes)
    sizes = {constant.name: constant.type.size_bytes for constant in graph.tensors}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        for ref in node.inputs:
            owner = graph.owner(ref).name
            if owner in sizes:
                first.setdefault(owner, position)
                last[owner] = position
    head, tail = np.zeros(count + 1), np.zeros(count + 1)
    for name, size in sizes.items():
        if name in first:
            head[first[name] + 1 :] += size
            tail[: last[name] + 1] += size
    activations = np.array([0.0, *map(float, activation_sizes(graph)), 0.0])
    head += np.maximum.accumulate(activations[: count + 1])
    tail += np.maximum.accumulate(activations[:0:-1])[::-1]
    return head, tail
