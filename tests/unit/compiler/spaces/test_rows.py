"""Loops over rows: which are kept, which reduced, what stands where."""

from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.loops import Buffer, Kernel, Kind, Loop, Store, walk
from trimtab.compiler.spaces.axes import Digit
from trimtab.compiler.spaces.rows import Point, Rows, choices, over_rows


def test_rows_of_the_last_axes() -> None:
    shape = (4, 6, 5, 7)
    output = row_major((4, 6, 1, 1)).broadcast(shape)
    rows = Rows.of((row_major(shape), output), (2, 3))
    assert rows.kept == (Digit(4 * 6, (5 * 7, 1), 0, 1),)
    assert rows.reduced == (Digit(5 * 7, (1, 0), 2, 1),)
    assert rows.length == 5 * 7


def test_channels_of_a_group_are_reduced() -> None:
    shape = (2, 32, 3, 3)
    rows = Rows.of((packed(shape, block=8),), (1, 2, 3), groups=2)
    # A group of 16 channels is two blocks of 8.
    assert [each.extent for each in rows.kept] == [2 * 2]
    assert [each.extent for each in rows.reduced] == [2 * 9 * 8]
    small = Rows.of((packed(shape, block=8),), (1, 2, 3), groups=8)
    # Groups of 4 share blocks of 8: half a block belongs to a group.
    assert [each.extent for each in small.kept] == [2 * 4, 2]
    assert [each.extent for each in small.reduced] == [9, 4]


def test_choices_prefer_what_lies_together() -> None:
    long = Rows.of((row_major((64, 512)),), (1,))
    assert choices(long, lanes=8, threads=1)[0] == Point(1, 4, 0)
    columns = Rows.of((row_major((64, 512)),), (0,))
    assert choices(columns, lanes=8, threads=1)[0] == Point(0, 4, 0)
    short = Rows.of((row_major((64, 8)),), (1,))
    # Eight neighbours are gathered, not folded.
    assert choices(short, lanes=8, threads=1)[0].vector == 0
    for rows in (long, columns, short):
        found = choices(rows, lanes=8, threads=2)
        assert len(found) == len(set(found))
        assert found[0].fused == 1


def test_one_element_has_no_loop() -> None:
    rows = Rows.of((row_major((1, 1)),), (0, 1))
    assert (rows.kept, rows.reduced, rows.length) == ((), (), 1)
    assert choices(rows, lanes=8, threads=2) == [Point(-1, 1, 0)]


def test_a_fold_along_the_line_has_accumulators_for_all_that_is_left() -> None:
    shape = (3, 8 * 4 * 2 + 8 + 5)
    x, y = Buffer("x", (3 * shape[1],)), Buffer("y", (3,))
    rows = Rows.of((row_major(shape), row_major((3, 1)).broadcast(shape)), (1,))

    def write(row):
        body, total = row.fold(
            lambda place: x[place.of(0)], 0.0, lambda value, so_far: so_far + value
        )
        return [
            *body,
            *row.once(lambda place: [Store(y, (place.of(1),), total(place))]),
        ]

    kernel = Kernel(
        name="k", parameters=(x, y), body=over_rows(rows, Point(1, 4, 0), 8, write)
    )
    text = str(kernel)
    assert "float32[4, 8]" in text
    assert "float32[1, 8]" in text
    assert "float32[1, 5]" in text
    loops = [each for each in walk(kernel.body) if isinstance(each, Loop)]
    widths = {loop.extent for loop in loops if loop.kind is Kind.VECTOR}
    # Vectors, the tail, and halves onto halves.
    assert widths == {8, 5, 4, 2}
