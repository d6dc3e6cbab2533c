"""The live benchmark: how a limit is closed in on, and what is told of results."""

import math

import numpy as np
import pytest
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.serve import report_live
from benchmarks.serve.trials import Bracket, tail
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serve.capacity import Target
from trimtab.serve.curves import curve_names


@given(st.floats(10.0, 1000.0), st.floats(0.3, 3.0))
def test_a_limit_is_found_from_any_guess(limit, off):
    bracket = Bracket(guess=off * limit, limit_s=1.0)
    for _ in range(25):
        rate = bracket.next()
        assert rate is not None
        bracket.see(rate, (rate / limit) ** 4)
    assert bracket.rate() == pytest.approx(limit, rel=0.01)
    assert bracket.low[0] <= limit <= bracket.high[0]


def test_between_two_rates_the_tail_grows_evenly_in_its_logarithm():
    bracket = Bracket(guess=100.0, limit_s=1.0)
    bracket.see(100.0, 0.5)
    bracket.see(200.0, 2.0)
    assert bracket.rate() == pytest.approx(100 * math.sqrt(2))
    bracket.see(400.0, None)  # far too many were open
    assert bracket.rate() == pytest.approx(100 * math.sqrt(2))


def test_where_nothing_holds_it_ends_without_a_rate():
    bracket, tried = Bracket(guess=100.0, limit_s=1.0), []
    while (rate := bracket.next()) is not None:
        tried.append(rate)
        bracket.see(rate, 9.0)
    assert tried == sorted(tried, reverse=True)
    assert 2 <= len(tried) < 10
    assert bracket.rate() == 0.0


def test_a_rate_that_holds_above_one_that_did_not_is_luck():
    bracket = Bracket(guess=100.0, limit_s=1.0)
    bracket.see(100.0, 0.5)
    bracket.see(110.0, 1.5)
    bracket.see(120.0, 0.9)
    assert bracket.low == (100.0, 0.5)


def test_a_tail_is_without_the_beginning():
    times = np.concatenate([np.full(10, 9.0), np.linspace(0.0, 1.0, 90)])
    assert tail(times, Target(latency_s=1.0)) == pytest.approx(0.95, abs=0.01)


def test_every_network_is_a_job_and_rows_say_what_is_missing(tmp_path):
    keys = [each.key for each in report_live.jobs()]
    assert set(keys) >= {f"live/{each}" for each in curve_names()}
    assert len(keys) == len(set(keys))
    rows = report_live.rows(Store(tmp_path))
    assert {row.note for row in rows} == {NOT_MEASURED}
    assert {row.value for row in rows} == {None}
    assert {each.key for each in report_live.quick_jobs()} <= set(keys)


def row_of(store, name):
    return next(each for each in report_live.rows(store) if each.id == name)


def sustained(fixed, paper, tuned, best):
    names = {"fixed": "25 apart", "paper": "500 apart", "tuned": "64", "best": "128"}
    rates = dict(zip(names, (fixed, paper, tuned, best), strict=True))
    last = {names[key]: {"rate_per_s": rate} for key, rate in rates.items()}
    return {"names": names, "last": last}


def test_live_rows_are_means_over_feasible_networks(tmp_path):
    store = Store(tmp_path)
    store.put("live/ncf", sustained(0.0, 90.0, 100.0, 102.0))
    store.put("live/rmc1", sustained(50.0, 100.0, 100.0, 100.0))
    store.put("live/rmc3", sustained(25.0, 101.0, 100.0, 100.0))
    store.put("live/dien", {"infeasible": "at no rate"})
    store.put("live/din", sustained(0.0, 10.0, 0.0, 10.0))
    fixed = row_of(store, "serve/live/fixed")
    assert fixed.value == pytest.approx(math.sqrt(2.0 * 4.0))
    assert "keeps the target at no rate: ncf" in fixed.note
    assert "infeasible, simulated: dien" in fixed.note
    assert "neither keeps it at any rate tried: din" in fixed.note
    assert "not measured: wnd, mtwnd, rmc2" in fixed.note
    # Where tuned keeps nothing and another does, that is no network to leave out.
    assert row_of(store, "serve/live/paper").value == 0.0
    store.put("live/din", sustained(0.0, 10.0, 10.0, 10.0))
    assert row_of(store, "serve/live/paper").value == pytest.approx(100 / 101)
    best = row_of(store, "serve/live/best")
    assert best.value == pytest.approx((100 / 102) ** (1 / 4))


def agreed(tail_off, rate_off, *, timely=True):
    loads = [
        {"load": 0.5, "simulated_s": 0.01, "measured_s": [0.01, 0.01, 0.09],
         "timely": True},
        {"load": 0.8, "simulated_s": 0.02, "measured_s": [0.02 * (1 + tail_off)] * 3,
         "timely": timely},
    ]  # fmt: skip
    return {
        "loads": loads, "simulated_per_s": 100.0, "rates_timely": True,
        "measured_per_s": 100.0 * (1 + rate_off), "cpu_over_profiled": 1.0,
        "wall_over_cpu": 1.0,
    }  # fmt: skip


def test_networks_that_agree_are_counted_and_late_ones_named(tmp_path):
    store = Store(tmp_path)
    store.put("agree/ncf", agreed(0.1, -0.05))
    store.put("agree/wnd", agreed(0.2, 0.09))
    store.put("agree/rmc1", agreed(-0.1, 0.2, timely=False))
    assert row_of(store, "serve/agree/tail").value == 2
    assert row_of(store, "serve/agree/rate").value == 2
    both = row_of(store, "serve/agree/both")
    assert (both.value, both.goal) == (1, 6)
    assert both.note.startswith("ncf")
    assert "too late: rmc1" in both.note


def test_overhead_is_the_median_of_repeats(tmp_path):
    store = Store(tmp_path)
    row = {
        "cpu_s": [5e-5, 7e-5, 6e-5], "asking_s": [3e-5] * 3, "joining_s": [2e-5] * 3,
        "alone_p50_s": [1e-4] * 3,
    }  # fmt: skip
    store.put("overhead/null", {"rows": {"small": row}})
    found = row_of(store, "serve/overhead/small/cpu")
    assert (found.value, found.interval) == (6e-5, (5e-5, 7e-5))
    assert "asking 30 us, joining 20 us" in found.note
    assert row_of(store, "serve/overhead/mlperf/cpu").note == NOT_MEASURED
