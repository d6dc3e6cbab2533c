"""What the loop nests of several families are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from trimtab.compiler.formula import Formula
from trimtab.compiler.functions import INTRINSIC, expand
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    Kernel,
    Kind,
    Let,
    Load,
    Loop,
    Number,
    Select,
    Statement,
    Var,
    maximum,
    minimum,
    walk,
)

__all__ = [
    "Strip",
    "counter",
    "fused_loops",
    "lanes_loop",
    "larger",
    "nest",
    "operations",
    "pieces",
    "repeat",
    "smaller",
    "storage",
    "strips",
]


_NUMBERS = Number(math.inf)
"""At least every number, but not NaN."""


class Strip(NamedTuple):
    """Equal steps along one dimension.

    Attributes:
        times: how many steps.
        start: of the first.
        width: of a step.
    """

    times: int
    start: int
    width: int


def strips(extent: int, *widths: int) -> list[Strip]:
    """Return steps that cover an extent: the widest first, then what is left.

    Example:
        >>> strips(100, 32, 8)
        [Strip(times=3, start=0, width=32), Strip(times=1, start=96, width=4)]
        >>> strips(56, 8)
        [Strip(times=7, start=0, width=8)]
    """
    found, start = [], 0
    for width in widths:
        times = (extent - start) // width
        if times:
            found.append(Strip(times, start, width))
            start += times * width
    if start < extent:
        found.append(Strip(1, start, extent - start))
    return found


def counter(name: str, extent: int) -> Expr:
    """Return the counter of a loop; zero where it runs once."""
    return Var(name) if extent > 1 else Number(0)


def repeat(
    at: Expr,
    extent: int,
    body: Sequence[Statement],
    kind: Kind = Kind.SERIAL,
) -> tuple[Statement, ...]:
    """Return a body in a loop; bare where it runs once."""
    if not isinstance(at, Var):
        return tuple(body)
    return (Loop(at, extent, tuple(body), kind),)


def lanes_loop(
    name: str, lanes: int, body: Callable[[Expr], Sequence[Statement]]
) -> tuple[Statement, ...]:
    """Return a body for each lane of a vector."""
    at = counter(name, lanes)
    return repeat(at, lanes, body(at), Kind.VECTOR)


def nest(
    loops: Sequence[tuple[Expr, int]],
    body: Sequence[Statement],
    *,
    fused: int = 0,
    name: str = "task",
) -> tuple[Statement, ...]:
    """Return a body in loops.

    Args:
        loops: counters, made by `counter`, and their extents, outermost first.
        body: what is done.
        fused: leading loops that run in parallel, together; 0 for none.
        name: of the counter of the parallel loop.
    """
    found = tuple(body)
    for at, extent in reversed(loops[fused:]):
        found = repeat(at, extent, found)
    lead = [(at, extent) for at, extent in loops[:fused] if isinstance(at, Var)]
    if len(lead) == 1:
        return repeat(*lead[0], found, Kind.PARALLEL)
    if lead:
        total = math.prod(extent for _, extent in lead)
        task: Expr = Var(name)
        lets: list[Statement] = []
        left = total
        for at, extent in lead:
            assert isinstance(at, Var)
            left //= extent
            lets.append(Let(at, task // left % extent if lets else task // left))
        return (Loop(Var(name), total, (*lets, *found), Kind.PARALLEL),)
    return found


def fused_loops(extents: Sequence[int], threads: int) -> int:
    """Return how many leading loops to run in parallel: four shares a thread if it can.

    Example:
        >>> fused_loops((1, 3, 56, 56), 2), fused_loops((64, 56), 2)
        (3, 1)
    """
    if threads == 1:
        return 0
    total = 1
    for index, extent in enumerate(extents):
        total *= extent
        if total >= 4 * threads:
            return index + 1
    return len(extents)


def pieces(kernel: Kernel) -> int:
    """Return how many pieces of a kernel can run at once: its longest parallel loop.

    Example:
        >>> from trimtab.compiler.loops import Store, Var
        >>> y, i = Buffer("y", (6,)), Var("i")
        >>> loop = Loop(i, 6, (Store(y, (i,), Number(0.0)),), Kind.PARALLEL)
        >>> pieces(Kernel(name="k", parameters=(y,), body=(loop,)))
        6
    """
    return max(
        (
            each.extent
            for each in walk(kernel.body)
            if isinstance(each, Loop) and each.kind is Kind.PARALLEL
        ),
        default=1,
    )


def larger(value: Expr, so_far: Expr) -> Expr:
    """Return the maximum of an element and what was found before; NaN stays NaN."""
    # max(a, b) is a > b ? a : b: it keeps NaN in the second, not in the first. Of the
    # tests for NaN this is one that no simplifier takes for true.
    return Select(_NUMBERS.at_least(value), maximum(value, so_far), value)


def smaller(value: Expr, so_far: Expr) -> Expr:
    """Return the minimum of an element and what was found before; NaN stays NaN."""
    return Select(_NUMBERS.at_least(value), minimum(value, so_far), value)


def storage(dtype: str) -> str:
    """Return the dtype a buffer has in a kernel: a truth value is a byte."""
    return "uint8" if dtype == "bool" else dtype


def operations(formula: Formula) -> int:
    """Return how many arithmetic operations a formula does for an element.

    Example:
        >>> from trimtab.compiler.formula import IDENTITY
        >>> operations(IDENTITY.then(lambda x: x * 2.0 + 1.0))
        2
    """
    return sum(_count(value) for _, value in formula.steps) + _count(formula.result)


def _count(value: Expr) -> int:
    match value:
        case Binary(_, a, b):
            return 1 + _count(a) + _count(b)
        case Select(condition, a, b):
            return 1 + _count(condition) + _count(a) + _count(b)
        case Cast(_, a, bits):
            return _count(a) + (not bits)
        case Call(name, arguments) if name in INTRINSIC:
            return 1 + sum(map(_count, arguments))
        case Call(name, arguments):
            lets, result = expand(name, [Var("x") for _ in arguments], "")
            inner = sum(_count(each.value) for each in lets) + _count(result)
            return inner + sum(map(_count, arguments))
        case Load(Buffer(), _):
            return 0
    return 0
