"""ONNX operators that make images larger or smaller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, integers, tensor

__all__: list[str] = []

_LINEAR: Final = {3: "linear", 4: "bilinear", 5: "trilinear"}


@translates("Resize", "Upsample")
def _resize(operation: Operation, x: Value, *values: Value) -> Tensor:
    read = tensor(x)
    scales, sizes = _targets(operation, read, values)
    mode, coordinates, nearest = (
        _text(operation, name, default)
        for name, default in (
            ("mode", "nearest"),
            ("coordinate_transformation_mode", _coordinates(operation)),
            ("nearest_mode", "floor" if _is_old(operation) else "round_prefer_floor"),
        )
    )
    if operation.get("antialias", 0) or operation.get("exclude_outside", 0):
        raise refused(operation, "it smooths, or leaves out what lies outside")
    spatial = sizes[:2] == list(read.shape[:2]) and read.dim() in _LINEAR
    if mode == "nearest" and (coordinates, nearest) == ("asymmetric", "floor"):
        whole = all(s == int(s) for s in scales)
        if spatial and whole:
            return F.interpolate(read, sizes[2:], mode="nearest")
    if mode == "linear" and spatial and read.is_floating_point():
        exact = all(
            math.isclose(scale * size, wanted, rel_tol=1e-6)
            for scale, size, wanted in zip(scales, read.shape, sizes, strict=True)
        )
        half = coordinates == "half_pixel" or (
            coordinates == "pytorch_half_pixel" and all(s > 1 for s in sizes[2:])
        )
        if exact and (half or coordinates == "align_corners"):
            return F.interpolate(
                read,
                sizes[2:],
                mode=_LINEAR[read.dim()],
                align_corners=coordinates == "align_corners",
            )
    if mode == "cubic":
        return _cubic(operation, read, scales, sizes, coordinates)
    for axis, (scale, size) in enumerate(zip(scales, sizes, strict=True)):
        if size != read.shape[axis] or scale != 1:
            places = _places(operation, coordinates, scale, read.shape[axis], size)
            read = (
                _nearest(read, axis, places, nearest)
                if mode == "nearest"
                else _linear(read, axis, places)
            )
    return read


def _text(operation: Operation, name: str, default: str) -> str:
    value: Any = operation.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _is_old(operation: Operation) -> bool:
    return operation.opset < 11 or operation.kind == "Upsample"


def _coordinates(operation: Operation) -> str:
    return "asymmetric" if _is_old(operation) else "half_pixel"


def _targets(
    operation: Operation, x: Tensor, values: Sequence[Value]
) -> tuple[list[float], list[int]]:
    """Return scale and size of every axis."""
    given: dict[str, Value] = {}
    if operation.kind == "Upsample" or operation.opset < 11:
        given["scales"] = values[0] if values else np.array(operation.get("scales"))
    else:
        given = dict(zip(("roi", "scales", "sizes"), values, strict=False))
    axes = [each % x.dim() for each in operation.get("axes", range(x.dim()))]
    scales = [1.0] * x.dim()
    sizes = list(x.shape)
    factors, wanted = given.get("scales"), given.get("sizes")
    if isinstance(wanted, np.ndarray) and wanted.size:
        asked = integers(wanted, "sizes")
        policy = _text(operation, "keep_aspect_ratio_policy", "stretch")
        ratios = [size / x.shape[a] for a, size in zip(axes, asked, strict=True)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(axes)
            asked = [math.floor(ratio * x.shape[axis] + 0.5) for axis in axes]
        for axis, ratio, size in zip(axes, ratios, asked, strict=True):
            scales[axis], sizes[axis] = ratio, size
    elif isinstance(factors, np.ndarray) and factors.size:
        for axis, factor in zip(axes, factors.reshape(-1).tolist(), strict=True):
            scales[axis], sizes[axis] = factor, math.floor(x.shape[axis] * factor)
    else:
        integers(wanted if factors is None else factors, "the size of Resize")
        raise refused(operation, "it names neither scales nor sizes")
    if any(size < 1 for size in sizes):
        raise refused(operation, f"its result would be of shape {sizes}")
    return scales, sizes


def _places(
    operation: Operation, coordinates: str, scale: float, size: int, wanted: int
) -> Any:
    """Return where in the input each element of the result lies."""
    index = np.arange(wanted, dtype=np.float64)
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "half_pixel":
        return (index + 0.5) / scale - 0.5
    if coordinates == "half_pixel_symmetric":
        adjustment = wanted / (scale * size)
        offset = size / 2 * (1 - adjustment)
        return offset + (index + 0.5) / scale - 0.5
    if coordinates == "pytorch_half_pixel":
        return (index + 0.5) / scale - 0.5 if wanted > 1 else index * 0.0
    if coordinates == "align_corners":
        last = scale * size - 1  # as a fraction: the size of the result is rounded
        return index * (size - 1) / last if last > 0 else index * 0.0
    raise refused(operation, f"its coordinates are {coordinates!r}")


def _nearest(x: Tensor, axis: int, places: Any, mode: str) -> Tensor:
    rules: dict[str, Any] = {
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    found = np.clip(rules[mode](places), 0, x.shape[axis] - 1).astype(np.int64)
    return x.index_select(axis, torch.tensor(found.tolist()))


def _linear(x: Tensor, axis: int, places: Any) -> Tensor:
    within = np.clip(places, 0, x.shape[axis] - 1)
    below = np.floor(within).astype(np.int64)
    above = np.minimum(below + 1, x.shape[axis] - 1)
    shape = [1] * x.dim()
    shape[axis] = len(within)
    share = torch.tensor((within - below).tolist(), dtype=x.dtype).reshape(shape)
    low = x.index_select(axis, torch.tensor(below.tolist()))
    high = x.index_select(axis, torch.tensor(above.tolist()))
    return low * (1 - share) + high * share


def _cubic(
    operation: Operation,
    x: Tensor,
    scales: list[float],
    sizes: list[int],
    coordinates: str,
) -> Tensor:
    corners = coordinates == "align_corners"
    exact = all(
        math.isclose(scale * size, wanted, rel_tol=1e-6)
        for scale, size, wanted in zip(scales, x.shape, sizes, strict=True)
    )
    if (
        x.dim() != 4
        or sizes[:2] != list(x.shape[:2])
        or operation.get("cubic_coeff_a", -0.75) != -0.75
        or not (exact and (corners or coordinates == "half_pixel"))
    ):
        raise refused(operation, "its cubic form is not PyTorch's")
    return F.interpolate(x, sizes[2:], mode="bicubic", align_corners=corners)


@translates("GridSample")
def _grid_sample(operation: Operation, x: Value, grid: Value) -> Tensor:
    mode = _text(operation, "mode", "linear")
    return F.grid_sample(
        tensor(x),
        tensor(grid),
        mode={"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode),
        padding_mode=_text(operation, "padding_mode", "zeros"),
        align_corners=bool(operation.get("align_corners", 0)),
    )
