"""Lines and sets against a cache that is filled one line at a time."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.compiler.layout import Layout, Split, packed, row_major
from trimtab.compiler.loops import Number, expr
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.residence import Room, occupied

ROWS = (8.0, 12.0, 16.0, 24.0)
FIRST = Room(size_bytes=0.75 * 2**15, line_bytes=64, way_bytes=4096, ways=8)


def touched(layout: Layout, extents: tuple[int, ...]) -> set[int]:
    """Return the numbers of the lines of a block, one element at a time."""
    found = set()
    for index in itertools.product(*map(range, extents)):
        coordinates: list[object] = list(index)
        if layout.axis is not None:
            at = index[layout.axis]
            coordinates[layout.axis] = Split(
                expr(at // layout.block), expr(at % layout.block), layout.block
            )
        place = layout.at(coordinates)  # type: ignore[arg-type]
        assert isinstance(place, Number)
        found.add(int(place.value) * 4 // 64)
    return found


def fullest(found: set[int]) -> int:
    """Return the lines of the fullest set."""
    return max(Counter(line % 64 for line in found).values())


def sets(layout: Layout, extents) -> float:
    return float(occupied(layout, extents, FIRST)[1])


def arrays(extents):
    return [np.asarray(float(each)) for each in extents]


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from([16, 64, 96, 256, 1024, 1040, 2048]),
    st.integers(1, 24),
    st.integers(1, 64),
)
def test_blocks_of_matrices(columns, rows, width) -> None:
    width = min(width, columns)
    layout = row_major((32, columns))
    found = touched(layout, (rows, width))
    counted = float(occupied(layout, arrays((rows, width)), FIRST)[0]) / 64
    # A run may begin and end within a line: two more a row at most.
    assert len(found) - 2 * rows <= counted <= len(found) + rows
    assert sets(layout, arrays((rows, width))) <= fullest(found) + 1


def test_rows_a_power_of_two_apart_meet_in_few_sets() -> None:
    for columns, expected in ((1024, 12), (512, 6), (256, 3), (1040, 1)):
        layout = row_major((64, columns))
        block = (12, 1)
        assert fullest(touched(layout, block)) == expected
        assert sets(layout, arrays(block)) == expected


def test_planes_of_a_packed_image_meet() -> None:
    layout = packed((1, 128, 32, 32), block=8)  # planes of 32 KiB
    block = (1, 128, 1, 2)
    assert fullest(touched(layout, block)) == 16
    assert sets(layout, arrays(block)) == 16
    spread = packed((1, 128, 32, 32), block=8, halo=(1, 1, 1, 1))
    assert sets(spread, arrays(block)) == fullest(touched(spread, block))


def rows_read(columns: int, rows: float) -> Nest:
    """Return a sum of rows, element by element: `rows` lines are in use at once."""
    return Nest(
        loops=(("g", 8.0), ("c", 64.0)),
        parts=(Part(body=Body(fmas=rows), steps=512.0),),
        accesses=(
            Access(
                name="input",
                axes=((rows, {"g": rows}), (1.0, {"c": 1.0})),
                item_bytes=4.0,
                limit=(8 * rows, 64.0),
                layout=row_major((int(8 * rows), columns)),
            ),
            Access(
                name="output",
                axes=((rows, {"g": rows}),),
                item_bytes=4.0,
                limit=(8 * rows,),
                written=True,
            ),
        ),
        flops=1.0,
    )


def test_what_meets_in_one_set_is_fetched_every_time() -> None:
    (kept,) = rows_read(1040, 16.0).traffic([FIRST])
    (lost,) = rows_read(1024, 16.0).traffic([FIRST])
    assert kept == 128 * 64 * 4 + 2 * 128 * 4  # each element once, results both ways
    assert lost == 16 * 64 * 8 * 64 + 16 * 4 * 2 * 8  # a line for each element
    (few,) = rows_read(1024, 6.0).traffic([FIRST])
    assert few < lost / 8


def test_of_a_set_that_is_a_little_too_full_most_stays() -> None:
    assert FIRST.ways == 8
    found = [float(rows_read(1024, rows).traffic([FIRST])[0]) / rows for rows in ROWS]
    # With all rows in their sets nothing of a line is fetched twice.
    assert found[0] == 8 * (64 * 4 + 2 * 4)
    assert found[0] < found[1] < found[2]
    # In twice as many rows as ways nothing is found again.
    assert found[2] == found[3] == 8 * (64 * 64 + 2 * 4)


def test_what_is_written_costs_what_the_cache_behind_says() -> None:
    nest = rows_read(1040, 12.0)
    both, once = (
        float(nest.traffic([replace(FIRST, store_loads=each)])[0]) for each in (2, 1)
    )
    assert both - once == 96 * 4
