"""Loop nests as data; over 400 lines: one record a statement and an expression.

They are what a schedule says, before any code generator sees it.

A kernel is a tree of loops, stores and expressions over flat or shaped buffers, in the
manner of TVM's loop IR, but small: a space (`trimtab.compiler.spaces`) writes it, the
analysis reads it, `interpret` runs it for tests, and `trimtab.compiler.tvm.lower`
translates it. No TVM here.

Example:
    >>> x = Buffer("x", (4,))
    >>> y = Buffer("y", (4,))
    >>> i = Var("i")
    >>> kernel = Kernel(
    ...     name="double",
    ...     parameters=(x, y),
    ...     body=(Loop(i, 4, (Store(y, (i,), x[i] * 2.0),)),),
    ... )
    >>> print(kernel)
    double(x: float32[4], y: float32[4])
      for i in 4:
        y[i] = x[i] * 2.0
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

__all__ = [
    "Binary",
    "Buffer",
    "Call",
    "Cast",
    "Expr",
    "If",
    "Kernel",
    "Kind",
    "Let",
    "Load",
    "Local",
    "Loop",
    "Number",
    "Prefetch",
    "Require",
    "Select",
    "Statement",
    "Store",
    "Value",
    "Var",
    "block",
    "expr",
    "maximum",
    "minimum",
    "unroll",
]


class Kind(enum.StrEnum):
    """How the iterations of a loop run."""

    SERIAL = "serial"
    PARALLEL = "parallel"
    UNROLLED = "unrolled"
    VECTOR = "vector"


class Expr:
    """Something with a value. Operators build `Binary`, folding whole numbers."""

    __slots__ = ()

    def __add__(self, other: Value) -> Expr:
        return _binary("+", self, other)

    def __radd__(self, other: Value) -> Expr:
        return _binary("+", other, self)

    def __sub__(self, other: Value) -> Expr:
        return _binary("-", self, other)

    def __rsub__(self, other: Value) -> Expr:
        return _binary("-", other, self)

    def __mul__(self, other: Value) -> Expr:
        return _binary("*", self, other)

    def __rmul__(self, other: Value) -> Expr:
        return _binary("*", other, self)

    def __truediv__(self, other: Value) -> Expr:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Value) -> Expr:
        return _binary("/", other, self)

    def __floordiv__(self, other: Value) -> Expr:
        return _binary("//", self, other)

    def __mod__(self, other: Value) -> Expr:
        return _binary("%", self, other)

    def __neg__(self) -> Expr:
        return _binary("-", 0.0, self)

    def less(self, other: Value) -> Expr:
        """Return whether this is smaller than the other."""
        return _binary("<", self, other)

    def at_least(self, other: Value) -> Expr:
        """Return whether this is the other or larger."""
        return _binary(">=", self, other)

    def equals(self, other: Value) -> Expr:
        """Return whether the two are the same."""
        return _binary("==", self, other)


Value = Expr | int | float


@final
@dataclass(frozen=True, slots=True)
class Var(Expr):
    """The counter of a loop."""

    name: str

    def __str__(self) -> str:
        return self.name


@final
@dataclass(frozen=True, slots=True)
class Number(Expr):
    """A number; whole ones are indices, others float32."""

    value: int | float

    def __str__(self) -> str:
        return repr(self.value)


@final
@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """``a op b`` for ``+ - * / // % min max < >= == and or``."""

    op: str
    a: Expr
    b: Expr

    def __str__(self) -> str:
        if self.op in ("min", "max"):
            return f"{self.op}({self.a}, {self.b})"
        return f"{_bracket(self.a, self.op)} {self.op} {_bracket(self.b, self.op)}"


@final
@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A function of one or more values: ``exp``, ``erf``, ``sqrt``, ``tanh`` ...

    Which exist stands in `trimtab.compiler.functions`.
    """

    name: str
    arguments: tuple[Expr, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@final
@dataclass(frozen=True, slots=True)
class Select(Expr):
    """``a`` where the condition holds, else ``b``; both are computed."""

    condition: Expr
    a: Expr
    b: Expr

    def __str__(self) -> str:
        return f"select({self.condition}, {self.a}, {self.b})"


@final
@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """A value in another dtype; with `bits`, its bits read as another dtype."""

    dtype: str
    a: Expr
    bits: bool = False

    def __str__(self) -> str:
        return f"{'bits_' if self.bits else ''}{self.dtype}({self.a})"


@final
@dataclass(frozen=True, slots=True)
class Load(Expr):
    """An element of a buffer."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    def __str__(self) -> str:
        return f"{self.buffer.name}[{', '.join(map(str, self.indices))}]"


@final
@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that holds an array in row-major order.

    Attributes:
        name: unique in a kernel.
        shape: of the array.
        dtype: of its elements.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __getitem__(self, indices: Value | tuple[Value, ...]) -> Load:
        return Load(self, _indices(self, indices))

    @property
    def elements(self) -> int:
        """How many elements the array has."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Statement:
    """Something that is done."""

    __slots__ = ()


@final
@dataclass(frozen=True, slots=True)
class Loop(Statement):
    """The body once for every value of the counter from zero.

    Attributes:
        var: the counter.
        extent: how often.
        body: what is done.
        kind: how. A vector loop holds stores only, an unrolled or vector loop has a
            constant extent, a parallel one stands outermost.
    """

    var: Var
    extent: int
    body: tuple[Statement, ...]
    kind: Kind = Kind.SERIAL


@final
@dataclass(frozen=True, slots=True)
class Store(Statement):
    """``buffer[indices] = value``."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr

    def __init__(self, buffer: Buffer, indices: tuple[Value, ...], value: Expr) -> None:
        object.__setattr__(self, "buffer", buffer)
        object.__setattr__(self, "indices", _indices(buffer, indices))
        object.__setattr__(self, "value", value)


@final
@dataclass(frozen=True, slots=True)
class Let(Statement):
    """A name for a value, in the rest of the block."""

    var: Var
    value: Expr


@final
@dataclass(frozen=True, slots=True)
class Local(Statement):
    """A small buffer of this block's own, meant for registers or the stack."""

    buffer: Buffer


@final
@dataclass(frozen=True, slots=True)
class If(Statement):
    """The body where the condition holds."""

    condition: Expr
    body: tuple[Statement, ...]


@final
@dataclass(frozen=True, slots=True)
class Require(Statement):
    """End the call with an error unless the condition holds."""

    condition: Expr
    message: str


@final
@dataclass(frozen=True, slots=True)
class Prefetch(Statement):
    """Ask for the cache line of an element ahead of its use."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    def __init__(self, buffer: Buffer, indices: tuple[Value, ...]) -> None:
        object.__setattr__(self, "buffer", buffer)
        object.__setattr__(self, "indices", _indices(buffer, indices))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A function over buffers.

    Attributes:
        name: of the function, an identifier.
        parameters: buffers in the order of the call.
        body: what it does.
    """

    name: str
    parameters: tuple[Buffer, ...]
    body: tuple[Statement, ...]

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(map(str, self.parameters))})"
        return "\n".join([head, *_lines(self.body, "  ")])


def expr(value: Value) -> Expr:
    """Return a value as an expression."""
    return value if isinstance(value, Expr) else Number(value)


def minimum(a: Value, b: Value) -> Expr:
    """Return the smaller of two."""
    return _binary("min", a, b)


def maximum(a: Value, b: Value) -> Expr:
    """Return the larger of two."""
    return _binary("max", a, b)


def block(*statements: Statement | Sequence[Statement]) -> tuple[Statement, ...]:
    """Return statements one after another, sequences of them opened.

    Example:
        >>> y = Buffer("y", (2,))
        >>> len(block(Local(y), [Store(y, (0,), expr(1.0)), Store(y, (1,), expr(2.0))]))
        3
    """
    found: list[Statement] = []
    for each in statements:
        if isinstance(each, Statement):
            found.append(each)
        else:
            found.extend(each)
    return tuple(found)


def unroll(
    var: Var, extent: int, *body: Statement | Sequence[Statement]
) -> tuple[Statement, ...]:
    """Return the body repeated in the code."""
    return (Loop(var, extent, block(*body), Kind.UNROLLED),)


def walk(statements: Sequence[Statement]) -> Iterator[Statement]:
    """Yield statements and all inside them, outermost first."""
    for each in statements:
        yield each
        if isinstance(each, Loop | If):
            yield from walk(each.body)


def _indices(buffer: Buffer, indices: Value | tuple[Value, ...]) -> tuple[Expr, ...]:
    found = tuple(map(expr, indices if isinstance(indices, tuple) else (indices,)))
    if len(found) != len(buffer.shape):
        raise ValueError(f"{len(found)} indices for {buffer}")
    return found


def _binary(op: str, a: Value, b: Value) -> Expr:
    """Return the expression, simplified where whole numbers allow it."""
    left, right = expr(a), expr(b)
    x = left.value if isinstance(left, Number) else None
    y = right.value if isinstance(right, Number) else None
    if type(x) is int and type(y) is int and op in _FOLD:
        return Number(_FOLD[op](x, y))
    if op == "+" and type(x) is int and x == 0:
        return right
    if op in "+-" and type(y) is int and y == 0:
        return left
    if op == "*" and ((type(x) is int and x == 0) or (type(y) is int and y == 0)):
        return Number(0)
    if op in ("*", "//") and type(y) is int and y == 1:
        return left
    if op == "*" and type(x) is int and x == 1:
        return right
    if op == "%" and type(y) is int and y == 1:
        return Number(0)
    return Binary(op, left, right)


_FOLD: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "min": min,
    "max": max,
}


_BINDS = {
    "or": 0, "and": 1, "<": 2, ">=": 2, "==": 2, "+": 3, "-": 3,
    "*": 4, "/": 4, "//": 4, "%": 4, "min": 9, "max": 9,
}  # fmt: skip


def _bracket(value: Expr, op: str) -> str:
    tight = not isinstance(value, Binary) or _BINDS[value.op] > _BINDS[op]
    same = isinstance(value, Binary) and value.op == op and op in "+*"
    return str(value) if tight or same else f"({value})"


def _lines(statements: Sequence[Statement], indent: str) -> Iterator[str]:
    for each in statements:
        match each:
            case Loop(var, extent, body, kind):
                how = "" if kind is Kind.SERIAL else f" ({kind})"
                yield f"{indent}for {var} in {extent}{how}:"
                yield from _lines(body, indent + "  ")
            case Store(buffer, indices, value):
                place = ", ".join(map(str, indices))
                yield f"{indent}{buffer.name}[{place}] = {value}"
            case Let(var, value):
                yield f"{indent}{var} = {value}"
            case Local(buffer):
                yield f"{indent}local {buffer}"
            case If(condition, body):
                yield f"{indent}if {condition}:"
                yield from _lines(body, indent + "  ")
            case Require(condition, message):
                yield f"{indent}require {condition}: {message}"
            case Prefetch(buffer, indices):
                place = ", ".join(map(str, indices))
                yield f"{indent}prefetch {buffer.name}[{place}]"
