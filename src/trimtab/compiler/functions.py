"""Functions of one value as arithmetic that a vector unit does.

A `Call` in a kernel is a name; machine code for it would be a call of the C library for
each element. `expand` writes it as additions, products, comparisons and shifts of bits,
and `without_calls` does so in a whole kernel. What stays a call is in `INTRINSIC`: one
instruction.

All are functions of float32. Against the exact value the error is at most 4 units in
the last place (`tanh` and `erf`: 7), over the whole range, denormal arguments and
results included. At infinity the limit is returned (by `tanh` and `erf` to a unit in
the last place), NaN gives NaN, the logarithm of a negative number is NaN. `exp_flushed`
is `exp` for terms of sums, in fewer instructions: 0 below 2**-126.5, infinity from
2**127.5.

Method: `exp` by reduction to a power of two times a polynomial (Cody and Waite,
Software Manual for the Elementary Functions, 1980), rounding through the addition of
1.5 * 2**23; `log` from exponent and mantissa; `tanh` and `erf` as odd rational
functions. The coefficients are our own minimax fits of the relative error (Lawson's
iteratively reweighted least squares); the error of the exact formula stands by each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from trimtab.compiler.loops import (
    Binary,
    Call,
    Cast,
    Expr,
    If,
    Kernel,
    Let,
    Load,
    Loop,
    Number,
    Prefetch,
    Require,
    Select,
    Statement,
    Store,
    Value,
    Var,
    expr,
    maximum,
    minimum,
)
from trimtab.errors import UsageError

__all__ = ["FUNCTIONS", "INTRINSIC", "expand", "without_calls"]

INTRINSIC = ("abs", "floor", "sqrt")
"""Calls that are one instruction on every machine."""

LN2_HIGH = 0.693145751953125
"""ln 2 to 15 bits: its product with a whole number below 2**9 is exact."""

LN2_LOW = math.log(2.0) - LN2_HIGH

# (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2; error of exp 3.1e-9.
_EXP = (
    0.4999999403953552, 0.1666652113199234, 0.04166838899254799,
    0.008368716575205326, 0.0013814597623422742,
)  # fmt: skip

# (log(1 + f) - f + f**2 / 2) / f**3 for sqrt(1/2) <= 1 + f <= sqrt(2); error 7.5e-10.
_LOG = (
    0.3333331346511841, -0.25000008940696716, 0.2000211924314499,
    -0.1666799634695053, 0.14219552278518677, -0.1240558922290802,
    0.11888162046670914, -0.11675652116537094, 0.06746640801429749,
)  # fmt: skip

# tanh(x) / x over x**2, |x| <= 9.02 (beyond, tanh rounds to 1); error 2.2e-8.
_TANH_ABOVE = (
    1.0, 0.1338268369436264, 0.0034974527079612017, 2.063574174826499e-05,
    1.3384183539244532e-08,
)  # fmt: skip
_TANH_BELOW = (
    1.0, 0.46716004610061646, 0.025884341448545456, 0.0003288509324193001,
    7.790204676894064e-07,
)  # fmt: skip

# erf(x) / x over x**2, |x| <= 3.93 (beyond, erf rounds to 1); error 2.0e-8.
_ERF_ABOVE = (
    1.1283791670955126, 0.19024515787373109, 0.05271908555061553,
    0.003756257509027318, 0.00028423970177778816, 2.045697198070614e-06,
)  # fmt: skip
_ERF_BELOW = (
    1.0, 0.5019333362579346, 0.1140347272157669, 0.014951097778975964,
    0.0011594460811465979, 3.801257844315842e-05,
)  # fmt: skip

_ROUND = 12582912.0  # 1.5 * 2**23: a sum with it has no place for fractions
_ROUND_BITS = 0x4B400000  # of _ROUND; the sum's minus these are the whole number
_HALF_ROOT_BITS = 0x3F3504F3  # sqrt(1/2)
_SMALLEST_NORMAL = 2.0**-126


class _Steps:
    """Names for values that are used more than once."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.lets: list[Let] = []

    def __call__(self, value: Expr) -> Expr:
        if isinstance(value, Var | Number):
            return value
        name = Var(f"f{self.tag}_{len(self.lets)}")
        self.lets.append(Let(name, value))
        return name


def expand(
    name: str, arguments: Sequence[Expr], tag: str
) -> tuple[tuple[Let, ...], Expr]:
    """Return steps that compute a function, and its value.

    Args:
        name: of the function, one of `FUNCTIONS`.
        arguments: its arguments, float32.
        tag: makes the names of the steps unique in their kernel.

    Raises:
        UsageError: there is no function of that name.

    Example:
        >>> lets, value = expand("sigmoid", (Var("x"),), "0")
        >>> print(value)
        f0_9 / (f0_8 + 1.0)
    """
    if name in INTRINSIC:
        return (), Call(name, tuple(arguments))
    if name not in FUNCTIONS:
        raise UsageError(
            f"the function {name!r}",
            rule=f"a kernel may call {', '.join(sorted((*FUNCTIONS, *INTRINSIC)))}",
            where="trimtab.compiler.functions",
            remedy="write it with these, or add its formula there",
        )
    steps = _Steps(tag)
    value = FUNCTIONS[name](steps, *map(steps, arguments))
    return tuple(steps.lets), value


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Return the polynomial by Horner's rule, lowest coefficient first."""
    total = expr(coefficients[-1])
    for each in reversed(coefficients[:-1]):
        total = total * x + each
    return total


def _bits(value: Expr) -> Expr:
    return Cast("int32", value, bits=True)


def _power_of_two(n: Expr) -> Expr:
    """Return 2**n for n from -126 to 127; 0 for -127, infinity for 128."""
    return Cast("float32", (n + 127) * (1 << 23), bits=True)


def _reduced(do: _Steps, x: Expr, low: float, high: float) -> tuple[Expr, Expr]:
    """Return n and exp(r) - 1, where x is n ln 2 + r."""
    # The bound comes first: max(a, b) is a > b ? a : b, which lets NaN in b through.
    x = do(minimum(high, maximum(low, x)))
    shifted = do(x * (1.0 / math.log(2.0)) + _ROUND)
    n = do(_bits(shifted) - _ROUND_BITS)
    whole = do(Cast("float32", n))
    r = do((x - whole * LN2_HIGH) - whole * LN2_LOW)
    return n, do(_polynomial(r, _EXP) * (r * r) + r)


def _exp(do: _Steps, x: Expr) -> Expr:
    # 2**n in two factors: n from -150, for denormal results, to 128.
    n, grown = _reduced(do, x, -104.0, 89.0)
    half = do(n // 2)
    first = _power_of_two(half)
    second = _power_of_two(n - half)
    return (grown + 1.0) * first * second


def _exp_flushed(do: _Steps, x: Expr) -> Expr:
    n, grown = _reduced(do, x, -88.0, 88.72)
    return (grown + 1.0) * _power_of_two(n)


def _expm1(do: _Steps, x: Expr) -> Expr:
    n, grown = _reduced(do, x, -30.0, 89.0)
    half = do(n // 2)
    first = do(_power_of_two(half))
    second = do(_power_of_two(n - half))
    # Below n = 60 the first is right to the end; above, 1 is less than a rounding.
    scale = do(first * second)
    near = grown * scale + (scale - 1.0)
    far = (grown + 1.0) * first * second
    return Select(x.less(0.5), Select(x.equals(0.0), x, near), far - 1.0)


def _sigmoid(do: _Steps, x: Expr) -> Expr:
    # Of -|x|, so that the exponential never overflows and small results stay exact.
    small = do(_exp(do, do(0.0 - Call("abs", (x,)))))
    above = do(Select(x.less(0.0), small, Number(1.0)))
    return above / (small + 1.0)


def _tanh(do: _Steps, x: Expr) -> Expr:
    return _odd(do, x, 9.02, _TANH_ABOVE, _TANH_BELOW)


def _erf(do: _Steps, x: Expr) -> Expr:
    return _odd(do, x, 3.93, _ERF_ABOVE, _ERF_BELOW)


def _odd(
    do: _Steps, x: Expr, end: float, above: Sequence[float], below: Sequence[float]
) -> Expr:
    """Return a rational function that ends at -1 and 1."""
    x = do(minimum(end, maximum(-end, x)))
    u = do(x * x)
    value = do(x * _polynomial(u, above) / _polynomial(u, below))
    return minimum(1.0, maximum(-1.0, value))


def _log(do: _Steps, x: Expr) -> Expr:
    return _logarithm(do, x, lambda exponent, f: f)


def _log1p(do: _Steps, x: Expr) -> Expr:
    # Near 1 the argument itself takes the place of what is left of it in 1 + x.
    value = _logarithm(
        do, do(x + 1.0), lambda exponent, f: Select(exponent.equals(0), x, f)
    )
    return Select(x.less(math.inf), value, x)


def _logarithm(do: _Steps, x: Expr, fraction: Callable[[Expr, Expr], Expr]) -> Expr:
    """Return log(x), where x is 2**exponent * (1 + f) and f goes through `fraction`."""
    denormal = x.less(_SMALLEST_NORMAL)  # not a step: TVM names no vector of bools
    normal = do(Select(denormal, x * 2.0**23, x))
    bits = do(_bits(normal))
    exponent = do((bits - _HALF_ROOT_BITS) // (1 << 23))
    mantissa = Cast("float32", bits - exponent * (1 << 23), bits=True)
    f = do(fraction(exponent, mantissa - 1.0))
    n = do(Cast("float32", exponent) + Select(denormal, Number(-23.0), Number(0.0)))
    square = do(f * f)
    tail = f * square * _polynomial(f, _LOG) + n * LN2_LOW
    value = (tail - square * 0.5) + f + n * LN2_HIGH
    value = Select(x.less(math.inf), value, x)  # infinity and NaN
    value = Select(x.equals(0.0), Number(-math.inf), value)
    return Select(x.less(0.0), Number(math.nan), value)


def _log2(do: _Steps, x: Expr) -> Expr:
    return _log(do, x) * (1.0 / math.log(2.0))


def _softplus(do: _Steps, x: Expr) -> Expr:
    small = do(_exp(do, do(0.0 - Call("abs", (x,)))))
    return maximum(0.0, x) + _log1p(do, small)


FUNCTIONS: Mapping[str, Callable[..., Expr]] = {
    "erf": _erf,
    "exp": _exp,
    "exp_flushed": _exp_flushed,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "log2": _log2,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "tanh": _tanh,
}
"""Functions that are written out, by name."""


def without_calls(kernel: Kernel) -> Kernel:
    """Return a kernel in which each call is written out before its statement."""
    counter = itertools.count()
    return replace(kernel, body=tuple(_statements(kernel.body, counter)))


def _statements(
    statements: Sequence[Statement], counter: Iterator[int]
) -> Iterator[Statement]:
    for each in statements:
        lets: list[Statement] = []

        def plain(value: Value, lets: list[Statement] = lets) -> Expr:
            return _plain(expr(value), lets, counter)

        match each:
            case Loop(var, extent, body, kind):
                yield Loop(var, extent, tuple(_statements(body, counter)), kind)
                continue
            case Store(buffer, indices, value):
                done: Statement = Store(
                    buffer, tuple(map(plain, indices)), plain(value)
                )
            case Let(var, value):
                done = Let(var, plain(value))
            case If(condition, body):
                condition = plain(condition)
                done = If(condition, tuple(_statements(body, counter)))
            case Prefetch(buffer, indices):
                done = Prefetch(buffer, tuple(map(plain, indices)))
            case Require(condition, message):
                done = Require(plain(condition), message)
            case _:
                done = each
        yield from lets
        yield done


def _plain(value: Expr, lets: list[Statement], counter: Iterator[int]) -> Expr:
    """Return an expression without calls; their steps go to `lets`."""
    if not _calls(value):
        return value
    match value:
        case Call(name, arguments):
            inner = tuple(_plain(each, lets, counter) for each in arguments)
            found, result = expand(name, inner, str(next(counter)))
            lets.extend(found)
            return result
        case Binary(op, a, b):
            return Binary(op, _plain(a, lets, counter), _plain(b, lets, counter))
        case Select(condition, a, b):
            return Select(
                _plain(condition, lets, counter),
                _plain(a, lets, counter),
                _plain(b, lets, counter),
            )
        case Cast(dtype, a, bits):
            return Cast(dtype, _plain(a, lets, counter), bits)
        case Load(buffer, indices):
            return Load(buffer, tuple(_plain(each, lets, counter) for each in indices))
    return value


def _calls(value: Expr) -> bool:
    """Return whether an expression calls a function that is written out."""
    match value:
        case Call(name, arguments):
            return name not in INTRINSIC or any(map(_calls, arguments))
        case Binary(_, a, b):
            return _calls(a) or _calls(b)
        case Select(condition, a, b):
            return _calls(condition) or _calls(a) or _calls(b)
        case Cast(_, a, _):
            return _calls(a)
        case Load(_, indices):
            return any(map(_calls, indices))
    return False
