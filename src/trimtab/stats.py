"""The statistics that every claim uses; over 400 lines to be the only place of them.

Intervals, paired tests, rank correlation, correction for many tests.

Nothing here draws from a global random state: what resamples takes a seed.

References:
    Efron, "Better Bootstrap Confidence Intervals", JASA 82, 1987 (BCa).
    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
    Wilson, "Probable Inference, the Law of Succession, ...", JASA 22, 1927.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt
from scipy import stats

from trimtab.errors import UsageError

__all__ = [
    "Interval",
    "PairedDifference",
    "bootstrap_interval",
    "geometric_mean",
    "holm",
    "kendall",
    "median",
    "paired_difference",
    "spearman",
    "wilson_interval",
]

Floats = npt.NDArray[np.float64]
Samples = Sequence[float] | Floats

_FLIPS: Final = 2**14  # sign flips drawn; up to 14 pairs all are tried


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its confidence interval.

    Attributes:
        value: the statistic of the samples themselves.
        low: lower end.
        high: upper end.
        confidence: of the interval, such as 0.95.
    """

    value: float
    low: float
    high: float
    confidence: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How two measurements of the same things differ, first minus second.

    Attributes:
        mean: of the differences, with its t interval.
        pairs: how many.
        wilcoxon_p: two-sided, of the signed ranks; 1 where all pairs are equal.
        permutation_p: two-sided, of the mean under flipped signs.
    """

    mean: Interval
    pairs: int
    wilcoxon_p: float
    permutation_p: float


def median(samples: Samples) -> float:
    """Return the median.

    Raises:
        UsageError: no samples, or one that is not finite.

    Example:
        >>> median([3.0, 1.0, 2.0, 10.0])
        2.5
    """
    return float(np.median(_finite("median", samples)))


def geometric_mean(samples: Samples) -> float:
    """Return the geometric mean, the fair mean of ratios.

    Raises:
        UsageError: no samples, or one that is not positive.

    Example:
        >>> geometric_mean([0.5, 2.0])
        1.0
    """
    values = _finite("geometric_mean", samples)
    if values.min() <= 0:
        raise UsageError(
            f"geometric_mean of {values.min():g}",
            rule="it is defined for positive values only",
            remedy="give ratios or durations",
        )
    return float(np.exp(np.log(values).mean()))


def bootstrap_interval(
    samples: Samples,
    statistic: Callable[[Floats], float | np.floating],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int,
    method: Literal["bca", "percentile"] = "bca",
) -> Interval:
    """Return a bootstrap interval of a statistic.

    Args:
        samples: independent measurements.
        statistic: of an array of samples, such as `numpy.median`.
        confidence: of the interval.
        resamples: how often samples are drawn.
        seed: of the draws.
        method: bias-corrected and accelerated, or plain percentiles. BCa falls back to
            percentiles where it is not defined: all resamples on one side of the value.

    Raises:
        UsageError: no samples, one that is not finite, or a confidence outside (0, 1).

    Example:
        >>> bootstrap_interval([1.0, 1.0, 1.0], np.mean, seed=0)
        Interval(value=1.0, low=1.0, high=1.0, confidence=0.95)
    """
    values = _finite("bootstrap_interval", samples)

    def of(rows: npt.NDArray[np.intp]) -> float:
        return float(statistic(values[rows]))

    return _bootstrap(of, values.size, confidence, resamples, seed, method)


def paired_difference(
    first: Samples,
    second: Samples,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Return how paired measurements differ.

    The permutation test is exact up to 14 pairs; `seed` is of the draws beyond.

    Raises:
        UsageError: fewer than two pairs, lengths that differ, or values not finite.

    Example:
        >>> result = paired_difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
        >>> result.mean.value, result.permutation_p
        (2.0, 0.25)
    """
    a, b = _pairs("paired_difference", first, second, least=2)
    _check_confidence(confidence)
    difference = a - b
    size = difference.size
    mean = float(difference.mean())
    error = float(difference.std(ddof=1)) / math.sqrt(size)
    reach = float(stats.t.ppf((1 + confidence) / 2, size - 1)) * error
    return PairedDifference(
        mean=Interval(
            value=mean, low=mean - reach, high=mean + reach, confidence=confidence
        ),
        pairs=size,
        wilcoxon_p=float(stats.wilcoxon(difference).pvalue)
        if np.any(difference)
        else 1.0,
        permutation_p=_sign_flip_p(difference, seed),
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for their number, in the order given.

    Raises:
        UsageError: a value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03])
        (0.03, 0.06, 0.06)
    """
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise UsageError(
                f"p value {p_value}",
                rule="it must be between 0 and 1",
                remedy="give probabilities",
            )
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(
        sorted(range(len(p_values)), key=p_values.__getitem__)
    ):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return tuple(adjusted)


def wilson_interval(
    successes: int, trials: int, *, confidence: float = 0.95
) -> Interval:
    """Return the Wilson interval of a share, such as an accuracy.

    Raises:
        UsageError: no trials, or more successes than trials.

    Example:
        >>> wilson_interval(0, 10).low, round(wilson_interval(0, 10).high, 4)
        (0.0, 0.2775)
    """
    _check_confidence(confidence)
    if not 0 <= successes <= trials or trials == 0:
        raise UsageError(
            f"{successes} successes of {trials}",
            rule="there must be at least one trial and no more successes than trials",
            remedy="count again",
        )
    z2 = float(stats.norm.ppf((1 + confidence) / 2)) ** 2
    share = successes / trials
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    reach = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2)))
    reach /= 1 + z2 / trials
    return Interval(
        value=share,
        low=0.0 if successes == 0 else max(0.0, centre - reach),
        high=1.0 if successes == trials else min(1.0, centre + reach),
        confidence=confidence,
    )


def spearman(
    first: Samples,
    second: Samples,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return Spearman's rank correlation with a bootstrap interval over pairs.

    Ties share their mean rank. Resamples in which one side is constant have no
    correlation and are left out.

    Raises:
        UsageError: fewer than three pairs, lengths that differ, a constant side.

    Example:
        >>> spearman([1, 2, 3, 4], [10, 20, 30, 40]).value
        1.0
    """

    def of(x: Floats, y: Floats) -> float:
        x, y = stats.rankdata(x), stats.rankdata(y)
        return float(np.corrcoef(x, y)[0, 1])

    return _correlation("spearman", of, first, second, confidence, resamples, seed)


def kendall(
    first: Samples,
    second: Samples,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Return Kendall's tau-b with a bootstrap interval over pairs.

    Raises:
        UsageError: fewer than three pairs, lengths that differ, a constant side.

    Example:
        >>> round(kendall([1, 2, 3], [1, 3, 2]).value, 4)
        0.3333
    """

    def of(x: Floats, y: Floats) -> float:
        return float(stats.kendalltau(x, y).statistic)

    return _correlation("kendall", of, first, second, confidence, resamples, seed)


def _correlation(
    what: str,
    correlation: Callable[[Floats, Floats], float],
    first: Samples,
    second: Samples,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    a, b = _pairs(what, first, second, least=3)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        raise UsageError(
            f"{what} of a constant",
            rule="ranks that are all equal have no correlation",
            remedy="give values that differ",
        )

    def of(rows: npt.NDArray[np.intp]) -> float:
        x, y = a[rows], b[rows]
        if np.ptp(x) == 0 or np.ptp(y) == 0:
            return math.nan
        return min(1.0, max(-1.0, correlation(x, y)))

    return _bootstrap(of, a.size, confidence, resamples, seed, "percentile")


def _bootstrap(
    of: Callable[[npt.NDArray[np.intp]], float],
    size: int,
    confidence: float,
    resamples: int,
    seed: int,
    method: str,
) -> Interval:
    """Return the interval of a statistic that is given the rows it may use."""
    _check_confidence(confidence)
    if resamples < 100:
        raise UsageError(
            f"{resamples} resamples",
            rule="an interval needs at least 100",
            remedy="give 2000 or more",
        )
    rng = np.random.default_rng(seed)
    everything = np.arange(size)
    value = of(everything)
    drawn = np.array([of(rng.integers(0, size, size)) for _ in range(resamples)])
    drawn = drawn[~np.isnan(drawn)]
    if drawn.size == 0:
        drawn = np.array([value])
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        tails = _bca_tails(of, size, value, drawn, tails)
    low, high = np.quantile(drawn, tails)
    return Interval(
        value=value, low=float(low), high=float(high), confidence=confidence
    )


def _bca_tails(
    of: Callable[[npt.NDArray[np.intp]], float],
    size: int,
    value: float,
    drawn: Floats,
    tails: Floats,
) -> Floats:
    """Return the tails corrected for bias and skewness (Efron 1987, equation 2.3)."""
    # Half of the ties count as below: a median of few samples has many.
    below = float(((drawn < value).mean() + (drawn <= value).mean()) / 2)
    if not 0 < below < 1 or size < 2:
        return tails
    everything = np.arange(size)
    left_out = np.array([of(np.delete(everything, row)) for row in range(size)])
    deviation = left_out.mean() - left_out
    spread = float((deviation**2).sum()) ** 1.5
    skew = float((deviation**3).sum()) / (6 * spread) if spread > 0 else 0.0
    bias = float(stats.norm.ppf(below))
    shifted = bias + stats.norm.ppf(tails)
    corrected = stats.norm.cdf(bias + shifted / (1 - skew * shifted))
    return np.asarray(corrected, dtype=np.float64)


def _sign_flip_p(difference: Floats, seed: int) -> float:
    """Return how often flipped signs give a mean at least as far from zero."""
    flipped = stats.permutation_test(
        (difference,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_FLIPS,
        random_state=np.random.default_rng(seed),
    )
    return float(flipped.pvalue)


def _finite(what: str, samples: Samples, least: int = 1) -> Floats:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or values.size < least or not np.isfinite(values).all():
        raise UsageError(
            f"{what} of {values.size} samples",
            rule=f"it needs a flat sequence of at least {least} finite numbers",
            remedy="look at what was measured; leave failed measurements out",
        )
    return values


def _pairs(
    what: str, first: Samples, second: Samples, least: int
) -> tuple[Floats, Floats]:
    a, b = _finite(what, first, least), _finite(what, second, least)
    if a.size != b.size:
        raise UsageError(
            f"{what} of {a.size} and {b.size} samples",
            rule="pairs need as many on both sides",
            remedy="give the measurements of the same things in the same order",
        )
    return a, b


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(
            f"confidence {confidence}",
            rule="it must lie between 0 and 1",
            remedy="give 0.95",
        )
