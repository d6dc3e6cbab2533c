"""Estimates that follow a change and shrug at noise."""

import math
import random

import numpy as np
import pytest

from trimtab.errors import UsageError
from trimtab.runtime.estimators import LogMean, Recent


def test_a_constant_is_found_whatever_the_noise():
    drawn = random.Random(0)
    mean = LogMean(weight=0.1)
    for _ in range(400):
        mean.see(100.0 * math.exp(0.2 * drawn.gauss(0, 1)))
    assert mean.value == pytest.approx(100.0, rel=0.2)
    assert mean.changes <= 2


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_change_is_followed_at_once_and_an_outlier_is_not(factor):
    mean = LogMean()
    for _ in range(20):
        mean.see(100.0)
    mean.see(100.0 * factor)
    once = mean.value
    mean.see(100.0)
    mean.see(100.0)
    assert mean.changes == 0
    assert once is not None
    assert abs(math.log(once / 100.0)) < abs(math.log(factor)) / 2
    for _ in range(2):
        mean.see(100.0 * factor)
    assert mean.changes == 1
    assert mean.value == pytest.approx(100.0 * factor, rel=0.5)


def test_what_is_no_rate_is_left_out():
    mean = LogMean()
    for wrong in (0.0, -1.0, math.nan, math.inf):
        mean.see(wrong)
    assert mean.value is None
    mean.see(5.0)
    mean.see(-3.0)
    assert mean.value == 5.0


def test_small_samples_weigh_less():
    one, two = LogMean(value=100.0), LogMean(value=100.0)
    one.see(120.0)
    two.see(120.0, share=0.1)
    assert one.value is not None
    assert two.value is not None
    assert 100 < two.value < one.value < 120


@pytest.mark.parametrize("weight", [0.0, 1.5, -1.0])
def test_weights_have_limits(weight):
    with pytest.raises(UsageError, match="weight"):
        LogMean(weight=weight)


def test_quantiles_are_of_the_window():
    recent = Recent(10.0, most=5)
    assert recent.quantile(0.5, at=0.0) is None
    for second in range(10):
        recent.see(float(second), at=float(second))
    assert recent.quantile(0.0, at=9.0) == 5.0  # five are kept
    assert recent.quantile(1.0, at=18.0) == 9.0
    assert recent.quantile(0.0, at=18.5) == 9.0
    assert recent.quantile(0.5, at=100.0) is None


def test_quantiles_are_those_of_numpy():
    drawn = random.Random(0)
    recent = Recent(100.0)
    seen = [drawn.random() for _ in range(37)]
    for each in seen:
        recent.see(each, at=0.0)
    for share in (0.0, 0.05, 0.25, 0.5, 0.77, 1.0):
        expected = float(np.quantile(seen, share))
        assert recent.quantile(share, at=0.0) == pytest.approx(expected)


def test_a_held_back_observation_makes_it_unsure():
    mean = LogMean(value=100.0)
    mean.see(100.0)
    assert not mean.unsure
    mean.see(1.0)
    assert mean.unsure
    mean.see(1.0)
    assert not mean.unsure
