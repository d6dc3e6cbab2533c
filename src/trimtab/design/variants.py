"""Edits made on a graph, to judge them: thousands, without a module or a capture.

A variant has the nodes that a capture of the edited network would have, up to names, so
that fields, work and estimates of it are exact. What is chosen in the end is captured
again and compared all the same (`trimtab.design.search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from trimtab.design.edits import Replace
from trimtab.design.sliding import window_starts
from trimtab.errors import UsageError
from trimtab.frozen import FrozenDict
from trimtab.graph.types import (
    Argument,
    Constant,
    ConstantKind,
    Graph,
    Node,
    Ref,
    TensorType,
)

__all__ = ["Variant", "with_blocks", "with_kernels"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A graph with edits.

    Attributes:
        graph: with them.
        windows: input channels of each output of convolutions that slide, by module.
    """

    graph: Graph
    windows: Mapping[str, tuple[tuple[int, ...], ...]]


def with_blocks(bare: Variant, counts: Mapping[tuple[str, ...], int]) -> Variant:
    """Return a graph with blocks left out or repeated.

    Args:
        bare: without that.
        counts: how often a block is there, by the names of its nodes, in their order; a
            block takes one value and gives one of the same type.
    """
    graph, windows = bare.graph, dict(bare.windows)
    nodes = list(graph.nodes)
    outputs = list(graph.outputs)
    constants = list(graph.constants)
    own = {each.name: each for each in graph.constants}
    for names, count in counts.items():
        if count == 1:
            continue
        given, left = _ends(nodes, outputs, set(names), set(own))
        if count == 0:
            nodes, outputs = _renamed(
                [each for each in nodes if each.name not in names], outputs, left, given
            )
            continue
        block = [each for each in nodes if each.name in names]
        place = max(index for index, each in enumerate(nodes) if each.name in names)
        before, after = nodes[: place + 1], nodes[place + 1 :]
        last = left
        for number in range(1, count):
            copied, constants_made, last = _copy(block, given, last, left, own, number)
            before += copied
            constants += constants_made
            for was, now in zip(block, copied, strict=True):
                if was.module in windows:
                    windows[now.module] = windows[was.module]
        after, outputs = _renamed(after, outputs, left, last)
        nodes = before + after
    made = replace(
        graph, nodes=tuple(nodes), outputs=tuple(outputs), constants=tuple(constants)
    )
    return Variant(graph=made, windows=FrozenDict(windows))


def _ends(
    nodes: Sequence[Node],
    outputs: Sequence[Argument],
    names: set[str],
    constants: set[str],
) -> tuple[Ref, Ref]:
    """Return the one value that comes into a block, and the one that leaves it."""
    inside = [each for each in nodes if each.name in names]
    given = {
        ref
        for each in inside
        for ref in each.inputs
        if ref.name not in names and ref.name not in constants
    }
    left = {
        ref
        for each in nodes
        if each.name not in names
        for ref in each.inputs
        if ref.name in names
    } | {each for each in outputs if isinstance(each, Ref) and each.name in names}
    if len(given) != 1 or len(left) != 1:
        raise UsageError(
            f"a block of {len(inside)} nodes",
            rule=f"{len(given)} values come in and {len(left)} leave it",
            where="variants of a graph",
            remedy="take blocks of `trimtab.design.blocks`",
        )
    return given.pop(), left.pop()


def _swap(value: Argument, old: Ref, new: Ref) -> Argument:
    if isinstance(value, tuple):
        return tuple(_swap(each, old, new) for each in value)
    return new if value == old else value


def _renamed(
    nodes: Sequence[Node], outputs: Sequence[Argument], old: Ref, new: Ref
) -> tuple[list[Node], list[Argument]]:
    """Return nodes and outputs that read another value in place of one."""
    found = [
        replace(
            each,
            arguments=FrozenDict(
                {key: _swap(value, old, new) for key, value in each.arguments.items()}
            ),
            view_of=new if each.view_of == old else each.view_of,
        )
        if old in each.inputs or each.view_of == old
        else each
        for each in nodes
    ]
    return found, [_swap(each, old, new) for each in outputs]


def _copy(
    block: Sequence[Node],
    given: Ref,
    previous: Ref,
    left: Ref,
    own: Mapping[str, Constant],
    number: int,
) -> tuple[list[Node], list[Constant], Ref]:
    """Return a block once more, with constants of its own, behind a value."""
    names = {each.name: f"{each.name}__{number}" for each in block}
    constants: dict[str, Constant] = {}

    def moved(value: Argument) -> Argument:
        if isinstance(value, tuple):
            return tuple(map(moved, value))
        if not isinstance(value, Ref):
            return value
        if value == given:
            return previous
        if value.name in names:
            return Ref(names[value.name], value.output)
        if value.name in own:
            was = own[value.name]
            name = f"{was.name}__{number}"
            constants[name] = replace(
                was,
                name=name,
                target=f"{was.target}__{number}",
                shares=f"{was.shares}__{number}",
            )
            return Ref(name)
        return value

    made = []
    for each in block:
        shown = each.view_of
        made.append(
            replace(
                each,
                name=names[each.name],
                arguments=FrozenDict(
                    {key: moved(value) for key, value in each.arguments.items()}
                ),
                module=f"{each.module}__{number}",
                view_of=None if shown is None else _as_ref(moved(shown)),
            )
        )
    return made, list(constants.values()), Ref(names[left.name], left.output)


def _as_ref(value: Argument) -> Ref:
    assert isinstance(value, Ref)
    return value


# ---------------------------------------------------------------- kernels


def with_kernels(bare: Variant, edits: Sequence[Replace]) -> Variant:
    """Return a graph with convolutions replaced.

    Args:
        bare: without that.
        edits: of convolutions that are called once or more.

    Raises:
        UsageError: a module has no call of a convolution, or cannot become that.
    """
    graph, windows = bare.graph, dict(bare.windows)
    by_module = {each.module: each for each in edits}
    nodes: list[Node] = []
    constants = {each.name: each for each in graph.constants}
    made_of: dict[str, list[Constant]] = {}
    seen = set[str]()
    for node in graph.nodes:
        edit = by_module.get(node.module)
        if edit is None or not node.op.startswith("aten.conv2d"):
            nodes.append(node)
            continue
        seen.add(node.module)
        built = _replaced(graph, node, edit, made_of.setdefault(node.module, []))
        nodes += built
        for each in built:
            if each.module.endswith(".sliding"):
                windows[each.module] = _windows(graph, node, edit)
    missing = set(by_module) - seen
    if missing:
        raise UsageError(
            f"an edit of module {sorted(missing)[0]!r}",
            rule="no call of a convolution is its",
            where=f"graph {graph.name!r}",
            remedy="take paths of the network that the edits were made for",
        )
    for some in made_of.values():
        constants.update((each.name, each) for each in some)
    used = {ref.name for node in nodes for ref in node.inputs}
    return Variant(
        graph=replace(
            graph,
            nodes=tuple(nodes),
            constants=tuple(
                each
                for each in constants.values()
                if each.name in used or each.name not in _weights_of(graph, by_module)
            ),
        ),
        windows=FrozenDict(windows),
    )


def _weights_of(graph: Graph, modules: Mapping[str, object]) -> set[str]:
    return {
        ref.name
        for node in graph.nodes
        if node.module in modules
        for ref in node.inputs
        if graph.constant(ref) is not None
    }


def _windows(graph: Graph, node: Node, edit: Replace) -> tuple[tuple[int, ...], ...]:
    weight = node.arguments["weight"]
    assert isinstance(weight, Ref)
    outputs, per_group = graph.type_of(weight).shape[:2]
    groups = node.arguments.get("groups", 1)
    inputs = per_group * (groups if isinstance(groups, int) else 1)
    width = inputs // edit.groups
    return tuple(
        tuple((start + each) % inputs for each in range(width))
        for start in window_starts(inputs, outputs, edit.groups, edit.overlap)
    )


def _replaced(
    graph: Graph, node: Node, edit: Replace, constants: list[Constant]
) -> list[Node]:
    """Return the nodes of what a convolution becomes; the last has its name."""
    weight, given = node.arguments["weight"], node.arguments["input"]
    assert isinstance(weight, Ref)
    assert isinstance(given, Ref)
    outputs, per_group, *size = graph.type_of(weight).shape
    groups = node.arguments.get("groups", 1)
    inputs = per_group * (groups if isinstance(groups, int) else 1)
    stride, dilation = _pair(node, "stride", 1), _pair(node, "dilation", 1)
    padding = _pair(node, "padding", 0)
    dtype = node.output.dtype
    batch = node.output.shape[0]

    def made(
        name: str,
        source: Ref,
        shape: tuple[int, ...],
        before: Sequence[int],
        *,
        module: str,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] = (0, 0),
        apart: Sequence[int] = (1, 1),
        parts: int = 1,
        bias: Argument = None,
    ) -> tuple[Node, tuple[int, ...]]:
        target = f"{module}.weight"
        constant = Constant(
            name=f"{name}__w",
            target=target,
            kind=ConstantKind.PARAMETER,
            type=TensorType(shape, dtype),
            shares=target,
        )
        if all(each.name != constant.name for each in constants):
            constants.append(constant)
        after = tuple(
            (places + 2 * pad - (window - 1) * far - 1) // step + 1
            for places, pad, window, far, step in zip(
                before, pads, shape[2:], apart, strides, strict=True
            )
        )
        return Node(
            name=name,
            op="aten.conv2d.default",
            arguments=FrozenDict(
                {
                    "input": source,
                    "weight": Ref(constant.name),
                    "bias": bias,
                    "stride": tuple(strides),
                    "padding": tuple(pads),
                    "dilation": tuple(apart),
                    "groups": parts,
                }
            ),
            outputs=(TensorType((batch, shape[0], *after), dtype),),
            module=module,
            module_type="Conv2d",
        ), after

    places = graph.type_of(given).shape[2:]
    bias = node.arguments.get("bias")
    path = node.module
    if edit.kernel in ("grouped", "resized", "dilated"):
        kept = groups if isinstance(groups, int) else 1
        parts = edit.groups if edit.kernel == "grouped" else kept
        new = [edit.size, edit.size] if edit.kernel == "resized" else size
        far = (edit.dilation,) * 2 if edit.kernel == "dilated" else dilation
        pads = tuple(
            pad + ((one - 1) * wide - (old - 1) * was) // 2
            for pad, one, wide, old, was in zip(
                padding, new, far, size, dilation, strict=True
            )
        )
        only, _ = made(
            node.name, given, (outputs, inputs // parts, *new), places, module=path,
            strides=stride, pads=pads, apart=far, parts=parts, bias=bias,
        )  # fmt: skip
        return [only]
    if edit.kernel == "sliding":
        only, _ = made(
            node.name, given, (outputs, inputs // edit.groups, 1, 1), places,
            module=f"{path}.sliding", bias=bias, parts=1,
        )  # fmt: skip
        return [only]
    if edit.kernel == "asymmetric":
        first, between = made(
            f"{node.name}__0", given, (outputs, inputs, size[0], 1), places,
            module=f"{path}.0", strides=(stride[0], 1), pads=(padding[0], 0),
            apart=(dilation[0], 1),
        )  # fmt: skip
        second, _ = made(
            node.name, Ref(first.name), (outputs, outputs, 1, size[1]), between,
            module=f"{path}.1", strides=(1, stride[1]), pads=(0, padding[1]),
            apart=(1, dilation[1]), bias=bias,
        )  # fmt: skip
        return [first, second]
    first, between = made(
        f"{node.name}__0", given, (inputs, 1, *size), places, module=f"{path}.0",
        parts=inputs, strides=stride, pads=padding, apart=dilation,
    )  # fmt: skip
    parts = edit.groups if edit.kernel == "depthwise-grouped" else 1
    slides = edit.kernel == "depthwise-sliding"
    width = inputs // (edit.groups if slides else parts)
    second, _ = made(
        node.name, Ref(first.name), (outputs, width, 1, 1), between,
        module=f"{path}.sliding" if slides else f"{path}.1", parts=parts, bias=bias,
    )  # fmt: skip
    return [first, second]


def _pair(node: Node, name: str, default: int) -> tuple[int, int]:
    value = node.arguments.get(name)
    numbers = value if isinstance(value, tuple) else (value,)
    found = [each for each in numbers if isinstance(each, int)] or [default]
    return (found[0], found[-1])
