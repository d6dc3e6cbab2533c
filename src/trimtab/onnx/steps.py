"""Modules of an ONNX network that are no layers of PyTorch."""

from __future__ import annotations

from typing import Any, final

import torch
from onnx import NodeProto
from torch import Tensor, nn

from trimtab.errors import OnnxError
from trimtab.onnx.folding import Folding, folds
from trimtab.onnx.operators import TRANSLATIONS
from trimtab.onnx.operators.table import Operation
from trimtab.onnx.values import Known, Value

__all__ = ["Entry", "KnownNumbers", "Step"]

_REFUSALS = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
)
# What PyTorch and Python raise for arguments that do not fit.


@final
class Entry(nn.Module):
    """An input as the file declares it: what comes in must be of that kind.

    Args:
        name: of the input.
        dtype: of its elements.
        shape: None for a size that the file leaves open, or for all of them.
    """

    def __init__(
        self, *, name: str, dtype: torch.dtype, shape: tuple[int | None, ...] | None
    ) -> None:
        super().__init__()
        self.name = name
        self.dtype = dtype
        self.shape = shape

    def text(self) -> str:
        """Return name, type and sizes as ``--input`` has them, ? for open ones."""
        dtype = str(self.dtype).removeprefix("torch.")
        sizes = (
            "..."
            if self.shape is None
            else ",".join("?" if size is None else str(size) for size in self.shape)
        )
        return f"{self.name}={dtype}[{sizes}]"

    def forward(self, value: Tensor) -> Tensor:
        """Return the value.

        Raises:
            OnnxError: it is of another type or shape.
        """
        fits = isinstance(value, Tensor) and value.dtype == self.dtype
        if fits and self.shape is not None:
            fits = value.dim() == len(self.shape) and all(
                size is None or size == given
                for size, given in zip(self.shape, value.shape, strict=True)
            )
        if not fits:
            given = str(getattr(value, "dtype", type(value).__name__))
            sizes = ",".join(map(str, getattr(value, "shape", ())))
            raise OnnxError(
                f"input {self.name!r} of type {given.removeprefix('torch.')}[{sizes}]",
                rule=f"the file says {self.text()}",
                where=f"input {self.name!r}",
                remedy="give such an input, or export the network for this one",
            )
        return value


@final
class KnownNumbers(nn.Module):
    """Numbers that are known before the network runs."""

    def __init__(self, numbers: Known) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self) -> Known:
        """Return the numbers."""
        return self.numbers


@final
class Step(nn.Module):
    """One node of an ONNX network.

    Args:
        operation: what it does.
        node: as the file has it, for arithmetic on known numbers.
    """

    def __init__(self, operation: Operation, node: NodeProto) -> None:
        super().__init__()
        self.operation = operation
        self._name = node.name or node.output[0]
        self._translation = TRANSLATIONS[operation.kind]
        self._folding = (
            Folding(node, operation.opset) if folds(operation.kind) else None
        )

    def forward(self, *values: Value) -> Any:
        """Return the result, a tuple where more than one is asked for.

        Raises:
            OnnxError: the operator does not take these values.
        """
        try:
            return self._result(values)
        except OnnxError as error:
            if error.where:
                raise
            raise OnnxError(
                error.asked,
                rule=error.rule,
                where=f"node {self._name!r}",
                remedy=error.remedy,
            ) from error
        except _REFUSALS as error:
            if "DataDependent" in type(error).__name__:
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise OnnxError(
                f"operator {self.operation.kind}",
                rule=lines[0][:200].rstrip("."),
                where=f"node {self._name!r}",
                remedy="give inputs that the network takes, or export it again",
            ) from error

    def _result(self, values: tuple[Value, ...]) -> Any:
        if self._folding is not None and not any(
            isinstance(each, Tensor) for each in values
        ):
            known = self._folding(
                [None if isinstance(each, Tensor) else each for each in values]
            )
            if known is not None:
                return known if self.operation.outputs > 1 else known[0]
        found = self._translation(self.operation, *values)
        if self.operation.outputs == 1:
            return found[0] if isinstance(found, tuple | list) else found
        return tuple(found[: self.operation.outputs])

    def extra_repr(self) -> str:
        """Return what people see of it."""
        return self.operation.kind
