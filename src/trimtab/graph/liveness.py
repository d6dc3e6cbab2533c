"""Which values are alive when: live sets, peak activation memory, cuts.

A position is a place between nodes: 0 is before the first, ``len(nodes)`` after the
last. Constants are not counted, nor views of them: they are always there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from trimtab.graph.types import Graph, Ref, refs_in

__all__ = [
    "Cut",
    "Peak",
    "activation_sizes",
    "activations",
    "cuts",
    "fixed_names",
    "live_sets",
    "peak_activation",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A place where the graph can be divided.

    Attributes:
        position: nodes before it run first.
        values: what must cross, in the order it is made.
        size_bytes: of these values.
    """

    position: int
    values: tuple[Ref, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The moment when most activation memory is in use.

    Attributes:
        size_bytes: inputs, results and everything still needed; shared memory once.
        node: name of the node that runs then; "" where the graph has none.
    """

    size_bytes: int
    node: str


def _intervals(graph: Graph) -> dict[Ref, tuple[int, int]]:
    """Return from which position to which each value is alive, used ones only."""
    end = len(graph.nodes)
    born: dict[Ref, int] = {Ref(leaf.name): 0 for leaf in graph.inputs if leaf.type}
    last: dict[Ref, int] = {}
    for index, node in enumerate(graph.nodes):
        for output, kind in enumerate(node.outputs):
            if kind is not None:
                born[Ref(node.name, output)] = index + 1
        for ref in node.inputs:
            last[ref] = index
    for argument in graph.outputs:
        for ref in refs_in(argument):
            last[ref] = end
    return {
        ref: (born[ref], used)
        for ref, used in last.items()
        if ref.name not in graph.static and ref in born
    }


def live_sets(graph: Graph) -> tuple[tuple[Ref, ...], ...]:
    """Return, for every position, what must cross there, in the order it is made.

    It is what the nodes from that position on, or the outputs, need from before it.
    """
    sets: list[list[Ref]] = [[] for _ in range(len(graph.nodes) + 1)]
    spans = _intervals(graph)
    for ref in sorted(spans, key=lambda ref: (spans[ref][0], ref.name, ref.output)):
        first, last = spans[ref]
        for position in range(first, last + 1):
            sets[position].append(ref)
    return tuple(map(tuple, sets))


def fixed_names(graph: Graph, part: range) -> frozenset[str]:
    """Return the constants that some nodes need, and the nodes between that are fixed.

    Args:
        graph: whose outputs are needed whatever the part.
        part: positions of the nodes.

    Example:
        >>> import torch
        >>> from trimtab.graph.capture import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.Linear(2, 4))
        >>> graph = capture(net.eval(), (torch.zeros(1, 8),))
        >>> sorted(fixed_names(graph, range(1)))
        ['p_0_bias', 'p_0_weight']
    """
    nodes = {node.name: node for node in graph.nodes}
    names = [ref.name for at in part for ref in graph.nodes[at].inputs]
    names += [ref.name for each in graph.outputs for ref in refs_in(each)]
    fixed = {constant.name for constant in graph.constants} | graph.static
    found: set[str] = set()
    while names:
        name = names.pop()
        if name in fixed and name not in found:
            found.add(name)
            if name in nodes:
                names += [ref.name for ref in nodes[name].inputs]
    return frozenset(found)


def cuts(graph: Graph) -> Sequence[Cut]:
    """Return every position with what must cross there, from input to output."""
    return [
        Cut(
            position=position,
            values=values,
            size_bytes=sum(graph.type_of(ref).size_bytes for ref in values),
        )
        for position, values in enumerate(live_sets(graph))
    ]


def activation_sizes(graph: Graph) -> tuple[int, ...]:
    """Return the bytes of activations in use while each node runs.

    Its inputs, its outputs and all that is needed later are alive. Views take no memory
    of their own; they keep alive what they show.
    """
    return tuple(_size(graph, alive) for alive in activations(graph))


def activations(graph: Graph) -> tuple[frozenset[Ref], ...]:
    """Return which values have memory while each node runs, weights left out."""
    found = []
    sets = live_sets(graph)
    for index, node in enumerate(graph.nodes):
        made = {
            Ref(node.name, output)
            for output, kind in enumerate(node.outputs)
            if kind is not None
        }
        owners = {graph.owner(ref) for ref in {*sets[index], *made}}
        found.append(frozenset(ref for ref in owners if not graph.is_weight(ref)))
    return tuple(found)


def peak_activation(graph: Graph) -> Peak:
    """Return the largest activation memory in use at once (`activation_sizes`)."""
    sizes = activation_sizes(graph)
    if not sizes:
        return Peak(size_bytes=_size(graph, set(live_sets(graph)[0])), node="")
    largest = max(sizes)
    return Peak(size_bytes=largest, node=graph.nodes[sizes.index(largest)].name)


def _size(graph: Graph, refs: Collection[Ref]) -> int:
    return sum(
        graph.type_of(ref).size_bytes for ref in refs if not graph.is_weight(ref)
    )
