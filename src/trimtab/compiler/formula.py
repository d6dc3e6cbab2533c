"""What a kernel does to each element: fused elementwise operators as one formula.

Slots are what flows in: the sum of a convolution, the elements of other tensors. An
operator of the graph becomes a few steps, each named, so that a value used twice is
computed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from trimtab.compiler.loops import (
    Binary,
    Call,
    Cast,
    Expr,
    Let,
    Load,
    Number,
    Select,
    Statement,
    Var,
    maximum,
    minimum,
)
from trimtab.graph.types import Node, Ref

__all__ = ["IDENTITY", "Formula", "elementwise", "slot"]


def slot(index: int) -> Var:
    """Return the name of what flows in at a place."""
    return Var(f"s{index}")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A function of slots.

    Attributes:
        slots: how many.
        steps: names and their values, each of slots and earlier names.
        result: the value.

    Example:
        >>> f = Formula(slots=1, steps=(), result=slot(0))
        >>> f = f.then(lambda x: maximum(x, 0.0))
        >>> print(f)
        t0 = max(s0, 0.0)
    """

    slots: int
    steps: tuple[tuple[Var, Expr], ...]
    result: Expr

    def then(self, build: Callable[..., Expr], *others: Expr) -> Formula:
        """Return the formula followed by one more operator.

        Args:
            build: makes its value of this formula's result and the others.
            others: slots or numbers.
        """
        return self.step(build(self.result, *others))

    def step(self, value: Expr) -> Formula:
        """Return the formula with a further step, which becomes the result."""
        name = Var(f"t{len(self.steps)}")
        return replace(self, steps=(*self.steps, (name, value)), result=name)

    def with_slot(self) -> tuple[Formula, Expr]:
        """Return the formula with one more slot, and that slot."""
        return replace(self, slots=self.slots + 1), slot(self.slots)

    def emit(
        self, values: Sequence[Expr], suffix: str = ""
    ) -> tuple[tuple[Statement, ...], Expr]:
        """Return statements that compute it, and the result.

        Args:
            values: of the slots.
            suffix: of the names, so that two copies in one kernel differ.
        """
        names: dict[Var, Expr] = {
            slot(index): value for index, value in enumerate(values)
        }
        lets: list[Statement] = []
        for name, value in self.steps:
            fresh = Var(f"{name.name}{suffix}")
            lets.append(Let(fresh, substitute(value, names)))
            names[name] = fresh
        return tuple(lets), substitute(self.result, names)

    @property
    def is_identity(self) -> bool:
        """Whether it hands its first slot through."""
        return not self.steps and self.result == slot(0)

    def __str__(self) -> str:
        if not self.steps:
            return str(self.result)
        return "; ".join(f"{name} = {value}" for name, value in self.steps)


IDENTITY = Formula(slots=1, steps=(), result=slot(0))
"""Hands its only slot through."""


def substitute(value: Expr, names: Mapping[Var, Expr]) -> Expr:
    """Return an expression with variables replaced."""
    match value:
        case Var():
            return names.get(value, value)
        case Binary(op, a, b):
            return Binary(op, substitute(a, names), substitute(b, names))
        case Call(name, arguments):
            return Call(name, tuple(substitute(each, names) for each in arguments))
        case Select(condition, a, b):
            return Select(
                substitute(condition, names), substitute(a, names), substitute(b, names)
            )
        case Cast(dtype, a, bits):
            return Cast(dtype, substitute(a, names), bits)
        case Load(buffer, indices):
            return Load(buffer, tuple(substitute(each, names) for each in indices))
        case _:
            return value


def elementwise(node: Node, values: Mapping[Ref, Expr]) -> Expr | None:
    """Return the value of an elementwise operator, or None where it has no formula.

    Args:
        node: of the graph.
        values: of the tensors it reads, by reference.
    """
    build = _OPERATORS.get(node.op.removeprefix("aten."))
    if build is None or any(kind is None for kind in node.outputs):
        return None
    if any(kind is not None and kind.dtype != "float32" for kind in node.outputs):
        return None

    def value(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return values[argument]
        if isinstance(argument, bool):
            return argument
        if isinstance(argument, int | float):
            return Number(_single(argument))
        return argument

    given = {name: value(argument) for name, argument in node.arguments.items()}
    return build(given)


def _single(value: float) -> float:
    """Return a number as float32 has it: infinite where it is too large."""
    return math.copysign(math.inf, value) if abs(value) > _LARGEST else float(value)


_LARGEST = (2.0 - 2.0**-23) * 2.0**127


def _larger(g: dict[str, Any]) -> Expr:
    return Select(
        _NUMBERS.at_least(g["self"]), maximum(g["self"], g["other"]), g["self"]
    )


def _smaller(g: dict[str, Any]) -> Expr:
    return Select(
        _NUMBERS.at_least(g["self"]), minimum(g["self"], g["other"]), g["self"]
    )


_NUMBERS = Number(math.inf)
# At least every number, but not NaN, which a minimum or maximum loses in its first.


def _add(g: dict[str, Any]) -> Any:
    return g["self"] + _scaled(g["other"], g.get("alpha"))


def _sub(g: dict[str, Any]) -> Any:
    return g["self"] - _scaled(g["other"], g.get("alpha"))


def _rsub(g: dict[str, Any]) -> Any:
    return g["other"] - _scaled(g["self"], g.get("alpha"))


def _multiply(g: dict[str, Any]) -> Any:
    other = g["other"]
    return g["self"] * (float(other) if isinstance(other, bool) else other)


def _scaled(value: Any, alpha: Any) -> Any:
    if alpha is None or alpha == Number(1.0):
        return value
    return value * alpha


def _divide(g: dict[str, Any]) -> Any:
    return g["self"] / g["other"]


def _clamp(g: dict[str, Any]) -> Expr | None:
    value = g["self"]
    low, high = g.get("min"), g.get("max")
    if any(bound is not None and math.isnan(bound.value) for bound in (low, high)):
        return None
    if low is not None:
        value = maximum(low, value)
    return minimum(high, value) if high is not None else value


def _hardtanh(g: dict[str, Any]) -> Expr:
    return minimum(g["max_val"], maximum(g["min_val"], g["self"]))


def _gelu(g: dict[str, Any]) -> Expr:
    x: Expr = g["self"]
    if g.get("approximate") == "tanh":
        inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1.0 + Call("tanh", (inner,)))
    return 0.5 * x * (1.0 + Call("erf", (x * 0.7071067811865476,)))


def _sigmoid(x: Expr) -> Expr:
    return 1.0 / (1.0 + Call("exp", (-x,)))


def _power(g: dict[str, Any]) -> Expr | None:
    exponent = g["exponent"]
    if not isinstance(exponent, Number):
        return None
    x = g["self"]
    simple = {
        2.0: x * x,
        3.0: x * x * x,
        0.5: Call("sqrt", (x,)),
        1.0: x,
        -1.0: 1.0 / x,
    }
    return simple.get(float(exponent.value))


def _hardsigmoid(x: Expr) -> Expr:
    return minimum(6.0, maximum(0.0, x + 3.0)) * (1.0 / 6.0)


def _unary(build: Callable[[Expr], Expr]) -> Callable[[dict[str, Any]], Expr]:
    return lambda g: build(g["self"])


def _call(name: str) -> Callable[[dict[str, Any]], Expr]:
    return lambda g: Call(name, (g["self"],))


# The bound comes first in every minimum and maximum: code for `max(a, b)` is
# `a > b ? a : b`, which hands a NaN in b through, as PyTorch does.
_OPERATORS: Mapping[str, Callable[[dict[str, Any]], Expr | None]] = {
    "add.Tensor": _add,
    "add.Scalar": _add,
    "sub.Tensor": _sub,
    "sub.Scalar": _sub,
    "rsub.Tensor": _rsub,
    "rsub.Scalar": _rsub,
    "mul.Tensor": _multiply,
    "mul.Scalar": _multiply,
    "div.Tensor": _divide,
    "div.Scalar": _divide,
    "pow.Tensor_Scalar": _power,
    "maximum.default": _larger,
    "minimum.default": _smaller,
    "max.other": _larger,
    "min.other": _smaller,
    "clamp.default": _clamp,
    "clamp_min.default": _clamp,
    "clamp_max.default": _clamp,
    "neg.default": _unary(lambda x: x * -1.0),
    "abs.default": _call("abs"),
    "square.default": _unary(lambda x: x * x),
    "sqrt.default": _call("sqrt"),
    "rsqrt.default": _unary(lambda x: 1.0 / Call("sqrt", (x,))),
    "reciprocal.default": _unary(lambda x: 1.0 / x),
    "exp.default": _call("exp"),
    "erf.default": _call("erf"),
    "tanh.default": _call("tanh"),
    "floor.default": _call("floor"),
    "relu.default": _unary(lambda x: maximum(0.0, x)),
    "relu6.default": _unary(lambda x: minimum(6.0, maximum(0.0, x))),
    "hardtanh.default": _hardtanh,
    "leaky_relu.default": lambda g: Select(
        g["self"].less(0.0), g["self"] * g["negative_slope"], g["self"]
    ),
    "elu.default": lambda g: Select(
        g["self"].less(0.0),
        (Call("exp", (minimum(g["self"] * g["input_scale"], 0.0),)) - 1.0)
        * g["alpha"]
        * g["scale"],
        g["self"] * g["scale"],
    ),
    "gelu.default": _gelu,
    "silu.default": _unary(lambda x: x / (1.0 + Call("exp", (-x,)))),
    "sigmoid.default": _unary(_sigmoid),
    "hardsigmoid.default": _unary(_hardsigmoid),
    # In PyTorch's order: an infinity times zero is NaN, a large number overflows.
    "hardswish.default": _unary(
        lambda x: x * minimum(6.0, maximum(0.0, x + 3.0)) / 6.0
    ),
}


def operators() -> tuple[str, ...]:
    """Return the operators that have a formula, as the graph names them."""
    return tuple(f"aten.{name}" for name in _OPERATORS)
