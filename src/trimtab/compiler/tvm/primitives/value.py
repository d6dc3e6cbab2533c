"""Tensors as functions of their indices, and what formulas of primitives share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, final

from tvm import te, tirx

__all__ = [
    "PRIMITIVES",
    "Check",
    "Indices",
    "Kind",
    "Scope",
    "Value",
    "axis_of",
    "derived",
    "number",
    "primitive",
    "unflatten",
]

Indices = Sequence[Any]

_REPEATED_COST = 12  # operations of an expression that is written out twice
_LONGEST_COST = 64  # operations of one expression: passes over it visit each
_REUSE = 4  # reads of an element that pay for storing it


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the result of a primitive is like.

    Attributes:
        shape: of it.
        dtype: of its elements, in PyTorch's words, which are TVM's.
        op: the primitive's name.
    """

    shape: tuple[int, ...]
    dtype: str
    op: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor as a function of its indices.

    Attributes:
        shape: of it.
        dtype: of its elements.
        at: the element at some indices.
        cost: operations that takes, 0 where it is a load.
        given: the operator's input that this shows, if it is one, whatever its shape.
        tensor: TVM's, if it is stored.
    """

    shape: tuple[int, ...]
    dtype: str
    at: Callable[[Indices], Any]
    cost: int = 0
    given: int | None = None
    tensor: Any = None

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    def flat(self, place: Any) -> Any:
        """Return the element at a place in row-major order."""
        return self.at(unflatten(place, self.shape))


@final
@dataclass(frozen=True, slots=True)
class Check:
    """All elements of an input must lie in ``low <= element < high``."""

    given: int
    low: int
    high: int


@dataclass
class Scope:
    """Where primitives leave what they store, and what must be checked."""

    checks: list[Check] = field(default_factory=list)
    names: itertools.count[int] = field(default_factory=itertools.count)

    def name(self, word: str) -> str:
        """Return a name that no other tensor has."""
        return f"{word}_{next(self.names)}"

    def value(self, tensor: Any) -> Value:
        """Return a tensor of TVM as a value."""
        return Value(
            shape=tuple(int(each) for each in tensor.shape),
            dtype=str(tensor.dtype),
            at=lambda indices: tensor(*indices),
            tensor=tensor,
        )

    def compute(self, value: Value, word: str = "stored") -> Any:
        """Return a tensor of TVM with the elements of a value."""
        return te.compute(
            value.shape, lambda *indices: value.at(indices), name=self.name(word)
        )

    def tensor(self, value: Value) -> Any:
        """Return a value as a tensor of TVM: its own, if it has one."""
        return self.compute(value) if value.tensor is None else value.tensor

    def store(self, value: Value) -> Value:
        """Return a value that is computed once and loaded thereafter."""
        return replace(self.value(self.tensor(value)), given=value.given)

    def shared(self, value: Value, uses: int) -> Value:
        """Return a value, stored if its expression would be written out too often."""
        if value.cost > (_REPEATED_COST if uses > 1 else _LONGEST_COST):
            return self.store(value)
        return value

    def spread(self, value: Value, elements: int) -> Value:
        """Return a value that is read for so many elements, stored where that pays."""
        if value.cost > 1 and value.elements * _REUSE <= elements:
            return self.store(value)
        return value


def derived(value: Value, **changes: Any) -> Value:
    """Return a value that differs in some attributes, and so is not what is stored."""
    return replace(value, tensor=None, **changes)


Result = Value | tuple[Value, ...]
Primitive = Callable[..., Result]

_Function = TypeVar("_Function", bound=Primitive)

PRIMITIVES: dict[str, Primitive] = {}
"""By the operator's name; called with the scope, the type it has, and its arguments."""


def primitive(*names: str) -> Callable[[_Function], _Function]:
    """Return a decorator that makes a function the meaning of these operators."""

    def register(function: _Function) -> _Function:
        PRIMITIVES.update(dict.fromkeys(names, function))
        return function

    return register


def number(value: float, dtype: str) -> Any:
    """Return a number as an expression."""
    return tirx.const(bool(value) if dtype == "bool" else value, dtype)


def unflatten(place: Any, shape: Sequence[int]) -> list[Any]:
    """Return the indices of a place in row-major order."""
    found = []
    for axis in range(len(shape)):
        inner = math.prod(shape[axis + 1 :])
        each = place if inner == 1 else tirx.floordiv(place, inner)
        found.append(each if axis == 0 else tirx.floormod(each, shape[axis]))
    return found


def axis_of(dim: int, rank: int) -> int:
    """Return a dimension counted from the first, given one that may be negative."""
    return dim + rank if dim < 0 else dim
