"""What a block of a tensor takes of a cache: whole lines, and ways of its sets.

A cache finds a line in the set that the line's address names. Blocks whose rows stand a
power of two apart meet in few sets, and a set holds no more lines than it has ways,
however much of the cache is empty: twelve rows 4 KiB apart do not fit a first level of
32 KiB in eight ways.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.layout import Layout

__all__ = ["Room", "occupied"]

_ITEM = 4.0  # bytes of a float32


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a cache has for one core.

    Attributes:
        size_bytes: that may be filled.
        line_bytes: of a line.
        way_bytes: after which addresses meet in one set again; infinite where every
            line may stand anywhere.
        ways: lines that a set holds.
        store_loads: what a byte costs that is written, in bytes that are read: two
            where a line is fetched first and then goes back.
    """

    size_bytes: float
    line_bytes: float = _ITEM
    way_bytes: float = math.inf
    ways: float = math.inf
    store_loads: float = 2.0


def occupied(
    layout: Layout, extents: Sequence[NDArray[np.float64]], room: Room
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bytes of the lines of a block, and the lines in its fullest sets.

    Rows that fall on sets of their own are spread over them; how the blocks of several
    tensors fall on each other is not known, and the sum is the worst of it.

    Args:
        layout: of the tensor.
        extents: of the block along its axes, an entry a schedule.
        room: of the cache.

    Example:
        A column of a matrix takes a line for each number in it, and where rows stand
        4 KiB apart, all of these meet in one set.

        >>> from trimtab.compiler.layout import row_major
        >>> first = Room(size_bytes=2**15, line_bytes=64, way_bytes=4096, ways=8)
        >>> for columns in (1024, 1040):
        ...     column = [np.asarray(12.0), np.asarray(1.0)]
        ...     size, ways = occupied(row_major((64, columns)), column, first)
        ...     float(size), float(ways)
        (768.0, 12.0)
        (768.0, 1.0)
    """
    run, runs, places = _runs(layout, extents, room.line_bytes, room.way_bytes)
    length = np.ceil(run / room.line_bytes) * room.line_bytes
    size = runs * length
    if room.way_bytes == math.inf:
        return size, np.asarray(0.0)
    return size, size / np.minimum(places * length, room.way_bytes)


def _runs(
    layout: Layout,
    extents: Sequence[NDArray[np.float64]],
    line_bytes: float,
    way_bytes: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return length of a run without gaps, how many, and on how many places in a way.

    The runs of one place stand in the same sets.
    """
    steps: list[tuple[float, NDArray[np.float64]]] = []
    for axis, (elements, extent) in enumerate(
        zip(layout.strides, extents, strict=True)
    ):
        if axis == layout.axis:
            steps.append((_ITEM, np.minimum(extent, float(layout.block))))
            steps.append((elements * _ITEM, np.ceil(extent / layout.block)))
        elif elements > 0:
            steps.append((elements * _ITEM, extent))
    steps.sort(key=lambda each: each[0])
    run = np.asarray(_ITEM)
    runs = places = np.asarray(1.0)
    for stride, extent in steps:
        if np.all(extent <= 1.0):
            continue
        joined = stride <= np.maximum(run, line_bytes)
        if way_bytes < math.inf:
            apart = way_bytes / math.gcd(int(stride), int(way_bytes))
            places = np.where(joined, places, places * np.minimum(extent, apart))
        runs = np.where(joined, runs, runs * extent)
        run = np.where(joined, run + stride * (extent - 1.0), run)
    return run, runs, places
