"""The equations, checked against each other: closed forms, identities, schemes.

f = x^2/2 + 3/4 sin(2 pi x), whose curvature is at most 1 + 3 pi^2.
"""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from trimtab.errors import UsageError
from trimtab.relax.pde import cole_hopf, gibbs, heat, hopf_lax, solve

CURVATURE = 1 + 3 * math.pi**2
FINE = np.linspace(-9, 9, 36001)
POINTS = np.linspace(-2.5, 2.5, 41)


def f(x):
    return x**2 / 2 + 0.75 * np.sin(2 * math.pi * x)


def slope(x):
    return x + 1.5 * math.pi * np.cos(2 * math.pi * x)


def viscous(x, t, beta):
    return cole_hopf(f(FINE), [FINE], t=t, beta=beta, at=[x])


def inviscid(x, t):
    return hopf_lax(f(FINE), [FINE], t=t, at=[x])


def on(count):
    x = np.linspace(-4, 4, count)
    return x, np.abs(x) <= 2.5


def test_schemes_converge_to_cole_hopf():
    errors = {}
    for scheme in ("godunov", "lax-friedrichs"):
        for count in (401, 801):
            x, inside = on(count)
            found = solve(f(x), [x], t=0.1, beta=2.0, scheme=scheme)
            exact = viscous(x[inside], 0.1, 2.0)
            errors[scheme, count] = np.abs(found[inside] - exact).max()
    assert errors["godunov", 801] < 0.02
    order = math.log2(errors["godunov", 401] / errors["godunov", 801])
    assert 0.8 < order < 1.2
    assert errors["lax-friedrichs", 801] > errors["godunov", 801]


def test_schemes_converge_to_hopf_lax():
    first, largest = {}, {}
    for scheme in ("godunov", "lax-friedrichs"):
        for count in (401, 801):
            x, inside = on(count)
            found = solve(f(x), [x], t=0.1, scheme=scheme)
            difference = np.abs(found[inside] - inviscid(x[inside], 0.1))
            largest[scheme, count] = difference.max()
            first[scheme, count] = difference.mean()
    assert largest["godunov", 801] < 0.03
    assert math.log2(first["godunov", 401] / first["godunov", 801]) > 0.85
    assert largest["lax-friedrichs", 801] > largest["godunov", 801]


def test_the_slope_of_local_entropy_is_a_mean():
    t, beta, h = 0.1, 2.0, 1e-4
    moments = gibbs(f(FINE), FINE, t=t, beta=beta, at=POINTS)
    mean = (POINTS - moments.mean) / t
    central = (viscous(POINTS + h, t, beta) - viscous(POINTS - h, t, beta)) / (2 * h)
    assert np.abs(mean - central).max() < 1e-6
    assert np.abs(mean - moments.weights @ slope(FINE)).max() < 1e-12 * CURVATURE


def test_its_curvature_is_a_variance():
    t, beta, h = 0.1, 2.0, 1e-3
    moments = gibbs(f(FINE), FINE, t=t, beta=beta, at=POINTS)
    curvature = 1 / t - beta * moments.variance / t**2
    left, here, right = (viscous(POINTS + d, t, beta) for d in (-h, 0.0, h))
    central = (left - 2 * here + right) / h**2
    # The central difference itself is off by h^2/12 times the fourth derivative.
    assert np.abs(curvature - central).max() < 5e-3
    halved = [viscous(POINTS + d, t, beta) for d in (-h / 2, 0.0, h / 2)]
    finer = 4 * (halved[0] - 2 * halved[1] + halved[2]) / h**2
    assert np.abs(curvature - (4 * finer - central) / 3).max() < 1e-5


def test_hopf_lax_moves_along_a_straight_line():
    t = 0.1
    spacing = FINE[1] - FINE[0]
    values, slopes = [], []
    for x in POINTS:
        total = f(FINE) + (x - FINE) ** 2 / (2 * t)
        best = FINE[total.argmin()]
        y = brentq(
            lambda y, x=x: slope(y) + (y - x) / t, best - 2 * spacing,
            best + 2 * spacing, xtol=1e-15,
        )  # fmt: skip
        p = (x - y) / t
        assert abs(p - slope(x - t * p)) < 1e-10
        values.append(f(y) + (x - y) ** 2 / (2 * t))
        slopes.append(p)
    assert np.abs(inviscid(POINTS, t) - values).max() < 1e-5
    h = 1e-3
    central = (inviscid(POINTS + h, t) - inviscid(POINTS - h, t)) / (2 * h)
    far = np.abs(central - slopes) > 0.05
    assert far.sum() <= 2  # near a shock there are two minimisers


def test_curvature_is_bounded_and_the_bound_is_reached():
    x = np.linspace(-2.5, 2.5, 2001)
    for t in (0.01, 0.05, 0.2):
        bound = 1 / (1 / CURVATURE + t)
        moments = gibbs(f(FINE[::4]), FINE[::4], t=t, beta=2.0, at=x)
        smooth = 1 / t - 2.0 * moments.variance / t**2
        assert smooth.max() < bound + 1e-3
        # Of Hopf-Lax by y's curvature: D2f(y) / (1 + t D2f(y)).
        total = f(FINE[::4])[None] + (x[:, None] - FINE[::4]) ** 2 / (2 * t)
        y = FINE[::4][total.argmin(1)]
        bend = 1 - 3 * math.pi**2 * np.sin(2 * math.pi * y)
        sharp = (bend / (1 + t * bend)).max()
        assert sharp < bound + 1e-3
        assert sharp > 0.99 * bound


def test_local_entropy_lies_below_heat():
    smooth = heat(f(FINE), [FINE], t=0.1, beta=2.0, at=[POINTS])
    assert (smooth - viscous(POINTS, 0.1, 2.0)).min() > -1e-10


def test_cold_local_entropy_is_hopf_lax():
    exact = inviscid(POINTS, 0.1)
    scaled, above = [], []
    for beta in (8.0, 32.0, 128.0):
        difference = viscous(POINTS, 0.1, beta) - exact
        scaled.append(beta * np.abs(difference).max())
        # An upper bound; that it lies above Hopf-Lax is true of convex f alone.
        bound = math.log(1 + CURVATURE * 0.1) / (2 * beta)
        above.append(difference.max() <= bound + 1e-6)
    assert max(scaled) / min(scaled) < 1.2
    assert all(above)


@pytest.mark.parametrize("curvature", [0.1, 1.0, 100.0])
def test_parabolas_stay_parabolas(curvature):
    t, beta = 0.3, 2.0
    x = np.linspace(-1, 1, 11)
    wide = np.linspace(-12, 12, 24001)
    values = curvature * wide**2 / 2
    bend = curvature / (1 + t * curvature)
    offset = math.log(1 + t * curvature) / (2 * beta)
    found = cole_hopf(values, [wide], t=t, beta=beta, at=[x])
    assert np.abs(found - bend * x**2 / 2 - offset).max() < 1e-10
    sharp = hopf_lax(values, [wide], t=t, at=[x])
    assert np.abs(sharp - bend * x**2 / 2).max() < 1e-4
    warm = heat(values, [wide], t=t, beta=beta, at=[x])
    assert np.abs(warm - curvature * (x**2 + t / beta) / 2).max() < 1e-9


def test_only_viscous_relaxations_prefer_what_is_wide():
    t, beta = 0.3, 1.0
    origin = [np.zeros(1)]
    wide = np.linspace(-12, 12, 24001)
    flat, narrow = 1.0 * wide**2 / 2, 27.1 * wide**2 / 2
    for relaxed in (cole_hopf, heat):
        low, high = (
            float(relaxed(each, [wide], t=t, beta=beta, at=origin)[0])
            for each in (flat, narrow)
        )
        assert 0 < low < high
    assert [float(hopf_lax(each, [wide], t=t, at=origin)[0])
            for each in (flat, narrow)] == [0.0, 0.0]  # fmt: skip


def test_two_dimensions_are_two_of_one_where_f_is_a_sum():
    errors = []
    fine = np.linspace(-6, 6, 2401)
    for count in (61, 121):
        x = np.linspace(-3, 3, count)
        inside = np.abs(x) <= 1.5
        found = solve(f(x)[:, None] + f(x)[None], [x, x], t=0.1, beta=2.0)
        one = cole_hopf(f(fine), [fine], t=0.1, beta=2.0, at=[x[inside]])
        difference = found[np.ix_(inside, inside)] - one[:, None] - one[None]
        errors.append(np.abs(difference).max())
    assert math.log2(errors[0] / errors[1]) > 0.8
    x = np.linspace(-6, 6, 301)
    both = f(x)[:, None] + f(x)[None]
    at = [np.array([0.2, 1.0]), np.array([-0.5])]
    for relaxed, more in ((cole_hopf, {"beta": 2.0}), (heat, {"beta": 2.0}),
                          (hopf_lax, {})):  # fmt: skip
        whole = relaxed(both, [x, x], t=0.1, at=at, **more)
        parts = [relaxed(f(x), [x], t=0.1, at=[each], **more) for each in at]
        assert np.abs(whole - parts[0][:, None] - parts[1][None]).max() < 1e-9


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hopf_lax(f(FINE), [FINE], t=0.0), "above 0"),
        (lambda: cole_hopf(f(FINE), [FINE], t=1.0, beta=-1.0), "above 0"),
        (lambda: heat(f(FINE), [FINE[:9]], t=1.0, beta=1.0), "a value for each"),
        (lambda: hopf_lax(np.zeros((2, 2, 2)), [np.arange(2.0)] * 3, t=1.0), "one or"),
        (lambda: hopf_lax(np.zeros(4), [np.array([0.0, 1, 2, 4])], t=1.0), "evenly"),
        (lambda: hopf_lax(f(FINE), [FINE], t=1.0, at=[]), "one for each"),
        (lambda: solve(f(FINE), [FINE], t=1.0, scheme="upwind"),  # type: ignore[arg-type]
         "known are godunov"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, said):
    with pytest.raises(UsageError, match=said):
        call()
