"""All schedules of a depthwise convolution, and what they ask of a core."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.evolve import Knobs
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces.depthwise import Depthwise, Point

__all__ = ["knobs", "nests", "points"]

_MOST_CODE = 400  # multiply-adds in the text of a tile
_LARGEST_TILE = 40  # sums: more than any machine has vector registers
_AHEAD = 2.0  # tiles whose sums a core works on at once, since none is long


_ROWS_APART, _PLANES_APART = 1.15, 1.4
# How much longer an image takes from beyond level 2 than a plain stream: where a step
# goes on along the row of the one before, but not in one row alone; and where it goes
# to other channels, a plane away. Rounded from 240 channels of 28 x 28, 144 of 56 x 56
# and 96 of 112 x 112 on Zen 5; on Zen 3 144 of 60 x 60 showed the first, too.


def knobs(work: Depthwise, *, lanes: int, threads: int) -> Knobs:
    """Return what can be chosen."""
    batch, channels, height, width = work.output.shape
    moving = {
        "n": batch > 1,
        "c": channels > lanes,
        "h": height > 1,
        "w": width > 1,
    }
    still = "".join(name for name in "nchw" if not moving[name])
    orders = [
        still + "".join(order)
        for order in itertools.permutations(name for name in "nchw" if moving[name])
        if "n" not in order or order[0] == "n" or order[:2] == ("c", "n")
    ]
    return Knobs(
        choices={
            "rows": list(range(1, min(height, 8) + 1)),
            "columns": list(range(1, min(width, 28) + 1)),
            "written": sorted({1, work.kernel[0]}),
            "order": orders,
            "fused": (0, 1, 2) if threads > 1 else (0,),
        },
        make=Point,
        legal=lambda point: _legal(work, point),
    )


def _legal(work: Depthwise, point: Point) -> bool:
    tile = point.rows * point.columns
    code = tile * work.kernel[1] * point.written
    return tile <= _LARGEST_TILE and code <= _MOST_CODE


def points(work: Depthwise, *, lanes: int, threads: int) -> list[Point]:
    """Return every legal schedule."""
    found = knobs(work, lanes=lanes, threads=threads)
    return [
        point
        for each in itertools.product(*found.choices.values())
        if _legal(work, point := Point(*each))
    ]


def nests(
    work: Depthwise, chosen: Sequence[Point], *, lanes: int, threads: int
) -> list[tuple[NDArray[np.int64], Nest]]:
    """Return what schedules ask for: places in `chosen`, and their nest, by order."""
    groups: dict[str, list[int]] = {}
    for index, point in enumerate(chosen):
        groups.setdefault(point.order, []).append(index)
    return [
        (np.array(places), _nest(work, [chosen[i] for i in places], order, lanes))
        for order, places in groups.items()
    ]


def _nest(work: Depthwise, chosen: Sequence[Point], order: str, lanes: int) -> Nest:
    rows, columns, written, fused = (
        np.array([float(getattr(point, name)) for point in chosen])
        for name in ("rows", "columns", "written", "fused")
    )
    batch, channels, height, width = work.output.shape
    (kh, kw), (sh, sw), (dh, dw) = work.kernel, work.stride, work.dilation
    rows, columns = np.minimum(rows, height), np.minimum(columns, width)
    vectors = np.ceil(channels / lanes)
    trips = {
        "n": np.full(len(chosen), float(batch)),
        "c": np.full(len(chosen), vectors),
        "h": height / rows,  # not rounded up: the last step moves what is left
        "w": width / columns,
    }
    formula = len(work.formula.steps)
    parts = []
    for (h, hs), (w, ws) in itertools.product(
        _pieces(height, rows), _pieces(width, columns)
    ):
        tile = hs * ws
        # All rows of the window written out: a pixel is loaded once a tile.
        pixels = np.where(
            written >= kh,
            ((hs - 1) * sh + (kh - 1) * dh + 1) * ((ws - 1) * sw + (kw - 1) * dw + 1),
            hs * kh * ((ws - 1) * sw + (kw - 1) * dw + 1),
        )
        parts.append(
            Part(
                steps=batch * vectors * h * w * kh * kw,  # a step is one tap
                body=Body(
                    fmas=tile,
                    loads=pixels / (kh * kw) + 1.0,
                    chains=tile * _AHEAD,
                    scalars=(8.0 + np.where(written >= kh, 0.0, 4.0 * kh)) / (kh * kw),
                    # The weights of a row, a pixel, and a product on its way.
                    registers=tile + kw + 2.0,
                ),
                runs=batch * vectors * h * w,
                around=Body(
                    loads=tile * len(work.operands) + 1.0,
                    stores=tile,
                    others=tile * (1.0 + formula),
                    scalars=12.0,
                ),
            )
        )
    accesses = (
        Access(
            name="input",
            axes=(
                (1.0, {"n": 1.0}),
                (float(lanes) / work.multiplier, {"c": float(lanes) / work.multiplier}),
                ((rows - 1) * sh + (kh - 1) * dh + 1, {"h": rows * sh}),
                ((columns - 1) * sw + (kw - 1) * dw + 1, {"w": columns * sw}),
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
            axes=((float(lanes), {"c": float(lanes)}),),
            item_bytes=4.0 * kh * kw,
            limit=(channels,),
            weight=True,
        ),
        Access(
            name="output",
            axes=(
                (1.0, {"n": 1.0}),
                (float(lanes), {"c": float(lanes)}),
                (rows, {"h": rows}),
                (columns, {"w": columns}),
            ),
            item_bytes=4.0 * (1 + len(work.operands)),
            limit=(batch, channels, height, width),
            written=True,
            layout=work.output,
        ),
    )
    chunks: NDArray[np.float64] = np.ones(len(chosen))
    for index, name in enumerate(order[:2]):
        chunks = chunks * np.where(fused > index, np.ceil(trips[name]), 1.0)
    return Nest(
        loops=tuple((name, trips[name]) for name in order),
        parts=tuple(parts),
        accesses=accesses,
        flops=float(work.flops),
        chunks=chunks,
        scatter=_scatter(order, rows, trips),
    )


def _scatter(
    order: str, rows: NDArray[np.float64], trips: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return how much longer data from beyond level 2 take than a plain stream."""
    # Of each schedule the two innermost loops that move: 0 where there is none.
    last = np.zeros(len(rows), dtype=np.int64)
    before = np.zeros(len(rows), dtype=np.int64)
    names = {"c": 1, "h": 2, "w": 3}
    for name in order:
        if name in names:
            moves = trips[name] > 1
            before = np.where(moves, last, before)
            last = np.where(moves, names[name], last)
    # Down the rows of one column, or row behind row.
    plain = (last == names["h"]) | ((last == names["w"]) & (before == names["h"]))
    apart = np.where((rows > 1) | ~plain, _ROWS_APART, 1.0)
    return np.where(last == names["c"], _PLANES_APART, apart)


def _pieces(
    extent: float, step: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return count and size of the whole steps, and of the rest."""
    whole = np.floor(extent / step)
    rest = extent - whole * step
    return [(whole, step), ((rest > 0) * 1.0, np.maximum(rest, 1.0))]
