"""Dense layers and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.lowerings.constants import (
    bias_of,
    constant_argument,
    folded,
    weight_of,
)
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.tasks import Value
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS", "product_of", "samples_along_width"]


def _rows(layout: Layout) -> Layout | None:
    """Return a layout ``(..., K)`` as ``(N, K, H, W)`` with the samples along W.

    None where the axes before the last two cannot be kept apart or merged.
    """
    *lead, last = range(len(layout.shape))
    if layout.axis is not None:
        return None
    axes: list[tuple[int, int]] = []  # extent and stride, outermost first
    for axis in lead:
        extent, stride = layout.shape[axis], layout.strides[axis]
        if axes and axes[-1][1] == extent * stride:
            axes[-1] = (axes[-1][0] * extent, stride)
        else:
            axes.append((extent, stride))
    return _image(layout, axes, last)


def _image(layout: Layout, axes: Sequence[tuple[int, int]], last: int) -> Layout | None:
    kept = [each for each in axes if each[0] != 1]
    if len(kept) > 3:
        return None
    n, h, w = [(1, 0)] * (3 - len(kept)) + kept
    return Layout(
        shape=(n[0], layout.shape[last], h[0], w[0]),
        strides=(n[1], layout.strides[last], h[1], w[1]),
        size=layout.size,
        offset=layout.offset,
    )


def _apart(layout: Layout) -> Layout | None:
    """Like `_rows`, every axis by itself."""
    if layout.axis is not None:
        return None
    *lead, last = range(len(layout.shape))
    return _image(
        layout, [(layout.shape[axis], layout.strides[axis]) for axis in lead], last
    )


def _product(
    planner: Planner,
    group: Group,
    source: Ref,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
) -> bool:
    """Lower ``x @ weight.T + bias`` with a constant weight ``(O, K)``."""
    assert group.anchor is not None
    value = planner.values[source]
    if value.memory.dtype != "float32" or not _fits(weight, bias):
        return False
    if value.layout.axis is not None or value.layout.strides[-1] != 1:
        value = planner.dense(source)
    shape = group.anchor.output.shape
    target = product_of(planner, group, value, weight, bias, shape)
    if target is not None:
        planner.values[group.output] = target
    return target is not None


def _fits(weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    return (
        weight.dtype == torch.float32
        and weight.dim() == 2
        and bool(weight.shape[1])
        and (bias is None or bias.dim() <= 1)
    )


def product_of(
    planner: Planner,
    group: Group,
    value: Value,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    shape: Sequence[int],
) -> Value | None:
    """Return ``value @ weight.T + bias`` and what is fused to it, or None.

    Args:
        planner: takes the tasks.
        group: what is fused.
        value: shape ``(..., K)``, float32, its last axis dense.
        weight: shape ``(O, K)``, float32.
        bias: shape ``(O,)`` or a number.
        shape: of the result, ``(..., O)``.
    """
    weight, bias = folded(group, weight, bias)
    if bias is not None:
        bias = bias.expand(weight.shape[0])
    target = planner.fresh(row_major(shape))
    others = [planner.operand(ref, shape) for ref in group.operands]
    layouts = [value.layout, target.layout, *(layout for _, layout in others)]
    found: list[Layout] = []
    for arrange in (_rows, _apart):
        trial = [arrange(layout) for layout in layouts]
        found = [each for each in trial if each is not None]
        places = {(each.shape[0], *each.shape[2:]) for each in found}
        if len(found) == len(layouts) and len(places) == 1:
            break
    else:
        return None
    work = Contraction(
        input=found[0],
        output=found[1],
        formula=group.formula,
        operands=tuple(found[2:]),
        bias=bias is not None,
    )
    planner.add(
        work,
        (
            value,
            weight_of(group, work, weight[:, :, None, None], planner.lanes),
            *([] if bias is None else [bias_of(group, bias)]),
            *(each for each, _ in others),
            target,
        ),
        group.nodes,
    )
    return target


def _linear(planner: Planner, group: Group) -> bool:
    assert group.anchor is not None
    source = group.anchor.arguments["input"]
    weight, bias = (
        constant_argument(planner, group, "weight"),
        constant_argument(planner, group, "bias"),
    )
    if not isinstance(source, Ref) or source not in planner.values or weight is None:
        return False
    if bias is None and group.anchor.arguments.get("bias") is not None:
        return False
    return _product(planner, group, source, weight, bias)


def _addmm(planner: Planner, group: Group) -> bool:
    assert group.anchor is not None
    arguments = group.anchor.arguments
    source = arguments["mat1"]
    weight, bias = (
        constant_argument(planner, group, "mat2"),
        constant_argument(planner, group, "self"),
    )
    scaled = (arguments.get("alpha", 1), arguments.get("beta", 1)) != (1, 1)
    if scaled or weight is None or bias is None or bias.dim() != 1:
        return False
    if not isinstance(source, Ref) or source not in planner.values:
        return False
    return _product(planner, group, source, weight.t(), bias)


def _matmul(planner: Planner, group: Group) -> bool:
    assert group.anchor is not None
    arguments = group.anchor.arguments
    left = arguments["self"]
    right = arguments.get("mat2", arguments.get("other"))
    if not isinstance(left, Ref) or not isinstance(right, Ref):
        return False
    if left not in planner.values or len(planner.shape(left)) < 2:
        return False
    constant = planner.constants.get(right)
    if constant is not None and constant.dim() == 2:
        return _product(planner, group, left, constant.t(), None)
    return right in planner.values and _batched(planner, group, left, right)


def _batched(planner: Planner, group: Group, left: Ref, right: Ref) -> bool:
    """Lower a product of two computed tensors with the same leading axes."""
    node = group.anchor
    assert node is not None
    a, b = planner.shape(left), planner.shape(right)
    shape = node.output.shape
    types = {planner.graph.type_of(ref).dtype for ref in (left, right)}
    if len(a) != len(b) or a[:-2] != b[:-2] or types != {"float32"} or not a[-1]:
        return False
    first, second = _stack(planner, left, False), _stack(planner, right, True)
    target = planner.fresh(row_major(shape))
    others = [planner.operand(ref, shape) for ref in group.operands]
    layouts = [_merged(layout) for _, layout in others]
    if any(layout is None for layout in layouts):
        return False
    x, y = _merged(first.layout), _merged(target.layout)
    w = _merged(second.layout)
    if x is None or y is None or w is None:
        return False
    work = Contraction(
        input=samples_along_width(x),
        output=samples_along_width(y),
        formula=group.formula,
        operands=tuple(samples_along_width(each) for each in layouts if each),
        weight=w,
    )
    planner.add(
        work, (first, second, *(each for each, _ in others), target), group.nodes
    )
    planner.values[group.output] = target
    return True


def _stack(planner: Planner, ref: Ref, along_last: bool) -> Value:
    """Return a value whose leading axes merge; its last axis dense where asked."""
    value = planner.values[ref]
    merged = _merged(value.layout)
    if merged is None or (along_last and merged.strides[2] != 1):
        return planner.dense(ref)
    return value


def _merged(layout: Layout) -> Layout | None:
    """Return a layout ``(..., M, K)`` as ``(N, M, K)``, or None."""
    if layout.axis is not None:
        return None
    count, stride = 1, 0
    for extent, step in zip(layout.shape[:-2], layout.strides[:-2], strict=True):
        if extent == 1:
            continue
        if count > 1 and stride != extent * step:
            return None
        count, stride = count * extent, step
    return Layout(
        shape=(count, *layout.shape[-2:]),
        strides=(stride, *layout.strides[-2:]),
        size=layout.size,
        offset=layout.offset,
    )


def samples_along_width(layout: Layout) -> Layout:
    """Return ``(N, M, K)`` as ``(N, K, 1, M)``."""
    (n, m, k), (sn, sm, sk) = layout.shape, layout.strides
    return Layout(
        shape=(n, k, 1, m),
        strides=(sn, sk, 0, sm),
        size=layout.size,
        offset=layout.offset,
    )


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    "aten.linear.default": _linear,
    "aten.addmm.default": _addmm,
    "aten.mm.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.matmul.default": _matmul,
}
"""By the anchor's operator."""
