"""Loops over rows; over 400 lines: along a row, and across rows, in all passes.

Sums, norms and softmax are passes over the same rows: a fold into one value, a write
of every element. Vectors run along one loop. Where that is a reduced one, each lane
holds a part of the row and the parts are folded at the end, half onto half; where it is
a kept one, each lane holds a row of its own and nothing has to be folded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import (
    Buffer,
    Expr,
    Kind,
    Let,
    Local,
    Number,
    Statement,
    Store,
    Var,
    expr,
)
from trimtab.compiler.spaces.axes import Digit, digits, join
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    nest,
    repeat,
    strips,
)

__all__ = ["Place", "Point", "Row", "Rows", "choices"]

Term = Callable[["Place"], Expr]
"""A value of an element."""


class Point(NamedTuple):
    """One schedule of passes over rows.

    Attributes:
        vector: the loop along which vectors run: kept loops count first.
        unroll: vectors in a step of it.
        fused: leading kept loops that run in parallel, together; 0 for none.
    """

    vector: int
    unroll: int
    fused: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Loops over tensors of one shape.

    Attributes:
        kept: loops over what is not reduced.
        reduced: loops over a row.
        offsets: where each tensor starts in its buffer.
    """

    kept: tuple[Digit, ...]
    reduced: tuple[Digit, ...]
    offsets: tuple[int, ...]

    @staticmethod
    def of(tensors: Sequence[Layout], axes: Sequence[int], *, groups: int = 1) -> Rows:
        """Return the loops of tensors, the first of which decides their order.

        Args:
            tensors: layouts, all of one shape.
            axes: that are reduced.
            groups: of axis 1: with more than one, only neighbours in a group are
                reduced.
        """
        size = tensors[0].shape[1] // groups if groups > 1 else 1
        loops = sorted(
            digits(tensors, {1: (size,)} if groups > 1 else None),
            key=lambda each: -each.strides[0],
        )
        inside = [
            each
            for each in loops
            if each.axis in axes
            and not (groups > 1 and each.axis == 1 and each.weight >= size)
        ]
        kept = [each for each in loops if each not in inside]
        return Rows(
            kept=tuple(join(kept)),
            reduced=tuple(join(inside)),
            offsets=tuple(each.offset for each in tensors),
        )

    @property
    def loops(self) -> tuple[Digit, ...]:
        """Kept loops, then reduced ones."""
        return (*self.kept, *self.reduced)

    @property
    def length(self) -> int:
        """Elements of a row."""
        found = 1
        for each in self.reduced:
            found *= each.extent
        return found


def choices(rows: Rows, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        rows: the loops.
        lanes: float32 elements of a vector.
        threads: that run it.
    """

    def rank(index: int) -> tuple[bool, bool, int]:
        loop = rows.loops[index]
        near = loop.strides[0] == 1
        # A short row of neighbours costs more to fold than to gather.
        short = index >= len(rows.kept) and loop.extent < 2 * lanes
        return (not near or short, loop.extent < lanes, -loop.extent)

    found: list[Point] = []
    for vector in sorted(range(len(rows.loops)), key=rank):
        outer = [each.extent for index, each in enumerate(rows.kept) if index != vector]
        extent = rows.loops[vector].extent
        unrolls: tuple[int, ...] = (1, 2, 4)
        if vector < len(rows.kept):
            outer.append(-(-rows.kept[vector].extent // lanes))
            if extent >= 4 * lanes:
                unrolls = (4, 2, 1)
        elif extent >= 16 * lanes:
            unrolls = (4, 8, 2, 1)
        elif extent >= 4 * lanes:
            unrolls = (2, 4, 1)
        fused = fused_loops(outer, threads)
        found.extend(
            Point(vector, unroll, each)
            for unroll in unrolls
            for each in dict.fromkeys((fused, 0))
        )
    return found or [Point(-1, 1, 0)]


@final
@dataclass(frozen=True, slots=True)
class Place:
    """An element, or the same for all lanes of a vector.

    Attributes:
        rows: the loops.
        at: their counters.
        vector: number of the vector in its step.
        lane: of it.
    """

    rows: Rows
    at: Mapping[int, Expr]
    vector: Expr
    lane: Expr

    def of(self, tensor: int) -> Expr:
        """Return the place in the buffer of a tensor."""
        total: Expr = Number(0)
        for index, loop in enumerate(self.rows.loops):
            if loop.strides[tensor]:
                total = total + self.at[index] * loop.strides[tensor]
        return total + self.rows.offsets[tensor]


class _Run(NamedTuple):
    """Vectors along a loop.

    Attributes:
        strip: of the loop, in elements.
        vectors: in a step.
        lanes: of each.
    """

    strip: Strip
    vectors: int
    lanes: int


def _runs(extent: int, lanes: int, unroll: int) -> list[_Run]:
    return [
        _Run(strip, max(strip.width // lanes, 1), min(strip.width, lanes))
        for strip in strips(extent, lanes * unroll, lanes)
    ]


@final
class Row:
    """Writes passes over one row, or over a row in each lane.

    Args:
        rows: the loops.
        point: the schedule.
        lanes: float32 elements of a vector.
        at: counters of the kept loops, without lanes.
        across: the lanes where they hold rows of their own, else None.
        names: gives numbers to names.
    """

    def __init__(
        self,
        rows: Rows,
        point: Point,
        lanes: int,
        at: Mapping[int, Expr],
        across: _Run | None,
        names: itertools.count[int],
    ) -> None:
        self.rows, self.point, self.lanes = rows, point, lanes
        self.at, self.across, self.names = at, across, names
        self.shape = (across.vectors, across.lanes) if across else (1, 1)

    def name(self, stem: str) -> str:
        """Return a name that no other has."""
        return f"{stem}_{next(self.names)}"

    # ------------------------------------------------------------ one value a row

    def hold(self, value: Term) -> tuple[list[Statement], Term]:
        """Return statements that keep a value of the row, and the value."""
        kept = Buffer(self.name("row"), self.shape)
        body = self.once(
            lambda place: [Store(kept, (place.vector, place.lane), value(place))]
        )
        return [Local(kept), *body], self._held(kept)

    def _held(self, kept: Buffer) -> Term:
        if self.across:
            return lambda place: kept[place.vector, place.lane]
        return lambda place: kept[0, 0]

    def once(self, action: Callable[[Place], Sequence[Statement]]) -> list[Statement]:
        """Return an action done once for the row, or for each lane's."""
        if not self.across:
            return list(action(Place(self.rows, self.at, Number(0), Number(0))))
        return list(self._lanes(self.at, self.across, action))

    def _lanes(
        self,
        at: Mapping[int, Expr],
        run: _Run,
        action: Callable[[Place], Sequence[Statement]],
    ) -> tuple[Statement, ...]:
        """Return an action for the vectors of a step and their lanes."""
        each = counter(self.name("u"), run.vectors)

        def inner(lane: Expr) -> Sequence[Statement]:
            where = dict(at)
            where[self.point.vector] = at[self.point.vector] + each * run.lanes + lane
            return action(Place(self.rows, where, each, lane))

        return repeat(
            each,
            run.vectors,
            lanes_loop(self.name("v"), run.lanes, inner),
            Kind.UNROLLED,
        )

    # ------------------------------------------------------------ passes over the row

    def each(self, action: Callable[[Place], Sequence[Statement]]) -> list[Statement]:
        """Return an action done for every element of the row."""
        return [
            statement
            for _, body in self._passes(lambda run, place: action(place))
            for statement in body
        ]

    def _passes(
        self, action: Callable[[_Run, Place], Sequence[Statement]]
    ) -> list[tuple[_Run, tuple[Statement, ...]]]:
        """Return the loops of a pass, one nest for each kind of step."""
        first = len(self.rows.kept)
        loops = [
            (counter(self.name("k"), each.extent), each.extent, first + index)
            for index, each in enumerate(self.rows.reduced)
        ]
        at = dict(self.at) | {index: where for where, _, index in loops}
        vector = self.point.vector
        if self.across:
            run = self.across
            body = self._lanes(at, run, lambda place: action(run, place))
            return [(run, nest([loop[:2] for loop in loops], body))]
        if vector < 0:
            run = _Run(Strip(1, 0, 1), 1, 1)
            place = Place(self.rows, at, Number(0), Number(0))
            return [(run, tuple(action(run, place)))]
        found = []
        for run in _runs(self.rows.loops[vector].extent, self.lanes, self.point.unroll):
            step = counter(self.name("i"), run.strip.times)
            inner = dict(at)
            inner[vector] = step * run.strip.width + run.strip.start

            def inside(place: Place, run: _Run = run) -> Sequence[Statement]:
                return action(run, place)

            body = self._lanes(inner, run, inside)
            around = [
                (step, run.strip.times) if index == vector else (where, extent)
                for where, extent, index in loops
            ]
            found.append((run, nest(around, body)))
        return found

    def fold(
        self,
        term: Term,
        start: float,
        join_two: Callable[[Expr, Expr], Expr],
        *,
        keep: Callable[[Place, Expr], Sequence[Statement]] | None = None,
    ) -> tuple[list[Statement], Term]:
        """Return statements that fold a row into one value, and the value.

        Args:
            term: of an element.
            start: of the fold.
            join_two: makes one of an element and what was folded before.
            keep: what else to do with each term.
        """
        sums: dict[_Run, Buffer] = {}

        def add(run: _Run, place: Place) -> list[Statement]:
            total = sums.setdefault(
                run, Buffer(self.name("acc"), (run.vectors, run.lanes))
            )
            value = term(place)
            found: list[Statement] = []
            if keep is not None:
                name = Var(self.name("x"))
                found = [Let(name, value), *keep(place, name)]
                value = name
            where = (place.vector, place.lane)
            return [*found, Store(total, where, join_two(value, total[where]))]

        passes = self._passes(add)
        begin: list[Statement] = []
        for run, total in sums.items():
            begin += [Local(total), *self._fill(total, run, start)]
        body = [*begin, *(statement for _, inner in passes for statement in inner)]
        if self.across:
            return body, self._held(sums[self.across])
        result = Buffer(self.name("all"), (1, 1))
        return [*body, *self._gather(sums, result, join_two)], self._held(result)

    def _fill(self, total: Buffer, run: _Run, start: float) -> tuple[Statement, ...]:
        each = counter(self.name("u"), run.vectors)
        body = lanes_loop(
            self.name("v"),
            run.lanes,
            lambda lane: [Store(total, (each, lane), expr(start))],
        )
        return repeat(each, run.vectors, body, Kind.UNROLLED)

    def _gather(
        self,
        sums: Mapping[_Run, Buffer],
        result: Buffer,
        join_two: Callable[[Expr, Expr], Expr],
    ) -> list[Statement]:
        """Return the fold of all lanes of all vectors into one value."""
        found: list[Statement] = [Local(result)]
        wide = [total for run, total in sums.items() if run.lanes == self.lanes]
        parts = [total[0, 0] for total in sums.values() if total not in wide]
        parts += [
            total[0, lane]
            for total in sums.values()
            if total not in wide
            for lane in range(1, total.shape[1])
        ]
        if wide:
            head = wide[0]
            others = [
                (total, vector)
                for total in wide
                for vector in range(total.shape[0])
                if (total, vector) != (head, 0)
            ]
            half = self.lanes
            for total, vector in others:
                found += self._onto(head, total, vector, 0, half, join_two)
            while half > 1:
                half //= 2
                found += self._onto(head, head, 0, half, half, join_two)
            parts.insert(0, head[0, 0])
        value: Expr = parts[0]
        for part in parts[1:]:
            value = join_two(part, value)
        return [*found, Store(result, (0, 0), value)]

    def _onto(
        self,
        head: Buffer,
        total: Buffer,
        vector: int,
        first: int,
        width: int,
        join_two: Callable[[Expr, Expr], Expr],
    ) -> tuple[Statement, ...]:
        """Return the fold of some lanes onto the first ones."""
        return lanes_loop(
            self.name("v"),
            width,
            lambda lane: [
                Store(
                    head,
                    (0, lane),
                    join_two(total[vector, lane + first], head[0, lane]),
                )
            ],
        )


def over_rows(
    rows: Rows,
    point: Point,
    lanes: int,
    write: Callable[[Row], Sequence[Statement]],
) -> tuple[Statement, ...]:
    """Return the loops over kept axes around what is written for a row.

    Args:
        rows: the loops.
        point: the schedule.
        lanes: float32 elements of a vector.
        write: writes the passes over a row.
    """
    names: itertools.count[int] = itertools.count()
    kept = [
        (index, counter(f"r{index}", each.extent), each.extent)
        for index, each in enumerate(rows.kept)
    ]
    if point.vector >= len(rows.kept) or point.vector < 0:
        at = {index: where for index, where, _ in kept}
        body = write(Row(rows, point, lanes, at, None, names))
        return nest(
            [loop[1:] for loop in kept], body, fused=min(point.fused, len(kept))
        )
    found: list[Statement] = []
    for run in _runs(rows.kept[point.vector].extent, lanes, point.unroll):
        step = counter(f"s{next(names)}", run.strip.times)
        at = {index: where for index, where, _ in kept}
        at[point.vector] = step * run.strip.width + run.strip.start
        body = write(Row(rows, point, lanes, at, run, names))
        loops = [loop[1:] for loop in kept if loop[0] != point.vector]
        loops.append((step, run.strip.times))
        found.extend(
            nest(
                loops,
                body,
                fused=min(point.fused, len(loops)),
                name=f"task{next(names)}",
            )
        )
    return tuple(found)
