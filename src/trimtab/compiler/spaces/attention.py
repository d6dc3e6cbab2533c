"""Attention without dropout; over 400 lines: two products and a softmax in one nest.

``y[b, h, i] = sum_j softmax_j(scale * q[b, h, i] . k[b, h, j] + mask[b, h, i, j]) *
v[b, h, j]``, for any strides of q, k and v.

The schedule: a block of rows of q meets the columns (rows of k and v) block by block,
so that no more scores exist than fit into the nearest caches; the largest score so far
and the sum of exponentials correct what was summed before (online softmax: Milakov and
Gimelshein, arXiv 1805.02867; in blocks: Dao et al., arXiv 2205.14135). Both products
run in register tiles of `rows` by `vectors`: the scores over k turned once a block, so
that vectors run along the columns; the sums over v as it is.

A row whose columns are all masked gives zeros, as PyTorch does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import (
    Buffer,
    Call,
    Cast,
    Expr,
    If,
    Kernel,
    Kind,
    Local,
    Number,
    Select,
    Statement,
    Store,
    block,
    expr,
    maximum,
)
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    nest,
    repeat,
    storage,
    strips,
)

__all__ = ["Attention", "Point", "kernel", "points"]

_LOWEST = -3.4028234663852886e38
"""The smallest float32: what a score is compared with first."""

_EXPONENTIAL = 17
"""Operations of `exp_flushed`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """An attention.

    Attributes:
        query: layout of ``(B, H, L, D)``.
        key: layout of ``(B, G, S, D)``; G divides H, and H / G heads share one.
        value: layout of ``(B, G, S, E)``.
        output: layout of ``(B, H, L, E)``.
        mask: layout of what is added to the scores or of which columns count,
            broadcast to ``(B, H, L, S)``; None for none.
        boolean: whether the mask says which columns count.
        causal: whether row i sees the columns up to i only.
        scale: of the scores; one over the root of D if None.
    """

    query: Layout
    key: Layout
    value: Layout
    output: Layout
    mask: Layout | None = None
    boolean: bool = False
    causal: bool = False
    scale: float | None = None

    @property
    def factor(self) -> float:
        """What scores are multiplied with."""
        return self.query.shape[3] ** -0.5 if self.scale is None else self.scale

    @property
    def scores(self) -> int:
        """Pairs of a row and a column that it sees."""
        batch, heads, rows, _ = self.query.shape
        columns = self.key.shape[2]
        if not self.causal:
            return batch * heads * rows * columns
        seen = sum(min(row + 1, columns) for row in range(rows))
        return batch * heads * seen

    @property
    def flops(self) -> int:
        """Two products, an exponential and five operations of the softmax a score."""
        depth, width = self.query.shape[3], self.value.shape[3]
        return self.scores * (2 * depth + 2 * width + _EXPONENTIAL + 5)

    @property
    def read_bytes(self) -> int:
        """Of query, key, value and mask, each element once."""
        tensors = (self.query, self.key, self.value)
        total = 4 * sum(math.prod(each.shape) for each in tensors)
        if self.mask is not None:
            total += math.prod(
                extent
                for extent, stride in zip(
                    self.mask.shape, self.mask.strides, strict=True
                )
                if stride
            ) * (1 if self.boolean else 4)
        return total

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


class Point(NamedTuple):
    """One schedule.

    Attributes:
        rows: of the register tiles.
        vectors: of the register tiles.
        row_block: rows that meet a block of columns one after another.
        column_block: columns whose scores exist at a time.
        fused: leading loops that run in parallel, together (samples, heads, blocks of
            rows); 0 for none.
    """

    rows: int
    vectors: int
    row_block: int
    column_block: int
    fused: int = 0


def points(work: Attention, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    batch, heads, length, _ = work.query.shape
    columns = work.key.shape[2]
    found: dict[Point, None] = {}
    for row_block, column_block in itertools.product((128, 64, 256), (64, 128, 256)):
        tall = min(row_block, length)
        # A whole number of pairs of vectors, so that tiles are full.
        wide = min(column_block, -(-columns // (2 * lanes)) * 2 * lanes)
        tiles = [(6, 2), (4, 2), (4, 3), (3, 3), (2, 4), (8, 1)]
        for rows, vectors in sorted(tiles, key=lambda tile: tall % tile[0] > 0):
            fused = fused_loops((batch, heads, -(-length // tall)), threads)
            for each in (fused, 0):
                found[Point(min(rows, length), vectors, tall, wide, each)] = None
    return list(found)


def kernel(
    work: Attention, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: query, key, value, mask where there is one, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    point = point if threads > 1 else point._replace(fused=0)
    return _Writer(work, point, lanes).kernel(name)


class _Block(NamedTuple):
    """A block of rows or columns.

    Attributes:
        first: its first row or column.
        size: how many.
    """

    first: Expr
    size: int


class _Writer:
    """Writes one kernel."""

    def __init__(self, work: Attention, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        self.q = Buffer("query", (work.query.size,))
        self.k = Buffer("key", (work.key.size,))
        self.v = Buffer("value", (work.value.size,))
        self.y = Buffer("y", (work.output.size,))
        self.names = itertools.count()
        self.depth, self.width = work.query.shape[3], work.value.shape[3]
        if work.mask is not None:
            dtype = storage("bool") if work.boolean else "float32"
            self.mask = Buffer("mask", (work.mask.size,), dtype)

    def name(self, stem: str) -> str:
        return f"{stem}{next(self.names)}"

    def kernel(self, name: str) -> Kernel:
        work = self.work
        batch, heads, length, _ = work.query.shape
        body: list[Statement] = []
        for strip in strips(length, self.point.row_block):
            self.b, self.h = counter("b", batch), counter("h", heads)
            step = counter(self.name("i"), strip.times)
            rows = _Block(step * strip.width + strip.start, strip.width)
            loops = [(self.b, batch), (self.h, heads), (step, strip.times)]
            body.extend(
                nest(
                    loops,
                    self.rows(rows),
                    fused=self.point.fused,
                    name=self.name("task"),
                )
            )
        mask = (self.mask,) if work.mask is not None else ()
        return Kernel(
            name=name,
            parameters=(self.q, self.k, self.v, *mask, self.y),
            body=tuple(body),
        )

    @property
    def group(self) -> Expr:
        """The head of k and v."""
        return self.h // (self.work.query.shape[1] // self.work.key.shape[1])

    def rows(self, rows: _Block) -> tuple[Statement, ...]:
        """Return what is done for a block of rows."""
        tag = self.name("_")
        padded = -(-self.point.column_block // self.lanes) * self.lanes
        self.turned = Buffer(f"turned{tag}", (self.depth, padded))
        self.sums = Buffer(f"sums{tag}", (rows.size, self.width))
        self.top = Buffer(f"top{tag}", (rows.size,))
        self.total = Buffer(f"total{tag}", (rows.size,))
        found: list[Statement] = [
            Local(each) for each in (self.turned, self.sums, self.top, self.total)
        ]
        row = counter(self.name("r"), rows.size)
        found += repeat(
            row,
            rows.size,
            [
                Store(self.top, (row,), expr(_LOWEST)),
                Store(self.total, (row,), expr(0.0)),
                *self.along(
                    self.width, lambda at: [Store(self.sums, (row, at), expr(0.0))]
                ),
            ],
        )
        for strip in strips(self.work.key.shape[2], self.point.column_block):
            step = counter(self.name("j"), strip.times)
            columns = _Block(step * strip.width + strip.start, strip.width)
            body: list[Statement] = [*self.turn(columns)]
            for part in strips(rows.size, self.point.rows):
                group = counter(self.name("g"), part.times)
                inner = self.group_of_rows(rows, part, group, columns)
                body += repeat(group, part.times, inner)
            if self.work.causal:
                seen = columns.first.less(rows.first + rows.size)
                body = [If(seen, tuple(body))]
            found += repeat(step, strip.times, body)
        return (*found, *self.finish(rows))

    def along(
        self, extent: int, action: Callable[[Expr], Sequence[Statement]]
    ) -> tuple[Statement, ...]:
        """Return an action in vectors along an extent."""
        found: list[Statement] = []
        for strip in strips(extent, self.lanes):
            step = counter(self.name("e"), strip.times)

            def inner(
                lane: Expr, step: Expr = step, strip: Strip = strip
            ) -> Sequence[Statement]:
                return action(step * strip.width + strip.start + lane)

            found += repeat(
                step, strip.times, lanes_loop(self.name("v"), strip.width, inner)
            )
        return tuple(found)

    def turn(self, columns: _Block) -> list[Statement]:
        """Return a copy of a block of k with its columns along vectors."""
        work, lanes = self.work, self.lanes
        found: list[Statement] = []
        for deep, wide in itertools.product(
            strips(self.depth, lanes), strips(columns.size, lanes)
        ):
            tag = self.name("_")
            down, row = counter(f"d{tag}", deep.times), counter(f"r{tag}", deep.width)
            step = counter(f"t{tag}", wide.times)

            def copy(
                lane: Expr,
                at: Expr = down * deep.width + deep.start + row,
                left: Expr = step * wide.width + wide.start,
            ) -> list[Statement]:
                place = (self.b, self.group, columns.first + left + lane, at)
                value = self.k[work.key.at(place)]
                return [Store(self.turned, (at, left + lane), value)]

            # Columns inside: the other order makes the compiler ten times slower.
            body = lanes_loop(f"v{tag}", wide.width, copy)
            body = repeat(row, deep.width, body, Kind.UNROLLED)
            found += repeat(down, deep.times, repeat(step, wide.times, body))
        rest = -columns.size % lanes
        if rest:
            at = counter(self.name("d"), self.depth)
            body = lanes_loop(
                self.name("v"),
                rest,
                lambda lane: [Store(self.turned, (at, lane + columns.size), expr(0.0))],
            )
            found += repeat(at, self.depth, body)
        return found

    def group_of_rows(
        self, rows: _Block, part: Strip, group: Expr, columns: _Block
    ) -> list[Statement]:
        """Return scores, softmax and sums of some rows and a block of columns."""
        tag = self.name("_")
        padded = -(-columns.size // self.lanes) * self.lanes
        scores = Buffer(f"scores{tag}", (part.width, padded))
        shrink = Buffer(f"shrink{tag}", (part.width,))
        first = group * part.width + part.start
        body: list[Statement] = [Local(scores), Local(shrink)]
        body += self.score(scores, rows.first + first, columns)
        row = counter(self.name("r"), part.width)
        soften = self.soften(scores, shrink, row, first, padded)
        body += repeat(row, part.width, soften)
        body += self.add(scores, shrink, first, columns)
        if not self.work.causal:
            return body
        return [If(columns.first.less(rows.first + first + part.width), tuple(body))]

    def score(self, scores: Buffer, first: Expr, columns: _Block) -> list[Statement]:
        """Return the scores of some rows."""
        work, height = self.work, scores.shape[0]
        found: list[Statement] = []
        for strip in strips(
            scores.shape[1], self.point.vectors * self.lanes, self.lanes
        ):
            step = counter(self.name("s"), strip.times)
            left = step * strip.width + strip.start

            def term(
                row: Expr, at: Expr, depth: Expr, left: Expr = left
            ) -> tuple[Expr, Expr]:
                place = work.query.at((self.b, self.h, first + row, depth))
                return self.q[place], self.turned[depth, left + at]

            def done(
                row: Expr, at: Expr, value: Expr, left: Expr = left
            ) -> list[Statement]:
                column = columns.first + left + at
                result = self.masked(value * work.factor, first + row, column)
                if columns.size % self.lanes:  # columns that are not there
                    inside = (left + at).less(columns.size)
                    result = Select(inside, result, expr(-math.inf))
                return [Store(scores, (row, left + at), result)]

            body = self.product(
                height, strip.width, self.depth, lambda row, at: expr(0.0), term, done
            )
            found += repeat(step, strip.times, body)
        return found

    def masked(self, score: Expr, row: Expr, column: Expr) -> Expr:
        """Return a score with what hides it."""
        work = self.work
        if work.mask is not None:
            # A column past the end reads the last one's and is dropped later.
            last = work.key.shape[2] - 1
            at = column
            if work.key.shape[2] % self.lanes:
                at = Select(column.less(last), column, Number(last))
            place = work.mask.at((self.b, self.h, row, at))
            if work.boolean:
                seen = Cast("int32", self.mask[place]).at_least(1)
                score = Select(seen, score, expr(-math.inf))
            else:
                score = score + self.mask[place]
        if work.causal:
            score = Select(row.at_least(column), score, expr(-math.inf))
        return score

    def soften(
        self, scores: Buffer, shrink: Buffer, row: Expr, first: Expr, padded: int
    ) -> list[Statement]:
        """Return exponentials of a row's scores, and what they change."""
        tag = self.name("_")
        lanes, at = self.lanes, first + row
        parts = Buffer(f"parts{tag}", (lanes,))
        most = Buffer(f"most{tag}", (1,))

        def each(
            action: Callable[[Expr, Expr], Sequence[Statement]],
        ) -> Sequence[Statement]:
            step = counter(self.name("e"), padded // lanes)
            return repeat(
                step,
                padded // lanes,
                lanes_loop(
                    self.name("v"),
                    lanes,
                    lambda lane: action(step * lanes + lane, lane),
                ),
            )

        def fill(value: float) -> Sequence[Statement]:
            return lanes_loop(
                self.name("v"), lanes, lambda lane: [Store(parts, (lane,), expr(value))]
            )

        def larger(column: Expr, lane: Expr) -> list[Statement]:
            value = maximum(scores[row, column], parts[lane])
            return [Store(parts, (lane,), value)]

        def exponential(column: Expr, lane: Expr) -> list[Statement]:
            value = Call("exp_flushed", (scores[row, column] - most[0],))
            return [
                Store(scores, (row, column), value),
                Store(parts, (lane,), parts[lane] + scores[row, column]),
            ]

        return [
            Local(parts),
            Local(most),
            *fill(_LOWEST),
            *each(larger),
            *self.halve(parts, maximum),
            Store(most, (0,), maximum(parts[0], self.top[at])),
            Store(shrink, (row,), Call("exp_flushed", (self.top[at] - most[0],))),
            Store(self.top, (at,), most[0]),
            *fill(0.0),
            *each(exponential),
            *self.halve(parts, lambda a, b: a + b),
            Store(self.total, (at,), self.total[at] * shrink[row] + parts[0]),
        ]

    def halve(
        self, parts: Buffer, join_two: Callable[[Expr, Expr], Expr]
    ) -> list[Statement]:
        """Return the fold of all lanes into the first."""
        found: list[Statement] = []
        half = self.lanes
        while half > 1:
            half //= 2

            def onto(lane: Expr, half: int = half) -> list[Statement]:
                return [
                    Store(parts, (lane,), join_two(parts[lane + half], parts[lane]))
                ]

            found += lanes_loop(self.name("v"), half, onto)
        return found

    def add(
        self, scores: Buffer, shrink: Buffer, first: Expr, columns: _Block
    ) -> list[Statement]:
        """Return the sums over v of some rows."""
        work, height = self.work, scores.shape[0]
        found: list[Statement] = []
        for strip in strips(self.width, self.point.vectors * self.lanes, self.lanes):
            step = counter(self.name("s"), strip.times)
            left = step * strip.width + strip.start

            def before(row: Expr, at: Expr, left: Expr = left) -> Expr:
                return self.sums[first + row, left + at] * shrink[row]

            def term(
                row: Expr, at: Expr, depth: Expr, left: Expr = left
            ) -> tuple[Expr, Expr]:
                place = work.value.at(
                    (self.b, self.group, columns.first + depth, left + at)
                )
                return scores[row, depth], self.v[place]

            def done(
                row: Expr, at: Expr, value: Expr, left: Expr = left
            ) -> list[Statement]:
                return [Store(self.sums, (first + row, left + at), value)]

            body = self.product(height, strip.width, columns.size, before, term, done)
            found += repeat(step, strip.times, body)
        return found

    def product(
        self,
        height: int,
        width: int,
        depth: int,
        before: Callable[[Expr, Expr], Expr],
        term: Callable[[Expr, Expr, Expr], tuple[Expr, Expr]],
        done: Callable[[Expr, Expr, Expr], Sequence[Statement]],
    ) -> tuple[Statement, ...]:
        """Return a register tile through the whole sum.

        Args:
            height: rows of the tile.
            width: columns of the tile, in elements.
            depth: products of a sum.
            before: what a sum starts from, of row and column.
            term: the factors, of row, column and place in the sum.
            done: what is done with a sum.
        """
        tag = self.name("_")
        lanes = min(width, self.lanes)
        vectors = width // lanes
        acc = Buffer(f"acc{tag}", (height, vectors, lanes))
        row, vector = counter(f"r{tag}", height), counter(f"u{tag}", vectors)
        k = counter(f"k{tag}", depth)

        def tile(
            action: Callable[[Expr], Sequence[Statement]],
        ) -> tuple[Statement, ...]:
            body = lanes_loop(f"v{tag}", lanes, action)
            body = repeat(vector, vectors, body, Kind.UNROLLED)
            return repeat(row, height, body, Kind.UNROLLED)

        def at(lane: Expr) -> Expr:
            return vector * lanes + lane

        def multiply(lane: Expr) -> list[Statement]:
            a, b = term(row, at(lane), k)
            value = acc[row, vector, lane] + a * b
            return [Store(acc, (row, vector, lane), value)]

        return block(
            Local(acc),
            tile(lambda lane: [Store(acc, (row, vector, lane), before(row, at(lane)))]),
            repeat(k, depth, tile(multiply)),
            tile(lambda lane: done(row, at(lane), acc[row, vector, lane])),
        )

    def finish(self, rows: _Block) -> tuple[Statement, ...]:
        """Return the quotients of sums and totals as output."""
        row = counter(self.name("r"), rows.size)
        share = Buffer(f"share{self.name('_')}", (1,))
        inverse = Select(self.total[row].equals(0.0), expr(0.0), 1.0 / self.total[row])

        def write(at: Expr) -> list[Statement]:
            place = self.work.output.at((self.b, self.h, rows.first + row, at))
            return [Store(self.y, (place,), self.sums[row, at] * share[0])]

        return repeat(
            row,
            rows.size,
            [
                Local(share),
                Store(share, (0,), inverse),
                *self.along(self.width, write),
            ],
        )
