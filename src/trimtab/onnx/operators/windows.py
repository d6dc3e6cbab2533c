"""ONNX operators that slide windows: convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import torch.nn.functional as F
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, tensor

__all__ = ["paddings"]

_CONVOLUTIONS: Final[dict[int, Any]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Final[dict[int, Any]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
_MAX_POOLS: Final[dict[int, Any]] = {
    1: F.max_pool1d,
    2: F.max_pool2d,
    3: F.max_pool3d,
}
_MEAN_POOLS: Final[dict[int, Any]] = {
    1: F.avg_pool1d,
    2: F.avg_pool2d,
    3: F.avg_pool3d,
}


def paddings(
    operation: Operation, sizes: Sequence[int], kernel: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is added before and behind each axis of an image.

    Args:
        operation: with ``pads`` or ``auto_pad``.
        sizes: of the image.
        kernel: of the window.

    Example:
        >>> same = Operation(kind="Conv", opset=18, attributes={
        ...     "auto_pad": b"SAME_UPPER", "strides": [2]})
        >>> paddings(same, [6], [3])
        [(0, 1)]
    """
    rank = len(kernel)
    mode = operation.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode in ("NOTSET", ""):
        pads = list(operation.get("pads", [0] * (2 * rank)))
        return [(pads[axis], pads[axis + rank]) for axis in range(rank)]
    if mode == "VALID":
        return [(0, 0)] * rank
    strides = operation.get("strides", [1] * rank)
    dilations = operation.get("dilations", [1] * rank)
    found = []
    for size, extent, stride, dilation in zip(
        sizes, kernel, strides, dilations, strict=True
    ):
        last = (math.ceil(size / stride) - 1) * stride + dilation * (extent - 1) + 1
        total = max(last - size, 0)
        less = total // 2
        found.append(
            (less, total - less) if mode == "SAME_UPPER" else (total - less, less)
        )
    return found


def _rank(operation: Operation, x: Tensor, known: dict[int, Any]) -> int:
    rank = x.dim() - 2
    if rank not in known:
        raise refused(operation, f"it works on {rank} axes, not on one to three")
    return rank


def _padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float) -> Tensor:
    flat = [each for pair in reversed(pads) for each in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


@translates("Conv")
def _conv(operation: Operation, x: Value, weight: Value, bias: Value = None) -> Any:
    read, kernel = tensor(x), tensor(weight)
    rank = _rank(operation, read, _CONVOLUTIONS)
    pads = paddings(operation, read.shape[2:], kernel.shape[2:])
    same = all(before == behind for before, behind in pads)
    return _CONVOLUTIONS[rank](
        read if same else _padded(read, pads, 0.0),
        kernel,
        None if bias is None else tensor(bias),
        operation.get("strides", [1] * rank),
        [before for before, _ in pads] if same else [0] * rank,
        operation.get("dilations", [1] * rank),
        operation.get("group", 1),
    )


@translates("ConvTranspose")
def _conv_transpose(
    operation: Operation, x: Value, weight: Value, bias: Value = None
) -> Any:
    read, kernel = tensor(x), tensor(weight)
    rank = _rank(operation, read, _TRANSPOSED)
    strides = operation.get("strides", [1] * rank)
    dilations = operation.get("dilations", [1] * rank)
    extra = list(operation.get("output_padding", [0] * rank))
    whole = [
        (size - 1) * stride + dilation * (extent - 1) + 1 + more
        for size, stride, dilation, extent, more in zip(
            read.shape[2:], strides, dilations, kernel.shape[2:], extra, strict=True
        )
    ]
    mode = operation.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    wanted = operation.get("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = [s * stride for s, stride in zip(read.shape[2:], strides, strict=True)]
    if wanted is None:
        pads = paddings(operation, read.shape[2:], kernel.shape[2:])
    else:
        pads = []
        for axis, size in enumerate(wanted[-rank:]):
            total = max(whole[axis] - size, 0)
            extra[axis] += max(size - whole[axis], 0)
            less = total // 2
            upper = mode == "SAME_UPPER"
            pads.append((less, total - less) if upper else (total - less, less))
    group = operation.get("group", 1)
    shift = None if bias is None else tensor(bias)
    function = _TRANSPOSED[rank]
    if all(before == behind for before, behind in pads):
        begin = [before for before, _ in pads]
        return function(read, kernel, shift, strides, begin, extra, group, dilations)
    found = function(read, kernel, shift, strides, [0] * rank, extra, group, dilations)
    for axis, (before, behind) in enumerate(pads):
        length = found.shape[axis + 2] - before - behind
        found = found.narrow(axis + 2, before, length)
    return found


@translates("MaxPool")
def _max_pool(operation: Operation, x: Value) -> Any:
    read = tensor(x)
    rank = _rank(operation, read, _MAX_POOLS)
    if operation.outputs > 1:
        raise refused(operation, "it shows where the largest are")
    kernel = operation.get("kernel_shape")
    strides = operation.get("strides", [1] * rank)
    dilations = operation.get("dilations", [1] * rank)
    pads = paddings(operation, read.shape[2:], kernel)
    same = all(
        before == behind and 2 * before <= extent
        for (before, behind), extent in zip(pads, kernel, strict=True)
    )
    if not same:
        if not read.is_floating_point():
            raise refused(operation, "it pads whole numbers unevenly")
        read = _padded(read, pads, -math.inf)
    return _MAX_POOLS[rank](
        read,
        kernel,
        strides,
        [before for before, _ in pads] if same else 0,
        dilations,
        ceil_mode=bool(operation.get("ceil_mode", 0)),
    )


@translates("AveragePool")
def _average_pool(operation: Operation, x: Value) -> Any:
    read = tensor(x)
    rank = _rank(operation, read, _MEAN_POOLS)
    kernel = operation.get("kernel_shape")
    if any(each != 1 for each in operation.get("dilations", [1] * rank)):
        raise refused(operation, "it is dilated")
    strides = operation.get("strides", [1] * rank)
    ceil = bool(operation.get("ceil_mode", 0))
    counted = bool(operation.get("count_include_pad", 0))
    pads = paddings(operation, read.shape[2:], kernel)
    function = _MEAN_POOLS[rank]
    if all(
        before == behind and 2 * before <= extent
        for (before, behind), extent in zip(pads, kernel, strict=True)
    ):
        begin = [before for before, _ in pads]
        return function(read, kernel, strides, begin, ceil, counted)
    padded = _padded(read, pads, 0.0)
    if counted:
        return function(padded, kernel, strides, 0, ceil)
    # The sum of what is there, over how much is there.
    there = _padded(read.new_ones((1, 1, *read.shape[2:])), pads, 0.0)
    return function(padded, kernel, strides, 0, ceil) / function(
        there, kernel, strides, 0, ceil
    )


@translates("GlobalAveragePool")
def _global_average(_: Operation, x: Value) -> Tensor:
    read = tensor(x)
    return read.mean(list(range(2, read.dim())), True)


@translates("GlobalMaxPool")
def _global_max(_: Operation, x: Value) -> Tensor:
    read = tensor(x)
    return read.amax(list(range(2, read.dim())), True)
