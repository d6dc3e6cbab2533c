"""Rows of tables and bags of them; over 400 lines: three ways to walk the bags.

A number outside the table ends the call with an error, as in PyTorch, before a row is
read; besides, no number reads memory outside the table.

The schedule: a row is copied or summed in vectors. Bags of equal size are loops; where
offsets say which indices belong to a bag, one loop takes a step for each index and each
bag, and what a step does depends on whether the bag has indices left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Cast,
    Expr,
    If,
    Kernel,
    Kind,
    Local,
    Number,
    Require,
    Select,
    Statement,
    Store,
    expr,
    maximum,
    minimum,
)
from trimtab.compiler.spaces.parts import (
    counter,
    lanes_loop,
    larger,
    nest,
    repeat,
    strips,
)

__all__ = ["Embedding", "Point", "kernel", "points"]

_ITEM_BYTES = {"int64": 8, "int32": 4}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Rows of a table, or of each bag of rows one.

    Attributes:
        table: layout of ``(rows, width)``.
        output: layout of ``(count, width)``, or of ``(bags, width)``.
        count: indices.
        pool: how a bag's rows become one; None where each index gives a row.
        length: indices of every bag; None where offsets say where bags begin.
        last_offset: whether the offsets have one more, the end of the last bag.
        weighted: whether each row is multiplied with a number of its own (of a sum).
        padding: a row that is left out of bags, or None.
        index_dtype: of indices and offsets.
    """

    table: Layout
    output: Layout
    count: int
    pool: Literal["sum", "mean", "max"] | None = None
    length: int | None = None
    last_offset: bool = False
    weighted: bool = False
    padding: int | None = None
    index_dtype: Literal["int64", "int32"] = "int64"

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.table.shape[1]

    @property
    def bags(self) -> int:
        """Rows of the output."""
        return self.output.shape[0]

    @property
    def offsets(self) -> int:
        """Elements of the offsets; 0 where there are none."""
        if self.pool is None or self.length is not None:
            return 0
        return self.bags + self.last_offset

    @property
    def flops(self) -> int:
        """One for each element that is pooled, two with a weight."""
        if self.pool is None:
            return 0
        return self.count * self.width * (1 + self.weighted)

    @property
    def read_bytes(self) -> int:
        """Of a row for each index, of indices, offsets and weights."""
        numbers = _ITEM_BYTES[self.index_dtype] * (self.count + self.offsets)
        return 4 * self.count * (self.width + self.weighted) + numbers

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


class Point(NamedTuple):
    """One schedule.

    Attributes:
        vectors: of a row that are pooled side by side.
        parallel: whether rows, bags, or parts of rows run in parallel.
    """

    vectors: int
    parallel: bool = False


def points(work: Embedding, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    most = -(-work.width // lanes)
    sizes = [size for size in (4, 8, 2, 1) if size <= most]
    if work.pool is None:  # a row is copied as a whole
        sizes = [1]
    parallel = (True, False) if threads > 1 else (False,)
    return [Point(size, each) for size in sizes for each in parallel]


def kernel(
    work: Embedding, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: table, indices, offsets and weights where there are
    such, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    point = point if threads > 1 else point._replace(parallel=False)
    return _Writer(work, point, lanes).kernel(name)


class _Bag(NamedTuple):
    """What a bag has so far, for a part of the row.

    Attributes:
        sums: of the part.
        counted: rows in the bag.
        start: of the part in the row.
    """

    sums: Buffer
    counted: Buffer
    start: Expr


class _Writer:
    """Writes one kernel."""

    def __init__(self, work: Embedding, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        self.table = Buffer("table", (work.table.size,))
        self.indices = Buffer("indices", (work.count,), work.index_dtype)
        self.offsets = Buffer("offsets", (max(work.offsets, 1),), work.index_dtype)
        self.weights = Buffer("weights", (work.count,))
        self.y = Buffer("y", (work.output.size,))
        self.tag = 0

    def name(self, stem: str) -> str:
        self.tag += 1
        return f"{stem}{self.tag}"

    def kernel(self, name: str) -> Kernel:
        work = self.work
        if work.pool is None:
            body = self.rows()
        elif work.length is not None:
            body = self.equal_bags(work.length)
        else:
            body = self.bags_of_offsets()
        body = (*self.checked(), *body)
        return Kernel(
            name=name,
            parameters=(
                self.table,
                self.indices,
                *((self.offsets,) if work.offsets else ()),
                *((self.weights,) if work.weighted else ()),
                self.y,
            ),
            body=body,
        )

    # ------------------------------------------------------------ pieces

    def checked(self) -> list[Statement]:
        """Return the refusal of numbers out of range, ahead of everything."""
        work, rows = self.work, self.work.table.shape[0]
        at = counter(self.name("i"), work.count)
        index = self.indices[at]
        found = self.required(
            at,
            work.count,
            Binary("and", index.at_least(0), index.less(rows)),
            f"a table of {rows} rows has no row of a number that was given",
        )
        if not work.offsets:
            return found
        at = counter(self.name("o"), work.offsets)
        here, before = self.offsets[at], self.offsets[maximum(at - 1, 0)]
        first = self.offsets[0]
        begins = Binary("and", first.at_least(0), first.less(1))
        ascends = Binary("and", here.at_least(before), here.less(work.count + 1))
        message = f"offsets begin with 0, ascend, and end within {work.count}"
        return [
            *found,
            *self.required(at, work.offsets, Binary("and", begins, ascends), message),
        ]

    def required(
        self, at: Expr, count: int, condition: Expr, message: str
    ) -> list[Statement]:
        """Return the refusal of a call unless a condition holds at every step.

        Told after the loop: TVM unrolls one whole that stores nothing.
        """
        good = Buffer(self.name("good"), (1,), "int32")
        kept = Store(good, (0,), Select(condition, good[0], Number(0)))
        return [
            Local(good),
            Store(good, (0,), Number(1)),
            *repeat(at, count, [kept]),
            Require(good[0].equals(1), message),
        ]

    def row(self, index: Expr) -> Expr:
        """Return the number of a row, moved into the table."""
        last = self.work.table.shape[0] - 1
        return Cast("int32", minimum(maximum(self.indices[index], 0), last))

    def along(
        self, width: int, action: Callable[[Expr], Sequence[Statement]]
    ) -> list[Statement]:
        """Return an action for elements of a row, in vectors."""
        found: list[Statement] = []
        for strip in strips(width, self.lanes):
            step = counter(self.name("e"), strip.times)
            first = step * strip.width + strip.start

            def each(lane: Expr, first: Expr = first) -> Sequence[Statement]:
                return action(first + lane)

            body = lanes_loop(self.name("v"), strip.width, each)
            found += repeat(step, strip.times, body)
        return found

    def rows(self) -> tuple[Statement, ...]:
        """Return the rows one after another."""
        work = self.work
        index = counter("i", work.count)

        def copy(at: Expr) -> list[Statement]:
            value = self.table[work.table.at((self.row(index), at))]
            return [Store(self.y, (work.output.at((index, at)),), value)]

        body = self.along(work.width, copy)
        return nest([(index, work.count)], body, fused=int(self.point.parallel))

    def fresh(self, bag: _Bag) -> list[Statement]:
        """Return the state of an empty bag."""
        nothing = -math.inf if self.work.pool == "max" else 0.0
        return [
            Store(bag.counted, (0,), expr(0.0)),
            *self.along(
                bag.sums.elements, lambda at: [Store(bag.sums, (at,), expr(nothing))]
            ),
        ]

    def taken(self, bag: _Bag, index: Expr) -> list[Statement]:
        """Return an index taken into a bag, if it is no padding."""
        work = self.work
        row = self.row(index)

        def add(at: Expr) -> list[Statement]:
            value: Expr = self.table[work.table.at((row, bag.start + at))]
            before = bag.sums[at]
            if work.weighted:
                value = value * self.weights[index]
            value = larger(value, before) if work.pool == "max" else before + value
            return [Store(bag.sums, (at,), value)]

        body = (
            *self.along(bag.sums.elements, add),
            Store(bag.counted, (0,), bag.counted[0] + 1.0),
        )
        if work.padding is None:
            return list(body)
        other = Select(row.equals(work.padding), Number(0), Number(1))
        return [If(other.equals(1), body)]

    def written(self, bag: _Bag, number: Expr) -> list[Statement]:
        """Return a bag's result as output; an empty bag gives zeros."""
        work = self.work

        def write(at: Expr) -> list[Statement]:
            value: Expr = bag.sums[at]
            if work.pool == "mean":
                value = value / maximum(bag.counted[0], 1.0)
            elif work.pool == "max":
                value = Select(bag.counted[0].less(0.5), expr(0.0), value)
            place = work.output.at((number, bag.start + at))
            return [Store(self.y, (place,), value)]

        return self.along(bag.sums.elements, write)

    # ------------------------------------------------------------ bags

    def bag(self, start: Expr, width: int) -> _Bag:
        return _Bag(
            Buffer(self.name("sums"), (width,)),
            Buffer(self.name("counted"), (1,)),
            start,
        )

    def parts(
        self, kind: Kind, write: Callable[[_Bag], Sequence[Statement]]
    ) -> list[Statement]:
        """Return what is done for each part of a row."""
        found: list[Statement] = []
        for strip in strips(self.work.width, self.point.vectors * self.lanes):
            part = counter(self.name("p"), strip.times)
            bag = self.bag(part * strip.width + strip.start, strip.width)
            body = [Local(bag.sums), Local(bag.counted), *write(bag)]
            found += repeat(part, strip.times, body, kind)
        return found

    def equal_bags(self, length: int) -> tuple[Statement, ...]:
        """Return bags of equal size; parts of their rows stay in registers."""
        number = counter("b", self.work.bags)

        def write(bag: _Bag) -> list[Statement]:
            index = counter(self.name("i"), length)
            taken = self.taken(bag, number * length + index)
            return [
                *self.fresh(bag),
                *repeat(index, length, taken),
                *self.written(bag, number),
            ]

        body = self.parts(Kind.SERIAL, write)
        return nest([(number, self.work.bags)], body, fused=int(self.point.parallel))

    def bags_of_offsets(self) -> tuple[Statement, ...]:
        """Return bags of any size; threads share the row, each walks all bags."""
        if self.point.parallel:
            return tuple(self.parts(Kind.PARALLEL, self.walk))
        bag = self.bag(Number(0), self.work.width)
        return (Local(bag.sums), Local(bag.counted), *self.walk(bag))

    def walk(self, bag: _Bag) -> list[Statement]:
        """Return a step for each index and each bag."""
        work = self.work
        # Number of the bag, next index, and whether the bag has it.
        state = Buffer(self.name("state"), (3,), "int32")
        number, index = state[0], state[1]
        step = counter(self.name("t"), work.count + work.bags)
        last = work.offsets - 1
        end: Expr = Cast("int32", self.offsets[minimum(number + 1, last)])
        if not work.last_offset:
            end = Select(number.at_least(work.bags - 1), Number(work.count), end)
        more = index.less(minimum(end, work.count))
        body = [
            If(
                number.less(work.bags),
                (
                    Store(state, (2,), Select(more, Number(1), Number(0))),
                    If(
                        state[2].equals(1),
                        (
                            *self.taken(bag, index),
                            Store(state, (1,), index + 1),
                        ),
                    ),
                    If(
                        state[2].equals(0),
                        (
                            *self.written(bag, number),
                            *self.fresh(bag),
                            Store(state, (0,), number + 1),
                        ),
                    ),
                ),
            )
        ]
        return [
            Local(state),
            Store(state, (0,), expr(0)),
            Store(state, (1,), expr(0)),
            *self.fresh(bag),
            *repeat(step, work.count + work.bags, body),
        ]
