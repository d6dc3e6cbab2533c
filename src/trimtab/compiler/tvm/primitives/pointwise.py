"""Primitives that work element by element, conversions and tensors made of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import tirx

from trimtab.compiler.tvm import floats
from trimtab.compiler.tvm.primitives.value import (
    PRIMITIVES,
    Indices,
    Kind,
    Scope,
    Value,
    derived,
    number,
    primitive,
)

__all__ = ["converted", "larger", "smaller", "unequal"]

_HEAVY = 8  # operations that a call of the C library counts as


def _library(name: str) -> Callable[..., Any]:
    """Return a function of the C library: exact to an ulp or so, one element a call."""

    def call(*arguments: Any) -> Any:
        dtype = str(arguments[0].ty.dtype)
        if dtype not in ("float32", "float64"):
            raise NotImplementedError(f"{name} of {dtype}")
        return tirx.call_pure_extern(
            dtype, name + ("f" if dtype == "float32" else ""), *arguments
        )

    return call


def _is_float(value: Any) -> bool:
    return str(value.ty.dtype).startswith("float")


def _is_bool(value: Any) -> bool:
    return str(value.ty.dtype) == "bool"


def _absolute(a: Any) -> Any:
    return tirx.abs(a) if _is_float(a) else tirx.Select(a < 0, -a, a)


def _sign(a: Any) -> Any:
    one, none = (number(each, str(a.ty.dtype)) for each in (1, 0))
    return tirx.Select(a > 0, one, tirx.Select(a < 0, none - one, none))


def _sign_bit(a: Any) -> Any:
    if not _is_float(a):
        return a < 0
    return tirx.reinterpret(f"int{str(a.ty.dtype)[5:]}", a) < 0


def _power_of_two(a: Any) -> Any:
    return _library("exp2")(a)


_UNARY: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, _absolute),
    "bitwise_not": (1, lambda a: tirx.Not(a) if _is_bool(a) else ~a),
    "ceil": (1, lambda a: tirx.ceil(a) if _is_float(a) else a),
    "cos": (_HEAVY, _library("cos")),
    "erf": (_HEAVY, _library("erf")),
    "exp": (_HEAVY, _library("exp")),
    "exp2": (_HEAVY, _power_of_two),
    "expm1": (_HEAVY, _library("expm1")),
    "floor": (1, lambda a: tirx.floor(a) if _is_float(a) else a),
    "log": (_HEAVY, _library("log")),
    "log1p": (_HEAVY, _library("log1p")),
    "log2": (_HEAVY, _library("log2")),
    "neg": (1, lambda a: -a),
    "reciprocal": (4, lambda a: number(1, str(a.ty.dtype)) / a),
    "round": (1, lambda a: tirx.nearbyint(a) if _is_float(a) else a),
    "rsqrt": (4, lambda a: number(1, str(a.ty.dtype)) / tirx.sqrt(a)),
    "sign": (2, _sign),
    "signbit": (1, _sign_bit),
    "sin": (_HEAVY, _library("sin")),
    "sqrt": (4, tirx.sqrt),
    "tan": (_HEAVY, _library("tan")),
    "tanh": (_HEAVY, _library("tanh")),
    "trunc": (1, lambda a: tirx.trunc(a) if _is_float(a) else a),
}


def _literal_divisor(b: Any) -> None:
    """Refuse to divide integers by what may be zero: it would end the process."""
    if not isinstance(b, tirx.IntImm) or int(b.value) in (0, -1):
        raise NotImplementedError(
            "integers are divided by a tensor: a zero there is an error only PyTorch "
            "reports"
        )


def _quotient(a: Any, b: Any) -> Any:
    if _is_float(a):
        return floats.quotient(a, b)
    _literal_divisor(b)
    return tirx.truncdiv(a, b)


def _float_remainder(a: Any, b: Any) -> Any:
    """Return the remainder with the sign of the divisor."""
    rest = _library("fmod")(a, b)
    apart = tirx.Or(tirx.And(rest < 0, b > 0), tirx.And(rest > 0, b < 0))
    return tirx.Select(apart, rest + b, rest)


def _remainder(a: Any, b: Any) -> Any:
    if _is_float(a):
        return _float_remainder(a, b)
    _literal_divisor(b)
    return tirx.floormod(a, b)


def _truncated_remainder(a: Any, b: Any) -> Any:
    if _is_float(a):
        return _library("fmod")(a, b)
    _literal_divisor(b)
    return tirx.truncmod(a, b)


def larger(a: Any, b: Any) -> Any:
    """Return the maximum, NaN where either is."""
    if _is_bool(a):
        return tirx.Or(a, b)
    if not _is_float(a):
        return tirx.max(a, b)
    return tirx.Select(tirx.Or(a > b, tirx.isnan(a)), a, b)


def smaller(a: Any, b: Any) -> Any:
    """Return the minimum, NaN where either is."""
    if _is_bool(a):
        return tirx.And(a, b)
    if not _is_float(a):
        return tirx.min(a, b)
    return tirx.Select(tirx.Or(a < b, tirx.isnan(a)), a, b)


def _bits(whole: Callable[..., Any], truth: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: truth(a, b) if _is_bool(a) else whole(a, b)


def _order(compare: Callable[..., Any]) -> Callable[..., Any]:
    def compared(a: Any, b: Any) -> Any:
        if _is_bool(a):
            a, b = tirx.Cast("int8", a), tirx.Cast("int8", b)
        return compare(a, b)

    return compared


def unequal(a: Any, b: Any) -> Any:
    """Return whether two differ; NaN differs from all, which TVM's own NE denies."""
    if not _is_float(a):
        return tirx.NE(a, b)
    return tirx.Or(tirx.Or(a < b, a > b), tirx.Or(tirx.isnan(a), tirx.isnan(b)))


def _equal(a: Any, b: Any) -> Any:
    return tirx.Not(unequal(a, b)) if _is_float(a) else tirx.EQ(a, b)


_BINARY: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "add": (1, _bits(floats.total, tirx.Or)),
    "atan2": (_HEAVY, _library("atan2")),
    "bitwise_and": (1, _bits(tirx.bitwise_and, tirx.And)),
    "bitwise_or": (1, _bits(tirx.bitwise_or, tirx.Or)),
    "bitwise_xor": (1, _bits(tirx.bitwise_xor, _order(unequal))),
    "div": (4, _quotient),
    "eq": (1, _order(_equal)),
    "fmod": (_HEAVY, _truncated_remainder),
    "ge": (1, _order(lambda a, b: a >= b)),
    "gt": (1, _order(lambda a, b: a > b)),
    "le": (1, _order(lambda a, b: a <= b)),
    "lt": (1, _order(lambda a, b: a < b)),
    "maximum": (1, larger),
    "minimum": (1, smaller),
    "mul": (1, _bits(floats.product, tirx.And)),
    "ne": (1, _order(unequal)),
    "pow": (_HEAVY, _library("pow")),
    "remainder": (_HEAVY, _remainder),
    "sub": (1, floats.difference),
}


def _operand(operand: Value | float, dtype: str, indices: Indices) -> Any:
    """Return an element of an operand; a single number stands for all."""
    if not isinstance(operand, Value):
        return number(operand, dtype)
    return operand.at(indices if operand.shape else [])


def _elementwise(cost: int, function: Callable[..., Any]) -> Callable[..., Value]:
    def apply(scope: Scope, kind: Kind, *operands: Value | float) -> Value:
        del scope
        values = [each for each in operands if isinstance(each, Value)]
        if not values:
            raise NotImplementedError("an operator of numbers alone")
        dtype = values[0].dtype
        return Value(
            shape=kind.shape,
            # PyTorch says of prims.signbit that it has the dtype of its operand.
            dtype="bool" if "signbit" in kind.op else kind.dtype,
            at=lambda i: function(*(_operand(each, dtype, i) for each in operands)),
            cost=cost + sum(each.cost for each in values),
        )

    return apply


for _table in (_UNARY, _BINARY):
    for _name, (_cost, _function) in _table.items():
        PRIMITIVES[f"prims.{_name}.default"] = _elementwise(_cost, _function)


@primitive("prims.where.default")
def _where(
    scope: Scope, kind: Kind, condition: Value, a: Value | float, b: Value | float
) -> Value:
    del scope
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=lambda i: tirx.Select(
            _operand(condition, "bool", i),
            _operand(a, kind.dtype, i),
            _operand(b, kind.dtype, i),
        ),
        cost=1
        + condition.cost
        + sum(each.cost for each in (a, b) if isinstance(each, Value)),
    )


@primitive("prims.convert_element_type.default")
def _convert(scope: Scope, kind: Kind, value: Value, dtype: Any = None) -> Value:
    del scope, dtype
    return converted(value, kind.dtype)


def converted(value: Value, dtype: str) -> Value:
    """Return a value with elements of another dtype."""
    if value.dtype == dtype:
        return value
    if dtype == "bool":
        return derived(
            value,
            dtype="bool",
            at=lambda i: unequal(value.at(i), number(0, value.dtype)),
            cost=value.cost + 1,
            given=None,
        )
    return derived(
        value,
        dtype=dtype,
        at=lambda i: tirx.Cast(dtype, value.at(i)),
        cost=value.cost + 1,
        given=value.given if {value.dtype, dtype} <= {"int32", "int64"} else None,
    )


# ------------------------------------------------------------ made from numbers


@primitive(
    "aten.full.default", "aten.full_like.default", "aten.fill.Scalar",
    "aten.scalar_tensor.default", "prims.scalar_tensor.default",
)  # fmt: skip
def _full(scope: Scope, kind: Kind, *arguments: Any, **_: Any) -> Value:
    del scope
    value = next(each for each in arguments[::-1] if isinstance(each, int | float))
    return Value(
        shape=kind.shape, dtype=kind.dtype, at=lambda _: number(value, kind.dtype)
    )


@primitive("prims.iota.default")
def _iota(
    scope: Scope, kind: Kind, length: int, *, start: int, step: int, **_: Any
) -> Value:
    del scope, length
    return Value(
        shape=kind.shape,
        dtype=kind.dtype,
        at=lambda i: tirx.Cast(kind.dtype, i[0]) * step + start,
        cost=2,
    )
