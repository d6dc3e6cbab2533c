"""Values of an ONNX network: tensors, or numbers that are known before it runs.

ONNX computes shapes by the operators that compute data. What follows from constants and
shapes alone is known when the network is captured: such values travel as numpy arrays,
and become tensors only where an operator of data reads them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trimtab.errors import OnnxError

__all__ = ["Known", "Value", "integers", "number", "operand", "tensor"]

Known: TypeAlias = npt.NDArray[Any]
Value: TypeAlias = Tensor | Known | None
"""A tensor, a known array, or None for an input that is left out."""


def integers(value: Value, what: str) -> list[int]:
    """Return whole numbers that have to be known.

    Raises:
        OnnxError: they follow from data.

    Example:
        >>> integers(np.array([1, -1]), "shape")
        [1, -1]
    """
    if not isinstance(value, np.ndarray):
        raise OnnxError(
            f"{what} that follows from data",
            rule="a graph has fixed shapes",
            remedy="export the network with sizes that follow from its shapes alone",
        )
    return [int(each) for each in value.reshape(-1)]


def number(value: Value, what: str) -> float:
    """Return one number that has to be known.

    Example:
        >>> number(np.array(0.5), "ratio")
        0.5
    """
    if not isinstance(value, np.ndarray):
        integers(value, what)  # raises
    elif value.size == 1:
        found: float = value.reshape(-1)[0].item()
        return found
    raise OnnxError(
        f"{what} of several numbers",
        rule="it is one number",
        remedy="export the network again",
    )


def tensor(value: Value) -> Tensor:
    """Return a value as a tensor.

    Example:
        >>> tensor(np.array([1.0, 2.0], np.float32))
        tensor([1., 2.])
    """
    if isinstance(value, Tensor):
        return value
    if value is None:
        raise OnnxError(
            "an operator without one of its inputs",
            rule="it has to have it",
            remedy="export the network again",
        )
    # A copy: the tensor may be written to, the array must not be.
    dtype = getattr(torch, value.dtype.name)
    return torch.tensor(value.tolist(), dtype=dtype).reshape(value.shape)


def operand(value: Value, other: Value) -> Any:
    """Return what an elementwise operator reads beside `other`.

    One known number is a Python number, which leaves the graph without a constant, if
    `other` is a tensor and the result has its rank all the same.

    Example:
        >>> operand(np.array([2.0]), torch.zeros(3))
        2.0
    """
    if (
        isinstance(value, np.ndarray)
        and isinstance(other, Tensor)
        and value.size == 1
        and value.ndim <= other.dim()
        and value.dtype != np.bool_
    ):
        return value.reshape(-1)[0].item()
    return tensor(value)
