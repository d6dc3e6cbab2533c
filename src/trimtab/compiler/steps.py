"""Named values of a kernel as small buffers, so that the code generator stays linear.

TVM's passes keep the value of every name and put it in wherever the name is read, each
time they simplify what reads it. A function written out (`trimtab.compiler.functions`)
is a chain of twenty names, each read several times: the expression they stand for has
millions of nodes, and a kernel of a few lines takes seconds to compile. A value read
from memory ends such a chain. So names become buffers of one element, or of one vector,
which LLVM turns into registers again: the machine code is the same.

Whole numbers stay names: they are places in buffers, and there the passes must see
through them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from trimtab.compiler.formula import substitute
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    If,
    Kernel,
    Kind,
    Let,
    Load,
    Local,
    Loop,
    Number,
    Prefetch,
    Require,
    Select,
    Statement,
    Store,
    Var,
    walk,
)

__all__ = ["in_buffers"]


def in_buffers(kernel: Kernel) -> Kernel:
    """Return a kernel whose named float32 values are buffers.

    Example:
        >>> x, i, t = Buffer("x", (4,)), Var("i"), Var("t")
        >>> steps = (Let(t, x[i] + 1.0), Store(x, (i,), t * t))
        >>> loop = Loop(i, 4, steps, Kind.VECTOR)
        >>> print(in_buffers(Kernel(name="k", parameters=(x,), body=(loop,))))
        k(x: float32[4])
          local t_0: float32[4]
          for i in 4 (vector):
            t_0[i] = x[i] + 1.0
          for i in 4 (vector):
            x[i] = t_0[i] * t_0[i]
    """
    taken = {each.name for each in kernel.parameters}
    taken |= {each.buffer.name for each in walk(kernel.body) if isinstance(each, Local)}
    numbers = itertools.count()

    def fresh(stem: str) -> str:
        return next(
            name for name in (f"{stem}_{each}" for each in numbers) if name not in taken
        )

    return replace(kernel, body=_scope(kernel.body, {}, fresh))


def _scope(
    statements: Sequence[Statement],
    known: Mapping[Var, Expr],
    fresh: Callable[[str], str],
) -> tuple[Statement, ...]:
    """Return a block with the buffers of its names in front."""
    buffers, body = _block(statements, known, fresh)
    return (*buffers, *body)


def _block(
    statements: Sequence[Statement],
    known: Mapping[Var, Expr],
    fresh: Callable[[str], str],
) -> tuple[list[Local], list[Statement]]:
    """Return buffers that a block needs, and its statements."""
    names = dict(known)
    buffers: list[Local] = []
    found: list[Statement] = []
    for each in statements:
        match each:
            case Loop(var, extent, body, Kind.VECTOR):
                some, inner = _vector(var, extent, body, names, fresh)
                buffers += some
                found += inner
            case Loop(var, extent, body, Kind.UNROLLED):
                # Its copies share a buffer: each name is written before it is read.
                some, inner = _block(body, names, fresh)
                buffers += some
                found.append(Loop(var, extent, tuple(inner), Kind.UNROLLED))
            case Loop(var, extent, body, kind):
                found.append(Loop(var, extent, _scope(body, names, fresh), kind))
            case If(condition, body):
                condition = substitute(condition, names)
                found.append(If(condition, _scope(body, names, fresh)))
            case Let(var, value):
                value = substitute(value, names)
                if _held(value):
                    buffer = _buffer(var, 1, value, fresh)
                    buffers.append(Local(buffer))
                    found.append(Store(buffer, (0,), value))
                    names[var] = buffer[0]
                else:
                    names.pop(var, None)
                    found.append(Let(var, value))
            case _:
                found.append(_replaced(each, names))
    return buffers, found


def _vector(
    lane: Var,
    extent: int,
    statements: Sequence[Statement],
    known: Mapping[Var, Expr],
    fresh: Callable[[str], str],
) -> tuple[list[Local], list[Statement]]:
    """Return a vector loop as one for each statement, which is how vectors run."""
    if not any(isinstance(each, Let | If) for each in statements):
        body = tuple(_replaced(each, known) for each in statements)
        return [], [Loop(lane, extent, body, Kind.VECTOR)]
    names = dict(known)
    buffers: list[Local] = []
    places: list[Statement] = []  # whole numbers, wherever they may be read
    found: list[Statement] = []
    for each in statements:
        if isinstance(each, If):
            condition = substitute(each.condition, names)
            some, inner = _vector(lane, extent, each.body, names, fresh)
            buffers += some
            for loop in inner:
                assert isinstance(loop, Loop)
                guarded = (*places, If(condition, loop.body))
                found.append(Loop(lane, extent, guarded, Kind.VECTOR))
            continue
        if isinstance(each, Let):
            value = substitute(each.value, names)
            if not _held(value):
                places.append(Let(each.var, value))
                continue
            buffer = _buffer(each.var, extent, value, fresh)
            buffers.append(Local(buffer))
            names[each.var] = buffer[lane]
            done: Statement = Store(buffer, (lane,), value)
        else:
            done = _replaced(each, names)
        found.append(Loop(lane, extent, (*places, done), Kind.VECTOR))
    return buffers, found


def _buffer(var: Var, extent: int, value: Expr, fresh: Callable[[str], str]) -> Buffer:
    return Buffer(fresh(var.name), (extent,), _dtype(value))


def _replaced(statement: Statement, names: Mapping[Var, Expr]) -> Statement:
    """Return a statement without blocks whose names are replaced."""
    match statement:
        case Store(buffer, indices, value):
            places = tuple(substitute(_expr(each), names) for each in indices)
            return Store(buffer, places, substitute(value, names))
        case Prefetch(buffer, indices):
            places = tuple(substitute(_expr(each), names) for each in indices)
            return Prefetch(buffer, places)
        case Require(condition, message):
            return Require(substitute(condition, names), message)
    return statement


def _expr(value: Expr | float) -> Expr:
    return value if isinstance(value, Expr) else Number(value)


def _held(value: Expr) -> bool:
    """Return whether a named value becomes a buffer: a number, or the bits of one."""
    dtype = _dtype(value)
    return dtype == "float32" or (dtype == "int32" and _reads_bits(value))


def _reads_bits(value: Expr) -> bool:
    match value:
        case Cast(_, _, bits):
            return bits
        case Binary(_, a, b):
            return _reads_bits(a) or _reads_bits(b)
        case Load(buffer, _):  # of an earlier step
            return buffer.dtype == "int32" and len(buffer.shape) == 1
    return False


def _dtype(value: Expr) -> str:
    """Return the dtype of a value; counters and names that stayed are int32."""
    match value:
        case Number(number):
            return "int32" if isinstance(number, int) else "float32"
        case Load(buffer, _):
            return buffer.dtype
        case Cast(dtype, _, _):
            return dtype
        case Select(_, a, _):
            return _dtype(a)
        case Call():
            return "float32"
        case Binary(op, a, b):
            if op in ("<", ">=", "==", "and", "or"):
                return "bool"
            return _dtype(a) if _dtype(a) != "int32" else _dtype(b)
    return "int32"
