"""Recurrent layers over all time steps, over 400 lines: LSTM, GRU, the plain cell.

The part of the gates that comes from the input is no recurrence: it is one matrix
product for all steps (`trimtab.compiler.spaces.contraction`) and arrives here as
`gates`. What is left, ``h W^T`` and the gates' functions, is one kernel that runs
through the steps:

* LSTM: ``i, f, o = sigmoid(.)``, ``g = tanh(.)``, ``c = f c + i g``, ``h = o tanh(c)``,
  gates in the order i, f, g, o;
* GRU: ``r, z = sigmoid(.)``, ``n = tanh(gates_n + r (h W_n^T + b_n))``,
  ``h = (1 - z) n + z h``, gates in the order r, z, n;
* plain: ``h = tanh(.)`` or ``max(., 0)``.

The schedule: a tile of samples by vectors of hidden units has the sums of all its gates
in registers; the weights lie in the order they are read. Layers on layers and both
directions are several calls.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import (
    Buffer,
    Call,
    Expr,
    Kernel,
    Kind,
    Let,
    Local,
    Statement,
    Store,
    Var,
    block,
    expr,
    maximum,
)
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces.parts import (
    Strip,
    counter,
    lanes_loop,
    repeat,
    strips,
)

__all__ = ["Point", "Recurrent", "asked", "kernel", "pack_order", "points"]

Cell = Literal["lstm", "gru", "tanh", "relu"]

_GATES: Mapping[Cell, int] = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}

_FUNCTIONS: Mapping[Cell, int] = {"lstm": 5 * 20, "gru": 3 * 20, "tanh": 20, "relu": 1}
"""Operations of the gates' functions, about 20 each."""

_WAITS: Mapping[Cell, int] = {"lstm": 2 * 20, "gru": 2 * 20, "tanh": 20, "relu": 1}
"""Of these operations, those that wait for one another before h is there."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """One direction of one layer.

    Attributes:
        cell: what a step does.
        gates: layout of ``(T, N, gates * H)``: the input's part, with its bias.
        output: layout of ``(T, N, H)``, every step's h.
        initial: layout of ``(N, H)`` in the buffers of h and c before the first step;
            None where they are zero.
        final: layout of ``(N, H)`` in the buffers of h and c after the last step.
        bias: whether the hidden part has a bias, ``gates * H`` numbers.
        backward: whether the last step comes first.
    """

    cell: Cell
    gates: Layout
    output: Layout
    initial: Layout | None
    final: Layout
    bias: bool = True
    backward: bool = False

    @property
    def count(self) -> int:
        """Gates of a hidden unit."""
        return _GATES[self.cell]

    @property
    def hidden(self) -> int:
        """Hidden units."""
        return self.output.shape[2]

    @property
    def flops(self) -> int:
        """Products of all steps, and the gates' functions."""
        units = math.prod(self.output.shape)
        return units * (2 * self.count * self.hidden + _FUNCTIONS[self.cell])

    @property
    def read_bytes(self) -> int:
        """Of gates, weights, bias and first state, each element once.

        A step reads all weights again, from the cache that holds them.
        """
        states = (2 if self.cell == "lstm" else 1) * math.prod(self.final.shape)
        weights = self.count * self.hidden * (self.hidden + self.bias)
        first = states if self.initial is not None else 0
        return 4 * (math.prod(self.gates.shape) + weights + first)

    @property
    def write_bytes(self) -> int:
        """Of the output and the last state."""
        states = (2 if self.cell == "lstm" else 1) * math.prod(self.final.shape)
        return 4 * (math.prod(self.output.shape) + states)


class Point(NamedTuple):
    """One schedule.

    Attributes:
        rows: samples of the register tile.
        vectors: of hidden units in the register tile.
        unroll: steps of the sum that are written out.
        parallel: whether groups of samples run in parallel.
    """

    rows: int
    vectors: int
    unroll: int
    parallel: bool = False


def pack_order(work: Recurrent, vectors: int, lanes: int) -> Iterator[tuple[int, int]]:
    """Yield first hidden unit and units of each block of the packed weights.

    A block holds ``[H, gates, units]``: for each h that is read, the weights of all
    gates of the block's units. PyTorch's ``weight_hh`` is ``(gates * H, H)``.
    """
    for strip in strips(work.hidden, vectors * lanes, lanes):
        for index in range(strip.times):
            yield strip.start + index * strip.width, strip.width


def points(work: Recurrent, *, lanes: int, threads: int) -> list[Point]:
    """Return legal schedules, the one a rule of thumb prefers first.

    Args:
        work: what to compute.
        lanes: float32 elements of a vector.
        threads: that run it.
    """
    samples = work.output.shape[1]
    most = max(work.hidden // lanes, 1)
    tiles = [
        (rows, vectors)
        for rows in range(1, min(samples, 12) + 1)
        for vectors in (1, 2, 3, 4, 8)
        if vectors <= most and rows * vectors * work.count <= 12
    ]
    tiles.sort(key=lambda tile: (_cycles(work, tile[0], tile[1], lanes), -tile[0]))
    parallel = (True, False) if threads > 1 and samples > 1 else (False,)
    return [
        Point(rows, vectors, unroll, each)
        for rows, vectors in tiles
        for unroll in (4, 1, 8)
        if unroll <= work.hidden
        for each in parallel
    ]


def _cycles(work: Recurrent, rows: int, vectors: int, lanes: int) -> float:
    """Return what a rule of thumb says of a tile, in cycles for a place in the sums.

    Two products and two loads a cycle; a sum waits four cycles for its last product.
    """
    total = 0.0
    for samples, units in itertools.product(
        strips(work.output.shape[1], rows), strips(work.hidden, vectors * lanes, lanes)
    ):
        wide = work.count * -(-units.width // lanes)
        tile = max(samples.width * wide, samples.width + wide, 8) / 2
        total += samples.times * units.times * tile
    return total


def asked(work: Recurrent, points: Sequence[Point], *, lanes: int) -> Nest:
    """Return what schedules ask for. A step waits for the one before.

    In each step a group of samples has its products, whose sums are few, and then the
    gates' functions. It reads all weights again, from the cache that holds them.

    Args:
        work: what to compute.
        points: the schedules.
        lanes: float32 elements of a vector.
    """
    time, samples, hidden = work.output.shape
    rows = np.array([point.rows for point in points], dtype=np.float64)
    vectors = np.array([point.vectors for point in points], dtype=np.float64)
    steps = time * np.ceil(samples / rows)
    wide = -(-hidden // lanes)
    weights = 4.0 * work.count * hidden * (hidden + work.bias)
    read, written = work.read_bytes - weights, float(work.write_bytes)
    products = Body(
        fmas=float(time * samples * hidden * work.count * wide),
        loads=steps * (hidden * work.count * wide),
        broadcasts=np.ceil(wide / vectors) * (time * samples * hidden),
        chains=rows * work.count * vectors,
    )
    functions = Body(
        fmas=float(_WAITS[work.cell]),
        others=time * samples * wide * _FUNCTIONS[work.cell] / steps,
        loads=read / 4 / lanes / steps,
        stores=written / 4 / lanes / steps,
    )

    def access(name: str, whole: float, *, written: bool = False) -> Access:
        each = whole / steps
        return Access(
            name=name, axes=((each, {"step": each}),), item_bytes=1.0, limit=(whole,),
            written=written,
        )  # fmt: skip

    return Nest(
        loops=(("step", steps),),
        parts=(Part(body=products, steps=1.0), Part(body=functions, steps=steps)),
        accesses=(
            access("read", read),
            Access(
                name="weight", axes=((weights, {}),), item_bytes=1.0, limit=(weights,),
                weight=True,
            ),
            access("written", written, written=True),
        ),
        flops=float(work.flops),
        first_pass=1.0 / steps,
    )  # fmt: skip


def kernel(
    work: Recurrent, point: Point, *, lanes: int, threads: int, name: str
) -> Kernel:
    """Return the loop nest of a schedule.

    Parameters of the kernel: gates, weight, bias where there is one, first h and (LSTM)
    first c where they are not zero, last h, (LSTM) last c, output.

    Args:
        work: what to compute.
        point: the schedule.
        lanes: float32 elements of a vector.
        threads: that run it; with one, no loop is parallel.
        name: of the function.
    """
    point = point if threads > 1 else point._replace(parallel=False)
    return _Writer(work, point, lanes).kernel(name)


class _Writer:
    """Writes one kernel."""

    def __init__(self, work: Recurrent, point: Point, lanes: int) -> None:
        self.work, self.point, self.lanes = work, point, lanes
        size = work.count * work.hidden
        self.gates = Buffer("gates", (work.gates.size,))
        self.w = Buffer("weight", (size * work.hidden,))
        self.bias = Buffer("bias", (size,))
        first = work.initial.size if work.initial else 1
        self.first = [Buffer("h_first", (first,)), Buffer("c_first", (first,))]
        last = work.final.size
        self.last = [Buffer("h_last", (last,)), Buffer("c_last", (last,))]
        self.states = 2 if work.cell == "lstm" else 1
        self.y = Buffer("y", (work.output.size,))
        self.names = itertools.count()

    def kernel(self, name: str) -> Kernel:
        work = self.work
        body: list[Statement] = []
        for part in strips(work.output.shape[1], self.point.rows):
            tag = str(next(self.names))
            group = counter(f"g{tag}", part.times)
            first = group * part.width + part.start
            kind = Kind.PARALLEL if self.point.parallel else Kind.SERIAL
            body += repeat(group, part.times, self.samples(first, part.width), kind)
        return Kernel(
            name=name,
            parameters=(
                self.gates,
                self.w,
                *((self.bias,) if work.bias else ()),
                *(self.first[: self.states] if work.initial else ()),
                *self.last[: self.states],
                self.y,
            ),
            body=tuple(body),
        )

    def samples(self, first: Expr, rows: int) -> tuple[Statement, ...]:
        """Return all steps of some samples."""
        steps = self.work.output.shape[0]
        tag = str(next(self.names))
        t = counter(f"t{tag}", steps)
        time = expr(steps - 1) - t if self.work.backward else t
        body: list[Statement] = []
        weights = 0
        for strip in strips(
            self.work.hidden, self.point.vectors * self.lanes, self.lanes
        ):
            step = counter(f"j{next(self.names)}", strip.times)
            tile = self.tile(first, rows, time, strip, step, weights)
            body += repeat(step, strip.times, tile)
            weights += strip.times * strip.width * self.work.count * self.work.hidden
        # Only now, when no unit of this step reads the last step's h any more.
        body += self.states_of(first, rows, time)
        return (*self.begin(first, rows), *repeat(t, steps, body))

    def begin(self, first: Expr, rows: int) -> list[Statement]:
        """Return the state before the first step, where the last one will stand."""
        work = self.work
        found: list[Statement] = []
        for source, target in zip(self.first, self.last[: self.states], strict=False):

            def copy(
                row: Expr, at: Expr, source: Buffer = source, target: Buffer = target
            ) -> Statement:
                value = expr(0.0)
                if work.initial is not None:
                    value = source[work.initial.at((first + row, at))]
                return Store(target, (work.final.at((first + row, at)),), value)

            found += self.every(rows, copy)
        return found

    def states_of(self, first: Expr, rows: int, time: Expr) -> list[Statement]:
        """Return a step's output as the h that the next one reads."""
        work = self.work

        def copy(row: Expr, at: Expr) -> Statement:
            value = self.y[work.output.at((time, first + row, at))]
            return Store(self.last[0], (work.final.at((first + row, at)),), value)

        return self.every(rows, copy)

    def every(
        self, rows: int, action: Callable[[Expr, Expr], Statement]
    ) -> list[Statement]:
        """Return an action for every hidden unit of some samples."""
        found: list[Statement] = []
        tag = str(next(self.names))
        row = counter(f"r{tag}", rows)
        for index, strip in enumerate(strips(self.work.hidden, self.lanes)):
            step = counter(f"e{tag}_{index}", strip.times)

            def each(
                lane: Expr, step: Expr = step, strip: Strip = strip
            ) -> list[Statement]:
                return [action(row, step * strip.width + strip.start + lane)]

            body = lanes_loop(f"v{tag}_{index}", strip.width, each)
            found += repeat(row, rows, repeat(step, strip.times, body))
        return found

    def tile(
        self,
        first: Expr,
        rows: int,
        time: Expr,
        strip: Strip,
        step: Expr,
        weights: int,
    ) -> tuple[Statement, ...]:
        """Return one step of some hidden units of some samples."""
        work, count, hidden = self.work, self.work.count, self.work.hidden
        tag = str(next(self.names))
        lanes = min(strip.width, self.lanes)
        vectors = strip.width // lanes
        left = step * strip.width + strip.start
        base = step * (strip.width * count * hidden) + weights
        acc = Buffer(f"acc{tag}", (rows, count, vectors, lanes))
        r, g, u = (
            counter(f"{stem}{tag}", extent)
            for stem, extent in (("r", rows), ("g", count), ("u", vectors))
        )

        def lane_of(lane: Expr) -> Expr:
            return u * lanes + lane

        def over(
            action: Callable[[Expr], Sequence[Statement]],
        ) -> tuple[Statement, ...]:
            body = lanes_loop(f"v{tag}", lanes, action)
            body = repeat(u, vectors, body, Kind.UNROLLED)
            body = repeat(g, count, body, Kind.UNROLLED)
            return repeat(r, rows, body, Kind.UNROLLED)

        def start(lane: Expr) -> list[Statement]:
            value = expr(0.0)
            if work.bias:
                value = self.bias[g * hidden + left + lane_of(lane)]
            return [Store(acc, (r, g, u, lane), value)]

        def product(k: Expr) -> tuple[Statement, ...]:
            def add(lane: Expr) -> list[Statement]:
                h = self.last[0][work.final.at((first + r, k))]
                place = base + (k * count + g) * strip.width + lane_of(lane)
                value = acc[r, g, u, lane] + h * self.w[place]
                return [Store(acc, (r, g, u, lane), value)]

            return over(add)

        # The functions are long code: once in a loop, over sums that left registers.
        held = Buffer(f"held{tag}", acc.shape)
        row = counter(f"m{tag}", rows)
        vector = counter(f"n{tag}", vectors)

        def hold(lane: Expr) -> list[Statement]:
            return [Store(held, (r, g, u, lane), acc[r, g, u, lane])]

        def finish(lane: Expr) -> list[Statement]:
            at = left + (vector * lanes + lane)
            given = [
                self.gates[work.gates.at((time, first + row, at + index * hidden))]
                for index in range(count)
            ]
            sums = [held[row, index, vector, lane] for index in range(count)]
            state = work.final.at((first + row, at))
            lets, result = self.cell(tag, given, sums, state)
            place = work.output.at((time, first + row, at))
            return [*lets, Store(self.y, (place,), result)]

        done = repeat(
            row,
            rows,
            repeat(vector, vectors, lanes_loop(f"v{tag}", lanes, finish)),
        )

        total: list[Statement] = []
        for part in strips(hidden, self.point.unroll):
            index = str(next(self.names))
            k, each = counter(f"k{index}", part.times), counter(f"x{index}", part.width)
            inner = repeat(
                each,
                part.width,
                product(k * part.width + part.start + each),
                Kind.UNROLLED,
            )
            total += repeat(k, part.times, inner)
        return block(Local(acc), Local(held), over(start), total, over(hold), done)

    def cell(
        self, tag: str, given: Sequence[Expr], sums: Sequence[Expr], state: Expr
    ) -> tuple[list[Statement], Expr]:
        """Return the functions of the gates, and the new h."""
        cell = self.work.cell
        lets: list[Statement] = []

        def named(stem: str, value: Expr) -> Expr:
            name = Var(f"{stem}_{tag}")
            lets.append(Let(name, value))
            return name

        def gate(stem: str, function: str, index: int) -> Expr:
            value = given[index] + sums[index]
            if function == "tanh":
                return named(stem, Call("tanh", (value,)))
            # The sigmoid in few instructions: below 2**-126 it is 0.
            return named(stem, 1.0 / (1.0 + Call("exp_flushed", (0.0 - value,))))

        if cell == "relu":
            return lets, maximum(0.0, given[0] + sums[0])
        if cell == "tanh":
            return lets, gate("h", "tanh", 0)
        if cell == "gru":
            r, z = gate("r", "sigmoid", 0), gate("z", "sigmoid", 1)
            n = named("n", Call("tanh", (given[2] + r * sums[2],)))
            return lets, n + z * (self.last[0][state] - n)
        i, f = gate("i", "sigmoid", 0), gate("f", "sigmoid", 1)
        g, o = gate("g", "tanh", 2), gate("o", "sigmoid", 3)
        c = named("c", f * self.last[1][state] + i * g)
        lets.append(Store(self.last[1], (state,), c))
        return lets, o * Call("tanh", (c,))
