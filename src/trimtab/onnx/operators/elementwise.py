"""ONNX operators that work element by element."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from trimtab.onnx.operators.table import (
    TRANSLATIONS,
    Operation,
    refused,
    translates,
)
from trimtab.onnx.values import Value, number, operand, tensor

__all__ = ["torch_type"]

_UNARY: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: Final[dict[str, Callable[[Any, Any], Tensor]]] = {
    "Add": lambda a, b: a + b,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b,
    "Mul": lambda a, b: a * b,
    "Or": torch.logical_or,
    "Sub": lambda a, b: a - b,
    "Xor": torch.logical_xor,
}
_SYMMETRIC: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def torch_type(kind: int) -> torch.dtype | None:
    """Return PyTorch's dtype for one of ONNX, None where a graph has none.

    Example:
        >>> torch_type(TensorProto.FLOAT), torch_type(TensorProto.STRING)
        (torch.float32, None)
    """
    if kind == TensorProto.BFLOAT16:
        return torch.bfloat16
    try:
        name = helper.tensor_dtype_to_np_dtype(kind).name
    except KeyError:
        return None
    found = getattr(torch, name, None) if name in _TYPES else None
    return found if isinstance(found, torch.dtype) else None


_TYPES: Final = frozenset(
    [
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    ]
)


def _unary(function: Callable[[Tensor], Tensor], _: Operation, x: Value) -> Tensor:
    return function(tensor(x))


def _binary(
    function: Callable[[Any, Any], Tensor], operation: Operation, a: Value, b: Value
) -> Tensor:
    first, second = operand(a, b), operand(b, a)
    if function in _LOGICAL:
        first, second = tensor(a), tensor(b)
    return function(first, second)


_LOGICAL: Final = frozenset(
    (
        torch.logical_and,
        torch.logical_or,
        torch.logical_xor,
        torch.bitwise_and,
        torch.bitwise_or,
        torch.bitwise_xor,
    )
)

for _name in _UNARY:
    TRANSLATIONS[_name] = functools.partial(_unary, _UNARY[_name])
for _name in _BINARY:
    TRANSLATIONS[_name] = functools.partial(_binary, _BINARY[_name])


@translates("Max", "Min", "Sum")
def _fold(operation: Operation, *values: Value) -> Tensor:
    return functools.reduce(_SYMMETRIC[operation.kind], map(tensor, values))


@translates("Mean")
def _mean(_: Operation, *values: Value) -> Tensor:
    return functools.reduce(torch.add, map(tensor, values)) / len(values)


@translates("Div")
def _div(_: Operation, a: Value, b: Value) -> Tensor:
    floating = all(_is_floating(each) for each in (a, b))
    if floating:
        return torch.div(operand(a, b), operand(b, a))
    return torch.div(tensor(a), operand(b, a), rounding_mode="trunc")


def _is_floating(value: Value) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f"
    return tensor(value).is_floating_point()


@translates("Mod")
def _mod(operation: Operation, a: Value, b: Value) -> Tensor:
    function = torch.fmod if operation.get("fmod", 0) else torch.remainder
    return function(tensor(a), operand(b, a))


@translates("Pow")
def _pow(_: Operation, base: Value, exponent: Value) -> Tensor:
    # The result is of the type of the base, whatever the exponent is of.
    read = tensor(base)
    return torch.pow(read, operand(exponent, base)).to(read.dtype)


@translates("Where")
def _where(_: Operation, condition: Value, a: Value, b: Value) -> Tensor:
    return torch.where(tensor(condition), tensor(a), tensor(b))


@translates("Cast")
def _cast(operation: Operation, x: Value) -> Tensor:
    dtype = torch_type(operation.get("to"))
    if dtype is None:
        raise refused(operation, "it converts to a type that no graph has")
    return tensor(x).to(dtype)


@translates("CastLike")
def _cast_like(_: Operation, x: Value, like: Value) -> Tensor:
    return tensor(x).to(tensor(like).dtype)


@translates("Dropout")
def _dropout(
    operation: Operation, x: Value, ratio: Value = None, training: Value = None
) -> Any:
    del ratio
    if training is not None and number(training, "training_mode of Dropout"):
        raise refused(operation, "it is in training mode")
    read = tensor(x)
    if operation.outputs == 1:
        return read
    return read, torch.ones_like(read, dtype=torch.bool)


@translates("Clip")
def _clip(
    operation: Operation, x: Value, low: Value = None, high: Value = None
) -> Tensor:
    read = tensor(x)
    least: Any = operation.get("min")
    most: Any = operation.get("max")
    if low is not None:
        least = operand(low, read)
    if high is not None:
        most = operand(high, read)
    if least is None and most is None:
        return read
    if isinstance(least, Tensor) or isinstance(most, Tensor):
        kept = read if least is None else torch.maximum(read, torch.as_tensor(least))
        return kept if most is None else torch.minimum(kept, torch.as_tensor(most))
    if (least, most) == (0, 6):
        return F.relu6(read)
    return torch.clamp(read, least, most)


@translates("LeakyRelu")
def _leaky_relu(operation: Operation, x: Value) -> Tensor:
    return F.leaky_relu(tensor(x), operation.get("alpha", 0.01))


@translates("PRelu")
def _prelu(_: Operation, x: Value, slope: Value) -> Tensor:
    read, learned = tensor(x), tensor(slope)
    channels = read.shape[1] if read.dim() > 1 else 1
    if learned.numel() in (1, channels) and (
        learned.numel() == 1
        or tuple(learned.shape) == (channels,) + (1,) * (read.dim() - 2)
    ):
        return F.prelu(read, learned.reshape(-1))
    return torch.where(read < 0, read * learned, read)


@translates("Elu")
def _elu(operation: Operation, x: Value) -> Tensor:
    return F.elu(tensor(x), operation.get("alpha", 1.0))


@translates("Celu")
def _celu(operation: Operation, x: Value) -> Tensor:
    return F.celu(tensor(x), operation.get("alpha", 1.0))


@translates("Selu")
def _selu(operation: Operation, x: Value) -> Any:
    alpha = operation.get("alpha", 1.67326319217681884765625)
    gamma = operation.get("gamma", 1.05070102214813232421875)
    return gamma * F.elu(tensor(x), alpha)


@translates("ThresholdedRelu")
def _thresholded_relu(operation: Operation, x: Value) -> Tensor:
    return F.threshold(tensor(x), operation.get("alpha", 1.0), 0.0)


@translates("HardSigmoid")
def _hard_sigmoid(operation: Operation, x: Value) -> Tensor:
    alpha, beta = operation.get("alpha", 0.2), operation.get("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(tensor(x))
    return torch.clamp(tensor(x) * alpha + beta, 0.0, 1.0)


@translates("Gelu")
def _gelu(operation: Operation, x: Value) -> Tensor:
    return F.gelu(tensor(x), approximate=_text(operation.get("approximate", "none")))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@translates("Swish")
def _swish(operation: Operation, x: Value) -> Tensor:
    alpha, read = operation.get("alpha", 1.0), tensor(x)
    return F.silu(read) if alpha == 1.0 else read * torch.sigmoid(alpha * read)


@translates("Shrink")
def _shrink(operation: Operation, x: Value) -> Any:
    edge, bias, read = (
        operation.get("lambd", 0.5),
        operation.get("bias", 0.0),
        tensor(x),
    )
    zero = torch.zeros_like(read)
    above = torch.where(read > edge, read - bias, zero)
    return torch.where(read < -edge, read + bias, above)


@translates("IsInf")
def _is_inf(operation: Operation, x: Value) -> Tensor:
    read = tensor(x)
    above, below = (
        operation.get("detect_positive", 1),
        operation.get("detect_negative", 1),
    )
    if above and below:
        return torch.isinf(read)
    if above:
        return torch.isposinf(read)
    return torch.isneginf(read) if below else torch.zeros_like(read, dtype=torch.bool)
