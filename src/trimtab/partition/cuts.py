"""Where a network can be divided, and which divisions are worth comparing.

A cut runs the first nodes of the order on the edge and sends every value that the
others need. Such prefix cuts with several values are enough where nothing is forced;
`least_latency` finds the best division of all, which need not be a prefix.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from trimtab.errors import UsageError
from trimtab.graph.liveness import cuts as every_cut
from trimtab.graph.store import digest
from trimtab.graph.types import Graph, Ref

__all__ = ["Candidate", "Division", "candidates", "cut_at", "least_latency"]

_ALIKE: Final = 0.01  # of the whole time, by which the edge work of two cuts is alike
_CAPACITY: Final = 2**30  # scipy's flows are 32-bit integers


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cut that is worth comparing.

    Attributes:
        position: nodes before it run on the edge; 0 is all in the cloud, the number of
            nodes all on the edge.
        values: that cross, in the order they are made.
        elements: numbers that cross, of each value.
        size_bytes: of the values as they are computed.
        after: the node it comes after, "" for the input.
        digest: SHA-256 of graph and position: both sides agree on it.
    """

    position: int
    values: tuple[Ref, ...]
    elements: tuple[int, ...]
    size_bytes: int
    after: str
    digest: str

    @property
    def key(self) -> str:
        """The first characters of the digest, for people."""
        return self.digest[:12]


def cut_at(graph: Graph, position: int) -> Candidate:
    """Return the cut at a position.

    Raises:
        UsageError: the graph has no such position.
    """
    if not 0 <= position <= len(graph.nodes):
        raise UsageError(
            f"a cut at position {position}",
            rule=f"the graph has positions 0 to {len(graph.nodes)}",
            where=f"graph {graph.name!r}",
            remedy="give one of these",
        )
    return _candidate(graph, every_cut(graph)[position].values, position, digest(graph))


def _candidate(
    graph: Graph, values: tuple[Ref, ...], position: int, whole: str
) -> Candidate:
    types = [graph.type_of(each) for each in values]
    return Candidate(
        position=position,
        values=values,
        elements=tuple(each.elements for each in types),
        size_bytes=sum(each.size_bytes for each in types),
        after=graph.nodes[position - 1].name if position else "",
        digest=hashlib.sha256(f"{whole} {position}".encode()).hexdigest(),
    )


def candidates(
    graph: Graph,
    seconds: Sequence[float],
    *,
    least_position: int = 0,
    dominated: bool = False,
) -> tuple[Candidate, ...]:
    """Return the cuts worth comparing, from input to output.

    Left out is a cut if another sends no more, and has its work on the edge differ by
    no more than a hundredth of the whole, whatever the machines. The two ends stay, if
    they are allowed.

    Args:
        graph: the network.
        seconds: of each node, on any machine: what counts is how they compare.
        least_position: nodes that must run on the edge, for privacy.
        dominated: whether to return those that are left out, too.

    Raises:
        UsageError: another number of seconds than nodes, or a position the graph has
            not.

    Example:
        >>> import torch
        >>> from trimtab.graph.capture import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.Linear(2, 4))
        >>> graph = capture(net.eval(), (torch.zeros(1, 8),))
        >>> [each.size_bytes for each in candidates(graph, [1.0, 1.0])]
        [32, 8, 16]
    """
    count = len(graph.nodes)
    if len(seconds) != count:
        raise UsageError(
            f"{len(seconds)} times for graph {graph.name!r}",
            rule=f"it has {count} nodes",
            where="trimtab.partition.cuts",
            remedy="give the profile of this graph",
        )
    if not 0 <= least_position <= count:
        raise UsageError(
            f"{least_position} nodes that must run on the edge",
            rule=f"the graph has {count}",
            where=f"graph {graph.name!r}",
            remedy="give fewer",
        )
    whole = digest(graph)
    every = [
        _candidate(graph, each.values, each.position, whole)
        for each in every_cut(graph)[least_position:]
    ]
    if dominated:
        return tuple(every)
    done = np.concatenate([[0.0], np.cumsum(np.asarray(seconds, dtype=np.float64))])
    alike = _ALIKE * float(done[-1])
    sizes = np.array([each.size_bytes for each in every])
    edge = done[least_position:]
    kept = []
    for number, each in enumerate(every):
        near = np.abs(edge - edge[number]) <= alike
        less = sizes < sizes[number]
        earlier = (sizes == sizes[number]) & (np.arange(len(every)) < number)
        if each.position in (0, count) or not bool((near & (less | earlier)).any()):
            kept.append(each)
    return tuple(kept)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The best division of all, which need not be a prefix of the order.

    Attributes:
        edge: names of the nodes that run on the edge.
        values: that cross.
        latency_s: without the round trip.
    """

    edge: frozenset[str]
    values: tuple[Ref, ...]
    latency_s: float


def least_latency(
    graph: Graph,
    edge_s: Sequence[float] | NDArray[np.float64],
    cloud_s: Sequence[float] | NDArray[np.float64],
    seconds_per_byte: float,
    *,
    forced: int = 0,
) -> Division:
    """Return the division of least edge, transfer and cloud time together.

    As a minimum cut (Hu et al., "Dynamic Adaptive DNN Surgery for Inference
    Acceleration on the Edge", INFOCOM 2019, with values that are sent once however many
    nodes read them). Times are rounded to a billionth of the largest.

    Args:
        graph: the network.
        edge_s: of each node on the edge.
        cloud_s: of each node in the cloud.
        seconds_per_byte: of the link.
        forced: nodes of the order that must run on the edge.

    Raises:
        UsageError: another number of times than nodes.
    """
    nodes = [node for node in graph.nodes if node.name not in graph.static]
    times = {
        node.name: (float(edge), float(cloud))
        for node, edge, cloud in zip(graph.nodes, edge_s, cloud_s, strict=False)
    }
    if len(edge_s) != len(graph.nodes) or len(cloud_s) != len(graph.nodes):
        raise UsageError(
            f"{len(edge_s)} and {len(cloud_s)} times for graph {graph.name!r}",
            rule=f"it has {len(graph.nodes)} nodes",
            where="trimtab.partition.cuts",
            remedy="give the profile of this graph",
        )
    pinned = {node.name for node in graph.nodes[:forced]}
    readers: dict[Ref, list[str]] = {}
    for node in nodes:
        for ref in dict.fromkeys(node.inputs):
            if ref.name not in graph.static and graph.constant(ref) is None:
                readers.setdefault(ref, []).append(node.name)
    made = {node.name for node in nodes}
    names = {name: number for number, name in enumerate(("edge", "cloud", *times))}
    values = {ref: len(names) + number for number, ref in enumerate(readers)}
    lines: list[tuple[int, int, float]] = []
    for node in nodes:
        on_edge, in_cloud = times[node.name]
        at = names[node.name]
        # Cut when the node is on the other side: that side's time is paid.
        lines.append((at, names["cloud"], on_edge))
        lines.append((names["edge"], at, math.inf if node.name in pinned else in_cloud))
    for ref, used in readers.items():
        maker = names[ref.name] if ref.name in made else names["edge"]
        sent = seconds_per_byte * graph.type_of(ref).size_bytes
        lines.append((maker, values[ref], sent))
        for name in used:
            lines.append((values[ref], names[name], math.inf))
            # What the cloud made does not come back.
            if ref.name in made:
                lines.append((names[name], maker, math.inf))
    on_edge_nodes = _source_side(lines, len(names) + len(values), names)
    crossing = tuple(
        ref
        for ref, used in readers.items()
        if (ref.name not in made or ref.name in on_edge_nodes)
        and any(name not in on_edge_nodes for name in used)
    )
    latency = sum(times[node.name][node.name not in on_edge_nodes] for node in nodes)
    latency += seconds_per_byte * sum(graph.type_of(r).size_bytes for r in crossing)
    return Division(edge=on_edge_nodes, values=crossing, latency_s=latency)


def _source_side(
    lines: list[tuple[int, int, float]], count: int, names: dict[str, int]
) -> frozenset[str]:
    """Return the nodes on the source's side of a minimum cut."""
    finite = [each for _, _, each in lines if math.isfinite(each)]
    # A flow is at most the sum of what leaves the source.
    scale = (_CAPACITY - 1) / max(sum(finite), 1e-30)
    rows, columns, capacities = zip(*lines, strict=True)
    whole = [
        _CAPACITY if math.isinf(each) else round(scale * each) for each in capacities
    ]
    graph = coo_array(
        (np.array(whole, dtype=np.int64), (rows, columns)), shape=(count, count)
    ).tocsr()  # sums lines between the same two
    graph.data = np.minimum(graph.data, 2**31 - 1).astype(np.int32)
    source, sink = names["edge"], names["cloud"]
    flow = maximum_flow(graph.astype(np.int32), source, sink).flow
    left = graph - flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = set(breadth_first_order(left, source, return_predecessors=False).tolist())
    return frozenset(
        name
        for name, number in names.items()
        if number in reached and name not in ("edge", "cloud")
    )
