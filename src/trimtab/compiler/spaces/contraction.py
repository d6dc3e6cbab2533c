"""Convolutions, dense layers, products; over 400 lines: one writer of one nest.

``y[n, o, h, w] = formula(bias[o] + sum_{c, k, l} x[n, c, h s + k d, w s + l d] *
weight[o, c, k, l])``. A dense layer is the case of one row and no window, its samples
standing along w; a batched product the case of one weight a sample.

The schedule: a register tile of `rows` x `columns` pixels and `vectors` vectors of
output channels stays in registers while the whole sum runs through it; weights are
packed in the order they are read, so that they stream. What is left to choose is the
tile, the order of the loops around it, how far the sum is unrolled, and whether the
weights of the next block are asked for while this one is computed.

Reference: the packed layout and register tile are those of oneDNN and BLIS (Van Zee and
van de Geijn, ACM TOMS 41(3), 2015); the prefetch of cold weights is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from trimtab.compiler.formula import Formula
from trimtab.compiler.layout import Layout, Split
from trimtab.compiler.loops import (
    Buffer,
    Expr,
    Kernel,
    Kind,
    Local,
    Loop,
    Number,
    Prefetch,
    Statement,
    Store,
    Var,
    block,
    expr,
    unroll,
)

__all__ = ["Contraction", "Point", "channel_segments", "kernel"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Contraction:
    """A sum of products and what is done to its result.

    Attributes:
        input: layout of ``(N, C, H, W)``; its halo covers the padding.
        output: layout of ``(N, O, OH, OW)``.
        kernel: height and width of the window.
        stride: along height and width.
        padding: above and left.
        dilation: along height and width.
        groups: of channels.
        formula: slot 0 is the sum, the others are `operands`.
        operands: layouts of further tensors, broadcast to the shape of the output.
        bias: whether the sum starts from a value for each output channel.
        weight: layout of ``(N, K, O)`` where the weight is no constant (a batched
            product); None for a packed constant.
    """

    input: Layout
    output: Layout
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    formula: Formula
    operands: tuple[Layout, ...] = ()
    bias: bool = False
    weight: Layout | None = None

    @property
    def outputs_per_group(self) -> int:
        """Output channels of a group."""
        return self.output.shape[1] // self.groups

    @property
    def inputs_per_group(self) -> int:
        """Input channels of a group."""
        return self.input.shape[1] // self.groups

    @property
    def depth(self) -> int:
        """Products in a sum."""
        return self.inputs_per_group * self.kernel[0] * self.kernel[1]

    @property
    def flops(self) -> int:
        """Two for each multiply-add."""
        batch, channels, height, width = self.output.shape
        return 2 * batch * channels * height * width * self.depth


class Point(NamedTuple):
    """One schedule of a contraction.

    Attributes:
        rows: of pixels in the register tile.
        columns: of pixels in the register tile.
        vectors: of output channels in the register tile.
        unroll: input channels unrolled in the innermost loop.
        order: of the loops around the tile, outermost first: n, g (blocks of output
            channels), h, w.
        prefetch: whether the weights of the next block are asked for.
        fused: leading loops that run in parallel, together; 0 for none.
        partials: into which each sum is split, a divisor of `unroll`: a tile too small
            to hide the latency of an addition has more sums to take turns.
    """

    rows: int
    columns: int
    vectors: int
    unroll: int
    order: str
    prefetch: bool = False
    fused: int = 1
    partials: int = 1


@final
@dataclass(frozen=True, slots=True)
class _Segment:
    """Equal steps along one dimension.

    Attributes:
        count: of steps.
        start: of the first.
        step: what one covers; for output channels in vectors.
        lanes: of a vector, for output channels.
        weights: where the packed weights of the segment start, in elements.
    """

    count: int
    start: int
    step: int
    lanes: int = 1
    weights: int = 0


def _cover(extent: int, step: int) -> list[_Segment]:
    """Return steps that cover an extent, and what is left."""
    step = min(step, extent)
    whole, rest = divmod(extent, step)
    found = [_Segment(whole, 0, step)]
    if rest:
        found.append(_Segment(1, whole * step, rest))
    return found


def channel_segments(
    channels: int, depth: int, vectors: int, lanes: int
) -> list[_Segment]:
    """Return how output channels are covered: groups of vectors, and what is left.

    Starts are in channels. The packed weights lie segment after segment, a block of
    ``[depth, vectors, lanes]`` for each step; the depth runs as the kernel sums: blocks
    of input channels, window rows, window columns, channels of a block.
    """
    full, rest = divmod(channels, lanes)
    found: list[_Segment] = []
    groups, left = divmod(full, min(vectors, full) if full else 1)
    if groups:
        size = min(vectors, full)
        found.append(_Segment(groups, 0, size, lanes, 0))
    if left:
        start = (full - left) * lanes
        found.append(_Segment(1, start, left, lanes, start * depth))
    if rest:
        start = full * lanes
        found.append(_Segment(1, start, 1, rest, start * depth))
    return found


def kernel(
    work: Contraction, point: Point, *, lanes: int, threads: int, name: str
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
    return _Writer(work, point, lanes, threads).kernel(name)


class _Writer:
    """Writes one kernel."""

    def __init__(
        self, work: Contraction, point: Point, lanes: int, threads: int
    ) -> None:
        self.work, self.point, self.lanes, self.threads = work, point, lanes, threads
        self.x = Buffer("x", (work.input.size,))
        size = work.weight.size if work.weight else work.output.shape[1] * work.depth
        self.w = Buffer("weight", (size,))
        self.b = Buffer("bias", (work.output.shape[1],))
        self.others = [
            Buffer(f"other{index}", (layout.size,))
            for index, layout in enumerate(work.operands)
        ]
        self.y = Buffer("y", (work.output.size,))
        self.counter = itertools.count()

    def kernel(self, name: str) -> Kernel:
        bias = (self.b,) if self.work.bias else ()
        return Kernel(
            name=name,
            parameters=(self.x, self.w, *bias, *self.others, self.y),
            body=self.nest(self._dimensions(), {}, 0),
        )

    # ------------------------------------------------------------ loops around

    def _dimensions(self) -> list[str]:
        order = self.point.order
        if self.work.groups > 1:  # weights of a group are read together
            order = order.replace("g", "pg")
        return list(order)

    def segments(self, dimension: str) -> list[_Segment]:
        batch, _, height, width = self.work.output.shape
        match dimension:
            case "n":
                return [_Segment(batch, 0, 1)]
            case "p":
                return [_Segment(self.work.groups, 0, 1)]
            case "h":
                return _cover(height, self.point.rows)
            case "w":
                return _cover(width, self.point.columns)
            case _:
                return channel_segments(
                    self.work.outputs_per_group,
                    self.work.depth,
                    self.point.vectors,
                    self.lanes,
                )

    def leading(self, dimensions: Sequence[str]) -> int:
        """Return how many leading dimensions hold the loops that run in parallel.

        Those of one step are no loops: the next takes their place.
        """
        loops = 0
        if not self.point.fused or self.threads == 1:
            return 0
        for place, dimension in enumerate(dimensions):
            segments = self.segments(dimension)
            loops += len(segments) > 1 or segments[0].count > 1
            if loops == self.point.fused:
                return place + 1
        return len(dimensions)

    def nest(
        self,
        dimensions: Sequence[str],
        at: Mapping[str, tuple[_Segment, Expr]],
        depth: int,
    ) -> tuple[Statement, ...]:
        if not dimensions:
            return self.tile(at)
        parallel = 0 if depth else self.leading(dimensions)
        fused = max(1, parallel)
        lead, rest = dimensions[:fused], dimensions[fused:]
        found: list[Statement] = []
        for segments in itertools.product(*map(self.segments, lead)):
            total = 1
            for segment in segments:
                total *= segment.count
            if total == 1:
                index: Expr = Number(0)
            else:
                index = Var("".join(lead) + str(next(self.counter)))
            inner = dict(at)
            left = total
            remaining: Expr = index
            for dimension, segment in zip(lead, segments, strict=True):
                if segment.count == 1:
                    inner[dimension] = (segment, Number(0))
                    continue
                left //= segment.count
                mine = remaining // left if left > 1 else remaining
                if left > 1:
                    remaining = remaining % left
                inner[dimension] = (segment, mine)
            body = self.nest(rest, inner, depth + fused)
            if isinstance(index, Var):
                kind = Kind.PARALLEL if parallel else Kind.SERIAL
                found.append(Loop(index, total, body, kind))
            else:
                found.extend(body)
        return tuple(found)

    # ------------------------------------------------------------ register tile

    def tile(self, at: Mapping[str, tuple[_Segment, Expr]]) -> tuple[Statement, ...]:
        work = self.work
        sample = at["n"][1]
        channels, group_index = at["g"]
        (hs, hi), (ws, wi) = at["h"], at["w"]
        group = at["p"][1] if "p" in at else Number(0)
        rows, columns = hs.step, ws.step
        first_row = hi * rows + hs.start
        first_column = wi * columns + ws.start
        lanes, vectors = channels.lanes, channels.step
        first = (
            group * work.outputs_per_group
            + group_index * (vectors * lanes)
            + channels.start
        )
        tag = str(next(self.counter))
        partials = self.point.partials
        acc = Buffer(f"acc{tag}", (partials, rows, columns, vectors, lanes))
        q, p, j, v = (Var(f"{n}{tag}") for n in "qpjv")

        def pixels(body: Callable[[], Sequence[Statement]]) -> tuple[Statement, ...]:
            return unroll(q, rows, unroll(p, columns, unroll(j, vectors, body())))

        def channel() -> Split | Expr:
            if work.groups > 1 and work.outputs_per_group % lanes:
                return first + (j * lanes + v)  # a group may begin inside a vector
            return Split(self._vector(at) + j, v, lanes)

        def where() -> tuple[Expr, Split | Expr, Expr, Expr]:
            if lanes != self.lanes:  # the last channels, fewer than a vector
                return sample, first + v, first_row + q, first_column + p
            return sample, channel(), first_row + q, first_column + p

        def start() -> Sequence[Statement]:
            bias = self.b[first + (j * lanes + v)] if work.bias else expr(0.0)
            stores = [
                Store(acc, (part, q, p, j, v), expr(0.0) if part else bias)
                for part in range(partials)
            ]
            return [Loop(v, lanes, (each,), Kind.VECTOR) for each in stores]

        def finish() -> Sequence[Statement]:
            place = where()
            total: Expr = acc[0, q, p, j, v]
            for part in range(1, partials):
                total = total + acc[part, q, p, j, v]
            values = [total]
            values += [
                buffer[layout.at(place)]
                for buffer, layout in zip(self.others, work.operands, strict=True)
            ]
            lets, result = work.formula.emit(values, tag)
            store = Store(self.y, (work.output.at(place),), result)
            return [Loop(v, lanes, (*lets, store), Kind.VECTOR)]

        def weight(k: Expr) -> Expr:
            if work.weight is not None:
                column = (
                    Split(self._vector(at) + j, v, lanes)
                    if lanes == self.lanes
                    else first + v
                )
                return self.w[work.weight.at((sample, k, column))]
            base = group * (work.outputs_per_group * work.depth) + channels.weights
            base = base + group_index * (vectors * lanes * work.depth)
            return self.w[base + k * (vectors * lanes) + (j * lanes + v)]

        def update(
            c: Expr | Split, k: Expr, across: Expr, depth: Expr, turn: Expr
        ) -> Sequence[Statement]:
            (sh, sw), (dh, dw), (ph, pw) = work.stride, work.dilation, work.padding
            x = self.x[
                work.input.at(
                    (
                        sample,
                        c,
                        (first_row + q) * sh + (k * dh - ph),
                        (first_column + p) * sw + (across * dw - pw),
                    )
                )
            ]
            part = turn % partials if partials > 1 else Number(0)
            value = acc[part, q, p, j, v] + x * weight(depth)
            store = Store(acc, (part, q, p, j, v), value)
            return [Loop(v, lanes, (store,), Kind.VECTOR)]

        return block(
            Local(acc),
            pixels(start),
            self.reduction(tag, group, at, lambda *sums: pixels(lambda: update(*sums))),
            pixels(finish),
        )

    def _vector(self, at: Mapping[str, tuple[_Segment, Expr]]) -> Expr:
        """Return the number of the first vector of channels, whole vectors only."""
        channels, index = at["g"]
        group = at["p"][1] if "p" in at else Number(0)
        return (
            group * (self.work.outputs_per_group // self.lanes)
            + index * channels.step
            + channels.start // self.lanes
        )

    def reduction(
        self,
        tag: str,
        group: Expr,
        at: Mapping[str, tuple[_Segment, Expr]],
        body: Callable[[Expr | Split, Expr, Expr, Expr, Expr], Sequence[Statement]],
    ) -> tuple[Statement, ...]:
        """Return the loops of the sum.

        Args:
            tag: ends the names of variables.
            group: of channels.
            at: where the tile stands.
            body: one product of every sum of the tile, for input channel, row and
                column of the window, place in the depth, and step of the unrolled loop.
        """
        work = self.work
        height, width = work.kernel
        inputs = work.inputs_per_group
        size = input_block(work)
        blocks = inputs // size
        step = min(self.point.unroll, size)
        i, k, m, c, u = (Var(f"{n}{tag}") for n in "ikmcu")
        k_at: Expr = k if height > 1 else Number(0)
        m_at: Expr = m if width > 1 else Number(0)
        i_at: Expr = i if blocks > 1 else Number(0)

        def inner(count: int, start: int, width_u: int) -> tuple[Statement, ...]:
            c_at = (c * step if count > 1 else Number(0)) + start
            turn: Expr = u if width_u > 1 else Number(0)
            lane = c_at + turn
            depth = ((i_at * height + k_at) * width + m_at) * size + lane
            channel: Expr | Split = (
                Split(group * blocks + i_at, lane, size)
                if blocks > 1 or work.groups > 1
                else lane
            )
            found = tuple(body(channel, k_at, m_at, depth, turn))
            if width_u > 1:
                found = unroll(u, width_u, found)
            return found if count == 1 else (Loop(c, count, found),)

        whole, rest = divmod(size, step)
        statements = inner(whole, 0, step) + (
            inner(1, whole * step, rest) if rest else ()
        )
        if self.point.prefetch and work.weight is None:
            statements = (*self.ahead(at, i_at, k_at, m_at), *statements)
        for var, extent in ((m, width), (k, height), (i, blocks)):
            if extent > 1:
                statements = (Loop(var, extent, statements),)
        return statements

    def ahead(
        self,
        at: Mapping[str, tuple[_Segment, Expr]],
        i: Expr,
        k: Expr,
        m: Expr,
    ) -> tuple[Statement, ...]:
        """Ask for weights of the next block, a line in each step of the sum.

        The tiles of a block take turns, so that its successor's weights have arrived
        when the last tile is done.
        """
        work, (channels, index) = self.work, at["g"]
        height, width = work.kernel
        steps = work.inputs_per_group // input_block(work) * height * width
        line = 16
        tile: Expr = Number(0)
        for name in self.point.order[self.point.order.index("g") + 1 :]:
            segment, where = at[name]
            tile = tile * segment.count + where
        block_size = channels.step * channels.lanes * work.depth
        step = (i * height + k) * width + m
        ahead = index * block_size + (channels.weights + block_size)
        return (Prefetch(self.w, (ahead + (tile * steps + step) * line,)),)


def input_block(work: Contraction) -> int:
    """Return how many input channels the innermost loop of the sum covers."""
    inputs = work.inputs_per_group
    near = work.input.contiguous_along(1)
    return near if inputs % near == 0 else inputs
