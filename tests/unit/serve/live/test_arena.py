"""Rows in shared memory: whole ranges, given back in order, seen by other processes."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import ExecutionError, UsageError
from trimtab.serve.live.arena import Arena, Field, Rows, check_rows

FIELDS = (
    Field(name="a", dtype="float32", shape=(3,)),
    Field(name="b", dtype="int64", shape=(2, 2), bounds=(5, 7)),
)
OUT = (Field(name="c", dtype="float32", shape=()),)


def test_two_sides_see_the_same_rows():
    mine = Arena(FIELDS, OUT, 10)
    other = Arena(FIELDS, OUT, 10, descriptor=os.dup(mine.descriptor))
    mine.rows("a")[2:4] = 7.0
    mine.rows("b")[9] = 5
    assert (other.rows("a")[2:4] == 7.0).all()
    assert (other.rows("b")[9] == 5).all()
    assert other.rows("b").shape == (10, 2, 2)
    assert not other.rows("c").any()
    other.close()
    mine.close()


def test_fields_come_back_as_they_were():
    for each in (*FIELDS, *OUT):
        assert Field.from_dict(each.to_dict()) == each
    assert FIELDS[1].item_bytes == 32


def test_what_has_no_place_is_refused():
    wrong = Field(name="a", dtype="complex64", shape=())
    with pytest.raises(UsageError, match="complex64"):
        Arena((wrong,), OUT, 10)
    with pytest.raises(UsageError, match="at least one"):
        Arena(FIELDS, OUT, 0)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5)), max_size=60))
def test_no_row_is_taken_twice_and_all_come_back(steps):
    rows = Rows(20)
    taken: dict[int, int] = {}
    for count, which in steps:
        place = rows.take(count)
        if place is not None:
            mine = set(range(place, place + count))
            assert place + count <= 20
            for other, length in taken.items():
                assert not mine & set(range(other, other + length))
            taken[place] = count
        elif taken and which < len(taken):
            other = list(taken)[which]
            taken.pop(other)
            rows.free(other)
    for place in list(taken):
        rows.free(place)
    assert rows.taken == 0
    assert rows.take(20) == 0


def test_the_ring_goes_on_at_its_begin():
    rows: Any = Rows(10)
    first, second = rows.take(4), rows.take(4)
    rows.free(first)
    third = rows.take(3)
    assert (first, second, third) == (0, 4, 0)
    assert rows.take(2) is None
    rows.free(third)
    assert rows.take(2) is None  # the second was taken before it
    rows.free(second)
    assert rows.take(2) is not None


def rows(**more):
    found = {"a": np.zeros((4, 2), "float32"), "ids": np.zeros((4, 2, 3), "int64")}
    return {**found, **more}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"a": np.zeros((4, 2), "float32")}, "takes a, ids"),
        (rows(b=np.zeros(4)), "takes a, ids"),
        (rows(a=np.zeros((3, 2), "float32")), "as many rows"),
        (rows(a=np.zeros((4, 2))), "float64"),
        (rows(a=np.zeros((4, 3), "float32")), r"\[4, 3\]"),
        (rows(ids=np.full((4, 2, 3), 5)), "with 5 at"),
        (rows(ids=np.full((4, 2, 3), -1)), "with -1 at"),
        ({"a": np.zeros((0, 2), "float32"), "ids": np.zeros((0, 2, 3), "int64")},
         "from 1 to"),
        (rows(a=np.float32(3.0)), "as many rows"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_named(inputs, said):
    arena = Arena(
        (
            Field(name="a", dtype="float32", shape=(2,)),
            Field(name="ids", dtype="int64", shape=(2, 3), bounds=(5, 9)),
        ),
        (),
        100,
    )
    fits = rows(ids=np.array([[[4] * 3, [8] * 3]] * 4))
    assert check_rows(arena, fits) == 4
    with pytest.raises(ExecutionError, match=said):
        check_rows(arena, inputs)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_one_look_finds_what_every_comparison_would(data):
    dtype = data.draw(st.sampled_from(["int64", "int32", "int8", "uint8"]))
    tables = data.draw(st.integers(1, 3))
    bounds = tuple(data.draw(st.integers(1, 120)) for _ in range(tables))
    field = Field(name="ids", dtype=dtype, shape=(tables, 2), bounds=bounds)
    drawn = np.random.default_rng(data.draw(st.integers(0, 99)))
    low = 0 if dtype == "uint8" else -data.draw(st.integers(0, 1))
    ids = drawn.integers(low, 127, (5, tables, 2)).astype(dtype)
    if data.draw(st.booleans()):
        ids = np.minimum(np.abs(ids), np.array(bounds).reshape(-1, 1) - 1).astype(dtype)
    arena = Arena([field], [], 10)
    right = bool(((ids >= 0) & (ids < np.array(bounds).reshape(-1, 1))).all())
    assert arena.fits({"ids": ids}) == (5 if right else 0)
    arena.close()
