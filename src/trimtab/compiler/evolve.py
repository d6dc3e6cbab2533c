"""Evolution strategy over knobs: good schedules of a space too large to judge whole.

A (mu + lambda) strategy (Beyer and Schwefel, Natural Computing 1, 2002) on vectors of
whole numbers, one a knob: parents are crossed knob by knob, ordered knobs move by a
geometric step, others are drawn anew; the rate of mutation of each individual is
inherited and mutated too. After Tuna (arXiv 2104.14641), which searches by evolution
strategies; crossover and self-adaptation are ours. The same seed gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Knobs", "evolve"]

_DRAWS = 200
# Of as many first individuals as there are children, times four. A space in which
# 200 000 of them hold no legal one counts as one without.

Points = Sequence[Any]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What can be chosen.

    Attributes:
        choices: of each knob, by name; numbers in rising order.
        make: a schedule from one choice of each knob.
        legal: whether a schedule is one.
    """

    choices: Mapping[str, Sequence[Any]]
    make: Callable[..., Any]
    legal: Callable[[Any], bool]

    @property
    def size(self) -> int:
        """Combinations, legal or not."""
        total = 1
        for each in self.choices.values():
            total *= len(each)
        return total


def evolve(
    knobs: Knobs,
    judge: Callable[[Points], NDArray[np.float64]],
    *,
    seed: int,
    parents: int = 48,
    children: int = 256,
    generations: int = 10,
) -> list[Any]:
    """Return all schedules that were visited, the best first.

    Args:
        knobs: what can be chosen.
        judge: the cost of schedules, the lower the better.
        seed: of everything random.
        parents: that survive a generation.
        children: of a generation.
        generations: how many.

    Returns:
        None where no legal schedule turned up.
    """
    random = np.random.default_rng(seed)
    names = list(knobs.choices)
    extents = np.array([len(knobs.choices[name]) for name in names])
    ordered = np.array(
        [
            all(isinstance(each, int) for each in knobs.choices[name])
            and len(knobs.choices[name]) > 2
            for name in names
        ]
    )
    seen: dict[tuple[int, ...], float] = {}
    pool: list[tuple[float, tuple[int, ...], float]] = []

    def add(genes: NDArray[np.int64], rates: NDArray[np.float64]) -> None:
        fresh: list[tuple[tuple[int, ...], float, Any]] = []
        for row, rate in zip(genes, rates, strict=True):
            key = tuple(int(each) for each in row)
            if key in seen:
                continue
            seen[key] = np.inf
            point = knobs.make(
                **{
                    name: knobs.choices[name][i]
                    for name, i in zip(names, key, strict=True)
                }
            )
            if knobs.legal(point):
                fresh.append((key, float(rate), point))
        if not fresh:
            return
        for (key, rate, _), cost in zip(
            fresh, judge([point for _, _, point in fresh]), strict=True
        ):
            seen[key] = float(cost)
            pool.append((float(cost), key, rate))

    for _ in range(_DRAWS):  # legal ones may be rare
        add(
            (random.random((4 * children, len(names))) * extents).astype(np.int64),
            np.full(4 * children, 0.3),
        )
        if pool or len(seen) >= knobs.size:
            break
    if not pool:
        return []
    for _ in range(generations):
        pool.sort(key=lambda each: each[:2])
        del pool[parents:]
        mothers = random.integers(len(pool), size=children)
        fathers = random.integers(len(pool), size=children)
        genes = np.array([each[1] for each in pool])
        rates = np.array([each[2] for each in pool])
        cross = random.random((children, len(names))) < 0.5
        brood = np.where(cross, genes[mothers], genes[fathers])
        rate = np.clip(
            rates[mothers] * np.exp(0.3 * random.standard_normal(children)), 0.05, 0.8
        )
        hit = random.random(brood.shape) < rate[:, None]
        step = random.geometric(0.5, brood.shape) * random.choice([-1, 1], brood.shape)
        anew = (random.random(brood.shape) * extents).astype(np.int64)
        moved = np.clip(brood + step, 0, extents - 1)
        brood = np.where(hit, np.where(ordered, moved, anew), brood)
        add(brood, rate)
    ranked = sorted((cost, key) for key, cost in seen.items() if np.isfinite(cost))
    return [
        knobs.make(
            **{name: knobs.choices[name][i] for name, i in zip(names, key, strict=True)}
        )
        for _, key in ranked
    ]
