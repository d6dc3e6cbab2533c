import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.compiler.layout import Layout, Split, packed, row_major
from trimtab.compiler.loops import Number, Var, expr


def _place(layout: Layout, index) -> int:
    found = layout.at(tuple(map(int, index)))
    assert isinstance(found, Number)
    return int(found.value)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 4)] * 2),
    st.sampled_from([1, 2, 4]),
    st.tuples(*[st.integers(0, 2)] * 4),
)
def test_packed_places_are_all_different_and_inside(sizes, block, halo):
    batch, blocks, height, width = sizes
    shape = (batch, blocks * block, height, width)
    layout = packed(shape, block=block, halo=halo)
    places = {_place(layout, index) for index in np.ndindex(*shape)}
    assert len(places) == np.prod(shape)
    assert min(places) >= 0
    assert max(places) < layout.size
    top, bottom, left, right = halo
    assert layout.size == batch * blocks * block * (height + top + bottom) * (
        width + left + right
    )
    # One step outside, where there is a halo, is a place that no element has.
    if top and left:
        assert _place(layout, (0, 0, -1, -1)) not in places


def test_row_major_is_what_pytorch_calls_contiguous():
    layout = row_major((2, 3, 4))
    assert [_place(layout, i) for i in np.ndindex(2, 3, 4)] == list(range(24))
    assert layout.dense
    assert not packed((1, 16, 2, 2), block=8).dense


def test_split_coordinates_meet_blocks():
    layout = packed((1, 32, 2, 2), block=16)
    outer, inner = Var("o"), Var("i")
    plain = layout.at((0, Split(outer, inner, 16), 0, 0))
    assert str(plain) == "o * 64 + i"
    half = layout.at((0, Split(outer, inner, 8), 0, 0))
    for o in range(4):
        for i in range(8):
            value = eval(str(half), {"o": o, "i": i})
            assert value == _place(layout, (0, 8 * o + i, 0, 0))


def test_broadcast_slice_and_contiguity():
    layout = row_major((3, 1)).broadcast((2, 3, 4))
    assert layout.strides == (0, 1, 0)
    with pytest.raises(ValueError, match="does not broadcast"):
        row_major((3,)).broadcast((2,))
    whole = packed((1, 32, 2, 2), block=8)
    part = whole.slice_of(1, 8, 16)
    assert part.shape == (1, 16, 2, 2)
    assert _place(part, (0, 3, 1, 1)) == _place(whole, (0, 11, 1, 1))
    with pytest.raises(ValueError, match="cuts blocks of 8"):
        whole.slice_of(1, 4, 8)
    assert whole.contiguous_along(1) == 8
    assert row_major((2, 5)).contiguous_along(1) == 5
    assert row_major((2, 5)).contiguous_along(0) == 1


def test_all_channels_in_one_block_are_plain_neighbours():
    assert packed((1, 6, 3, 3), block=6).axis is None
    assert packed((2, 16, 1, 1), block=8).strides[:2] == (16, 1)
    with pytest.raises(ValueError, match="blocks of 8 in 12"):
        packed((1, 12, 2, 2), block=8)
    assert expr(3) == Number(3)
