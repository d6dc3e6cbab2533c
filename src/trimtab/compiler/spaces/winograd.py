"""Winograd's convolution; over 400 lines since three stages share places and names.

Windows of 3x3, stride one, by minimal filtering: F(2x2, 3x3) and F(4x4, 3x3).

A tile of 2x2 (4x4) outputs needs 16 (36) products for a pair of channels instead of 36
(144). Three stages: tiles of the input are transformed, V; for each of the 16 (36)
positions V is multiplied with the transformed weights U, summing over the input
channels, M; tiles of M are transformed to outputs, with bias and formula.

The schedule takes a block of tiles at a time, counted through all samples, so that V of
the block stays in the second-level cache. For a chunk of output channels all positions
are multiplied, with a register tile of tiles x vectors of output channels, and M is
transformed while it is near. U lies in the order of use and streams once for each block
of tiles: large blocks read it less often, small ones keep V near.

Tiles at the lower and right edge read beyond the padding: the halo of the input must
cover that (`required_halo`). Only pixels inside the image are stored. V and M lie in a
scratch buffer, the parameter before the output; what it holds before a call does not
matter, and nothing in it is needed after.

Errors, largest difference to float64 relative to the largest output, for random inputs
behind a ReLU and 64 to 512 channels: F(2x2) 2e-7 to 6e-7, less than direct sums with
1e-6 to 3e-6, whose chains are nine times as long; F(4x4) 1e-6 to 3e-6.

References: S. Winograd, Arithmetic Complexity of Computations, SIAM, 1980. A. Lavin and
S. Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308, 2015: the
stages. Blocks, chunks and the order of U are ours; the register tile is that of
`trimtab.compiler.spaces.contraction`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import final

from trimtab.compiler.layout import Split
from trimtab.compiler.loops import (
    Buffer,
    Expr,
    If,
    Kernel,
    Kind,
    Let,
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
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_plan import (
    LINE,
    Chunk,
    Plan,
    Point,
    Segment,
    check,
    plain,
)
from trimtab.compiler.spaces.winograd_transforms import input_code, output_code

__all__ = ["kernel"]

Statements = tuple[Statement, ...]


def kernel(
    work: Contraction, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: input, transformed weight
    (`trimtab.compiler.spaces.winograd_weights`), bias where there is one, operands,
    scratch of `Plan.scratch_elements`, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.

    Raises:
        UsageError: the family has no kernel for the work, or the halo is too small.
    """
    check(work, point, lanes)
    return _Writer(work, point, lanes, threads).kernel(name)


@final
class _Writer:
    """Writes one kernel."""

    def __init__(
        self, work: Contraction, point: Point, lanes: int, threads: int
    ) -> None:
        self.work, self.point, self.lanes, self.threads = work, point, lanes, threads
        self.plan = Plan.of(work, point, lanes=lanes, threads=threads)
        self.tile, self.edge = point.tile, point.tile + 2
        self.input, self.output = plain(work.input), plain(work.output)
        self.x = Buffer("x", (work.input.size,))
        self.u = Buffer("weight", (self.plan.weight_elements,))
        self.b = Buffer("bias", (work.output.shape[1],))
        self.others = [
            Buffer(f"other{index}", (layout.size,))
            for index, layout in enumerate(work.operands)
        ]
        self.y = Buffer("y", (work.output.size,))
        self.scratch = Buffer("scratch", (self.plan.scratch_elements,))
        self.v_start: Expr = Number(0)
        self.m_start: Expr = Number(self.plan.v_elements)
        self.counter = itertools.count()

    def kernel(self, name: str) -> Kernel:
        bias = (self.b,) if self.work.bias else ()
        if self.threads == 1:
            body = self.loop("b", self.plan.blocks, self.tiles_of_block)
        elif self.plan.shared:
            body = self.parallel_channels()
        else:
            body = self.parallel_tiles()
        return Kernel(
            name=name,
            parameters=(self.x, self.u, *bias, *self.others, self.scratch, self.y),
            body=body,
        )

    def var(self, name: str) -> Var:
        return Var(f"{name}{next(self.counter)}")

    def loop(
        self, name: str, extent: int, body: Callable[[Expr], Sequence[Statement]]
    ) -> Statements:
        """Return a loop; the body alone where it runs once."""
        if extent == 1:
            return tuple(body(Number(0)))
        var = self.var(name)
        return (Loop(var, extent, tuple(body(var))),)

    # ------------------------------------------------------------ loops around

    def parallel_tiles(self) -> Statements:
        """Each thread takes blocks of tiles and has a V and an M."""
        plan, thread = self.plan, self.var("s")
        each = -(-plan.blocks // self.threads)
        self.v_start = thread * plan.slice_elements
        self.m_start = self.v_start + plan.v_elements
        ragged = each * self.threads > plan.blocks

        def turn(index: Expr) -> Statements:
            number = thread * each + index
            condition = number.less(plan.blocks) if ragged else None
            return _guarded(condition, self.tiles_of_block(number))

        body = self.loop("b", each, turn)
        return (Loop(thread, self.threads, body, Kind.PARALLEL),)

    def parallel_channels(self) -> Statements:
        """Threads share V: they part the input channels, then the output channels."""
        plan, first = self.plan, Number(0)
        found: list[Statement] = []
        for segment in plan.inputs:
            var = self.var("c")
            body = self.input_tiles(segment, var, first)
            found.append(Loop(var, segment.count, body, Kind.PARALLEL))
        thread = self.var("s")
        self.m_start = thread * plan.m_elements + plan.v_elements
        chunks: list[Statement] = []
        # The chunk that is left over goes to the thread with fewest whole ones.
        turns = (thread, expr(self.threads - 1) - thread)
        for chunk, turn in zip(plan.chunks, turns, strict=False):
            each = -(-chunk.count // self.threads)
            ragged = each * self.threads > chunk.count

            def mine(
                index: Expr,
                chunk: Chunk = chunk,
                start: Expr = turn * each,
                ragged: bool = ragged,
            ) -> Statements:
                number = start + index
                condition = number.less(chunk.count) if ragged else None
                return _guarded(condition, self.chunk(chunk, number, first))

            chunks.extend(self.loop("k", each, mine))
        found.append(Loop(thread, self.threads, tuple(chunks), Kind.PARALLEL))
        return tuple(found)

    def tiles_of_block(self, number: Expr) -> Statements:
        first = number * self.plan.block
        found: list[Statement] = []
        for segment in self.plan.inputs:
            found += self.loop(
                "c",
                segment.count,
                lambda c, segment=segment: self.input_tiles(segment, c, first),  # type: ignore[misc]
            )
        for chunk in self.plan.chunks:
            found += self.loop(
                "k",
                chunk.count,
                lambda k, chunk=chunk: self.chunk(chunk, k, first),  # type: ignore[misc]
            )
        return tuple(found)

    def chunk(self, chunk: Chunk, index: Expr, first: Expr) -> Statements:
        return self.products(chunk, index, first) + self.outputs(chunk, index, first)

    def present(self, tile: Expr, body: Statements) -> Statements:
        """Return the body for a tile that is there: the last block may be short."""
        plan = self.plan
        short = plan.blocks * plan.block > plan.tiles
        return _guarded(tile.less(plan.tiles) if short else None, body)

    def place_of(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """Return sample, and first row and column of the outputs of a tile."""
        row = tile // self.plan.across
        return (
            row // self.plan.down,
            row % self.plan.down * self.tile,
            tile % self.plan.across * self.tile,
        )

    def stage(
        self,
        lanes: int,
        code: Callable[..., list[Expr]],
        load: Callable[[int, Var], Expr],
        finish: Callable[[list[Statement], Sequence[Expr], Var], None],
    ) -> Loop:
        """Return one dimension of a transform, for a vector of channels."""
        body: list[Statement] = []

        def name(value: Expr) -> Var:
            var = self.var("t")
            body.append(Let(var, value))
            return var

        v = self.var("v")
        loaded = [name(load(index, v)) for index in range(self.edge)]
        finish(body, code(self.tile, loaded, name), v)
        return Loop(v, lanes, tuple(body), Kind.VECTOR)

    # ------------------------------------------------------------ input to V

    def input_tiles(self, segment: Segment, c: Expr, first: Expr) -> Statements:
        """Transform the tiles of a block, for a vector of input channels.

        V is ``[position][vector][tile][lane]``.
        """
        plan, lanes, edge = self.plan, segment.lanes, self.edge
        _, _, down, across = self.input.strides
        top, left = self.work.padding

        def one(t: Expr) -> Statements:
            sample, row, column = self.place_of(first + t)
            x, v0 = self.var("x"), self.var("to")
            i, j = self.var("i"), self.var("j")
            half = Buffer(self.var("half").name, (edge, edge, lanes))

            def keep(body: list[Statement], values: Sequence[Expr], v: Var) -> None:
                body += [Store(half, (k, j, v), e) for k, e in enumerate(values)]

            def store(body: list[Statement], values: Sequence[Expr], v: Var) -> None:
                for k, value in enumerate(values):
                    place = v0 + i * (edge * plan.v_stride) + k * plan.v_stride + v
                    body.append(Store(self.scratch, (place,), value))

            columns = self.stage(
                lanes,
                input_code,
                lambda k, v: self.x[x + j * across + k * down + v],
                keep,
            )
            rows = self.stage(lanes, input_code, lambda k, v: half[i, k, v], store)
            channel = Split(c + segment.start // self.lanes, expr(0), self.lanes)
            start = self.input.at((sample, channel, row - top, column - left))
            return self.present(
                first + t,
                (
                    Let(x, start),
                    Let(v0, self.v_start + self.in_v(segment, c, t)),
                    Local(half),
                    Loop(j, edge, (columns,)),
                    Loop(i, edge, (rows,)),
                ),
            )

        return self.loop("t", plan.block, one)

    def in_v(self, segment: Segment, c: Expr, tile: Expr) -> Expr:
        """Return where a vector of input channels of a tile is within a position."""
        place = c * (self.plan.block * segment.lanes) + tile * segment.lanes
        return place + segment.start * self.plan.block

    # ------------------------------------------------------------ V times U to M

    def products(self, chunk: Chunk, index: Expr, first: Expr) -> Statements:
        """Multiply all positions for a chunk of output channels.

        M is ``[position][vector of the chunk][tile][lane]``.
        """
        plan = self.plan
        depth = self.work.input.shape[1]
        size = depth * chunk.channels
        start = index * (size * plan.positions) + chunk.start * depth * plan.positions

        def position(p: Expr) -> list[Statement]:
            found: list[Statement] = []
            for group in chunk.groups:

                def body(g: Expr, group: Segment = group) -> list[Statement]:
                    panel = group.step * group.lanes * depth
                    u = start + p * size + g * panel + group.start * depth
                    vector = g * group.step + group.start // self.lanes
                    return self.row_of_tiles(group, p, u, vector, first)

                found += self.loop("g", group.count, body)
            return found

        return self.loop("p", plan.positions, position)

    def row_of_tiles(
        self, group: Segment, p: Expr, u: Expr, vector: Expr, first: Expr
    ) -> list[Statement]:
        """Run the register tile over a block, while its part of U is near."""
        rows = min(self.point.rows, self.plan.block)
        turns, rest = divmod(self.plan.block, rows)

        def body(r: Expr) -> Statements:
            share = (r, turns) if self.point.prefetch else None
            return self.present(
                first + r * rows,
                self.register_tile(group, p, u, vector, r * rows, rows, share),
            )

        found = list(self.loop("r", turns, body))
        if rest:
            start = Number(turns * rows)
            last = self.register_tile(group, p, u, vector, start, rest, None)
            found += self.present(first + start, last)
        return found

    def register_tile(
        self,
        group: Segment,
        p: Expr,
        u: Expr,
        vector: Expr,
        start: Expr,
        rows: int,
        share: tuple[Expr, int] | None,
    ) -> Statements:
        plan, lanes, vectors = self.plan, group.lanes, group.step
        width = vectors * lanes
        q, j, v = self.var("q"), self.var("j"), self.var("v")
        acc = Buffer(self.var("acc").name, (rows, vectors, lanes))

        def all_of(body: Statement) -> Statements:
            inner = Loop(v, lanes, (body,), Kind.VECTOR)
            return unroll(q, rows, unroll(j, vectors, inner))

        def sums(segment: Segment, c: Expr) -> list[Statement]:
            x = self.v_start + p * plan.v_stride + self.in_v(segment, c, start)

            def steps(count: int, begin: int, size: int) -> Statements:
                k = self.var("k")

                def body(i: Expr) -> Statements:
                    lane = i * size + begin + (k if size > 1 else 0)
                    depth = c * segment.lanes + segment.start + lane
                    product = (
                        self.scratch[x + q * segment.lanes + lane]
                        * self.u[u + depth * width + j * lanes + v]
                    )
                    add = Store(acc, (q, j, v), acc[q, j, v] + product)
                    return unroll(k, size, all_of(add)) if size > 1 else all_of(add)

                return self.loop("i", count, body)

            step = min(self.point.unroll, segment.lanes)
            count, rest = divmod(segment.lanes, step)
            found = list(steps(count, 0, step))
            if rest:
                found += steps(1, count * step, rest)
            if share is not None:
                found[:0] = self.ahead(segment, c, u, width, *share)
            return found

        total: list[Statement] = []
        for segment in plan.inputs:
            total += self.loop(
                "c",
                segment.count,
                lambda c, segment=segment: sums(segment, c),  # type: ignore[misc]
            )
        m = self.m_start + p * plan.m_stride
        m = m + (vector * plan.block + start) * self.lanes
        place = m + (j * plan.block + q) * self.lanes + v
        return block(
            Local(acc),
            all_of(Store(acc, (q, j, v), expr(0.0))),
            total,
            all_of(Store(self.scratch, (place,), acc[q, j, v])),
        )

    def ahead(
        self, segment: Segment, c: Expr, u: Expr, width: int, turn: Expr, turns: int
    ) -> list[Statement]:
        """Ask for the next part of U; the register tiles of a block take turns.

        Past the end of U nothing is there to fetch, which does no harm.
        """
        lines = -(-segment.lanes * width // LINE)
        mine = -(-lines // turns)
        following = u + width * self.work.input.shape[1]
        line = following + (c * (turns * mine) + turn * mine) * LINE
        return [Prefetch(self.u, (line + k * LINE,)) for k in range(mine)]

    # ------------------------------------------------------------ M to output

    def outputs(self, chunk: Chunk, index: Expr, first: Expr) -> Statements:
        """Transform a chunk of output channels and finish it."""
        found: list[Statement] = []
        whole = chunk.channels // self.lanes
        vector = index * whole + chunk.start // self.lanes
        parts = [(0, whole, self.lanes), (whole, 1, chunk.channels % self.lanes)]
        for start, count, lanes in parts:
            if not count or not lanes:
                continue

            def tiles(o: Expr, start: int = start, lanes: int = lanes) -> Statements:
                slot = o + start
                return self.loop(
                    "t",
                    self.plan.block,
                    lambda t: self.output_tile(slot, vector + slot, t, first, lanes),
                )

            found += self.loop("o", count, tiles)
        return tuple(found)

    def output_tile(
        self, slot: Expr, vector: Expr, t: Expr, first: Expr, lanes: int
    ) -> Statements:
        work, plan, tile, edge = self.work, self.plan, self.tile, self.edge
        m, i, j = self.var("m"), self.var("i"), self.var("j")
        n, row, column = self.var("n"), self.var("row"), self.var("column")
        half = Buffer(self.var("half").name, (tile, edge, lanes))
        channel = Split(vector, expr(0), self.lanes)
        _, _, height, width = work.output.shape
        starts = [
            (layout, self.var("at"))
            for layout in (self.output, *map(plain, work.operands))
        ]

        def at(index: int, k: int, v: Var) -> Expr:
            layout, start = starts[index]
            along = 1 if layout.axis == 1 else layout.strides[1]
            return start + i * layout.strides[2] + k * layout.strides[3] + v * along

        def keep(body: list[Statement], values: Sequence[Expr], v: Var) -> None:
            body += [Store(half, (k, j, v), value) for k, value in enumerate(values)]

        def finish(body: list[Statement], values: Sequence[Expr], v: Var) -> None:
            for k, value in enumerate(values):
                total = value + self.b[channel.whole + v] if work.bias else value
                slots = [total]
                for index, buffer in enumerate(self.others):
                    slots.append(buffer[at(index + 1, k, v)])
                lets, result = work.formula.emit(slots, f"_{next(self.counter)}")
                inside = (column + k).less(width) if k and width % tile else None
                stored = Store(self.y, (at(0, k, v),), result)
                body += _guarded(inside, (*lets, stored))

        columns = self.stage(
            lanes,
            output_code,
            lambda k, v: self.scratch[
                m + j * plan.m_stride + k * (edge * plan.m_stride) + v
            ],
            keep,
        )
        rows = self.stage(lanes, output_code, lambda k, v: half[i, k, v], finish)
        inside = (row + i).less(height) if height % tile else None
        places = self.place_of(first + t)
        where = (n, channel, row, column)
        return self.present(
            first + t,
            (
                Let(m, self.m_start + (slot * plan.block + t) * self.lanes),
                *(Let(a, b) for a, b in zip((n, row, column), places, strict=True)),
                *(Let(start, layout.at(where)) for layout, start in starts),
                Local(half),
                Loop(j, edge, (columns,)),
                Loop(i, tile, _guarded(inside, (rows,))),
            ),
        )


def _guarded(condition: Expr | None, body: Sequence[Statement]) -> Statements:
    return tuple(body) if condition is None else (If(condition, tuple(body)),)
