"""The closed form against loops that are walked."""

import itertools

import numpy as np
import pytest

from trimtab.compiler.nest import Access, Body, Nest, Part, ceil_div


def _nest(loops, accesses):
    return Nest(
        loops=tuple(loops),
        parts=(Part(body=Body(fmas=1.0), steps=1.0),),
        accesses=tuple(accesses),
        flops=1.0,
    )


# y[i] += x[i + k] * w[k], one element a step.
X = Access(name="x", axes=((1.0, {"i": 1.0, "k": 1.0}),), item_bytes=4.0, limit=(99,))
W = Access(
    name="w", axes=((1.0, {"k": 1.0}),), item_bytes=4.0, limit=(99,), weight=True
)
Y = Access(
    name="y", axes=((1.0, {"i": 1.0}),), item_bytes=4.0, limit=(99,), written=True
)


@pytest.mark.parametrize("order", ["ik", "ki"])
def test_footprints_are_the_elements_that_are_touched(order):
    trips = {"i": 6, "k": 4}
    nest = _nest([(name, float(trips[name])) for name in order], (X, W, Y))
    places = {"x": lambda i, k: i + k, "w": lambda i, k: k, "y": lambda i, k: i}
    for access in nest.accesses:
        found = access.footprints(nest.loops)
        for level in range(3):
            inner = order[level:]
            ranges = [range(trips[n]) if n in inner else range(1) for n in "ik"]
            seen = {places[access.name](i, k) for i, k in itertools.product(*ranges)}
            assert found[level] == 4 * len(seen), (access.name, level)


def test_traffic_of_a_cache_that_holds_an_inner_loop():
    # i outside, k inside: the window of four of x and all of w fit, y too.
    nest = _nest([("i", 64.0), ("k", 4.0)], (X, W, Y))
    inner = 4 * (4 + 4 + 1)
    (moved,) = nest.traffic([inner])
    # x: four for each of 64 steps; w stays; y is written and read, once each.
    assert moved == 4 * (4 * 64 + 4 + 2 * 64)
    # A cache that holds everything: nothing comes in again.
    assert nest.traffic([1e9]) == [0.0]


def test_traffic_never_grows_with_the_cache():
    nest = _nest([("i", 64.0), ("k", 32.0)], (X, W, Y))
    moved = nest.traffic([16.0, 64.0, 256.0, 1024.0, 1e6])
    assert all(a >= b for a, b in itertools.pairwise(moved))


def test_many_schedules_at_once_are_each_by_itself():
    trips = np.array([8.0, 64.0])
    both = _nest([("i", trips), ("k", 4.0)], (X, W, Y)).traffic([40.0])[0]
    for index, one in enumerate(trips):
        alone = _nest([("i", float(one)), ("k", 4.0)], (X, W, Y)).traffic([40.0])[0]
        assert both[index] == alone


def test_weights_and_rounding_up():
    nest = _nest([("i", 64.0), ("k", 4.0)], (X, W, Y))
    assert nest.weight_bytes() == 4 * 4
    assert ceil_div(7.0, 2.0) == 4
