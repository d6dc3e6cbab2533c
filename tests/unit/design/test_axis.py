"""Intervals against sets of pixels, position by position."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.design.axis import NOTHING, Axis

WINDOWS = st.fixed_dictionaries(
    {
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "before": st.integers(0, 2),
        "dilation": st.integers(1, 2),
    }
)


def hull(sets):
    """Return the first and the last pixel of sets, as an axis keeps them."""
    first = [min(each, default=NOTHING) for each in sets]
    last = [max(each, default=-NOTHING) for each in sets]
    return first, last


@given(st.integers(8, 20), st.lists(WINDOWS, min_size=1, max_size=3))
def test_windows_see_what_their_pixels_see(pixels, windows):
    axis = Axis.of_image(pixels)
    sets = [{each} for each in range(pixels)]
    reach = [(each, each) for each in range(pixels)]
    size, jump = 1, 1
    for window in windows:
        span = (window["kernel"] - 1) * window["dilation"]
        count = (len(sets) + 2 * window["before"] - span - 1) // window["stride"] + 1
        if count < 1:
            return
        taps = [
            [
                place * window["stride"] - window["before"] + tap * window["dilation"]
                for tap in range(window["kernel"])
            ]
            for place in range(count)
        ]
        sets = [
            set().union(*(sets[tap] for tap in some if 0 <= tap < len(sets)))
            for some in taps
        ]
        size += span * jump
        jump *= window["stride"]
        axis = axis.window(count, **window)
    first, last = hull(sets)
    assert axis.first.tolist() == first
    assert axis.last.tolist() == last
    assert axis.size == axis.least == size
    assert axis.jump == jump
    del reach


@given(st.integers(3, 8), WINDOWS)
def test_what_is_spread_sees_the_positions_that_reach_it(pixels, window):
    count = (
        (pixels - 1) * window["stride"]
        - 2 * window["before"]
        + (window["kernel"] - 1) * window["dilation"]
        + 1
    )
    if count < 1:
        return
    sets: list[set[int]] = [set() for _ in range(count)]
    for pixel in range(pixels):
        for tap in range(window["kernel"]):
            place = (
                pixel * window["stride"] - window["before"] + tap * window["dilation"]
            )
            if 0 <= place < count:
                sets[place].add(pixel)
    axis = Axis.of_image(pixels).spread(count, **window)
    first, last = hull(sets)
    assert axis.first.tolist() == first
    assert axis.last.tolist() == last
    assert axis.jump == Fraction(1, window["stride"])


def test_a_field_goes_on_beyond_the_image():
    axis = Axis.of_image(4).window(4, kernel=3, before=1)
    assert axis.low.tolist() == [-1, 0, 1, 2]
    assert axis.first.tolist() == [0, 0, 1, 2]
    twice = axis.window(4, kernel=3, before=1)
    assert twice.low.tolist() == [-2, -1, 0, 1]
    assert (twice.size, twice.least) == (5, 5)
    # Behind a stride positions stand two pixels apart, beyond the ends too.
    halves = Axis.of_image(8).window(4, kernel=1, stride=2)
    assert halves.window(4, kernel=3, before=1).low.tolist() == [-2, 0, 2, 4]


def test_unions_and_groups():
    one = Axis.of_image(6)
    other = one.window(6, kernel=3, before=1)
    both = one.union(np.array([0, 5]), other, np.array([2, 0]))
    assert (both.first.tolist(), both.last.tolist()) == ([0, 0], [3, 5])
    assert both.least == 1  # through the narrower of the two
    groups = one.together(np.array([0, 0, 1, 1, 1, 0]), 2)
    assert (groups.first.tolist(), groups.last.tolist()) == ([0, 2], [5, 4])


def test_the_whole_and_nothing():
    assert Axis.of_image(5).window(1, kernel=5).is_whole
    nothing = Axis.of_nothing(5)
    assert nothing.first[0] > nothing.last[0]
    assert nothing.size == 0
    assert not nothing.is_whole
