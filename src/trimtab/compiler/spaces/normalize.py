"""Layer, group, instance and root-mean-square normalisation.

``y = formula((x - mean) / sqrt(variance + eps) * weight + bias)``, mean and variance of
the elements of a row; without the mean ``y = x / sqrt(mean of squares + eps) *
weight``. Three passes over a row that stays in the nearest cache: the variance is a
mean of squared differences, which loses nothing where the mean is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from trimtab.compiler.formula import IDENTITY, Formula
from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import Buffer, Call, Expr, Kernel, Statement, Store
from trimtab.compiler.spaces.parts import operations
from trimtab.compiler.spaces.rows import Place, Point, Row, Rows, choices, over_rows

__all__ = ["Normalize", "Point", "kernel", "points"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize:
    """A normalisation and what is done to its result.

    Attributes:
        input: layout of the tensor.
        output: layout of the result, of the same shape.
        axes: over which mean and variance are taken.
        groups: of axis 1, where only neighbours in a group belong together.
        eps: added to the variance.
        centered: whether the mean is subtracted.
        weight: layout of a factor, broadcast to the shape, or None.
        bias: layout of what is added, broadcast to the shape, or None.
        formula: slot 0 is the result, the others are `operands`.
        operands: layouts of further tensors, broadcast to the shape of the output.
    """

    input: Layout
    output: Layout
    axes: tuple[int, ...]
    groups: int = 1
    eps: float
    centered: bool = True
    weight: Layout | None = None
    bias: Layout | None = None
    formula: Formula = IDENTITY
    operands: tuple[Layout, ...] = ()

    @property
    def affine(self) -> tuple[Layout, ...]:
        """Layouts of weight and bias, those there are."""
        return tuple(each for each in (self.weight, self.bias) if each is not None)

    @property
    def rows(self) -> Rows:
        """The loops over input, output, weight, bias and operands."""
        shape = self.input.shape
        others = (each.broadcast(shape) for each in (*self.affine, *self.operands))
        return Rows.of(
            (self.input, self.output, *others), self.axes, groups=self.groups
        )

    @property
    def flops(self) -> int:
        """Sum, squared difference, scaling: 1 + 3 + 2, or 2 + 1 without the mean."""
        each = (6 if self.centered else 3) + len(self.affine)
        return math.prod(self.input.shape) * (each + operations(self.formula))

    @property
    def read_bytes(self) -> int:
        """Of the input, the parameters and the operands, each element once."""
        constants = sum(each.size for each in self.affine)
        others = sum(math.prod(each.shape) for each in self.operands)
        return 4 * (math.prod(self.input.shape) + constants + others)

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


def points(work: Normalize, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    return choices(work.rows, lanes=lanes, threads=threads)


def kernel(
    work: Normalize, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: input, weight and bias where there are, operands, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    x = Buffer("x", (work.input.size,))
    y = Buffer("y", (work.output.size,))
    constants = [
        Buffer(stem, (layout.size,))
        for stem, layout in (("weight", work.weight), ("bias", work.bias))
        if layout is not None
    ]
    others = [
        Buffer(f"other{index}", (layout.size,))
        for index, layout in enumerate(work.operands)
    ]
    rows = work.rows
    share = 1.0 / rows.length
    if threads == 1:
        point = point._replace(fused=0)

    def add(value: Expr, so_far: Expr) -> Expr:
        return so_far + value

    def write(row: Row) -> Sequence[Statement]:
        found: list[Statement] = []

        def centre(place: Place) -> Expr:
            return x[place.of(0)]

        if work.centered:
            body, total = row.fold(centre, 0.0, add)
            found += body
            body, mean = row.hold(lambda place: total(place) * share)
            found += body

            def centre(place: Place) -> Expr:
                return x[place.of(0)] - mean(place)

        def square(place: Place) -> Expr:
            return centre(place) * centre(place)

        body, squares = row.fold(square, 0.0, add)
        found += body
        body, scale = row.hold(
            lambda place: 1.0 / Call("sqrt", (squares(place) * share + work.eps,))
        )
        found += body

        def finish(place: Place) -> list[Statement]:
            value = centre(place) * scale(place)
            tensor = 2
            for buffer in constants:
                each = buffer[place.of(tensor)]
                value = value * each if buffer.name == "weight" else value + each
                tensor += 1
            values = [value]
            values += [
                buffer[place.of(tensor + index)] for index, buffer in enumerate(others)
            ]
            lets, result = work.formula.emit(values, row.name("_"))
            return [*lets, Store(y, (place.of(1),), result)]

        return [*found, *row.each(finish)]

    return Kernel(
        name=name,
        parameters=(x, *constants, *others, y),
        body=over_rows(rows, point, lanes, write),
    )
