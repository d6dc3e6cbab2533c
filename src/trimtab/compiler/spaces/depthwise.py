"""Depthwise convolutions: each channel by itself.

``y[n, o, h, w] = formula(bias[o] + sum_{k, l} x[n, o // m, h s + k d, w s + l d] *
weight[o, k, l])``, m output channels for each input channel.

The schedule: vectors run along channels that lie together; a register tile of `rows` x
`columns` pixels takes the whole window. There is little arithmetic for each byte, so
what matters is how often a pixel is loaded: with the taps of a row written out and its
pixels visited once each, every load serves all the sums that it belongs to.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.formula import Formula
from trimtab.compiler.layout import Layout, Split
from trimtab.compiler.loops import (
    Buffer,
    Expr,
    Kernel,
    Local,
    Number,
    Statement,
    Store,
    block,
    expr,
)
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    fused_loops,
    lanes_loop,
    nest,
    operations,
    repeat,
    strips,
)

__all__ = ["Depthwise", "Point", "kernel", "pack_order", "points"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Depthwise:
    """A depthwise convolution and what is done to its result.

    Attributes:
        input: layout of ``(N, C, H, W)``; its halo covers the padding.
        output: layout of ``(N, C m, OH, OW)``.
        kernel: height and width of the window.
        stride: along height and width.
        padding: above and left.
        dilation: along height and width.
        formula: slot 0 is the sum, the others are `operands`.
        operands: layouts of further tensors, broadcast to the shape of the output.
        bias: whether the sum starts from a value for each output channel.
    """

    input: Layout
    output: Layout
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    formula: Formula
    operands: tuple[Layout, ...] = ()
    bias: bool = False

    @property
    def multiplier(self) -> int:
        """Output channels of an input channel."""
        return self.output.shape[1] // self.input.shape[1]

    @property
    def taps(self) -> int:
        """Products in a sum."""
        return math.prod(self.kernel)

    @property
    def flops(self) -> int:
        """Two for each multiply-add, and the formula."""
        each = 2 * self.taps + operations(self.formula)
        return math.prod(self.output.shape) * each

    @property
    def read_bytes(self) -> int:
        """Input, weights, bias and operands, each element once."""
        channels = self.output.shape[1]
        constants = channels * (self.taps + self.bias)
        others = sum(math.prod(layout.shape) for layout in self.operands)
        return 4 * (math.prod(self.input.shape) + constants + others)

    @property
    def write_bytes(self) -> int:
        """Of the output."""
        return 4 * math.prod(self.output.shape)


class Point(NamedTuple):
    """One schedule.

    Attributes:
        rows: of pixels in the register tile.
        columns: of pixels in the register tile.
        written: rows of the window that are written out; 1, or all.
        order: of the loops around the tile, outermost first: n, c (vectors of
            channels), h, w.
        fused: leading loops that run in parallel, together; 0 for none.
    """

    rows: int
    columns: int
    written: int
    order: str = "nchw"
    fused: int = 0


def pack_order(work: Depthwise, lanes: int) -> Iterator[tuple[int, int]]:
    """Yield first output channel and channels of each block of the packed weights.

    A block holds ``[kernel height, kernel width, channels]``.
    """
    for strip in strips(work.output.shape[1], lanes):
        for index in range(strip.times):
            yield strip.start + index * strip.width, strip.width


def points(work: Depthwise, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    batch, channels, height, width = work.output.shape
    vectors = -(-channels // lanes)
    last = work.output.contiguous_along(1) > lanes  # channels last
    found: list[Point] = []
    orders = ("nhwc", "nchw", "nhcw") if last else ("nchw", "nhcw")
    tiles = [
        (rows, columns)
        for rows in range(1, min(height, 4) + 1)
        for columns in range(1, min(width, 14) + 1)
        if rows * columns <= 16
    ]
    tiles.sort(key=lambda tile: _tile_rank(tile, height, width))
    for order in orders:
        extents = {"n": batch, "c": vectors}
        for rows, columns in tiles:
            extents |= {"h": -(-height // rows), "w": -(-width // columns)}
            outer = [extents[each] for each in order]
            for fused in dict.fromkeys((fused_loops(outer, threads), 0)):
                found.extend(
                    Point(rows, columns, written, order, fused)
                    for written in dict.fromkeys((work.kernel[0], 1))
                    if written * work.kernel[1] * rows * columns <= 200 or written == 1
                )
    return found


def _tile_rank(
    tile: tuple[int, int], height: int, width: int
) -> tuple[float, int, int]:
    """Return what a rule of thumb says of a register tile; less is better.

    Fewer than six sums wait for each other's products, more than eight leave few
    registers for pixels and weights.
    """
    total = 0.0
    for hs, ws in itertools.product(strips(height, tile[0]), strips(width, tile[1])):
        sums = hs.width * ws.width
        total += hs.times * ws.times * max(sums, 6) * (1.2 if sums > 8 else 1.0)
    return total, tile[0], -tile[1]


def kernel(
    work: Depthwise, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: input, weight, bias where there is one, operands, output.

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

    def __init__(self, work: Depthwise, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        channels = work.output.shape[1]
        self.x = Buffer("x", (work.input.size,))
        self.w = Buffer("weight", (channels * work.taps,))
        self.b = Buffer("bias", (channels,))
        self.others = [
            Buffer(f"other{index}", (layout.size,))
            for index, layout in enumerate(work.operands)
        ]
        self.y = Buffer("y", (work.output.size,))
        self.count = itertools.count()

    def kernel(self, name: str) -> Kernel:
        bias = (self.b,) if self.work.bias else ()
        return Kernel(
            name=name,
            parameters=(self.x, self.w, *bias, *self.others, self.y),
            body=self.loops(self.point.order, {}, self.point.fused),
        )

    def loops(
        self, order: str, at: Mapping[str, tuple[Strip, Expr]], fused: int
    ) -> tuple[Statement, ...]:
        """Return the loops around the tile; what is left of a dimension goes inside."""
        if not order:
            return self.tile(str(next(self.count)), at)
        lead, rest = order[: max(fused, 1)], order[max(fused, 1) :]
        found: list[Statement] = []
        for parts in itertools.product(*map(self.strips, lead)):
            tag = str(next(self.count))
            counters = [
                counter(f"{stem}{tag}", part.times)
                for stem, part in zip(lead, parts, strict=True)
            ]
            inner = dict(at) | dict(
                zip(lead, zip(parts, counters, strict=True), strict=True)
            )
            loops = [
                (each, part.times) for each, part in zip(counters, parts, strict=True)
            ]
            body = self.loops(rest, inner, 0)
            found.extend(nest(loops, body, fused=fused, name=f"task{tag}"))
        return tuple(found)

    def strips(self, dimension: str) -> list[Strip]:
        batch, channels, height, width = self.work.output.shape
        extent, step = {
            "n": (batch, 1),
            "c": (channels, self.lanes),
            "h": (height, self.point.rows),
            "w": (width, self.point.columns),
        }[dimension]
        return strips(extent, step)

    def tile(
        self, tag: str, at: Mapping[str, tuple[Strip, Expr]]
    ) -> tuple[Statement, ...]:
        """Return the sums of a register tile."""
        work, sample = self.work, at["n"][1]
        (cs, c), (hs, h), (ws, w) = at["c"], at["h"], at["w"]
        rows, columns, lanes = hs.width, ws.width, cs.width
        row, column = h * rows + hs.start, w * columns + ws.start
        first = c * lanes + cs.start
        acc = Buffer(f"acc{tag}", (rows, columns, lanes))
        full = lanes == self.lanes

        def channel(lane: Expr) -> Split | Expr:
            return Split(c + cs.start // lanes, lane, lanes) if full else first + lane

        def source(lane: Expr) -> Split | Expr:
            if work.multiplier == 1:
                return channel(lane)
            return (first + lane) // work.multiplier

        def begin(q: int, p: int) -> tuple[Statement, ...]:
            def start(lane: Expr) -> tuple[Statement, ...]:
                value = self.b[first + lane] if work.bias else expr(0.0)
                return (Store(acc, (q, p, lane), value),)

            return lanes_loop(f"v{tag}", lanes, start)

        def finish(q: int, p: int) -> tuple[Statement, ...]:
            def done(lane: Expr) -> tuple[Statement, ...]:
                place = (sample, channel(lane), row + q, column + p)
                values: list[Expr] = [acc[q, p, lane]]
                values += [
                    buffer[layout.at(place)]
                    for buffer, layout in zip(self.others, work.operands, strict=True)
                ]
                lets, result = work.formula.emit(values, f"{tag}_{q}_{p}")
                return (*lets, Store(self.y, (work.output.at(place),), result))

            return lanes_loop(f"v{tag}", lanes, done)

        def product(
            k: Expr, q: int, j: int, p: int, column_tap: int
        ) -> tuple[Statement, ...]:
            def add(lane: Expr) -> tuple[Statement, ...]:
                (sh, sw), (ph, pw) = work.stride, work.padding
                pixel = self.x[
                    work.input.at(
                        (
                            sample,
                            source(lane),
                            row * sh + k * work.dilation[0] + (q * sh - ph),
                            column * sw + (j - pw),
                        )
                    )
                ]
                tap = (k * work.kernel[1] + column_tap) * lanes + lane
                weight = self.w[first * work.taps + tap]
                value = acc[q, p, lane] + pixel * weight
                return (Store(acc, (q, p, lane), value),)

            return lanes_loop(f"v{tag}", lanes, add)

        def window_row(k: Expr) -> list[Statement]:
            found: list[Statement] = []
            for q in range(rows):
                for j, p, each in self.visits(columns):
                    found.extend(product(k, q, j, p, each))
            return found

        every = list(itertools.product(range(rows), range(columns)))
        if self.point.written == 1:
            k = counter(f"k{tag}", work.kernel[0])
            window: Sequence[Statement] = repeat(k, work.kernel[0], window_row(k))
        else:
            window = block(*(window_row(Number(k)) for k in range(work.kernel[0])))
        return block(
            Local(acc),
            *(begin(q, p) for q, p in every),
            window,
            *(finish(q, p) for q, p in every),
        )

    def visits(self, columns: int) -> Iterator[tuple[int, int, int]]:
        """Yield input column, output column and tap; each input column's together."""
        stride, dilation = self.work.stride[1], self.work.dilation[1]
        found = [
            (p * stride + tap * dilation, p, tap)
            for p in range(columns)
            for tap in range(self.work.kernel[1])
        ]
        yield from sorted(found)
