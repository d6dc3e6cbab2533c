"""Arithmetic of floats that TVM's simplifier may not fold.

TVM takes `x * 0` and `x - x` for zero, `0 / x` too, and `x + 0` for `x`, whatever `x`
is. Of floats none of it holds: NaN and infinity give NaN, and -0.0 + 0.0 is 0.0. Where
such an operand is seen, it goes through a conversion of its bits to whole numbers and
back, which TVM leaves alone and LLVM, which knows floats, takes away again. All other
code is what it was.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import sym, tirx

__all__ = ["difference", "product", "quotient", "total"]

_BITS = {"float16": "int16", "float32": "int32", "float64": "int64"}


def total(a: Any, b: Any) -> Any:
    """Return a + b."""
    return _number(a, b) + _number(b, a)


def product(a: Any, b: Any) -> Any:
    """Return a * b."""
    return _number(a, b) * _number(b, a)


def quotient(a: Any, b: Any) -> Any:
    """Return a / b, also where b is a zero, which TVM refuses if it sees it."""
    return _number(a, b) / _number(b, a)


def difference(a: Any, b: Any) -> Any:
    """Return a - b."""
    return _number(a, b) - (_hidden(b) if _alike(a, b) else _number(b, a))


def _number(value: Any, other: Any) -> Any:
    """Return an operand; a zero such that it is not seen to be one."""
    dtype = str(other.ty.dtype)
    if dtype not in _BITS or not isinstance(value, tirx.FloatImm | tirx.IntImm):
        return value
    zero = float(value.value)
    return value if zero else _hidden(tirx.FloatImm(dtype, zero))


def _hidden(value: Any) -> Any:
    """Return a float such that nothing is known of it."""
    dtype = str(value.ty.dtype)
    return tirx.reinterpret(dtype, tirx.reinterpret(_BITS[dtype], value))


def _alike(a: Any, b: Any) -> bool:
    """Return whether two floats might be seen to be equal."""
    if str(b.ty.dtype) not in _BITS or type(a) is not type(b):
        return False
    if not isinstance(a, tvm.ir.TensorLoad):
        return True  # equal or not: to hide it costs nothing
    return bool(a.source.same_as(b.source)) and all(
        map(_may_agree, a.indices, b.indices)
    )


def _may_agree(a: Any, b: Any) -> bool:
    """Return whether two indices are not known to differ."""
    apart = sym.Analyzer().simplify(a - b)
    return not isinstance(apart, tirx.IntImm) or int(apart.value) == 0
