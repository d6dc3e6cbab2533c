"""Sums, means, maxima and minima along axes.

``y[kept] = formula(fold of x[kept, reduced])``. The loops are those of
`trimtab.compiler.spaces.rows`: parts of a row in the lanes of a few vectors where the
elements of a row lie together, else a row in each lane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from trimtab.compiler.formula import IDENTITY, Formula
from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import Buffer, Expr, Kernel, Statement, Store
from trimtab.compiler.spaces.parts import larger, operations, smaller
from trimtab.compiler.spaces.rows import Place, Point, Row, Rows, choices, over_rows

__all__ = ["Point", "Reduce", "kernel", "points"]

_STARTS = {"sum": 0.0, "mean": 0.0, "max": -math.inf, "min": math.inf}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reduce:
    """A fold along axes and what is done to its result.

    Attributes:
        input: layout of the tensor.
        output: layout of the result, the reduced axes kept with one element.
        axes: that are reduced.
        kind: of the fold.
        formula: slot 0 is the result, the others are `operands`.
        operands: layouts of further tensors, broadcast to the shape of the output.
    """

    input: Layout
    output: Layout
    axes: tuple[int, ...]
    kind: Literal["sum", "mean", "max", "min"]
    formula: Formula = IDENTITY
    operands: tuple[Layout, ...] = ()

    @property
    def rows(self) -> Rows:
        """The loops over input, output and operands."""
        shape = self.input.shape
        others = (each.broadcast(shape) for each in (self.output, *self.operands))
        return Rows.of((self.input, *others), self.axes)

    @property
    def flops(self) -> int:
        """One for each element, and the formula."""
        outputs = math.prod(self.output.shape)
        return math.prod(self.input.shape) + outputs * operations(self.formula)

    @property
    def read_bytes(self) -> int:
        """Of the input and the operands."""
        others = sum(math.prod(each.shape) for each in self.operands)
        return 4 * (math.prod(self.input.shape) + others)

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


def points(work: Reduce, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    return choices(work.rows, lanes=lanes, threads=threads)


def kernel(
    work: Reduce, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule; parameters are input, operands, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    x = Buffer("x", (work.input.size,))
    y = Buffer("y", (work.output.size,))
    others = [
        Buffer(f"other{index}", (layout.size,))
        for index, layout in enumerate(work.operands)
    ]
    rows = work.rows
    if threads == 1:
        point = point._replace(fused=0)

    def join_two(value: Expr, so_far: Expr) -> Expr:
        if work.kind == "max":
            return larger(value, so_far)
        if work.kind == "min":
            return smaller(value, so_far)
        return so_far + value

    def write(row: Row) -> Sequence[Statement]:
        body, total = row.fold(
            lambda place: x[place.of(0)], _STARTS[work.kind], join_two
        )

        def finish(place: Place) -> list[Statement]:
            value = total(place)
            if work.kind == "mean":
                value = value * (1.0 / rows.length)
            values = [value]
            values += [
                buffer[place.of(2 + index)] for index, buffer in enumerate(others)
            ]
            lets, result = work.formula.emit(values, row.name("_"))
            return [*lets, Store(y, (place.of(1),), result)]

        return [*body, *row.once(finish)]

    return Kernel(
        name=name,
        parameters=(x, *others, y),
        body=over_rows(rows, point, lanes, write),
    )
