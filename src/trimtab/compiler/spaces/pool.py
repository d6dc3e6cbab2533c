"""Pooling; over 400 lines: windows of a fixed size, and those that give a size.

Everything about a window is known when the kernel is written: which of its pixels lie
in the image, and by what a mean is divided. So outputs are grouped into segments in
which that is the same (an edge, the inside, the other edge), and each segment has code
of its own, without a test and without reading what stands around an image: a maximum
must not see the zeros of a halo. Where there would be many segments (irregular adaptive
windows, wide padding) places are computed as the kernel runs, and a place outside is
moved to one that the window has.

The schedule: vectors run along channels that lie together, or along a row of a plain
tensor; a tile of vectors by columns stays in registers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

from trimtab.compiler.formula import IDENTITY, Formula
from trimtab.compiler.layout import Layout, Split
from trimtab.compiler.loops import (
    Buffer,
    Cast,
    Expr,
    Kernel,
    Local,
    Number,
    Select,
    Statement,
    Store,
    Value,
    block,
    expr,
    maximum,
    minimum,
)
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    larger,
    nest,
    operations,
    repeat,
    strips,
)

__all__ = ["Point", "Pool", "Window", "kernel", "points"]

_SEGMENTS = 8
"""Segments of an axis that have code of their own, at most."""

_WRITTEN = 12
"""Taps of a row that are written out, at most."""


class Window(NamedTuple):
    """One output's part of one axis.

    Attributes:
        first: place of the first pixel in the image.
        taps: how many are in the image.
        divisor: what it adds to the divisor of a mean, as a factor.
    """

    first: int
    taps: int
    divisor: int


class Segment(NamedTuple):
    """Outputs whose windows are alike.

    Attributes:
        start: the first output.
        extent: how many.
        window: of the first output.
        step: between first pixels.
    """

    start: int
    extent: int
    window: Window
    step: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pooling over ``(N, C, H, W)`` and what is done to its result.

    Attributes:
        input: layout of the images; what stands around them is never read.
        output: layout of the result, whose shape the operator has decided (also in
            `ceil_mode`).
        kind: what is taken of a window.
        kernel: height and width of the window; of no meaning if `adaptive`.
        stride: along height and width; of no meaning if `adaptive`.
        padding: above and left, the same below and right; 0 if `adaptive`.
        dilation: along height and width, of a maximum.
        adaptive: whether windows are those that give the output's size.
        include_padding: whether a mean counts the padding.
        divisor: of a mean, instead of the count.
        formula: slot 0 is the result, the others are `operands`.
        operands: layouts of further tensors, broadcast to the shape of the output.
    """

    input: Layout
    output: Layout
    kind: Literal["max", "mean"]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    adaptive: bool = False
    include_padding: bool = True
    divisor: int | None = None
    formula: Formula = IDENTITY
    operands: tuple[Layout, ...] = ()

    def windows(self, axis: int) -> list[Window]:
        """Return the windows of all outputs along height (0) or width (1)."""
        size, outputs = self.input.shape[2 + axis], self.output.shape[2 + axis]
        if self.adaptive:
            ends = [
                (index * size // outputs, -(-(index + 1) * size // outputs))
                for index in range(outputs)
            ]
            return [Window(low, high - low, high - low) for low, high in ends]
        found = []
        pad, reach = self.padding[axis], self.dilation[axis]
        for index in range(outputs):
            low = index * self.stride[axis] - pad
            places = [low + tap * reach for tap in range(self.kernel[axis])]
            inside = [place for place in places if 0 <= place < size]
            count = min(low + self.kernel[axis], size + pad) - low
            found.append(
                Window(
                    inside[0] if inside else 0,
                    len(inside),
                    count if self.include_padding else len(inside),
                )
            )
        return found

    def segments(self, axis: int) -> list[Segment]:
        """Return the outputs along an axis in runs whose windows are alike.

        Example:
            >>> from trimtab.compiler.layout import row_major
            >>> pool = Pool(
            ...     input=row_major((1, 1, 8, 8)), output=row_major((1, 1, 4, 4)),
            ...     kind="max", kernel=(3, 3), stride=(2, 2), padding=(1, 1),
            ... )
            >>> for each in pool.segments(0):
            ...     print(each.start, each.extent, each.window, each.step)
            0 1 Window(first=0, taps=2, divisor=3) 0
            1 3 Window(first=1, taps=3, divisor=3) 2
        """
        found: list[Segment] = []
        for index, window in enumerate(self.windows(axis)):
            if found:
                last = found[-1]
                step = window.first - (
                    last.window.first + (last.extent - 1) * last.step
                )
                if window[1:] == last.window[1:] and (
                    last.extent == 1 or step == last.step
                ):
                    found[-1] = last._replace(extent=last.extent + 1, step=step)
                    continue
            found.append(Segment(index, 1, window, 0))
        return found

    @property
    def flops(self) -> int:
        """One for each pixel of each window, and the formula."""
        batch, channels = self.output.shape[:2]
        taps = math.prod(
            sum(window.taps for window in self.windows(axis)) for axis in (0, 1)
        )
        formula = math.prod(self.output.shape) * operations(self.formula)
        return batch * channels * taps + formula

    @property
    def read_bytes(self) -> int:
        """Of the input and the operands, each element once."""
        others = sum(math.prod(layout.shape) for layout in self.operands)
        return 4 * (math.prod(self.input.shape) + others)

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


class Point(NamedTuple):
    """One schedule.

    Attributes:
        axis: along which vectors run: c or w.
        vectors: of channels in the register tile; 1 where vectors run along w.
        columns: of the register tile, in pixels or in vectors of them.
        order: of the loops around the tile, outermost first: n, c, h, w.
        fused: leading loops that run in parallel, together; 0 for none.
    """

    axis: Literal["c", "w"]
    vectors: int
    columns: int
    order: str = "nchw"
    fused: int = 0


def points(work: Pool, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    height, width = work.output.shape[2:]
    near = work.output.contiguous_along(1)
    axes: tuple[Literal["c", "w"], ...] = ("c", "w")
    if near == 1 and width > 1:
        axes = ("w", "c")
    elif near > 1 and near == work.input.contiguous_along(1):
        axes = ("c",)
    found: list[Point] = []
    for axis in axes:
        tiles = [(1, 4), (1, 2), (1, 7), (1, 8), (1, 1)]
        if axis == "c":
            tiles += [(2, 4), (2, 2), (4, 1), (8, 1), (2, 1), (4, 2)]
            if height * width == 1:
                tiles.sort(key=lambda tile: (tile[1], abs(tile[0] - 4)))
        last = axis == "c" and near > lanes  # channels last
        for order in ("nhwc", "nchw") if last else ("nchw", "nhcw"):
            for vectors, columns in tiles:
                point = Point(axis, vectors, columns, order)
                outer = _steps(work, point, lanes)
                found.extend(
                    point._replace(fused=fused)
                    for fused in dict.fromkeys((fused_loops(outer, threads), 0))
                )
    return found


def at_once(work: Pool, point: Point, *, lanes: int) -> int:
    """Return how many pieces of a schedule can run at once, without its loops."""
    return math.prod(_steps(work, point, lanes)[: point.fused])


def _steps(work: Pool, point: Point, lanes: int) -> list[int]:
    """Return how often each loop around the tiles runs, outermost first."""
    batch, channels, height, width = work.output.shape
    alongside = point.axis == "w"
    steps = {
        "n": batch,
        "c": channels if alongside else -(-channels // (lanes * point.vectors)),
        "h": height,
        "w": -(-width // (point.columns * (lanes if alongside else 1))),
    }
    return [steps[each] for each in point.order]


def kernel(work: Pool, point: Point, *, lanes: int, threads: int, name: str) -> Kernel:
    """Return the loop nest of a schedule; parameters are input, operands, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    point = point if threads > 1 else point._replace(fused=0)
    return _Writer(work, point, lanes).kernel(name)


class _Run(NamedTuple):
    """Steps of a loop: a part of a segment.

    Attributes:
        segment: of which.
        strip: of its outputs.
        at: the counter.
    """

    segment: Segment
    strip: Strip
    at: Expr

    @property
    def inside(self) -> Expr:
        """The first output of a step, counted in the segment."""
        return self.at * self.strip.width + self.strip.start


class _Place(NamedTuple):
    """Pixels of a window along one axis, seen from one output.

    Attributes:
        first: the first pixel, or the place of the window's first tap.
        taps: how many, at most.
        low: the first tap inside where that is computed, else None.
        high: the tap after the last one inside.
        divisor: what it adds to the divisor of a mean, as a factor.
    """

    first: Expr
    taps: int
    low: Expr | None
    high: Expr
    divisor: Expr


class _Writer:
    """Writes one kernel."""

    def __init__(self, work: Pool, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        self.x = Buffer("x", (work.input.size,))
        self.others = [
            Buffer(f"other{index}", (layout.size,))
            for index, layout in enumerate(work.operands)
        ]
        self.y = Buffer("y", (work.output.size,))
        self.count = itertools.count()
        self.axes = [self.segments(axis) for axis in (0, 1)]

    def segments(self, axis: int) -> list[Segment]:
        """Return the segments of an axis, a single one where places are computed."""
        found = self.work.segments(axis)
        if len(found) <= _SEGMENTS:
            return found
        extent = self.work.output.shape[2 + axis]
        return [Segment(0, extent, Window(-1, 0, 0), 0)]

    def kernel(self, name: str) -> Kernel:
        return Kernel(
            name=name,
            parameters=(self.x, *self.others, self.y),
            body=self.loops(self.point.order, {}, self.point.fused),
        )

    # ------------------------------------------------------------ loops around

    def loops(
        self, order: str, at: Mapping[str, _Run], fused: int
    ) -> tuple[Statement, ...]:
        if not order:
            return self.tile(str(next(self.count)), at)
        lead, rest = order[: max(fused, 1)], order[max(fused, 1) :]
        found: list[Statement] = []
        for parts in itertools.product(*map(self.steps, lead)):
            tag = str(next(self.count))
            runs = {
                stem: _Run(segment, strip, counter(f"{stem}{tag}", strip.times))
                for stem, (segment, strip) in zip(lead, parts, strict=True)
            }
            body = self.loops(rest, {**at, **runs}, 0)
            loops = [(run.at, run.strip.times) for run in runs.values()]
            found.extend(nest(loops, body, fused=fused, name=f"task{tag}"))
        return tuple(found)

    def steps(self, dimension: str) -> list[tuple[Segment, Strip]]:
        batch, channels = self.work.output.shape[:2]
        point, lanes = self.point, self.lanes
        alongside = point.axis == "w"
        if dimension in "nc":
            extent = batch if dimension == "n" else channels
            whole = Segment(0, extent, Window(0, 1, 1), 1)
            widths = [1] if dimension == "n" or alongside else [
                point.vectors * lanes, lanes
            ]  # fmt: skip
            return [(whole, strip) for strip in strips(extent, *widths)]
        widths = [1]
        if dimension == "w":
            widths = [point.columns * lanes, lanes] if alongside else [point.columns]
        return [
            (segment, strip)
            for segment in self.axes["hw".index(dimension)]
            for strip in strips(segment.extent, *widths)
        ]

    # ------------------------------------------------------------ register tile

    def tile(self, tag: str, at: Mapping[str, _Run]) -> tuple[Statement, ...]:
        work, alongside = self.work, self.point.axis == "w"
        row, column = at["h"].inside, at["w"].inside
        width = at["w" if alongside else "c"].strip.width
        lanes = min(width, self.lanes)
        vectors = 1 if alongside else width // lanes
        columns = at["w"].strip.width // (lanes if alongside else 1)
        every = list(itertools.product(range(vectors), range(columns)))
        acc = Buffer(f"acc{tag}", (vectors, columns, lanes))
        vertical = self.place(0, at["h"].segment, row)

        def where(q: int, p: int, lane: Expr) -> tuple[Split | Expr, Expr]:
            """Return channel and column, the column counted in its segment."""
            if alongside:
                return at["c"].inside, column + (p * lanes) + lane
            strip = at["c"].strip
            if lanes == self.lanes:
                number = at["c"].at * vectors + strip.start // lanes
                return Split(number + q, lane, lanes), column + p
            return at["c"].inside + lane, column + p

        def begin(q: int, p: int) -> tuple[Statement, ...]:
            start = expr(-math.inf if work.kind == "max" else 0.0)
            return lanes_loop(
                f"v{tag}", lanes, lambda lane: (Store(acc, (q, p, lane), start),)
            )

        def visit(q: int, p: int, k: Expr, tap: Expr) -> tuple[Statement, ...]:
            def take(lane: Expr) -> tuple[Statement, ...]:
                channel, j = where(q, p, lane)
                horizontal = self.place(1, at["w"].segment, j)
                y, in_rows = self.pixel(0, vertical, k)
                x, in_columns = self.pixel(1, horizontal, tap)
                value: Expr = self.x[work.input.at((at["n"].at, channel, y, x))]
                if work.kind == "max":
                    value = larger(value, acc[q, p, lane])
                else:
                    for inside in (in_rows, in_columns):
                        if inside is not None:
                            value = Select(inside, value, expr(0.0))
                    value = acc[q, p, lane] + value
                return (Store(acc, (q, p, lane), value),)

            return lanes_loop(f"v{tag}", lanes, take)

        def finish(q: int, p: int) -> tuple[Statement, ...]:
            def done(lane: Expr) -> tuple[Statement, ...]:
                channel, j = where(q, p, lane)
                horizontal = self.place(1, at["w"].segment, j)
                place = (
                    at["n"].at,
                    channel,
                    row + at["h"].segment.start,
                    j + at["w"].segment.start,
                )
                value: Expr = acc[q, p, lane]
                if work.kind == "mean":
                    value = self.mean(value, vertical.divisor * horizontal.divisor)
                values = [value]
                values += [
                    buffer[layout.at(place)]
                    for buffer, layout in zip(self.others, work.operands, strict=True)
                ]
                lets, result = work.formula.emit(values, f"{tag}_{q}_{p}")
                return (*lets, Store(self.y, (work.output.at(place),), result))

            return lanes_loop(f"v{tag}", lanes, done)

        taps = self.place(1, at["w"].segment, Number(0)).taps
        k, tap = counter(f"k{tag}", vertical.taps), counter(f"l{tag}", taps)
        computed = at["w"].segment.window.first < 0
        if not computed and taps <= _WRITTEN and taps * columns <= 4 * _WRITTEN:
            window: Sequence[Statement] = block(
                *(visit(q, p, k, Number(each)) for q, p, each in self.visits(
                    vectors, columns, taps, at["w"].segment.step))
            )  # fmt: skip
        else:
            window = repeat(tap, taps, block(*(visit(q, p, k, tap) for q, p in every)))
        return block(
            Local(acc),
            *(begin(q, p) for q, p in every),
            repeat(k, vertical.taps, window) if vertical.taps * taps else (),
            *(finish(q, p) for q, p in every),
        )

    def visits(
        self, vectors: int, columns: int, taps: int, step: int
    ) -> list[tuple[int, int, int]]:
        """Return vector, column and tap, those of one pixel one after another."""
        reach = 1 if self.work.adaptive else self.work.dilation[1]
        every = itertools.product(range(vectors), range(columns), range(taps))
        return sorted(
            every, key=lambda each: (each[0], each[1] * step + each[2] * reach)
        )

    # ------------------------------------------------------------ windows

    def place(self, axis: int, segment: Segment, output: Expr) -> _Place:
        """Return the window of an output, which is counted in its segment."""
        window = segment.window
        if window.first >= 0:
            first = output * segment.step + window.first
            return _Place(
                first, window.taps, None, Number(window.taps), Number(window.divisor)
            )
        work = self.work
        size, outputs = work.input.shape[2 + axis], work.output.shape[2 + axis]
        if work.adaptive:
            first = output * size // outputs
            taps = ((output + 1) * size + (outputs - 1)) // outputs - first
            most = max(window.taps for window in work.windows(axis))
            return _Place(first, most, Number(0), taps, taps)
        pad, reach, extent = (
            each[axis] for each in (work.padding, work.dilation, work.kernel)
        )
        first = output * work.stride[axis] - pad
        low = maximum(0, (first * -1 + (reach - 1)) // reach)
        high = minimum(extent, (first * -1 + (size - 1 + reach)) // reach)
        count = high - low
        if work.include_padding:
            count = minimum(extent, first * -1 + (size + pad))
        return _Place(first, extent, low, high, count)

    def pixel(self, axis: int, place: _Place, tap: Expr) -> tuple[Expr, Expr | None]:
        """Return the pixel of a tap, and whether it is in the image if that varies."""
        reach = 1 if self.work.adaptive else self.work.dilation[axis]
        if place.low is None:
            return place.first + tap * reach, None
        moved = maximum(place.low, minimum(place.high - 1, tap))
        return place.first + moved * reach, moved.equals(tap)

    def mean(self, total: Expr, count: Value) -> Expr:
        """Return a sum divided by what the operator says."""
        if self.work.divisor is not None:
            count = Number(self.work.divisor)
        if isinstance(count, Number):
            return total * (1.0 / count.value)
        return total / Cast("float32", expr(count))
