"""Axes of several tensors as loops."""

import itertools

import pytest

from trimtab.compiler.layout import Layout, packed, row_major
from trimtab.compiler.spaces.axes import Digit, digits, join

SHAPE = (2, 24, 3, 4)


def test_loops_visit_each_element_of_each_tensor_once(check) -> None:
    tensors = (
        packed(SHAPE, block=8, halo=(1, 1, 1, 1)),
        packed(SHAPE, block=4),
        row_major(SHAPE),
        row_major((24, 1, 1)).broadcast(SHAPE),
    )
    loops = digits(tensors, {1: (12 * 2,)})
    assert [each.extent for each in loops] == [2, 3, 2, 4, 3, 4]
    for every in (loops, join(loops)):
        for index, layout in enumerate(tensors):
            places = [
                layout.offset
                + sum(
                    at * loop.strides[index]
                    for at, loop in zip(step, every, strict=True)
                )
                for step in itertools.product(*(range(each.extent) for each in every))
            ]
            assert places == check.elements(layout).reshape(-1).tolist()


def test_joined_where_all_run_on() -> None:
    dense = row_major((3, 4, 5))
    assert join(digits((dense,))) == [Digit(3 * 4 * 5, (1,), 0, 1)]
    gaps = Layout(shape=(3, 4, 5), strides=(40, 5, 1), size=120)
    assert join(digits((dense, gaps))) == [
        Digit(3, (4 * 5, 40), 0, 1),
        Digit(4 * 5, (1, 1), 1, 1),
    ]


def test_digits_end_where_they_are_told() -> None:
    found = digits((row_major((1, 32)),), {1: (8,)})
    assert [(each.extent, each.weight) for each in found] == [(4, 8), (8, 1)]


def test_sizes_that_do_not_divide_each_other() -> None:
    with pytest.raises(ValueError, match=r"blocks \[8, 12\] of an axis of 24"):
        digits((packed(SHAPE, block=8), packed(SHAPE, block=12)))
