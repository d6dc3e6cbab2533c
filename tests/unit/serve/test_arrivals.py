"""Arrivals keep their laws: rates, variation, dispersion, shapes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trimtab.errors import UsageError
from trimtab.serve.arrivals import (
    Bursts,
    Gamma,
    IntegerGaps,
    Poisson,
    Recorded,
    Varying,
    parse_arrivals,
)
from trimtab.serve.recorded import read_times


def drawn(process, *, rate, count=50_000, seed=0):
    return process.times(count, rate_per_s=rate, rng=np.random.default_rng(seed))


def cv2(at):
    gaps = np.diff(at)
    return gaps.var() / gaps.mean() ** 2


def dispersion(at, window):
    """Return variance over mean of counts in windows."""
    counts = np.bincount((at / window).astype(int))[:-1]
    return counts.var() / counts.mean()


def test_poisson_gaps_are_exponential_and_counts_poisson():
    at = drawn(Poisson(), rate=200.0)
    gaps = np.diff(at, prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 200.0)).pvalue > 0.01
    assert dispersion(at, 1.0) == pytest.approx(1.0, abs=0.25)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / math.sqrt(gaps.size)


@pytest.mark.parametrize("variation", [0.25, 1.0, 4.0])
def test_gamma_has_its_rate_and_variation(variation):
    at = drawn(Gamma(cv2=variation), rate=50.0)
    assert at.size / at[-1] == pytest.approx(50.0, rel=0.03)
    assert cv2(at) == pytest.approx(variation, rel=0.08)
    # Counts of a renewal process are as dispersed as its gaps, in the long run.
    assert dispersion(at, 4.0) == pytest.approx(variation, rel=0.25)


def test_gamma_of_one_is_poisson():
    gaps = np.diff(drawn(Gamma(cv2=1.0), rate=1.0))
    assert stats.kstest(gaps, "expon").pvalue > 0.01


def test_bursts_have_the_asked_mean_and_the_dispersion_of_their_law():
    ratio, stay, rate = 5.0, 2.0, 100.0
    at = drawn(Bursts(ratio=ratio, stay_s=stay), rate=rate, count=400_000)
    assert at.size / at[-1] == pytest.approx(rate, rel=0.05)
    quiet = 2 * rate / (1 + ratio)
    spread = (ratio * quiet - quiet) ** 2 / 4  # variance of the rate in force
    window, memory = 1.0, stay / 2  # correlation of the rate falls as exp(-t / memory)
    seen = 2 * spread * memory * (window - memory * (1 - math.exp(-window / memory)))
    assert dispersion(at, window) == pytest.approx(1 + seen / (rate * window), rel=0.1)


def test_bursts_without_contrast_are_poisson():
    gaps = np.diff(drawn(Bursts(ratio=1.0, stay_s=1.0), rate=10.0))
    assert stats.kstest(gaps, "expon", args=(0, 0.1)).pvalue > 0.01


def test_a_day_has_its_peak_and_low():
    day = Varying(shape="diurnal", ratio=3.0, time_s=1_000.0)
    at = drawn(day, rate=100.0, count=400_000)
    hours = np.histogram(at % 1_000.0, bins=20, range=(0, 1_000.0))[0]
    peak, low = hours[4:6].mean(), hours[14:16].mean()
    assert peak / low == pytest.approx(3.0, rel=0.08)
    assert at.size / at[-1] == pytest.approx(100.0, rel=0.02)


def test_a_step_and_a_ramp_get_where_they_should():
    step = drawn(Varying(shape="step", ratio=2.0, time_s=100.0), rate=50.0)
    assert (step < 100).sum() == pytest.approx(5_000, rel=0.05)
    assert ((step >= 100) & (step < 200)).sum() == pytest.approx(10_000, rel=0.05)
    ramp = drawn(Varying(shape="ramp", ratio=3.0, time_s=100.0), rate=50.0)
    assert (ramp < 100).sum() == pytest.approx(50 * 100 * (1 + 3) / 2, rel=0.05)
    fall = drawn(Varying(shape="step", ratio=0.5, time_s=100.0), rate=50.0)
    assert ((fall >= 100) & (fall < 200)).sum() == pytest.approx(2_500, rel=0.06)


def test_thinning_leaves_a_poisson_process():
    """Times run at the rate's pace have exponential gaps of mean one."""
    day = Varying(shape="ramp", ratio=4.0, time_s=50.0)
    at = drawn(day, rate=100.0, count=12_000)
    at = at[at < 50.0]
    passed = 100.0 * (at + 3.0 * at**2 / (2 * 50.0))  # integral of the rate
    assert stats.kstest(np.diff(passed), "expon").pvalue > 0.01


def test_the_reference_gaps_are_no_poisson_process():
    at = drawn(IntegerGaps(), rate=50.0)
    assert at.size / at[-1] == pytest.approx(50.0, rel=0.01)
    assert math.sqrt(cv2(at)) == pytest.approx(1 / math.sqrt(20.0), rel=0.05)


@pytest.mark.parametrize("spec", ["poisson", "constant", "gamma:4"])
def test_another_rate_only_stretches(spec):
    process = parse_arrivals(spec)
    slow, fast = (drawn(process, rate=rate, count=100) for rate in (1.0, 8.0))
    assert process.stretches
    np.testing.assert_allclose(slow, 8 * fast)


@given(
    spec=st.sampled_from(
        ["poisson", "constant", "gamma:2", "mmpp:4,3s", "diurnal:3,20s", "step:2,5s",
         "ramp:0.5,5s", "integer-gaps"]
    ),
    rate=st.floats(0.1, 5_000.0),
    count=st.integers(1, 300),
    seed=st.integers(0, 2**31),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_times_ascend_and_are_reproducible(spec, rate, count, seed):
    process = parse_arrivals(spec)
    at = drawn(process, rate=rate, count=count, seed=seed)
    assert at.size == count
    assert at[0] >= 0
    assert (np.diff(at) >= 0).all()
    np.testing.assert_array_equal(at, drawn(process, rate=rate, count=count, seed=seed))


def test_a_recorded_trace_is_scaled_and_begun_again(tmp_path):
    file = tmp_path / "trace.csv"
    file.write_text("when,size\n10.0,1\n10.5,2\n12.0,3\n", "utf-8")
    at = read_times(file)
    np.testing.assert_allclose(at, [1.0, 1.5, 3.0])
    again = drawn(Recorded(at_s=at), rate=1.0, count=5)
    np.testing.assert_allclose(again, [1.0, 1.5, 3.0, 4.0, 4.5])
    np.testing.assert_allclose(drawn(Recorded(at_s=at), rate=2.0, count=3), at / 2)


@pytest.mark.parametrize(
    "spec",
    ["", "weibull", "poisson:3", "gamma", "gamma:0", "gamma:x", "gamma:nan", "mmpp:4",
     "mmpp:0.5,3s", "step:2,30", "step:inf,3s", "diurnal:0.5,60s", "ramp:-1,5s",
     "trace:"],
)  # fmt: skip
def test_a_wrong_spec_is_one_message(spec):
    with pytest.raises(UsageError) as caught:
        parse_arrivals(spec)
    assert str(caught.value).count("\n") == 0
