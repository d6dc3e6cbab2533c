"""ONNX operators that give tensors another shape, or make them."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from trimtab.onnx.folding import MOST_ELEMENTS
from trimtab.onnx.operators.elementwise import torch_type
from trimtab.onnx.operators.reductions import axes_of
from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, integers, number, tensor

__all__: list[str] = []

_PADS: Final = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}


@translates("Shape")
def _shape(operation: Operation, x: Value) -> Any:
    sizes = [int(each) for each in tensor(x).shape]
    start, end = operation.get("start", 0), operation.get("end")
    return np.array(sizes[slice(start, end)], np.int64)


@translates("Size")
def _size(_: Operation, x: Value) -> Any:
    return np.array(math.prod(int(each) for each in tensor(x).shape), np.int64)


@translates("Reshape")
def _reshape(operation: Operation, x: Value, shape: Value = None) -> Tensor:
    read = tensor(x)
    wanted = (
        list(operation.get("shape", []))
        if shape is None
        else integers(shape, "shape of Reshape")
    )
    if not operation.get("allowzero", 0):
        wanted = [
            read.shape[axis] if size == 0 else size for axis, size in enumerate(wanted)
        ]
    return read.reshape(wanted)


@translates("Flatten")
def _flatten(operation: Operation, x: Value) -> Tensor:
    read, axis = tensor(x), operation.get("axis", 1)
    if axis == 1 and read.dim() > 1:
        return read.flatten(1)
    axis = axis + read.dim() if axis < 0 else axis
    return read.reshape(math.prod(read.shape[:axis]), -1)


@translates("Transpose")
def _transpose(operation: Operation, x: Value) -> Tensor:
    read = tensor(x)
    return read.permute(operation.get("perm", list(range(read.dim()))[::-1]))


@translates("Squeeze")
def _squeeze(operation: Operation, x: Value, axes: Value = None) -> Tensor:
    read, along = tensor(x), axes_of(operation, axes)
    if along is None:
        return read.squeeze()
    if any(read.shape[axis] != 1 for axis in along):
        raise refused(operation, f"axes {along} of {tuple(read.shape)} are longer")
    return read.squeeze(along)


@translates("Unsqueeze")
def _unsqueeze(operation: Operation, x: Value, axes: Value = None) -> Tensor:
    read, along = tensor(x), axes_of(operation, axes) or []
    rank = read.dim() + len(along)
    for axis in sorted(each % rank for each in along):
        read = read.unsqueeze(axis)
    return read


@translates("Expand")
def _expand(_: Operation, x: Value, shape: Value) -> Tensor:
    read, wanted = tensor(x), integers(shape, "shape of Expand")
    return read.expand(np.broadcast_shapes(tuple(read.shape), tuple(wanted)))


@translates("Tile")
def _tile(_: Operation, x: Value, repeats: Value) -> Tensor:
    return tensor(x).repeat(integers(repeats, "repeats of Tile"))


@translates("Concat")
def _concat(operation: Operation, *values: Value) -> Tensor:
    return torch.cat(list(map(tensor, values)), operation.get("axis"))


@translates("ConstantOfShape")
def _constant_of_shape(operation: Operation, shape: Value) -> Tensor:
    # Small ones are known numbers; of a large one the graph holds how it is made.
    value = operation.get("value")
    filled = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    dtype = getattr(torch, filled.dtype.name)
    wanted = integers(shape, "shape of ConstantOfShape")
    return torch.full(wanted, filled.reshape(-1)[0].item(), dtype=dtype)


@translates("Range")
def _range(operation: Operation, *bounds: Value) -> Tensor:
    start, limit, step = (number(each, "bound of Range") for each in bounds)
    dtype = tensor(bounds[0]).dtype
    if not step or (limit - start) / step > 256 * MOST_ELEMENTS:
        raise refused(operation, f"it runs from {start} to {limit} by {step}")
    return torch.arange(start, limit, step, dtype=dtype)


@translates("Pad")
def _pad(
    operation: Operation,
    x: Value,
    pads: Value = None,
    value: Value = None,
    axes: Value = None,
) -> Tensor:
    read = tensor(x)
    mode = operation.get("mode", b"constant")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    amounts = (
        list(operation.get("pads", []))
        if pads is None
        else integers(pads, "amounts of Pad")
    )
    along = list(range(read.dim())) if axes is None else integers(axes, "axes of Pad")
    if mode not in _PADS or len(amounts) != 2 * len(along):
        raise refused(operation, f"its mode is {mode!r}, with {len(amounts)} amounts")
    pairs = [(0, 0)] * read.dim()
    for position, axis in enumerate(along):
        pairs[axis] = (amounts[position], amounts[position + len(along)])
    while pairs and pairs[0] == (0, 0) and len(pairs) > 1:
        pairs.pop(0)
    flat = [each for pair in reversed(pairs) for each in pair]
    if not any(flat):
        return read
    if mode == "constant":
        filled = (
            operation.get("value", 0.0) if value is None else number(value, "value")
        )
        return F.pad(read, flat, value=filled)
    return F.pad(read, flat, mode=_PADS[mode])


@translates("DepthToSpace")
def _depth_to_space(operation: Operation, x: Value) -> Tensor:
    read, block = tensor(x), operation.get("blocksize")
    mode = operation.get("mode", b"DCR")
    if mode in (b"CRD", "CRD"):
        return F.pixel_shuffle(read, block)
    n, c, h, w = read.shape
    parts = read.reshape(n, block, block, c // block**2, h, w)
    moved = parts.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(n, c // block**2, h * block, w * block)


@translates("SpaceToDepth")
def _space_to_depth(operation: Operation, x: Value) -> Tensor:
    read, block = tensor(x), operation.get("blocksize")
    if operation.get("mode", b"DCR") in (b"CRD", "CRD"):
        return F.pixel_unshuffle(read, block)
    n, c, h, w = read.shape
    parts = read.reshape(n, c, h // block, block, w // block, block)
    moved = parts.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(n, c * block**2, h // block, w // block)


@translates("Trilu")
def _trilu(operation: Operation, x: Value, k: Value = None) -> Any:
    offset = 0 if k is None else integers(k, "diagonal of Trilu")[0]
    function = torch.triu if operation.get("upper", 1) else torch.tril
    return function(tensor(x), offset)


@translates("EyeLike")
def _eye_like(operation: Operation, x: Value) -> Any:
    read = tensor(x)
    kind = operation.get("dtype")
    dtype = read.dtype if kind is None else torch_type(kind)
    rows, columns = read.shape
    places = torch.arange(columns)[None] - torch.arange(rows)[:, None]
    return (places == operation.get("k", 0)).to(dtype)
