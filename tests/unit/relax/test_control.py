"""Rows 14 and 15 of what is claimed of relaxations, with their tolerances."""

import math

import numpy as np
import pytest

from trimtab.errors import UsageError
from trimtab.relax.control import averaged, least_cost, steered

BETA = 4.0


def f(x):
    return x**2 / 2 + 0.75 * np.sin(2 * np.pi * x)


def slope(x):
    return x + 1.5 * np.pi * np.cos(2 * np.pi * x)


@pytest.fixture(scope="module")
def solved():
    x = np.linspace(-3.5, 3.5, 2801)
    times, values = least_cost(slope, f, x, t=0.5, beta=BETA)
    return times, values, x


@pytest.mark.parametrize("start", [-2.2, 2.0, 0.9])
def test_steering_reaches_the_least_cost_and_pays(solved, start):
    times, values, x = solved
    least = float(np.interp(start, x, values[-1]))
    found = steered(
        slope, f, start, times=times, values=values, x=x, beta=BETA, paths=20_000
    )
    assert abs(least - found.predicted) < 0.01 + 3 * found.predicted_error
    assert -0.005 <= found.cost - least <= 0.03
    # E V(steered) <= E V(alone) - price: by more than three standard errors.
    assert found.gain > 3 * found.gain_error
    assert found.reached < found.alone
    # Jensen: -1/beta log E exp(-beta V) is at most E V.
    assert found.predicted <= found.alone


def test_slices_are_few_and_reach_the_end(solved):
    times, values, _ = solved
    assert 400 < len(times) <= 500
    assert values.shape == (len(times), 2801)
    assert times[-1] == pytest.approx(0.5)
    assert np.all(np.diff(times) > 0)


def test_without_a_slope_it_is_local_entropy():
    x = np.linspace(-4, 4, 801)
    _, u = least_cost(np.zeros_like, lambda x: x**2 / 2, x, t=1.0, beta=2.0)
    exact = x**2 / 4 + math.log(2) / 4
    inside = np.abs(x) < 2
    assert np.abs(u[-1] - exact)[inside].max() < 0.01


def test_a_fast_y_leads_x_along_local_entropy():
    grid = np.linspace(-9, 9, 3601)
    speeds = (0.2, 0.1, 0.05, 0.025, 0.0125)
    found = [
        averaged(f, slope, 2.0, eps=eps, t=0.5, beta=1.0, grid=grid) for eps in speeds
    ]
    assert found[0].limit == pytest.approx(1.02562, abs=1e-4)
    rate = np.polyfit(np.log(speeds), np.log([each.rms for each in found]), 1)[0]
    assert 0.4 <= rate <= 0.55
    for eps, each in zip(speeds, found, strict=True):
        assert abs(each.bias) < 0.5 * eps + 3 * each.bias_error


@pytest.mark.parametrize(("t", "beta"), [(0, 1), (1, 0), (math.inf, 1), (1, math.nan)])
def test_bad_numbers_are_refused(t, beta):
    x = np.linspace(-1, 1, 11)
    with pytest.raises(UsageError, match="above 0"):
        least_cost(np.zeros_like, np.square, x, t=t, beta=beta)
