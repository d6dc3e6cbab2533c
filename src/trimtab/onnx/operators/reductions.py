"""ONNX operators that fold tensors along axes, and that look for the largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, integers, tensor

__all__ = ["axes_of"]

_Fold = Callable[[Tensor, list[int], bool], Tensor]
_FOLDS: Final[dict[str, _Fold]] = {
    "ReduceL1": lambda x, axes, keep: torch.sum(torch.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.sqrt(torch.sum(x * x, axes, keep)),
    "ReduceLogSum": lambda x, axes, keep: torch.log(torch.sum(x, axes, keep)),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keep),
    "ReduceMean": lambda x, axes, keep: torch.mean(x, axes, keep),
    "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keep),
    "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: torch.sum(
        x * x, axes, keep, dtype=x.dtype
    ),
}


def axes_of(operation: Operation, axes: Value) -> list[int] | None:
    """Return axes from an attribute or an input, wherever this version has them."""
    if axes is not None:
        return integers(axes, f"axes of {operation.kind}")
    found = operation.get("axes")
    return None if found is None else list(found)


@translates(*_FOLDS)
def _reduce(operation: Operation, x: Value, axes: Value = None) -> Tensor:
    read = tensor(x)
    along = axes_of(operation, axes)
    if not along:
        if operation.get("noop_with_empty_axes", 0):
            return _FOLDS[operation.kind](read[None], [0], False)
        along = list(range(read.dim()))
    if not read.dim():
        return _FOLDS[operation.kind](read[None], [0], False)
    return _FOLDS[operation.kind](read, along, bool(operation.get("keepdims", 1)))


@translates("ReduceProd")
def _prod(operation: Operation, x: Value, axes: Value = None) -> Tensor:
    read = tensor(x)
    along = axes_of(operation, axes)
    if not along:
        if operation.get("noop_with_empty_axes", 0):
            return read
        along = list(range(read.dim()))
    keep = bool(operation.get("keepdims", 1))
    for axis in sorted((each % read.dim() for each in along), reverse=True):
        read = torch.prod(read, axis, keep, dtype=read.dtype)
    return read


@translates("ArgMax", "ArgMin")
def _arg(operation: Operation, x: Value) -> Any:
    function = torch.argmax if operation.kind == "ArgMax" else torch.argmin
    axis, keep = operation.get("axis", 0), bool(operation.get("keepdims", 1))
    read = tensor(x)
    if not operation.get("select_last_index", 0):
        return function(read, axis, keep)
    return read.shape[axis] - 1 - function(torch.flip(read, [axis]), axis, keep)


@translates("TopK")
def _top_k(operation: Operation, x: Value, k: Value = None) -> Any:
    count = operation.get("k") if k is None else integers(k, "k of TopK")[0]
    axis, descending = operation.get("axis", -1), bool(operation.get("largest", 1))
    # Of equal values the first comes first, which torch.topk does not promise.
    found = torch.sort(tensor(x), stable=True, dim=axis, descending=descending)
    return tuple(each.narrow(axis, 0, count) for each in found)


@translates("CumSum")
def _cumsum(operation: Operation, x: Value, axis: Value) -> Tensor:
    read, along = tensor(x), integers(axis, "axis of CumSum")[0]
    backward = operation.get("reverse", 0)
    read = torch.flip(read, [along]) if backward else read
    total = torch.cumsum(read, along, dtype=read.dtype)
    if operation.get("exclusive", 0):
        total = total - read
    return torch.flip(total, [along]) if backward else total


@translates("Hardmax")
def _hardmax(operation: Operation, x: Value) -> Tensor:
    if operation.opset < 13:
        raise refused(operation, "before opset 13 it joins axes")
    read, axis = tensor(x), operation.get("axis", -1)
    best = torch.argmax(read, axis, True)
    return torch.zeros_like(read).scatter(axis, best, 1.0)
