"""What each operator of the graph becomes: one function an operator, or the same for a few.

A lowering adds the tasks of a group and says whether it could; what it cannot take runs
as PyTorch does (`Planner.fallback`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.plan import Packing, Planner, Value
from trimtab.compiler.spaces import contraction, depthwise, winograd_plan
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.depthwise import Depthwise
from trimtab.compiler.spaces.pool import Pool
from trimtab.compiler.spaces.winograd_weights import transform_weights
from trimtab.compiler.windows import Window, pair, window_of
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS"]


def _tensor(planner: Planner, group: Group, name: str) -> torch.Tensor | None:
    """Return a constant argument of the anchor."""
    assert group.anchor is not None
    ref = group.anchor.arguments.get(name)
    return planner.constants.get(ref) if isinstance(ref, Ref) else None


def _folded(
    group: Group, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight and bias with the batch normalisations in them, in float64."""
    weight = weight.detach().double()
    bias = None if bias is None else bias.detach().double()
    for affine in group.affine:
        weight = weight * affine.scale.view(-1, *([1] * (weight.dim() - 1)))
        bias = affine.shift if bias is None else bias * affine.scale + affine.shift
    return weight, bias


def _key(group: Group, what: str) -> str:
    """Return the name of a folded constant: the same wherever the same is meant."""
    names = [str(ref) for node in group.nodes[: 1 + len(group.affine)] for ref in node.inputs]
    digest = hashlib.sha256("|".join((what, *names)).encode()).hexdigest()[:12]
    assert group.anchor is not None
    return f"{group.anchor.name}.{what}.{digest}"


def _bias(group: Group, bias: torch.Tensor) -> Packing:
    return Packing(
        key=_key(group, "bias"),
        order=lambda point: "",
        make=lambda point: bias.float().contiguous(),
    )


def _weight(
    group: Group, work: Contraction, weight: torch.Tensor, lanes: int
) -> Packing:
    """Return the packed weights of a contraction; `weight` is ``(O, C, kh, kw)``."""

    def order(point: Any) -> str:
        if isinstance(point, winograd_plan.Point):
            return f"F{point.tile}/{point.chunk}x{point.vectors}x{lanes}"
        return f"{point.vectors}x{lanes}/{contraction.input_block(work)}"

    def make(point: Any) -> torch.Tensor:
        if isinstance(point, winograd_plan.Point):
            return torch.from_numpy(
                transform_weights(work, point, weight.detach().numpy(), lanes=lanes)
            )
        size = contraction.input_block(work)
        height, width = work.kernel
        blocks = [
            weight[first : first + vectors * each]
            .view(vectors, each, work.inputs_per_group // size, size, height, width)
            .permute(2, 4, 5, 3, 0, 1)
            .reshape(-1)
            for first, vectors, each in contraction.pack_order(work, point.vectors, lanes)
        ]
        return torch.cat(blocks).float().contiguous()

    return Packing(key=_key(group, "weight"), order=order, make=make)


def _convolution(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    window = window_of(planner.graph, node)
    weight = _tensor(planner, group, "weight")
    bias = _tensor(planner, group, "bias")
    if window is None or weight is None or weight.dtype != torch.float32:
        return False
    if bias is None and node.arguments.get("bias") is not None:
        return False
    weight, bias = _folded(group, weight, bias)
    shape = node.output.shape
    if window.depthwise:
        return _depthwise(planner, group, window, weight, bias)
    channels = planner.shape(window.source)[1]
    ragged = window.groups > 1 and bool(
        channels // window.groups % planner.lanes or shape[1] // window.groups % planner.lanes
    )
    source = planner.image(window.source, window.halo, flat=ragged)
    if window.groups > 1 and shape[1] // window.groups % planner.lanes:
        planner.flat.add(group.output)
    target = planner.activation(group.output, shape)
    others = [planner.operand(ref, shape) for ref in group.operands]
    work = Contraction(
        input=source.layout,
        output=target.layout,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=window.groups,
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        bias=bias is not None,
    )
    planner.add(
        work,
        (
            source,
            _weight(group, work, weight, planner.lanes),
            *([] if bias is None else [_bias(group, bias)]),
            *(value for value, _ in others),
            target,
        ),
        group.nodes,
    )
    planner.values[group.output] = target
    return True


def _depthwise(
    planner: Planner,
    group: Group,
    window: Window,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
) -> bool:
    assert group.anchor is not None
    shape = group.anchor.output.shape
    source = planner.image(window.source, window.halo)
    target = planner.activation(group.output, shape)
    others = [planner.operand(ref, shape) for ref in group.operands]
    work = Depthwise(
        input=source.layout,
        output=target.layout,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        bias=bias is not None,
    )
    lanes = planner.lanes

    def pack(point: Any) -> torch.Tensor:
        blocks = [
            weight[first : first + channels, 0].permute(1, 2, 0).reshape(-1)
            for first, channels in depthwise.pack_order(work, lanes)
        ]
        return torch.cat(blocks).float().contiguous()

    packed_weight = Packing(
        key=_key(group, "weight"), order=lambda point: f"depthwise{lanes}", make=pack
    )
    planner.add(
        work,
        (
            source,
            packed_weight,
            *([] if bias is None else [_bias(group, bias)]),
            *(value for value, _ in others),
            target,
        ),
        group.nodes,
    )
    planner.values[group.output] = target
    return True


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
    node = group.anchor
    assert node is not None
    if weight.dtype != torch.float32 or planner.graph.type_of(source).dtype != "float32":
        return False
    weight, bias = _folded(group, weight, bias)
    value = planner.values[source]
    if value.layout.axis is not None or value.layout.strides[-1] != 1:
        value = planner.dense(source)
    shape = node.output.shape
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
        return False
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
            _weight(group, work, weight[:, :, None, None], planner.lanes),
            *([] if bias is None else [_bias(group, bias)]),
            *(each for each, _ in others),
            target,
        ),
        group.nodes,
    )
    planner.values[group.output] = target
    return True


def _linear(planner: Planner, group: Group) -> bool:
    assert group.anchor is not None
    source = group.anchor.arguments["input"]
    weight, bias = _tensor(planner, group, "weight"), _tensor(planner, group, "bias")
    if not isinstance(source, Ref) or source not in planner.values or weight is None:
        return False
    if bias is None and group.anchor.arguments.get("bias") is not None:
        return False
    return _product(planner, group, source, weight, bias)


def _addmm(planner: Planner, group: Group) -> bool:
    assert group.anchor is not None
    arguments = group.anchor.arguments
    source = arguments["mat1"]
    weight, bias = _tensor(planner, group, "mat2"), _tensor(planner, group, "self")
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
    if len(a) != len(b) or a[:-2] != b[:-2] or types != {"float32"}:
        return False
    first, second = _stack(planner, left, False), _stack(planner, right, True)
    target = planner.fresh(row_major(shape))
    others = [planner.operand(ref, shape) for ref in group.operands]
    layouts = [_merged(layout) for _, layout in others]
    if any(layout is None for layout in layouts):
        return False
    x, y = _merged(first.layout), _merged(target.layout)
    w = _merged(second.layout)
    assert x is not None and y is not None and w is not None
    work = Contraction(
        input=_samples_along_width(x),
        output=_samples_along_width(y),
        formula=group.formula,
        operands=tuple(_samples_along_width(each) for each in layouts if each),
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


def _samples_along_width(layout: Layout) -> Layout:
    """Return ``(N, M, K)`` as ``(N, K, 1, M)``."""
    (n, m, k), (sn, sm, sk) = layout.shape, layout.strides
    return Layout(
        shape=(n, k, 1, m),
        strides=(sn, sk, 0, sm),
        size=layout.size,
        offset=layout.offset,
    )


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
    place = planner.places.get(refs[0])
    if place is not None and all(ref in planner.places for ref in refs):
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
    "aten.max_pool2d.default": _pool,
    "aten.avg_pool2d.default": _pool,
    "aten.adaptive_avg_pool2d.default": _pool,
    "aten._adaptive_avg_pool2d.default": _pool,
    "aten.conv2d.default": _convolution,
    "aten.conv2d.padding": _convolution,
    "aten.convolution.default": _convolution,
    "aten.cat.default": _cat,
    "aten.concat.default": _cat,
    "aten.linear.default": _linear,
    "aten.addmm.default": _addmm,
    "aten.mm.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.matmul.default": _matmul,
}
"""By the anchor's operator."""
