"""All schedules of a contraction, and what they ask of a core, in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.evolve import Knobs
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces.contraction import (
    Contraction,
    Point,
    input_block,
)

__all__ = ["knobs", "nests", "points"]

_LARGEST_TILE = 40  # accumulators: more than any machine has vector registers
_UNROLL = (1, 2, 4, 8, 16)
_FEW = 4  # pixels: below, a tile may be too small to hide the latency of its sums
_UNROLL_FEW = (*range(1, 17), 24, 32)
_FORESEEN = 4  # steps of a loop whose end the core foresees, or LLVM unrolls it
_MOST_CODE = 700  # multiply-adds in the text of a tile: beyond, compiling takes seconds


def knobs(work: Contraction, *, lanes: int, threads: int) -> Knobs:
    """Return what can be chosen.

    Legal is what computes the right thing within bounded code; slow ones are in it.
    """
    batch, _, height, width = work.output.shape
    vectors = max(1, work.outputs_per_group // lanes)
    size = input_block(work)
    few = batch * height * width < _FEW
    unroll = _UNROLL_FEW if few else tuple({*_UNROLL, min(size, 16)})
    return Knobs(
        choices={
            "rows": _extents(height, 4),
            "columns": _extents(width, 28),
            "vectors": _extents(vectors, _LARGEST_TILE if few else 12),
            "unroll": sorted(each for each in unroll if each <= size),
            "order": _orders(batch, height, width),
            "prefetch": (False, True) if work.weight is None else (False,),
            "fused": (0, 1, 2) if threads > 1 else (0,),
            "partials": _UNROLL_FEW if few else (1,),
        },
        make=Point,
        legal=_legal,
    )


def _legal(point: Point) -> bool:
    tile = point.rows * point.columns * point.vectors
    return (
        tile * point.partials <= _LARGEST_TILE
        and point.unroll % point.partials == 0
        and tile * point.unroll <= _MOST_CODE
        and not (point.prefetch and point.order.endswith("g"))  # no tile to ask in
    )


def points(work: Contraction, *, lanes: int, threads: int) -> list[Point]:
    """Return every legal schedule."""
    found = knobs(work, lanes=lanes, threads=threads)
    return [
        point
        for each in itertools.product(*found.choices.values())
        if _legal(point := Point(*each))
    ]


def _extents(limit: int, most: int) -> list[int]:
    return list(range(1, min(limit, most) + 1))


def _orders(batch: int, height: int, width: int) -> list[str]:
    """Return the orders of the loops that differ: a loop of one step has no place.

    Samples stand outside the pixels of an image, in every order.
    """
    moving = {"n": batch > 1, "g": True, "h": height > 1, "w": width > 1}
    still = "".join(name for name in "nhw" if not moving[name])
    return [
        still + "".join(order)
        for order in itertools.permutations(name for name in "nghw" if moving[name])
        if "n" not in order
        or all(order.index("n") <= order.index(p) for p in "hw" if p in order)
    ]


def nests(
    work: Contraction, chosen: Sequence[Point], *, lanes: int, threads: int
) -> list[tuple[NDArray[np.int64], Nest]]:
    """Return what schedules ask for: places in `chosen`, and their nest, by order."""
    groups: dict[str, list[int]] = {}
    for index, point in enumerate(chosen):
        groups.setdefault(point.order, []).append(index)
    return [
        (
            np.array(places),
            _nest(work, [chosen[i] for i in places], order, lanes, threads),
        )
        for order, places in groups.items()
    ]


def _nest(
    work: Contraction, chosen: Sequence[Point], order: str, lanes: int, threads: int
) -> Nest:
    rows, columns, vectors, unroll, ask, fused, partials = (
        np.array([float(getattr(point, name)) for point in chosen])
        for name in (
            "rows", "columns", "vectors", "unroll", "prefetch", "fused", "partials",
        )
    )  # fmt: skip
    batch, _, height, width = work.output.shape
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.stride, work.dilation
    outputs, inputs = work.outputs_per_group, work.inputs_per_group
    size = input_block(work)
    full = np.ceil(outputs / lanes)
    vectors = np.minimum(vectors, full)
    rows, columns = np.minimum(rows, height), np.minimum(columns, width)
    # Not rounded up: the last step touches what is left, and moves no more.
    trips = {
        "n": np.float64(batch),
        "p": np.float64(work.groups),
        "g": full / vectors,
        "h": height / rows,
        "w": width / columns,
    }
    around = list(order.replace("g", "pg") if work.groups > 1 else order)
    loops = [
        *((name, trips[name]) for name in around),
        ("i", float(inputs // size)),
        ("k", float(kh)),
        ("l", float(kw)),
        ("c", float(size)),
    ]
    depth = float(work.depth)
    formula = len(work.formula.steps)
    # The innermost loop that is left once the channels of a block are unrolled.
    rolled = np.ceil(size / unroll)
    inner = np.where(
        rolled > 1, rolled, kw if kw > 1 else kh if kh > 1 else inputs // size
    )
    run = np.where(rolled > 1, depth / size * rolled, depth / size)
    parts = []
    for (g, gs), (h, hs), (w, ws) in itertools.product(
        _pieces(full, vectors), _pieces(height, rows), _pieces(width, columns)
    ):
        count = batch * work.groups * g * h * w
        tile = gs * hs * ws
        parts.append(
            Part(
                steps=count * depth,
                runs=count,
                exits=np.where(inner > _FORESEEN, count * run / inner, 0.0),
                body=Body(
                    fmas=tile,
                    loads=gs,
                    broadcasts=hs * ws,
                    scalars=(4.0 + ask * 2.0) / unroll,
                    chains=tile * partials,
                    # Of a single pixel the weights are operands in memory.
                    registers=tile * partials + np.where(hs * ws > 1, gs, 1.0) + 1.0,
                    unrolled=unroll,
                ),
                around=Body(
                    loads=tile * len(work.operands) + gs,
                    stores=tile,
                    others=tile * (partials + formula),
                    scalars=20.0,
                    registers=0.0,
                ),
            )
        )
    channel = {"g": vectors * lanes, "p": float(outputs)}
    accesses = [
        Access(
            name="input",
            axes=(
                (1.0, {"n": 1.0}),
                (1.0, {"i": float(size), "c": 1.0, "p": float(inputs)}),
                ((rows - 1) * sh + 1, {"h": rows * sh, "k": float(dh)}),
                ((columns - 1) * sw + 1, {"w": columns * sw, "l": float(dw)}),
            ),
            item_bytes=4.0,
            limit=(
                batch,
                work.input.shape[1],
                (height - 1) * sh + (kh - 1) * dh + 1,
                (width - 1) * sw + (kw - 1) * dw + 1,
            ),
            layout=work.input,
        ),
        Access(
            name="weight",
            axes=(
                (1.0, {"n": 1.0} if work.weight is not None else {}),
                (
                    1.0,
                    {
                        "i": float(size * kh * kw),
                        "k": float(size * kw),
                        "l": float(size),
                        "c": 1.0,
                    },
                ),
                (vectors * lanes, channel),
            ),
            item_bytes=4.0,
            limit=(batch, depth, outputs * work.groups),
            weight=work.weight is None,
            layout=work.weight,
        ),
        Access(
            name="output",
            axes=(
                (1.0, {"n": 1.0}),
                (vectors * lanes, channel),
                (rows, {"h": rows}),
                (columns, {"w": columns}),
            ),
            item_bytes=4.0 * (1 + len(work.operands)),
            limit=(batch, outputs * work.groups, height, width),
            written=True,
            layout=work.output,
        ),
    ]
    outside = np.float64(1.0)
    for name in around[: around.index("g")]:
        outside = outside * trips[name]
    pixels = trips["n"] * trips["h"] * trips["w"]
    passes = np.where(ask > 0, np.minimum(outside, pixels), pixels)
    chunks: NDArray[np.float64] = np.ones(len(chosen))
    taken = np.zeros(len(chosen))
    for name in around:
        steps = np.ceil(trips[name])
        loop = (steps > 1) & (taken < fused)  # of one step there is no loop
        chunks, taken = np.where(loop, chunks * steps, chunks), taken + loop
    return Nest(
        loops=tuple(loops),
        parts=tuple(parts),
        accesses=tuple(accesses),
        flops=float(work.flops),
        chunks=chunks,
        first_pass=1.0 / passes,
    )


def _pieces(
    extent: NDArray[np.float64] | float, step: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return count and size of the whole steps, and of the rest."""
    whole = np.floor(extent / step)
    rest = extent - whole * step
    return [(whole, step), ((rest > 0) * 1.0, np.maximum(rest, 1.0))]
