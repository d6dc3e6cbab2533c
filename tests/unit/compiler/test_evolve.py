import itertools

import numpy as np

from trimtab.compiler.evolve import Knobs, evolve

KNOBS = Knobs(
    choices={
        "a": list(range(1, 21)),
        "b": list(range(1, 21)),
        "c": ["x", "y", "z"],
        "d": (False, True),
    },
    make=lambda a, b, c, d: (a, b, c, d),
    legal=lambda p: (p[0] + p[1]) % 3 != 0,
)


def _cost(points):
    return np.array(
        [
            (a - 13) ** 2 + (b - 7) ** 2 + 5 * (c != "y") + 3 * d + 0.1 * a * b
            for a, b, c, d in points
        ]
    )


def test_it_finds_what_exhaustive_search_finds():
    every = [p for p in itertools.product(*KNOBS.choices.values()) if KNOBS.legal(p)]
    best = every[int(np.argmin(_cost(every)))]
    for seed in range(3):
        found = evolve(KNOBS, _cost, seed=seed, parents=24, children=120)
        assert found[0] == best
        assert len(found) < len(every)
        assert all(KNOBS.legal(p) for p in found)
        costs = _cost(found)
        assert (np.diff(costs) >= 0).all(), "the best first"


def test_the_same_seed_visits_the_same():
    assert evolve(KNOBS, _cost, seed=5) == evolve(KNOBS, _cost, seed=5)


def test_a_space_without_legal_points_ends():
    nothing = Knobs(choices={"a": [1, 2]}, make=lambda a: a, legal=lambda p: False)
    assert evolve(nothing, lambda points: np.zeros(len(points)), seed=0) == []
    assert KNOBS.size == 20 * 20 * 3 * 2
