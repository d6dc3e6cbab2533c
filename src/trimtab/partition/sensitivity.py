"""How much a quantity depends on what: the statistics of a study, on full grids.

The same numbers never speak for themselves here. A share of variance depends on the
ranges that were varied, an elasticity does not: both are given. And a best cut that is
chosen by noisy measurements looks better than it is, by the same noise (the winner's
curse): what it gains is scored on other measurements than those it was chosen by.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.stats import Interval, bootstrap_interval

__all__ = ["HIGHER", "Gain", "Spread", "anova", "changes", "elasticity", "split_half",
           "spread", "tau"]  # fmt: skip

Floats = NDArray[np.float64]

HIGHER: Final = "higher"
"""Name of what effects of one and two factors leave."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A quantity that differs from condition to condition.

    Attributes:
        mean: of all; of ratios the geometric one.
        p05: that one in twenty is below.
        p95: that one in twenty is above.
        most: the largest.
    """

    mean: float
    p05: float
    p95: float
    most: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What taking the best cut gains over one cut for all, as a ratio of times.

    Attributes:
        naive: chosen and scored by the same measurements.
        corrected: chosen by one half of them, scored by the other; with its interval.
        true: of the cuts so chosen, without noise: what correction aims at.
        attainable: of the cuts that are best without noise.
        noise_frac: deviation of a measurement, relative.
        replicates: measurements of each cut and condition.
        conditions: that were drawn.
    """

    naive: float
    corrected: Interval
    true: float
    attainable: float
    noise_frac: float
    replicates: int
    conditions: int


def spread(values: Floats, *, ratios: bool = False) -> Spread:
    """Return mean and quantiles; of ratios the mean is geometric.

    Example:
        >>> spread(np.array([1.0, 4.0]), ratios=True).mean
        2.0
    """
    mean = np.exp(np.log(values).mean()) if ratios else values.mean()
    p05, p95 = np.quantile(values, (0.05, 0.95))
    return Spread(
        mean=float(mean), p05=float(p05), p95=float(p95), most=float(values.max())
    )


def anova(values: Floats, names: Sequence[str]) -> dict[tuple[str, ...], float]:
    """Return the shares of variance that factors explain, alone and in pairs.

    On a full grid with as many cells for every level the parts are orthogonal: they are
    variances of marginal means, less what their parts explain. All add up to 1, what
    three factors or more do together under `HIGHER`. Where nothing varies all are 0.

    Args:
        values: an axis for each factor.
        names: of the factors.

    Raises:
        UsageError: another number of names than axes.

    Example:
        >>> both = np.add.outer([0.0, 2.0], [0.0, 1.0])
        >>> anova(both, ("a", "b"))[("a",)]
        0.8
    """
    if len(names) != values.ndim:
        raise UsageError(
            f"{len(names)} factors of {values.ndim} axes",
            rule="each axis is a factor",
            where="trimtab.partition.sensitivity",
            remedy="name each axis",
        )
    whole = float(values.var())
    axes = range(values.ndim)

    def explained(kept: tuple[int, ...]) -> float:
        rest = tuple(axis for axis in axes if axis not in kept)
        return float(values.mean(axis=rest).var())

    found: dict[tuple[str, ...], float] = {}
    if whole <= 1e-24 * max(1.0, float(np.abs(values).max())) ** 2:
        found = {(name,): 0.0 for name in names}
        found |= dict.fromkeys(itertools.combinations(names, 2), 0.0)
        return {**found, (HIGHER,): 0.0}
    alone = [explained((axis,)) for axis in axes]
    for axis in axes:
        found[(names[axis],)] = alone[axis] / whole
    for a, b in itertools.combinations(axes, 2):
        both = explained((a, b)) - alone[a] - alone[b]
        found[(names[a], names[b])] = max(0.0, both / whole)
    found[(HIGHER,)] = max(0.0, 1.0 - sum(found.values()))
    return found


def elasticity(values: Floats, axis: int, levels: Sequence[float] | Floats) -> Spread:
    """Return d ln(value) / d ln(level), between the ends of an axis.

    Args:
        values: above 0, on a grid.
        axis: of the factor.
        levels: of it.

    Example:
        >>> x = np.array([1.0, 2.0, 4.0])
        >>> elasticity(x**-2, 0, x).mean
        -2.0
    """
    first, last = (np.take(values, at, axis=axis) for at in (0, -1))
    slope = (np.log(last) - np.log(first)) / np.log(levels[-1] / levels[0])
    return spread(np.atleast_1d(slope))


def changes(choices: NDArray[np.integer], axis: int) -> float:
    """Return how often a choice differs between neighbouring levels of an axis.

    Example:
        >>> changes(np.array([3, 3, 5]), 0)
        0.5
    """
    count = choices.shape[axis]
    before = np.take(choices, range(count - 1), axis=axis)
    after = np.take(choices, range(1, count), axis=axis)
    return float((before != after).mean())


def tau(first: Floats, second: Floats) -> Floats:
    """Return Kendall's tau-b of the rankings along the last axis.

    Where one ranking has nothing but ties, it is 0.

    Example:
        >>> float(tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(4))
        0.3333
    """
    a, b = (np.sign(x[..., :, None] - x[..., None, :]) for x in (first, second))
    together = (a * b).sum(axis=(-2, -1))
    scale = np.sqrt((a * a).sum(axis=(-2, -1)) * (b * b).sum(axis=(-2, -1)))
    found: Floats = np.divide(
        together, scale, out=np.zeros(np.shape(together)), where=scale > 0
    )
    return found


def split_half(
    costs: Floats,
    fixed: NDArray[np.integer],
    *,
    noise_frac: float,
    replicates: int,
    seed: int,
) -> Gain:
    """Return what the best cut gains over a fixed one, freed of the winner's curse.

    Each cut in each condition is measured some times, with noise that multiplies and
    is log-normal. Means are of logarithms, so that noise does not move them.

    Args:
        costs: true ones, of a condition in each row and a cut in each column; infinite
            where a cut is not allowed.
        fixed: the cut that is compared with, in each condition.
        noise_frac: deviation of the logarithm of a measurement.
        replicates: measurements; an even number.
        seed: of the noise and of the interval.

    Raises:
        UsageError: an odd number of replicates, or noise below 0.

    Example:
        >>> alike = np.ones((200, 20))
        >>> found = split_half(alike, np.zeros(200, dtype=int), noise_frac=0.2,
        ...                    replicates=4, seed=0)
        >>> found.naive > 1.1, found.corrected.low < 1.0 < found.corrected.high
        (True, True)
    """
    if replicates < 2 or replicates % 2 or not noise_frac >= 0:
        raise UsageError(
            f"{replicates} measurements with noise {noise_frac}",
            rule="halves need an even number of them, and noise is at least 0",
            where="trimtab.partition.sensitivity",
            remedy="give 4 and 0.05",
        )
    rng = np.random.default_rng(seed)
    logs = np.log(costs)
    rows = np.arange(len(logs))
    deviation = noise_frac / np.sqrt(replicates / 2)
    halves = [logs + deviation * rng.standard_normal(logs.shape) for _ in range(2)]
    both = (halves[0] + halves[1]) / 2

    def gained(by: Floats, scored: Floats) -> Floats:
        gain: Floats = scored[rows, fixed] - scored[rows, by.argmin(axis=1)]
        return gain

    crossed = (gained(halves[0], halves[1]) + gained(halves[1], halves[0])) / 2
    true = (gained(halves[0], logs) + gained(halves[1], logs)) / 2
    interval = bootstrap_interval(
        crossed, np.mean, resamples=2_000, seed=seed, method="percentile"
    )
    return Gain(
        naive=float(np.exp(gained(both, both).mean())),
        corrected=Interval(
            value=float(np.exp(interval.value)),
            low=float(np.exp(interval.low)),
            high=float(np.exp(interval.high)),
            confidence=interval.confidence,
        ),
        true=float(np.exp(true.mean())),
        attainable=float(np.exp(gained(logs, logs).mean())),
        noise_frac=noise_frac,
        replicates=replicates,
        conditions=len(logs),
    )
