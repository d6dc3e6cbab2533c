"""Pools and concatenations: operators that keep images packed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimtab.compiler.groups import Group
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.pool import Pool
from trimtab.compiler.tasks import Value
from trimtab.compiler.windows import pair
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS"]


def _pool(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    arguments = node.arguments
    source = arguments["self"]
    if not isinstance(source, Ref) or source not in planner.values:
        return False
    shape, given = node.output.shape, planner.shape(source)
    if len(given) != 4 or node.output.dtype != "float32" or len(node.outputs) != 1:
        return False
    settings: dict[str, Any] = {"adaptive": "adaptive" in node.op}
    if not settings["adaptive"]:
        kernel = arguments["kernel_size"]
        stride = arguments.get("stride") or kernel
        divisor = arguments.get("divisor_override")
        settings |= {
            "kernel": pair(kernel),
            "stride": pair(stride),
            "padding": pair(arguments.get("padding", 0)),
            "dilation": pair(arguments.get("dilation", 1)),
            "include_padding": bool(arguments.get("count_include_pad", True)),
            "divisor": divisor if isinstance(divisor, int) else None,
        }
    value = planner.values[source]
    if value.layout.contiguous_along(1) > 1:
        target = planner.activation(group.output, shape)
    else:
        target = planner.fresh(row_major(shape))
    others = [planner.operand(ref, shape) for ref in group.operands]
    work = Pool(
        input=value.layout,
        output=target.layout,
        kind="max" if "max" in node.op else "mean",
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        **settings,
    )
    planner.add(work, (value, *(each for each, _ in others), target), group.nodes)
    planner.values[group.output] = target
    return True


def _place(planner: Planner, refs: Sequence[Ref]) -> tuple[Ref, int] | None:
    """Return where pieces stand side by side in this order, or None."""
    first = planner.places.get(refs[0])
    if first is None:
        return None
    root, start = first
    for ref in refs:
        if planner.places.get(ref) != (root, start):
            return None
        start += planner.shape(ref)[1]
    return first


def _cat(planner: Planner, group: Group) -> bool:
    """Lower a concatenation: to nothing where the pieces were written in place."""
    node = group.anchor
    assert node is not None
    pieces, axis = node.arguments["tensors"], node.arguments.get("dim", 0)
    if not isinstance(pieces, tuple) or not isinstance(axis, int) or group.operands:
        return False
    refs = [each for each in pieces if isinstance(each, Ref)]
    shape = node.output.shape
    axis %= len(shape)
    if any(len(planner.shape(ref)) != len(shape) for ref in refs):
        return False  # an empty tensor may have any rank
    if any(planner.type_of(ref).dtype != node.output.dtype for ref in refs):
        return False
    place = _place(planner, refs)
    if place is not None:
        for ref in refs:
            part = planner.part(*planner.places[ref], planner.shape(ref)[1])
            if planner.values[ref] != part:  # made by what cannot write there
                planner.copy(planner.values[ref], part, (node,))
                planner.values[ref] = part
        planner.values[group.output] = planner.part(*place, shape[1])
        return True
    values = [planner.constant_or_value(ref) for ref in refs]
    images = len(shape) == 4 and any(
        isinstance(each, Value) and each.layout.contiguous_along(1) > 1
        for each in values
    )
    target = planner.fresh(row_major(shape), node.output.dtype)
    if images and axis == 1:
        target = planner.activation(group.output, shape)
        block = target.layout.block
        if any(planner.shape(ref)[1] % block for ref in refs):
            channels = packed(shape, block=shape[1], halo=target.layout.halo)
            target = planner.fresh(channels, node.output.dtype)
    elif images:
        target = planner.activation(group.output, shape)
    start = 0
    for ref, value in zip(refs, values, strict=True):
        extent = planner.shape(ref)[axis]
        if extent:
            part = Value(
                memory=target.memory,
                layout=target.layout.slice_of(axis, start, extent),
            )
            planner.copy(value, part, (node,))
        start += extent
    planner.values[group.output] = target
    return True


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    "aten.cat.default": _cat,
    "aten.concat.default": _cat,
    "aten.max_pool2d.default": _pool,
    "aten.avg_pool2d.default": _pool,
    "aten.adaptive_avg_pool2d.default": _pool,
    "aten._adaptive_avg_pool2d.default": _pool,
}
"""By the anchor's operator."""
