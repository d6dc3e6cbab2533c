"""Elementwise formulas, and copies from one layout to another.

``y[i] = formula(a[i], b[i], ...)`` over tensors of one shape, each with a layout of its
own: broadcast, packed, strided, a slice of a larger buffer. With the identity it packs,
unpacks, transposes, or writes a piece of a concatenation.

The schedule: axes are split where a layout has blocks and joined where all layouts run
on, so that two tensors of equal layout become one long line whatever their rank. Where
all operands lie along the output's line (or do not move), vectors run along it. Where
one does not, a transpose, vectors run along the operand's line and a tile of them is
written across: the compiler turns such a tile into shuffles of registers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.formula import Formula
from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import (
    Buffer,
    Expr,
    Kernel,
    Kind,
    Number,
    Statement,
    Store,
)
from trimtab.compiler.spaces.axes import Digit, digits, join
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    nest,
    operations,
    repeat,
    storage,
    strips,
)

__all__ = ["Elementwise", "Point", "kernel", "points"]

_ITEM_BYTES = {"bool": 1, "uint8": 1, "int8": 1, "int64": 8, "float64": 8}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Elementwise:
    """A formula over the elements of tensors.

    Attributes:
        output: layout of the result.
        formula: a slot for each operand.
        operands: layouts, all of the output's shape (`Layout.broadcast`).
        dtype: of all; other than float32 with the identity only.
    """

    output: Layout
    formula: Formula
    operands: tuple[Layout, ...]
    dtype: str = "float32"

    @property
    def elements(self) -> int:
        """Of the output."""
        return math.prod(self.output.shape)

    @property
    def flops(self) -> int:
        """Arithmetic of the formula for all elements."""
        return self.elements * operations(self.formula)

    @property
    def item_bytes(self) -> int:
        """Of one element."""
        return _ITEM_BYTES.get(self.dtype, 4)

    @property
    def read_bytes(self) -> int:
        """Of all operands, each element once."""
        return self.item_bytes * sum(map(_distinct, self.operands))

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return self.item_bytes * self.elements


def _distinct(layout: Layout) -> int:
    """Return how many elements a tensor has before it is broadcast."""
    return math.prod(
        extent
        for axis, (extent, stride) in enumerate(
            zip(layout.shape, layout.strides, strict=True)
        )
        if stride or axis == layout.axis
    )


class Point(NamedTuple):
    """One schedule.

    Attributes:
        vector: the dimension along which vectors run, as `dimensions` counts them.
        tile: steps along the output's line that are written together where it is
            another dimension; else 1.
        unroll: vectors in a step of the innermost loop.
        fused: leading loops that run in parallel, together; 0 for none.
    """

    vector: int
    tile: int
    unroll: int
    fused: int = 0


def dimensions(work: Elementwise) -> list[Digit]:
    """Return the fewest loops that visit all elements, in the output's order.

    Raises:
        ValueError: blocks of one axis do not divide each other.

    Example:
        >>> from trimtab.compiler.formula import IDENTITY
        >>> from trimtab.compiler.layout import packed, row_major
        >>> shape = (1, 16, 4, 4)
        >>> work = Elementwise(
        ...     output=packed(shape, block=8),
        ...     formula=IDENTITY,
        ...     operands=(row_major(shape),),
        ... )
        >>> for each in dimensions(work):
        ...     print(each.extent, each.strides)
        2 (128, 128)
        16 (8, 1)
        8 (1, 16)
    """
    tensors = (work.output, *work.operands)
    # A stride of 0 in the output cannot be; the stable sort keeps equals in order.
    loops = sorted(digits(tensors), key=lambda each: -each.strides[0])
    return join(loops) or [Digit(1, (1,) * len(tensors))]


def points(work: Elementwise, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    dims = dimensions(work)
    line = len(dims) - 1
    straight = all(stride in (0, 1) for stride in dims[line].strides)

    def lines(index: int) -> int:
        return sum(stride == 1 for stride in dims[index].strides[1:])

    others = [index for index in range(line) if lines(index)]
    order = sorted(others, key=lines, reverse=True)
    found: list[Point] = []
    for vector in (line, *order) if straight or not others else (*order, line):
        if vector == line:
            shapes = [(1, 4), (1, 2), (1, 1), (1, 8)]
        else:
            shapes = [(lanes, 2), (lanes // 2, 1), (lanes, 1), (2 * lanes, 1)]
        for tile, unroll in shapes:
            extents = [each.extent for each in dims[:vector]]
            extents = extents or [-(-dims[vector].extent // (lanes * unroll))]
            found.extend(
                Point(vector, tile, unroll, fused)
                for fused in dict.fromkeys((fused_loops(extents, threads), 0))
            )
    return found


def kernel(
    work: Elementwise, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule; parameters are the operands, then the output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    point = point if threads > 1 else point._replace(fused=0)
    return _Writer(work, point, lanes).kernel(name)


class _Writer:
    """Writes one kernel."""

    def __init__(self, work: Elementwise, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        self.dims = dimensions(work)
        dtype = storage(work.dtype)
        self.inputs = [
            Buffer(f"x{index}", (layout.size,), dtype)
            for index, layout in enumerate(work.operands)
        ]
        self.y = Buffer("y", (work.output.size,), dtype)
        self.tag = 0

    def kernel(self, name: str) -> Kernel:
        vector = self.point.vector
        at = {
            index: counter(f"i{index}", each.extent)
            for index, each in enumerate(self.dims)
        }
        body: list[Statement] = []
        for part in strips(
            self.dims[vector].extent, self.lanes * self.point.unroll, self.lanes
        ):
            body.extend(self.across(at, part))
        loops = [(at[index], self.dims[index].extent) for index in range(vector)]
        return Kernel(
            name=name,
            parameters=(*self.inputs, self.y),
            body=nest(loops, body, fused=min(self.point.fused, len(loops))),
        )

    def across(self, at: Mapping[int, Expr], part: Strip) -> tuple[Statement, ...]:
        """Return the vectors of a strip, and all loops inside."""
        vector, line = self.point.vector, len(self.dims) - 1
        step = counter(self.name("v"), part.times)
        inner: list[Statement] = []
        if vector == line:
            inner.extend(self.tile(at, part, step, None, Number(0)))
        else:
            for strip in strips(self.dims[line].extent, self.point.tile):
                along = counter(self.name("t"), strip.times)
                body = self.tile(at, part, step, strip, along)
                inner.extend(repeat(along, strip.times, body))
        between = [
            (at[index], self.dims[index].extent) for index in range(vector + 1, line)
        ]
        # The outermost loop that can run in parallel where vectors run along it.
        kind = Kind.PARALLEL if self.point.fused and vector == 0 else Kind.SERIAL
        return repeat(step, part.times, nest(between, inner), kind)

    def tile(
        self,
        at: Mapping[int, Expr],
        part: Strip,
        step: Expr,
        strip: Strip | None,
        along: Expr,
    ) -> tuple[Statement, ...]:
        """Return vectors side by side, and those at the next steps of the line."""
        vector, line = self.point.vector, len(self.dims) - 1
        height = strip.width if strip else 1
        width = min(part.width, self.lanes)
        row = counter(self.name("r"), height)
        each = counter(self.name("u"), part.width // width)

        def store(lane: Expr) -> tuple[Statement, ...]:
            where: dict[int, Expr] = dict(at)
            if strip:
                where[line] = along * height + row + strip.start
            where[vector] = step * part.width + each * width + lane + part.start
            return self.element(where)

        body = lanes_loop(self.name("l"), width, store)
        body = repeat(each, part.width // width, body, Kind.UNROLLED)
        return repeat(row, height, body, Kind.UNROLLED)

    def element(self, at: Mapping[int, Expr]) -> tuple[Statement, ...]:
        """Return one element, or the same for all lanes of a vector."""
        work = self.work
        values = [
            buffer[self.place(index + 1, layout.offset, at)]
            for index, (buffer, layout) in enumerate(
                zip(self.inputs, work.operands, strict=True)
            )
        ]
        lets, result = work.formula.emit(values, self.name("_"))
        place = self.place(0, work.output.offset, at)
        return (*lets, Store(self.y, (place,), result))

    def place(self, tensor: int, offset: int, at: Mapping[int, Expr]) -> Expr:
        total: Expr = Number(0)
        for index, dimension in enumerate(self.dims):
            stride = dimension.strides[tensor]
            if stride:
                total = total + at[index] * stride
        return total + offset

    def name(self, stem: str) -> str:
        self.tag += 1
        return f"{stem}{self.tag}"


def broadcast(shape: Sequence[int], *layouts: Layout) -> tuple[Layout, ...]:
    """Return layouts expanded to a shape.

    Example:
        >>> from trimtab.compiler.layout import row_major
        >>> broadcast((2, 3), row_major((3,)))[0].strides
        (0, 1)
    """
    return tuple(layout.broadcast(shape) for layout in layouts)
