"""Reductions, normalisations, softmax: operators that go over whole rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.normalize import Normalize
from trimtab.compiler.spaces.reduce import Reduce
from trimtab.compiler.spaces.softmax import Softmax
from trimtab.compiler.tasks import Packing, Value
from trimtab.graph.types import Argument, Node, Ref

__all__ = ["LOWERINGS"]


def _source(planner: Planner, node: Node, name: str) -> Value | None:
    """Return the float32 tensor a node reads, or None."""
    ref = node.arguments.get(name)
    if not isinstance(ref, Ref) or ref not in planner.values:
        return None
    value = planner.values[ref]
    return value if value.memory.dtype == "float32" else None


def _like(planner: Planner, group: Group, value: Value) -> Value:
    """Return where a result of the same shape goes, in the same form."""
    shape = planner.shape(group.output)
    if len(shape) == 4 and value.layout.contiguous_along(1) > 1:
        return planner.activation(group.output, shape)
    return planner.fresh(row_major(shape))


def _axes(argument: Argument, rank: int) -> tuple[int, ...]:
    if argument is None or argument == ():
        return tuple(range(rank))
    some = argument if isinstance(argument, tuple) else (argument,)
    return tuple(sorted(each % rank for each in some if isinstance(each, int)))


_FOLDS: Mapping[str, Literal["sum", "mean", "max", "min"]] = {
    "aten.mean.default": "mean",
    "aten.mean.dim": "mean",
    "aten.sum.default": "sum",
    "aten.sum.dim_IntList": "sum",
    "aten.amax.default": "max",
    "aten.amin.default": "min",
    "aten.max.default": "max",
    "aten.min.default": "min",
}


def _fold(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    value = _source(planner, node, "self")
    if value is None or node.output.dtype != "float32" or not value.layout.shape:
        return False
    shape = value.layout.shape
    axes = _axes(node.arguments.get("dim"), len(shape))
    if any(shape[axis] == 0 for axis in axes):
        return False
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    target = planner.fresh(row_major(node.output.shape))
    same = node.output.shape == kept
    formula, operands = (group.formula, group.operands) if same else (IDENTITY, ())
    others = [planner.operand(ref, kept) for ref in operands]
    work = Reduce(
        input=value.layout,
        output=row_major(kept),
        axes=axes,
        kind=_FOLDS[node.op],
        formula=formula,
        operands=tuple(layout for _, layout in others),
    )
    planner.add(work, (value, *(each for each, _ in others), target), group.nodes)
    planner.finish(group, target, fused=same)
    return True


def _softmax(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    value = _source(planner, node, "self")
    axis = node.arguments.get("dim")
    if value is None or not isinstance(axis, int) or node.output.dtype != "float32":
        return False
    target = _like(planner, group, value)
    work = Softmax(
        input=value.layout,
        output=target.layout,
        axis=axis,
        logarithm="log_softmax" in node.op,
    )
    planner.add(work, (value, target), (node,))
    planner.finish(group, target, fused=False)
    return True


def _affine(
    planner: Planner, node: Node, names: Sequence[str], shape: Sequence[int], axis: int
) -> tuple[list[Packing], list[Layout | None]] | None:
    """Return weight and bias over a shape, along the axes from `axis` on."""
    packings: list[Packing] = []
    layouts: list[Layout | None] = []
    for name in names:
        ref = node.arguments.get(name)
        if not isinstance(ref, Ref):
            layouts.append(None)
            continue
        if ref not in planner.constants:
            return None
        given = tuple(planner.constants[ref].shape)
        after = len(shape) - axis - len(given)
        packings.append(planner.constant(ref))
        layouts.append(row_major((*given, *([1] * after))).broadcast(shape))
    return packings, layouts


def _normalise(
    planner: Planner,
    group: Group,
    *,
    axes: tuple[int, ...],
    affine_axis: int,
    names: tuple[str, ...] = ("weight", "bias"),
    **settings: Any,
) -> bool:
    node = group.anchor
    assert node is not None
    value = _source(planner, node, "input") or _source(planner, node, "self")
    if value is None:
        return False
    shape = value.layout.shape
    found = _affine(planner, node, names, shape, affine_axis)
    if found is None or not math.prod(shape):
        return False
    packings, layouts = found
    weight, bias = (*layouts, None)[:2]
    target = _like(planner, group, value)
    others = [planner.operand(ref, shape) for ref in group.operands]
    work = Normalize(
        input=value.layout,
        output=target.layout,
        axes=axes,
        weight=weight,
        bias=bias,
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        **settings,
    )
    planner.add(
        work, (value, *packings, *(each for each, _ in others), target), group.nodes
    )
    planner.finish(group, target)
    return True


def _number(value: Argument, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _layer_norm(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    sizes = node.arguments["normalized_shape"]
    rank = len(node.output.shape)
    first = rank - (len(sizes) if isinstance(sizes, tuple) else 1)
    centered = "rms" not in node.op
    return _normalise(
        planner,
        group,
        axes=tuple(range(first, rank)),
        affine_axis=first,
        names=("weight", "bias") if centered else ("weight",),
        eps=_number(node.arguments.get("eps"), 1.1920928955078125e-07),
        centered=centered,
    )


def _group_norm(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    shape = node.output.shape
    instance = "instance_norm" in node.op
    if instance and not node.arguments.get("use_input_stats", True):
        return False
    groups = shape[1] if instance else node.arguments["num_groups"]
    assert isinstance(groups, int)
    return _normalise(
        planner,
        group,
        axes=tuple(range(1, len(shape))),
        affine_axis=1,
        groups=groups,
        eps=_number(node.arguments.get("eps"), 1e-5),
    )


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    **dict.fromkeys(_FOLDS, _fold),
    "aten.softmax.int": _softmax,
    "aten._softmax.default": _softmax,
    "aten.log_softmax.int": _softmax,
    "aten._log_softmax.default": _softmax,
    "aten.layer_norm.default": _layer_norm,
    "aten.rms_norm.default": _layer_norm,
    "aten.group_norm.default": _group_norm,
    "aten.instance_norm.default": _group_norm,
}
"""By the anchor's operator."""
