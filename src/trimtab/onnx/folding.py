"""Arithmetic on known numbers: shapes, mostly; done by ONNX's own reference.

Only operators that shapes are made of, and only on small arrays: what a hostile file
could make large is looked at before it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator

from trimtab.errors import OnnxError
from trimtab.onnx.values import Known

__all__ = ["MOST_ELEMENTS", "PLACES", "Folding", "folds", "gives_numbers"]

MOST_ELEMENTS: Final = 1 << 16
"""Of an array of known numbers; anything larger is data."""

_SHAPES: Final = frozenset({"Shape", "Size"})  # known, whatever is read

PLACES: Final = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Of operators, which inputs are numbers and not data."""

_ELEMENTWISE: Final = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Div",
        "Equal",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Round",
        "Sign",
        "Sqrt",
        "Sub",
        "Where",
        "Xor",
    ]
)
_OTHERS: Final = frozenset(
    [
        "Concat",
        "ConstantOfShape",
        "Expand",
        "Flatten",
        "Gather",
        "Range",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)


def folds(operator: str) -> bool:
    """Whether an operator of known numbers gives known numbers.

    Example:
        >>> folds("Concat"), folds("Conv")
        (True, False)
    """
    return operator in _ELEMENTWISE or operator in _OTHERS


def gives_numbers(operator: str, *, known: bool) -> bool:
    """Whether a result may be numbers that are known before the network runs.

    Args:
        operator: as ONNX names it.
        known: whether all that it reads may be such.

    Example:
        >>> gives_numbers("Shape", known=False), gives_numbers("Concat", known=False)
        (True, False)
    """
    return operator in _SHAPES or (known and folds(operator))


@final
class Folding:
    """One node, done on known numbers.

    Args:
        node: as the file has it.
        opset: that it is of.
    """

    def __init__(self, node: NodeProto, opset: int) -> None:
        self._node = node
        self._opset = opset
        self._runner: ReferenceEvaluator | None = None

    def __call__(self, values: Sequence[Known | None]) -> tuple[Known, ...] | None:
        """Return the results, or None where they would be large.

        Raises:
            OnnxError: the node refuses these numbers.
        """
        there = [value for value in values if value is not None]
        if _elements(self._node.op_type, there) > MOST_ELEMENTS:
            return None
        if self._runner is None:
            self._runner = ReferenceEvaluator(self._node, opsets={"": self._opset})
        names = list(self._node.input)
        feeds = {
            name: value
            for name, value in zip(names, values, strict=False)
            if name and value is not None
        }
        try:
            with np.errstate(all="ignore"):
                results: Any = self._runner.run(None, feeds)
        except Exception as error:  # whatever numpy and the reference raise
            raise OnnxError(
                f"operator {self._node.op_type}",
                rule=(str(error).splitlines() or [type(error).__name__])[0][:200],
                where=f"node {self._node.name!r}",
                remedy="export the network again",
            ) from error
        return tuple(np.asarray(each) for each in results)

    def __deepcopy__(self, memo: dict[int, Any]) -> Folding:
        del memo
        return Folding(self._node, self._opset)


def _elements(operator: str, values: Sequence[Known]) -> int:
    """Return how many elements the result may have; nothing is made for it."""
    sizes = [value.size for value in values]
    numbers = [[abs(float(v)) for v in value.reshape(-1)[:64]] for value in values]
    largest = math.inf
    try:
        if operator in _ELEMENTWISE:
            largest = math.prod(np.broadcast_shapes(*(v.shape for v in values)))
        elif operator == "ConstantOfShape":
            largest = math.prod(numbers[0])
        elif operator in ("Expand", "Tile"):
            largest = sizes[0] * math.prod(max(each, 1.0) for each in numbers[1])
        elif operator == "Range":
            start, stop, step = (each.reshape(-1)[0].item() for each in values)
            largest = abs((stop - start) / step) if step else math.inf
        elif operator == "Gather":
            rows = max(values[0].shape[0] if values[0].ndim else 1, 1)
            largest = sizes[0] * max(sizes[1] / rows, 1.0) * rows
        else:
            largest = max(sum(sizes), 1)
    except (ValueError, IndexError, TypeError, OverflowError):
        # numpy refuses shapes that do not fit before it makes anything
        largest = 0 if operator in _ELEMENTWISE else math.inf
    if math.isnan(largest):
        return MOST_ELEMENTS + 1
    return int(min(largest, 1 << 62))
