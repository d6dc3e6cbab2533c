"""All schedules of a Winograd convolution, and what they ask of a core, in closed form.

The three stages are parts of one nest. Transforms are counted by what they do to
vectors; a store to V counts three, since its line is fetched from the second level and
goes back there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.evolve import Knobs
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_cost import operations
from trimtab.compiler.spaces.winograd_plan import Plan, Point, refusal
from trimtab.compiler.spaces.winograd_transforms import (
    POINTS,
    input_code,
    output_code,
)

__all__ = ["knobs", "nests", "points"]

Array = NDArray[np.float64]

_BLOCKS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Tiles of a block that are tried, about."""

_CHUNKS = (1, 2, 4, 8)
_UNROLLS = (4, 8)
_MOST_ROWS, _MOST_VECTORS = 14, 6

_REGISTERS = 32
"""The most that any machine has: a tile that needs more is slow on all."""

_CHAINS = 8
"""Sums that run at once at least: two units of four cycles need as many."""

_FETCHED = 3.0
"""Transfers of a store whose line is in the second level."""


def knobs(work: Contraction, *, lanes: int, threads: int) -> Knobs:
    """Return what can be chosen: whole schedules, since their numbers hang together."""
    found = points(work, lanes=lanes, threads=threads)
    return Knobs(
        choices={"point": found}, make=lambda point: point, legal=lambda _: True
    )


def points(work: Contraction, *, lanes: int, threads: int) -> list[Point]:
    """Return the schedules of some work, none where the family has no kernel for it.

    Register tiles have eight sums where there are as many, and fit the largest register
    file there is. Blocks are cut even, to whole register tiles. Halos are not looked
    at: they are chosen for the whole network.
    """
    if refusal(work, lanes) is not None:
        return []
    samples, outputs, height, width = work.output.shape
    most = max(outputs // lanes, 1)
    unrolls = [each for each in _UNROLLS if each <= max(lanes, _UNROLLS[0])]
    found = []
    for tile in POINTS:
        total = samples * -(-height // tile) * -(-width // tile)
        for rows, vectors in _register_tiles(total, most):
            for (block, split), chunk, unroll, prefetch in itertools.product(
                _blocks(total, rows, threads), _CHUNKS, unrolls, (False, True)
            ):
                least = threads if split == "channels" else 1
                if chunk == 1 or most // vectors // chunk >= least:
                    found.append(
                        Point(
                            tile, block, rows, vectors, unroll, chunk, prefetch, split
                        )
                    )
    return found


def _register_tiles(total: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield tiles and vectors of register tiles."""
    for vectors in range(1, min(most, _MOST_VECTORS) + 1):
        for rows in range(1, min(total, _MOST_ROWS) + 1):
            enough = rows * vectors >= _CHAINS or rows == total
            if enough and rows * vectors + min(rows, vectors) + 1 <= _REGISTERS:
                yield rows, vectors


def _blocks(total: int, rows: int, threads: int) -> Iterator[tuple[int, str]]:
    """Yield sizes of blocks, and what threads part."""
    seen = set()
    for about in _BLOCKS:
        count = -(-total // min(about, total))
        if threads > 1 and total >= threads * rows:
            count = -(-count // threads) * threads
        even = -(-total // count)
        size = -(-even // rows) * rows
        if size not in seen and size <= 2 * about:
            seen.add(size)
            yield min(size, total), "tiles"
    if threads > 1 and total <= _BLOCKS[-1]:
        yield total, "channels"


def nests(
    work: Contraction, chosen: Sequence[Point], *, lanes: int, threads: int
) -> list[tuple[NDArray[np.int64], Nest]]:
    """Return what schedules ask for: places in `chosen`, and their nest, by tile."""
    groups: dict[int, list[int]] = {}
    for index, point in enumerate(chosen):
        groups.setdefault(point.tile, []).append(index)
    return [
        (
            np.array(places),
            _nest(work, [chosen[i] for i in places], tile, lanes, threads),
        )
        for tile, places in groups.items()
    ]


def _nest(
    work: Contraction, chosen: Sequence[Point], tile: int, lanes: int, threads: int
) -> Nest:
    rows, vectors, unroll, chunk, ask = (
        np.array([float(getattr(point, name)) for point in chosen])
        for name in ("rows", "vectors", "unroll", "chunk", "prefetch")
    )
    shared = np.array([threads > 1 and point.split == "channels" for point in chosen])
    one = Plan.of(work, chosen[0], lanes=lanes, threads=1)  # what all have in common
    tiles, positions = float(one.tiles), float(one.positions)
    _, outputs, _, _ = work.output.shape
    inputs = float(work.input.shape[1])
    block = np.array([float(point.block) for point in chosen])
    block = np.where(shared, tiles, np.minimum(block, tiles))
    rows = np.minimum(rows, block)
    blocks, turns = np.ceil(tiles / block), np.ceil(block / rows)
    full, rest = float(outputs // lanes), float(outputs % lanes > 0)
    vectors = np.minimum(vectors, max(full, 1.0))
    groups, left = np.floor(full / vectors), full % vectors
    chunk = np.minimum(chunk, np.maximum(groups, 1.0))
    over = groups - np.floor(groups / chunk) * chunk
    chunks = np.floor(groups / chunk) + ((over + left + rest) > 0)
    parts = [
        _product(rows_, count * times * positions, vectors_, inputs, unroll, ask)
        for (count, rows_), (times, vectors_) in itertools.product(
            _turns(tiles, block, blocks, rows),
            (
                (groups, vectors),
                ((left > 0) * 1.0, np.maximum(left, 1.0)),
                (np.full_like(rows, rest), np.ones_like(rows)),
            ),
        )
    ]
    parts += _transforms(work, tile, tiles, lanes)
    wide = vectors * lanes
    weight = Access(
        name="weight",
        axes=(
            (wide, {"k": chunk * wide, "g": wide}),
            (1.0, {"c": 1.0}),
            (1.0, {"p": 1.0}),
        ),
        item_bytes=4.0,
        limit=(float(outputs), inputs, positions),
        weight=True,
    )
    v = Access(
        name="V",
        axes=((rows, {"r": block / turns}), (1.0, {"c": 1.0}), (1.0, {"p": 1.0})),
        item_bytes=4.0,
        limit=(tiles, inputs, positions),
    )
    m = Access(
        name="M",
        axes=((rows, {"r": block / turns}), (wide, {"g": wide}), (1.0, {"p": 1.0})),
        item_bytes=4.0,
        limit=(tiles, float(outputs), positions),
        written=True,
    )
    samples, _, height, width = work.input.shape
    read = samples * inputs * height * width * 4.0
    moved = work.output.shape[0] * outputs * work.output.shape[2] * work.output.shape[3]
    stored = moved * 4.0 * (1 + len(work.operands))
    return Nest(
        loops=(
            ("b", blocks),
            ("k", chunks),
            ("p", positions),
            ("g", np.minimum(chunk, np.maximum(groups, 1.0))),
            ("r", turns),
            ("c", inputs),
        ),
        parts=tuple(parts),
        accesses=(
            weight,
            v,
            m,
            _image("input", read, blocks),
            _image("output", stored, blocks, written=True),
        ),
        flops=float(work.flops),
        chunks=np.where(shared, np.maximum(np.floor(groups / chunk), 1.0), blocks),
        first_pass=1.0 / (blocks * np.where(ask > 0, 1.0, turns)),
    )


def _turns(
    tiles: float, block: Array, blocks: Array, rows: Array
) -> list[tuple[Array, Array]]:
    """Return how often register tiles run, and of how many tiles they are.

    The last block runs only those that have a tile in it.
    """
    whole = np.floor(block / rows)
    rest = block - whole * rows
    last = tiles - (blocks - 1.0) * block
    ran = np.ceil(last / rows)
    some = (rest > 0) * 1.0
    return [
        ((blocks - 1.0) * whole + np.minimum(ran, whole), rows),
        ((blocks - 1.0) * some + (ran > whole), np.maximum(rest, 1.0)),
    ]


def _product(
    rows: Array, runs: Array, vectors: Array, inputs: float, unroll: Array, ask: Array
) -> Part:
    sums = rows * vectors
    return Part(
        steps=runs * inputs,
        runs=runs,
        exits=runs,
        body=Body(
            fmas=sums,
            loads=vectors,
            broadcasts=rows,
            scalars=(4.0 + ask * 2.0) / unroll,
            chains=sums,
            registers=sums + np.minimum(rows, vectors) + 1.0,
            unrolled=unroll,
        ),
        around=Body(stores=sums, others=sums, scalars=20.0),
    )


def _transforms(work: Contraction, tile: int, tiles: float, lanes: int) -> list[Part]:
    """Return the first and the last stage, a step being a tile of a vector."""
    edge, pixels = tile + 2, tile * tile
    sources = -(-work.input.shape[1] // lanes)
    sinks = -(-work.output.shape[1] // lanes)
    after = int(work.bias) + len(work.formula.steps)
    first = Body(
        others=2.0 * edge * operations(input_code, tile),
        loads=2.0 * edge**2,
        stores=(1.0 + _FETCHED) * edge**2,
        scalars=40.0,
    )
    last = Body(
        others=float((edge + tile) * operations(output_code, tile) + pixels * after),
        loads=float(edge**2 + tile * edge + pixels * len(work.operands)),
        stores=float(tile * edge + pixels),
        scalars=40.0,
    )
    return [
        Part(body=first, steps=sources * tiles),
        Part(body=last, steps=sinks * tiles),
    ]


def _image(name: str, total: float, blocks: Array, *, written: bool = False) -> Access:
    """Return a tensor of which each block has a part, touched outside the products."""
    step = total / np.maximum(blocks - 1.0, 1.0)
    return Access(
        name=name,
        axes=((0.0, {"b": step}),),
        item_bytes=1.0,
        limit=(total,),
        written=written,
    )
