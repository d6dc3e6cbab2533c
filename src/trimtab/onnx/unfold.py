"""A graph as a module of plain operators, for exporters: weights under their names."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final, cast

import torch
from torch import Tensor, fx, nn

from trimtab.errors import OnnxError
from trimtab.graph.execute import bind_node, decode
from trimtab.graph.tree import unflatten
from trimtab.graph.types import ConstantKind, Graph, Node, Ref

__all__ = ["unfold"]

_BAGS: Final = ("aten.embedding_bag.padding_idx", "aten.embedding_bag.default")
_COMBINE: Final = (torch.ops.aten.sum.dim_IntList, torch.ops.aten.mean.dim)


def unfold(graph: Graph, weights: Mapping[str, Tensor]) -> fx.GraphModule:
    """Return a module that computes what a graph does.

    It takes the tensor inputs of the graph in order; what else the network took stands
    in the graph. Bags of one length become rows and a sum, which ONNX can say without a
    loop.

    Args:
        graph: of a network.
        weights: parameters and buffers by target, tied ones once.

    Raises:
        ExecutionError: an operator is not in the vocabulary.
        OnnxError: a name of a weight cannot be one in a module.

    Example:
        >>> from trimtab.graph.capture import capture, weights_of
        >>> layer = nn.Linear(3, 2).eval()
        >>> graph = capture(layer, (torch.zeros(1, 3),))
        >>> plain = unfold(graph, weights_of(layer, graph))
        >>> sorted(plain.state_dict())
        ['bias', 'weight']
    """
    root = nn.Module()
    made = fx.Graph()
    values: dict[Ref, Any] = {}
    for leaf in graph.inputs:
        values[Ref(leaf.name)] = (
            leaf.value if leaf.type is None else made.placeholder(leaf.name)
        )
    places: dict[str, str] = {}
    for constant in graph.constants:
        if constant.kind is ConstantKind.TENSOR:
            target, tensor = f"constants.{constant.name}", decode(constant)
        else:
            target, tensor = constant.shares, weights[constant.shares]
        if target not in places:
            learned = constant.kind is ConstantKind.PARAMETER
            places[target] = _place(root, target, tensor, learned=learned)
        values[Ref(constant.name)] = made.get_attr(places[target])
    ranges: dict[str, Node] = {
        node.name: node for node in graph.nodes if node.op.startswith("aten.arange.")
    }
    for node in graph.nodes:
        found = _bag(made, node, values, ranges) or _called(made, node, values)
        if len(node.outputs) == 1 and not _is_list(node):
            values[Ref(node.name)] = found
            continue
        for index in range(len(node.outputs)):
            values[Ref(node.name, index)] = made.call_function(
                operator.getitem, (found, index)
            )
    results = (
        values[each] if isinstance(each, Ref) else each for each in graph.outputs
    )
    made.output(cast(Any, unflatten(results, graph.output_tree)))
    made.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    return fx.GraphModule(root, made).eval()


def _place(root: nn.Module, target: str, tensor: Tensor, *, learned: bool) -> str:
    *folders, leaf = target.split(".")
    module = root
    try:
        for part in folders:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        if learned:
            parameter = nn.Parameter(tensor.detach(), requires_grad=False)
            module.register_parameter(leaf, parameter)
        else:
            module.register_buffer(leaf, tensor)
    except (KeyError, AttributeError) as error:
        raise OnnxError(
            f"weight {target!r}",
            rule=f"a module cannot hold it: {error.args[0]}",
            where="graph",
            remedy="capture the network again",
        ) from error
    return target


def _is_list(node: Node) -> bool:
    """Whether an operator gives a list, be it of one tensor."""
    function, _, _ = bind_node(node, torch.device("cpu"))
    returns = cast(Any, function)._schema.returns
    return len(returns) != 1 or "List" in str(returns[0].type)


def _called(made: fx.Graph, node: Node, values: Mapping[Ref, Any]) -> fx.Node:
    function, positional, keywords = bind_node(node, torch.device("cpu"))
    return made.call_function(
        function,
        tuple(_filled(each, values) for each in positional),
        {key: _filled(each, values) for key, each in keywords.items()},
    )


def _filled(argument: Any, values: Mapping[Ref, Any]) -> Any:
    if isinstance(argument, Ref):
        return values[argument]
    if isinstance(argument, tuple | list):
        return [_filled(each, values) for each in argument]
    return argument


def _bag(
    made: fx.Graph,
    node: Node,
    values: Mapping[Ref, Any],
    ranges: Mapping[str, Node],
) -> fx.Node | None:
    """Return rows and their sum, or mean, for bags that are all of one length.

    The offsets are then a range, whose step is that length.
    """
    given: Mapping[str, Any] = node.arguments
    if node.op not in _BAGS:
        return None
    offsets, weights = given.get("offsets"), given.get("per_sample_weights")
    by = ranges.get(offsets.name) if isinstance(offsets, Ref) else None
    mode = given.get("mode", 0)
    if by is None or weights is not None or mode not in (0, 1):
        return None
    if given.get("include_last_offset", False) or _padding(given) >= 0:
        return None
    start, length = by.arguments.get("start", 0), by.arguments.get("step", 1)
    if start != 0 or not isinstance(length, int) or length < 1:
        return None
    bags = by.outputs[0].shape[0] if by.outputs[0] is not None else 0
    places = made.call_function(
        torch.ops.aten.reshape.default, (values[given["indices"]], [bags, length])
    )
    rows = made.call_function(
        torch.ops.aten.embedding.default, (values[given["weight"]], places)
    )
    total = made.call_function(_COMBINE[mode], (rows, [1]))
    return made.call_function(_first_of_four, (total,))


def _padding(given: Mapping[str, Any]) -> int:
    value = given.get("padding_idx", -1)
    return -1 if value is None else int(value)


def _first_of_four(value: Tensor) -> tuple[Tensor, ...]:
    """Return what stands for the results of a bag: only the first is ever read."""
    return (value, value, value, value)
