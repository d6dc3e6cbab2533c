"""PyTorch's own layers for nodes of ONNX that are exactly such: they can be edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from trimtab.onnx.operators.table import Operation
from trimtab.onnx.operators.windows import paddings
from trimtab.onnx.values import Known

__all__ = ["layer_of"]

_CONVOLUTIONS: Final[dict[int, Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: Final[dict[int, Any]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def layer_of(
    operation: Operation,
    constants: Mapping[int, Known],
    inputs: int,
    rank: int | None,
) -> nn.Module | None:
    """Return the layer that a node is, or None where it is none.

    Args:
        operation: the node.
        constants: its inputs that are constants which nobody else reads, by place.
        inputs: how many it has.
        rank: of what it works on, None if it is not known.

    Example:
        >>> relu = Operation(kind="Relu", opset=18, attributes={})
        >>> layer_of(relu, {}, 1, 4)
        ReLU()
    """
    if operation.outputs > 1:
        return None
    if operation.kind == "Relu":
        return nn.ReLU()
    if set(range(1, inputs)) - set(constants):
        return None
    if operation.kind == "Conv":
        return _conv(operation, constants)
    if operation.kind == "Gemm":
        return _linear(operation, constants)
    if operation.kind == "BatchNormalization" and rank in _NORMS:
        return _batch_norm(operation, constants, _NORMS[rank])
    return None


def _conv(operation: Operation, constants: Mapping[int, Known]) -> nn.Module | None:
    weight = constants.get(1)
    rank = 0 if weight is None else weight.ndim - 2
    mode = operation.get("auto_pad", b"NOTSET")
    if weight is None or rank not in _CONVOLUTIONS or weight.dtype != np.float32:
        return None
    if mode not in (b"NOTSET", b"VALID", "NOTSET", "VALID", b""):
        return None  # what is added depends on the size of the image
    pads = paddings(operation, [1] * rank, weight.shape[2:])
    group = operation.get("group", 1)
    if any(a != b or a < 0 for a, b in pads) or group < 1 or weight.shape[0] % group:
        return None
    if min(weight.shape) < 1:
        return None
    with torch.device("meta"):
        layer = _CONVOLUTIONS[rank](
            weight.shape[1] * group,
            weight.shape[0],
            tuple(weight.shape[2:]),
            tuple(operation.get("strides", [1] * rank)),
            tuple(before for before, _ in pads),
            tuple(operation.get("dilations", [1] * rank)),
            group,
            bias=2 in constants,
        )
    return _filled(layer, weight=weight, bias=constants.get(2))


def _linear(operation: Operation, constants: Mapping[int, Known]) -> nn.Module | None:
    weight, bias = constants.get(1), constants.get(2)
    if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
        return None
    if not weight.size or operation.get("transA", 0):
        return None
    if operation.get("alpha", 1.0) != 1.0 or operation.get("beta", 1.0) != 1.0:
        return None
    if not operation.get("transB", 0):
        weight = np.ascontiguousarray(weight.T)
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _filled(layer, weight=weight, bias=bias)


def _batch_norm(
    operation: Operation, constants: Mapping[int, Known], kind: Any
) -> nn.Module | None:
    if operation.get("training_mode", 0) or len(constants) < 4:
        return None
    scale, bias, mean, variance = (constants[place] for place in range(1, 5))
    shapes = {each.shape for each in (scale, bias, mean, variance)}
    if len(shapes) > 1 or scale.ndim != 1 or not scale.size:
        return None
    if any(each.dtype != np.float32 for each in (scale, bias, mean, variance)):
        return None
    with torch.device("meta"):
        layer = kind(scale.shape[0], eps=operation.get("epsilon", 1e-5))
    layer.num_batches_tracked = torch.tensor(0)
    layer.running_mean = torch.from_numpy(np.array(mean))
    layer.running_var = torch.from_numpy(np.array(variance))
    return _filled(layer, weight=scale, bias=bias)


def _filled(layer: nn.Module, **values: Known | None) -> nn.Module:
    for name, value in values.items():
        if value is not None:
            setattr(layer, name, nn.Parameter(torch.from_numpy(np.array(value))))
    return layer
