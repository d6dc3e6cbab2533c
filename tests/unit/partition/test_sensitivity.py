"""Statistics of a study: closed forms, laws, and the winner's curse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trimtab.errors import UsageError
from trimtab.partition.sensitivity import (
    HIGHER,
    anova,
    changes,
    elasticity,
    split_half,
    spread,
    tau,
)


def test_sums_have_no_interaction_and_products_of_signs_nothing_else():
    a, b = np.array([-1.0, 1.0]), np.array([-3.0, 0.0, 3.0])
    both = anova(np.add.outer(a, b), ("a", "b"))
    # Variances: 1 of a, 2 * 9 / 3 of b.
    assert both[("a",)] == pytest.approx(1 / (1 + 6))
    assert both[("b",)] == pytest.approx(6 / (1 + 6))
    assert both[("a", "b")] == pytest.approx(0.0, abs=1e-12)
    product = anova(np.multiply.outer(a, b), ("a", "b"))
    assert product[("a", "b")] == pytest.approx(1.0)
    three = np.multiply.outer(np.multiply.outer(a, b), a)
    assert anova(three, ("a", "b", "c"))[(HIGHER,)] == pytest.approx(1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shares_add_up_to_one(seed):
    values = np.random.default_rng(seed).normal(size=(3, 2, 4, 3))
    found = anova(values, ("a", "b", "c", "d"))
    assert sum(found.values()) == pytest.approx(1.0)
    assert all(0 <= each <= 1 for each in found.values())


def test_where_nothing_varies_nothing_explains():
    assert set(anova(np.full((2, 3), 0.1), ("a", "b")).values()) == {0.0}
    with pytest.raises(UsageError, match="each axis is a factor"):
        anova(np.zeros((2, 3)), ("a",))


def test_an_elasticity_is_the_power():
    x, y = np.array([1.0, 3.0, 10.0]), np.array([0.5, 2.0])
    values = np.multiply.outer(x**-1, y**0.25)
    assert elasticity(values, 0, x).mean == pytest.approx(-1.0)
    assert elasticity(values, 1, y).most == pytest.approx(0.25)


def test_changes_are_counted_along_one_axis():
    best = np.array([[0, 0, 1], [0, 2, 2]])
    assert changes(best, 1) == 2 / 4
    assert changes(best, 0) == 2 / 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_tau_is_that_of_scipy(seed, count):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, (2, count)).astype(float)
    expected = stats.kendalltau(a, b).statistic
    assert float(tau(a, b)) == pytest.approx(0.0 if np.isnan(expected) else expected)


def test_ratios_have_a_geometric_mean():
    found = spread(np.array([1.0, 1.0, 8.0]), ratios=True)
    assert found.mean == pytest.approx(2.0)
    assert found.most == 8.0


@pytest.mark.parametrize("seed", range(5))
def test_without_an_effect_the_corrected_gain_is_one(seed):
    alike = np.ones((400, 15))
    found = split_half(
        alike, np.zeros(400, dtype=int), noise_frac=0.2, replicates=4, seed=seed
    )
    assert found.naive > 1.15  # the winner's curse
    assert 0.98 < found.corrected.value < 1.02
    assert found.corrected.high - found.corrected.low < 0.05
    assert found.true == found.attainable == 1.0


def test_intervals_hold_what_they_say_without_an_effect():
    alike = np.ones((100, 8))
    inside = 0
    for seed in range(100):
        found = split_half(
            alike, np.zeros(100, dtype=int), noise_frac=0.1, replicates=2, seed=seed
        ).corrected
        inside += found.low <= 1.0 <= found.high
    assert inside >= 88  # of 95 that are expected


def test_a_true_gain_is_kept():
    rng = np.random.default_rng(0)
    costs = np.exp(rng.normal(0.0, 0.5, (300, 10)))
    found = split_half(
        costs, np.zeros(300, dtype=int), noise_frac=0.3, replicates=4, seed=1
    )
    assert found.corrected.low <= found.true <= found.corrected.high
    assert found.true <= found.attainable
    assert found.naive > found.corrected.value


def test_without_noise_all_are_the_same():
    costs = np.array([[2.0, 1.0, np.inf], [4.0, 1.0, 8.0]])
    found = split_half(
        costs, np.zeros(2, dtype=int), noise_frac=0.0, replicates=2, seed=0
    )
    assert found.naive == found.true == found.attainable == pytest.approx(8**0.5)
    with pytest.raises(UsageError, match="even number"):
        split_half(costs, np.zeros(2, dtype=int), noise_frac=0.1, replicates=3, seed=0)
