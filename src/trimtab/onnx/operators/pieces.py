"""ONNX operators that take tensors to pieces, or write pieces into them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.onnx.operators.reductions import axes_of
from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, integers, tensor

__all__: list[str] = []

_REDUCTIONS: Final = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@translates("Slice")
def _slice(
    operation: Operation,
    x: Value,
    starts: Value = None,
    ends: Value = None,
    axes: Value = None,
    steps: Value = None,
) -> Tensor:
    read = tensor(x)
    if starts is None:
        begins, stops = list(operation.get("starts")), list(operation.get("ends"))
    else:
        begins, stops = integers(starts, "start"), integers(ends, "end of Slice")
    along = axes_of(operation, axes) or list(range(len(begins)))
    strides = [1] * len(begins) if steps is None else integers(steps, "step of Slice")
    for axis, begin, stop, step in zip(along, begins, stops, strides, strict=True):
        size = read.shape[axis]
        first, last, stride = slice(begin, stop, step).indices(size)
        if stride < 0:
            # Backward: what is read forward, turned around.
            count = len(range(first, last, stride))
            read = torch.flip(read, [axis])
            first, stride = size - 1 - first, -stride
            last = min(first + (count - 1) * stride + 1, size) if count else first
        read = _sliced(read, axis, first, max(last, first), stride)
    return read


def _sliced(x: Tensor, axis: int, first: int, last: int, step: int) -> Tensor:
    if (first, last, step) == (0, x.shape[axis], 1):
        return x
    places = [slice(None)] * x.dim()
    places[axis] = slice(first, last, step)
    return x[tuple(places)]


@translates("Split")
def _split(operation: Operation, x: Value, sizes: Value = None) -> Any:
    read, axis = tensor(x), operation.get("axis", 0)
    parts = operation.get("split") if sizes is None else integers(sizes, "split")
    if parts is None:
        count = operation.get("num_outputs", operation.outputs)
        size = -(-read.shape[axis] // count)
        parts = [size] * (count - 1) + [read.shape[axis] - size * (count - 1)]
    if sum(parts) != read.shape[axis]:
        raise refused(operation, f"parts {parts} do not fill {read.shape[axis]}")
    return torch.split(read, list(parts), axis)


@translates("Gather")
def _gather(operation: Operation, x: Value, indices: Value) -> Tensor:
    read, axis = tensor(x), operation.get("axis", 0)
    if isinstance(indices, np.ndarray) and indices.size == 1:
        place = int(indices.reshape(-1)[0])
        if not indices.ndim:
            return read.select(axis, place)
        if indices.ndim == 1:
            return read.narrow(axis, place % read.shape[axis], 1)
    places = tensor(indices)
    if isinstance(read, nn.Parameter) and read.dim() == 2 and axis == 0:
        return F.embedding(places, read)  # a table; ids count from its first row
    axis = axis % read.dim()
    before: list[Any] = [slice(None)] * axis
    found: Tensor = read[(*before, places)]
    return found


@translates("GatherElements")
def _gather_elements(operation: Operation, x: Value, indices: Value) -> Tensor:
    read, axis = tensor(x), operation.get("axis", 0)
    return torch.gather(read, axis, _from_zero(tensor(indices), read.shape[axis]))


def _from_zero(places: Tensor, size: int) -> Tensor:
    """Return places counted from the end as those counted from the beginning."""
    return torch.where(places < 0, places + size, places).long()


@translates("GatherND")
def _gather_nd(operation: Operation, x: Value, indices: Value) -> Tensor:
    read, places = tensor(x), tensor(indices)
    batch = operation.get("batch_dims", 0)
    grids: list[Tensor] = []
    for axis in range(batch):
        shape = [1] * (places.dim() - 1)
        shape[axis] = read.shape[axis]
        grids.append(torch.arange(read.shape[axis]).reshape(shape))
    found: Tensor = read[(*grids, *places.unbind(-1))]
    return found


@translates("ScatterElements", "Scatter")
def _scatter_elements(
    operation: Operation, x: Value, indices: Value, updates: Value
) -> Tensor:
    read, axis = tensor(x), operation.get("axis", 0)
    places = _from_zero(tensor(indices), read.shape[axis])
    reduction = operation.get("reduction", b"none")
    name = reduction.decode() if isinstance(reduction, bytes) else reduction
    if name == "none":
        return torch.scatter(read, axis, places, tensor(updates))
    return torch.scatter_reduce(
        read, axis, places, tensor(updates), reduce=_REDUCTIONS[name]
    )


@translates("ScatterND")
def _scatter_nd(
    operation: Operation, x: Value, indices: Value, updates: Value
) -> Tensor:
    reduction = operation.get("reduction", b"none")
    if reduction not in (b"none", "none", b"add", "add"):
        raise refused(operation, f"it combines by {reduction!r}")
    places = tuple(tensor(indices).unbind(-1))
    return torch.index_put(
        tensor(x), places, tensor(updates), accumulate=reduction in (b"add", "add")
    )


@translates("OneHot")
def _one_hot(operation: Operation, indices: Value, depth: Value, pair: Value) -> Tensor:
    places, size = tensor(indices).long(), integers(depth, "depth of OneHot")[0]
    off, on = tensor(pair).unbind(0)
    axis = operation.get("axis", -1)
    axis = axis % (places.dim() + 1)
    shape = [1] * (places.dim() + 1)
    shape[axis] = size
    within = _from_zero(places, size).unsqueeze(axis)
    return torch.where(within == torch.arange(size).reshape(shape), on, off)
