"""The evolution strategy against exhaustive search."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from trimtab.compiler.evolve import Knobs, evolve


class Point(NamedTuple):
    a: int
    b: int
    word: str


NUMBERS = tuple(range(1, 41))
WORDS = ("up", "down", "left", "right", "near", "far", "in", "out")


def knobs(legal=lambda point: True):
    choices = {"a": NUMBERS, "b": NUMBERS, "word": WORDS}
    return Knobs(choices=choices, make=Point, legal=legal)


def bowl(points) -> np.ndarray:
    """A cost with one lowest point: a = 29, b = 7, ``left``."""
    return np.array(
        [
            float((p.a - 29) ** 2 + (p.b - 7) ** 2 + 50 * (p.word != "left"))
            for p in points
        ]
    )


def ridges(points) -> np.ndarray:
    """A cost with many low points far from each other."""
    return np.array(
        [
            abs(p.a * p.b - 391) + 3.0 * (p.a % 5) + len(p.word) + 0.01 * p.a
            for p in points
        ]
    )


EVERYTHING = [Point(*each) for each in itertools.product(NUMBERS, NUMBERS, WORDS)]


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_what_exhaustive_search_finds(seed) -> None:
    space = knobs()
    assert space.size == len(EVERYTHING) == 40 * 40 * 8
    found = evolve(space, bowl, seed=seed)
    assert len(found) < len(EVERYTHING) / 2
    assert found[0] == Point(29, 7, "left")


@pytest.mark.parametrize("seed", range(4))
def test_among_many_low_points_it_finds_one_of_the_lowest(seed) -> None:
    found = evolve(knobs(), ridges, seed=seed)
    better = (ridges(EVERYTHING) < ridges(found[:1])[0]).sum()
    assert better <= len(EVERYTHING) // 1000


def test_the_best_come_first_and_none_twice() -> None:
    found = evolve(knobs(), bowl, seed=1)
    costs = bowl(found)
    assert (np.diff(costs) >= 0).all()
    assert len(set(found)) == len(found)


def test_the_same_seed_gives_the_same_result() -> None:
    one, other = (evolve(knobs(), ridges, seed=3, generations=4) for _ in range(2))
    assert one == other
    assert one != evolve(knobs(), ridges, seed=4, generations=4)


def test_the_random_state_of_others_is_left_alone() -> None:
    np.random.seed(5)  # noqa: NPY002 - it is the global one that is looked at
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    evolve(knobs(), bowl, seed=1, generations=1)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index] # noqa: NPY002


def test_nothing_illegal_is_judged_or_returned() -> None:
    def legal(point) -> bool:
        return (point.a * 7 + point.b) % 97 == 0  # one in a hundred

    def judge(points) -> np.ndarray:
        assert all(legal(each) for each in points)
        return bowl(points)

    found = evolve(knobs(legal), judge, seed=0)
    assert found
    assert all(legal(each) for each in found)
    best = bowl([each for each in EVERYTHING if legal(each)]).min()
    assert bowl(found[:1])[0] <= best + 50


def test_a_space_without_a_legal_point_gives_none() -> None:
    space = Knobs(
        choices={"a": (1, 2), "b": (1,), "word": ("x", "y")},
        make=Point,
        legal=lambda point: False,
    )
    assert evolve(space, bowl, seed=0) == []


def test_a_space_of_one_point() -> None:
    space = Knobs(
        choices={"a": (3,), "b": (4,), "word": ("x",)},
        make=Point,
        legal=lambda point: True,
    )
    assert evolve(space, bowl, seed=0) == [Point(3, 4, "x")]


def test_a_large_space_without_a_legal_point_ends() -> None:
    choices = {"a": tuple(range(1000)), "b": tuple(range(1000)), "word": WORDS}
    space = Knobs(choices=choices, make=Point, legal=lambda point: False)
    assert evolve(space, bowl, seed=0, children=4) == []
