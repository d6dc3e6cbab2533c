import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from trimtab.errors import UsageError
from trimtab.stats import (
    bootstrap_interval,
    geometric_mean,
    holm,
    kendall,
    median,
    paired_difference,
    spearman,
    wilson_interval,
)


def test_median_of_even_and_odd():
    assert median([5, 1, 3]) == 3
    assert median([4, 1, 3, 2]) == (2 + 3) / 2


def test_geometric_mean_is_the_root_of_the_product():
    assert geometric_mean([2, 4, 8]) == pytest.approx((2 * 4 * 8) ** (1 / 3))
    with pytest.raises(UsageError, match="positive values only"):
        geometric_mean([1.0, 0.0])


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf], [[1.0], [2.0]]])
def test_what_is_no_sample_is_refused(samples):
    with pytest.raises(UsageError, match="finite numbers"):
        median(samples)


def test_bootstrap_repeats_for_a_seed_and_differs_between_seeds():
    samples = np.random.default_rng(1).normal(size=30)
    one = bootstrap_interval(samples, np.mean, seed=3, resamples=500)
    assert one == bootstrap_interval(samples, np.mean, seed=3, resamples=500)
    assert one != bootstrap_interval(samples, np.mean, seed=4, resamples=500)
    assert one.low < one.value < one.high


def test_percentile_bootstrap_of_two_values_in_closed_form():
    # A resample of (0, 1) has the mean 0, 1/2, 1 with probability 1/4, 1/2, 1/4.
    wide = bootstrap_interval(
        [0.0, 1.0], np.mean, confidence=0.6, seed=0, method="percentile"
    )
    assert (wide.low, wide.value, wide.high) == (0.0, 0.5, 1.0)
    narrow = bootstrap_interval(
        [0.0, 1.0], np.mean, confidence=0.4, seed=0, method="percentile"
    )
    assert (narrow.low, narrow.high) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("method", "peer"), [("bca", "BCa"), ("percentile", "percentile")]
)
def test_bootstrap_agrees_with_scipy(method, peer):
    samples = np.random.default_rng(2).exponential(size=40)
    ours = bootstrap_interval(samples, np.mean, seed=0, method=method)
    theirs = scipy_stats.bootstrap(
        (samples,), np.mean, n_resamples=10_000, method=peer, random_state=0
    ).confidence_interval
    spread = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * spread)


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap_interval(
            rng.normal(size=25), np.mean, confidence=0.9, resamples=400, seed=trial
        )
        hits += interval.low <= 0 <= interval.high
    assert 0.8 <= hits / 200 <= 0.97


def test_bca_of_a_constant_is_a_point_without_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = bootstrap_interval([2.0] * 5, np.median, seed=0)
    assert (interval.low, interval.high) == (2.0, 2.0)


def test_bootstrap_refuses_few_resamples_and_odd_confidences():
    with pytest.raises(UsageError, match="at least 100"):
        bootstrap_interval([1.0, 2.0], np.mean, seed=0, resamples=10)
    with pytest.raises(UsageError, match="between 0 and 1"):
        bootstrap_interval([1.0, 2.0], np.mean, seed=0, confidence=95)


def test_paired_difference_in_closed_form():
    # Differences 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653.
    result = paired_difference([2, 4, 6], [1, 2, 3])
    assert result.mean.value == 2
    assert result.mean.high - 2 == pytest.approx(4.302653 * 1 / math.sqrt(3), rel=1e-6)
    assert 2 - result.mean.low == pytest.approx(result.mean.high - 2)
    assert result.permutation_p == 2 / 2**3  # all plus and all minus
    assert result.wilcoxon_p == 2 / 2**3
    assert result.pairs == 3


def test_paired_difference_of_equal_pairs():
    result = paired_difference([1.0, 2.0], [1.0, 2.0])
    assert (result.wilcoxon_p, result.permutation_p) == (1.0, 1.0)
    assert (result.mean.low, result.mean.high) == (0.0, 0.0)


def test_paired_difference_of_many_pairs_draws_by_seed():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, 40), rng.normal(0, 1, 40)
    result = paired_difference(a, b, seed=1)
    assert result == paired_difference(a, b, seed=1)
    peer = scipy_stats.ttest_rel(a, b).pvalue
    assert result.permutation_p == pytest.approx(peer, abs=0.02)


def test_pairs_must_match():
    with pytest.raises(UsageError, match="3 and 2 samples"):
        paired_difference([1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="at least 2"):
        paired_difference([1], [2])


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; then never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        (3 * 0.01, 2 * 0.03, 2 * 0.03, 4 * 0.005)
    )
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()
    with pytest.raises(UsageError, match=r"p value 1\.2"):
        holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_laws(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    ranked = [adjusted[index] for index in order]
    assert ranked == sorted(ranked)


def test_wilson_in_closed_form():
    # For a half of n: 1/2 +- z / (2 sqrt(n + z^2)).
    z = 1.959963984540054
    interval = wilson_interval(50, 100)
    assert interval.high == pytest.approx(0.5 + z / (2 * math.sqrt(100 + z * z)))
    assert interval.low == pytest.approx(0.5 - z / (2 * math.sqrt(100 + z * z)))
    # For none of n: the upper end is z^2 / (n + z^2).
    assert wilson_interval(0, 10).high == pytest.approx(z * z / (10 + z * z))
    assert wilson_interval(10, 10).high == 1.0


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses(successes, trials):
    with pytest.raises(UsageError, match="at least one trial"):
        wilson_interval(successes, trials)


def test_spearman_by_hand_and_with_ties():
    # Ranks differ by 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
    interval = spearman([1, 2, 3, 4], [1, 3, 2, 4], resamples=200)
    assert interval.value == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert interval.low <= interval.value <= interval.high
    a, b = [1, 1, 2, 3, 3, 5], [2, 1, 2, 4, 3, 3]
    peer = scipy_stats.spearmanr(a, b).statistic
    assert spearman(a, b, resamples=200).value == pytest.approx(peer)


def test_kendall_by_hand():
    # Of six pairs five agree and one does not.
    interval = kendall([1, 2, 3, 4], [1, 3, 2, 4], resamples=200)
    assert interval.value == pytest.approx((5 - 1) / 6)
    assert -1 <= interval.low <= interval.high <= 1


@pytest.mark.parametrize("correlation", [spearman, kendall])
def test_correlation_refuses_a_constant(correlation):
    with pytest.raises(UsageError, match="of a constant"):
        correlation([1, 1, 1], [1, 2, 3])


def test_correlation_of_many_equal_pairs_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spearman([1, 1, 2], [1, 2, 2], resamples=200)
        kendall([1, 1, 2], [1, 2, 2], resamples=200)
