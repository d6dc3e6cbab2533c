"""A range of a graph's nodes as a graph of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import GraphError
from trimtab.frozen import FrozenDict
from trimtab.graph.liveness import fixed_names, live_sets
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import Argument, Graph, Input, Node, Ref

__all__ = ["segment"]


def segment(
    graph: Graph, start: int, stop: int
) -> tuple[Graph, tuple[Ref, ...], tuple[Ref, ...]] | None:
    """Return the nodes between two positions as a graph of tensors.

    Values that only pass are not among its inputs and outputs. Nodes before it that do
    the same in every call, such as views of weights, are done anew in it.

    Args:
        graph: the whole.
        start: position of the first node.
        stop: position after the last node.

    Returns:
        The graph; the values of the whole that its inputs are; and those that its
        outputs are. None where nothing is computed that is used behind, such as views
        of weights alone.

    Raises:
        GraphError: no such positions.

    Example:
        >>> import torch
        >>> from trimtab.graph.capture import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.ReLU())
        >>> graph = capture(net.eval(), (torch.zeros(1, 8),))
        >>> part, given, made = segment(graph, 1, 2)
        >>> [str(each) for each in given], [str(each) for each in made]
        (['%linear'], ['%relu'])
        >>> part.nodes[0].op, part.constants
        ('aten.relu.default', ())
    """
    if not 0 <= start < stop <= len(graph.nodes):
        raise GraphError(
            f"nodes {start} to {stop}",
            rule=f"the graph has positions 0 to {len(graph.nodes)}, a part two of them",
            where=f"graph {graph.name!r}",
            remedy="give positions in order",
        )
    live = live_sets(graph)
    inside = range(start, stop)
    # Without the outputs of the whole: only what these nodes read.
    fixed = _fixed_for(graph, inside)
    nodes = [node for node in graph.nodes[:start] if node.name in fixed]
    nodes += graph.nodes[start:stop]
    names = {node.name for node in nodes}
    read = {ref for node in nodes for ref in _read(node)}
    given = tuple(ref for ref in live[start] if ref in read)
    made = tuple(ref for ref in live[stop] if ref.name in names)
    if not made:
        return None
    taken = names | {each.name for each in graph.constants}
    renamed: dict[Ref, Ref] = {}
    for ref in given:
        name = ref.name if not ref.output else f"{ref.name}_{ref.output}"
        while name in taken:
            name += "_"
        taken.add(name)
        renamed[ref] = Ref(name)
    return (
        Graph(
            name=f"{graph.name} {start} to {stop}",
            inputs=tuple(
                Input(name=renamed[ref].name, type=graph.type_of(ref)) for ref in given
            ),
            constants=tuple(each for each in graph.constants if each.name in fixed),
            nodes=tuple(_renamed(node, renamed, names) for node in nodes),
            outputs=made,
            input_tree=Tree(
                kind="tuple", children=(_tuple(len(given)), Tree(kind="dict"))
            ),
            output_tree=_tuple(len(made)),
        ),
        given,
        made,
    )


def _fixed_for(graph: Graph, inside: range) -> frozenset[str]:
    return fixed_names(replace(graph, outputs=(), output_tree=_tuple(0)), inside)


def _read(node: Node) -> tuple[Ref, ...]:
    return node.inputs if node.view_of is None else (*node.inputs, node.view_of)


def _tuple(count: int) -> Tree:
    return Tree(kind="tuple", children=(LEAF,) * count)


def _renamed(node: Node, renamed: Mapping[Ref, Ref], names: set[str]) -> Node:
    view_of = node.view_of
    if view_of is not None and view_of.name not in names:
        view_of = renamed.get(view_of, view_of)
    return replace(
        node,
        arguments=FrozenDict(
            {key: _argument(each, renamed) for key, each in node.arguments.items()}
        ),
        view_of=view_of,
    )


def _argument(argument: Argument, renamed: Mapping[Ref, Ref]) -> Argument:
    if isinstance(argument, Ref):
        return renamed.get(argument, argument)
    if isinstance(argument, tuple):
        return tuple(_argument(each, renamed) for each in argument)
    return argument
