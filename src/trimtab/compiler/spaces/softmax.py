"""Softmax and its logarithm along an axis.

The largest element of a row, the sum of the exponentials of the differences to it, and
the quotients: three passes over a row that stays in the nearest cache. The exponentials
are kept in the output, so that each is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import Buffer, Call, Expr, Kernel, Statement, Store
from trimtab.compiler.spaces.parts import larger
from trimtab.compiler.spaces.rows import Place, Point, Row, Rows, choices, over_rows

__all__ = ["Point", "Softmax", "kernel", "points"]

_EXPONENTIAL = 17
"""Operations of `exp_flushed`."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """A softmax.

    Attributes:
        input: layout of the tensor.
        output: layout of the result, of the same shape.
        axis: along which the result adds up to one.
        logarithm: whether the result is the logarithm.
    """

    input: Layout
    output: Layout
    axis: int
    logarithm: bool = False

    @property
    def rows(self) -> Rows:
        """The loops over input and output."""
        axis = self.axis % len(self.input.shape)
        return Rows.of((self.input, self.output), (axis,))

    @property
    def flops(self) -> int:
        """Maximum, exponential of a difference, sum and scaling of each element."""
        return math.prod(self.input.shape) * (_EXPONENTIAL + 4)

    @property
    def read_bytes(self) -> int:
        """Of the input."""
        return 4 * math.prod(self.input.shape)

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


def points(work: Softmax, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    return choices(work.rows, lanes=lanes, threads=threads)


def kernel(
    work: Softmax, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule; parameters are input and output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    x = Buffer("x", (work.input.size,))
    y = Buffer("y", (work.output.size,))
    if threads == 1:
        point = point._replace(fused=0)

    def write(row: Row) -> Sequence[Statement]:
        found, top = row.fold(lambda place: x[place.of(0)], -math.inf, larger)

        def term(place: Place) -> Expr:
            return Call("exp_flushed", (x[place.of(0)] - top(place),))

        def keep(place: Place, value: Expr) -> list[Statement]:
            return [Store(y, (place.of(1),), value)]

        body, total = row.fold(
            term, 0.0, lambda value, so_far: so_far + value,
            keep=None if work.logarithm else keep,
        )  # fmt: skip
        found += body
        if work.logarithm:
            body, shift = row.hold(
                lambda place: top(place) + Call("log", (total(place),))
            )

            def result(place: Place) -> Expr:
                return x[place.of(0)] - shift(place)
        else:
            body, scale = row.hold(lambda place: 1.0 / total(place))

            def result(place: Place) -> Expr:
                return y[place.of(1)] * scale(place)

        found += body
        return [
            *found,
            *row.each(lambda place: [Store(y, (place.of(1),), result(place))]),
        ]

    return Kernel(
        name=name,
        parameters=(x, y),
        body=over_rows(work.rows, point, lanes, write),
    )
