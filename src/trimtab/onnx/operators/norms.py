"""ONNX operators that normalise."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.onnx.operators.table import Operation, refused, translates
from trimtab.onnx.values import Value, tensor

__all__: list[str] = []

_EPSILON = 1e-5


@translates("BatchNormalization")
def _batch_norm(
    operation: Operation, x: Value, scale: Value, bias: Value, mean: Value, var: Value
) -> Tensor:
    if operation.outputs > 1 or operation.get("training_mode", 0):
        raise refused(operation, "it is in training mode")
    return F.batch_norm(
        tensor(x),
        tensor(mean),
        tensor(var),
        tensor(scale),
        tensor(bias),
        eps=operation.get("epsilon", _EPSILON),
    )


@translates("InstanceNormalization")
def _instance_norm(operation: Operation, x: Value, scale: Value, bias: Value) -> Tensor:
    return F.instance_norm(
        tensor(x),
        weight=tensor(scale),
        bias=tensor(bias),
        eps=operation.get("epsilon", _EPSILON),
    )


@translates("LayerNormalization")
def _layer_norm(
    operation: Operation, x: Value, scale: Value, bias: Value = None
) -> Tensor:
    if operation.outputs > 1:
        raise refused(operation, "it shows its mean and deviation")
    read, axis = tensor(x), operation.get("axis", -1)
    shape = list(read.shape[axis % read.dim() :])
    eps = operation.get("epsilon", _EPSILON)
    weight = tensor(scale)
    shift = None if bias is None else tensor(bias)
    if list(weight.shape) == shape and (shift is None or list(shift.shape) == shape):
        return F.layer_norm(read, shape, weight, shift, eps)
    found = F.layer_norm(read, shape, None, None, eps) * weight
    return found if shift is None else found + shift


@translates("RMSNormalization")
def _rms_norm(operation: Operation, x: Value, scale: Value) -> Tensor:
    read, axis = tensor(x), operation.get("axis", -1)
    shape = list(read.shape[axis % read.dim() :])
    found = F.rms_norm(read, shape, None, operation.get("epsilon", _EPSILON))
    return found * tensor(scale)


@translates("GroupNormalization")
def _group_norm(operation: Operation, x: Value, scale: Value, bias: Value) -> Tensor:
    read, groups = tensor(x), operation.get("num_groups")
    weight, shift = tensor(scale), tensor(bias)
    if operation.opset < 21 and read.shape[1] != groups:
        # Before opset 21 a group has one scale, not each of its channels.
        times = read.shape[1] // groups
        weight = weight.repeat_interleave(times)
        shift = shift.repeat_interleave(times)
    eps = operation.get("epsilon", _EPSILON)
    return F.group_norm(read, groups, weight, shift, eps)


@translates("LRN")
def _lrn(operation: Operation, x: Value) -> Any:
    read, size = tensor(x), operation.get("size")
    before = (size - 1) // 2
    squares = F.pad(
        (read * read).flatten(2)[:, None], (0, 0, before, size - 1 - before)
    )
    sums = F.avg_pool2d(squares, (size, 1), 1, divisor_override=1)[:, 0]
    scale = operation.get("alpha", 1e-4) / size * sums.reshape(read.shape)
    return read / (operation.get("bias", 1.0) + scale) ** operation.get("beta", 0.75)


@translates("LpNormalization")
def _lp_norm(operation: Operation, x: Value) -> Tensor:
    read, axis = tensor(x), operation.get("axis", -1)
    order = operation.get("p", 2)
    length = (
        torch.sum(torch.abs(read), axis, True)
        if order == 1
        else torch.sqrt(torch.sum(read * read, axis, True))
    )
    return torch.where(length == 0, torch.zeros_like(read), read / length)


@translates("MeanVarianceNormalization")
def _mean_variance(operation: Operation, x: Value) -> Tensor:
    read, axes = tensor(x), list(operation.get("axes", (0, 2, 3)))
    centred = read - read.mean(axes, True)
    return centred / ((centred * centred).mean(axes, True).sqrt() + 1e-9)


@translates("Softmax", "LogSoftmax")
def _softmax(operation: Operation, x: Value) -> Any:
    function: Any = F.softmax if operation.kind == "Softmax" else F.log_softmax
    read = tensor(x)
    if operation.opset >= 13:
        return function(read, operation.get("axis", -1))
    # Before opset 13 all axes from this one on are one.
    axis = operation.get("axis", 1) % max(read.dim(), 1)
    return function(read.flatten(axis), -1).reshape(read.shape)
