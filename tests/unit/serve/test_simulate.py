"""The simulator against closed forms, by hand, and against itself."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.curves import ServiceCurve, named
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule, split
from trimtab.serve.simulate import _Run, simulate
from trimtab.serve.sizes import Counted, parse_sizes
from trimtab.serve.workload import Trace, Workload

LINE = ServiceCurve(network="made up", source="by hand", sizes=(1,), seconds=(1.0,))
MLPERF = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))


def trace(*queries):
    at, items = zip(*queries, strict=True)
    return Trace(at_s=np.array(at, dtype=float), items=np.array(items))


def event_by_event(host, schedule, queries, **options):
    return _Run(host, schedule, queries, None, math.inf, **options).run(None, 1.0)


# Closed forms


def exponential_items(count, seed, mean=200.0):
    drawn = np.random.default_rng(seed).exponential(mean, size=count)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)


def waits(workers, load, seed, count=60_000):
    """Return mean waits of replications of a queue with exponential service."""
    mean = 200.0
    arrived = np.random.default_rng(seed + 1_000).exponential(size=count).cumsum()
    items = exponential_items(count, seed, mean)
    queries = Trace(at_s=arrived * mean / (workers * load), items=items)
    host = Host(curve=LINE, workers=workers)
    found = simulate(host, Schedule(batch=10**6), queries)
    return float((found.latency_s - items)[count // 10 :].mean())


def erlang_c(workers, load):
    """Return the probability to wait in M/M/c (Erlang 1917)."""
    offered = workers * load
    terms = [offered**k / math.factorial(k) for k in range(workers)]
    last = offered**workers / math.factorial(workers) / (1 - load)
    return last / (math.fsum(terms) + last)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.6), (4, 0.8), (16, 0.9)])
def test_waits_are_those_of_erlang(workers, load):
    """M/M/c: mean wait C(c, a) * s / (c * (1 - rho)), within 3.5 standard errors."""
    found = np.array([waits(workers, load, seed) for seed in range(8)])
    expected = erlang_c(workers, load) * 200.0 / (workers * (1 - load))
    error = found.std(ddof=1) / math.sqrt(found.size)
    assert abs(found.mean() - expected) < 3.5 * error
    assert error < 0.08 * expected


@pytest.mark.parametrize("sizes", ["fixed:100", "mlperf", "lognormal:4,0.8"])
def test_waits_are_those_of_pollaczek_and_khinchine(sizes):
    """M/G/1: mean wait rate * E[s^2] / (2 * (1 - rho)), within 3.5 standard errors."""
    load, count = 0.7, 60_000
    work = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes(sizes))
    sample = work.items(2_000_000, seed=99).astype(float)
    rate = load / sample.mean()
    expected = rate * (sample**2).mean() / (2 * (1 - load))
    found = []
    for seed in range(8):
        queries = work.trace(rate_per_s=rate, count=count, seed=seed)
        ended = simulate(Host(curve=LINE, workers=1), Schedule(batch=10**6), queries)
        found.append(float((ended.latency_s - queries.items)[count // 10 :].mean()))
        assert ended.busy_frac == pytest.approx(load, rel=0.05)
    error = float(np.std(found, ddof=1)) / math.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 3.5 * error
    assert error < 0.08 * expected


# By hand


def test_a_query_is_answered_with_its_last_chunk():
    host = Host(curve=LINE, workers=2)
    found = simulate(host, Schedule(batch=4), trace((0, 12), (1, 2)))
    # Chunks 4, 4, 4 on two workers: 0-4, 0-4, 4-8; then 2 on the other: 4-6.
    assert found.latency_s.tolist() == [8.0, 6.0 - 1.0]
    assert (found.batches, found.end_s, found.busy_frac) == (4, 8.0, 14 / 16)


def test_an_accelerator_is_serial_and_takes_whole_queries():
    device = replace(LINE, seconds=(0.1,))
    host = Host(curve=LINE, workers=1, accelerator=device)
    queries = trace((0, 20), (1, 30), (2, 5))
    found = simulate(host, Schedule(batch=100, threshold=20), queries)
    assert found.latency_s == pytest.approx([2.0, 2.0 + 3.0 - 1.0, 5.0])
    assert found.accelerated.tolist() == [True, True, False]
    assert found.accelerator_busy_frac == pytest.approx(5 / 7)
    unused = simulate(host, Schedule(batch=100), queries)
    assert not unused.accelerated.any()


def test_the_earliest_finish_takes_whichever_is_free():
    host = Host(curve=LINE, workers=1, accelerator=replace(LINE, seconds=(0.9,)))
    found = simulate(
        host, Schedule(batch=100, policy="finish"), trace((0, 10), (0, 10), (0, 10))
    )
    # 9 on the accelerator; 10 on the worker; then 18 there against 20 here.
    assert found.accelerated.tolist() == [True, False, True]
    assert found.latency_s.tolist() == [9.0, 10.0, 18.0]


def test_small_chunks_that_wait_are_joined():
    curve = replace(LINE, sizes=(1, 100), seconds=(5.0, 5.0))
    host = Host(curve=curve, workers=1)
    queries = trace((0, 10), (1, 10), (2, 10), (3, 10))
    apart = simulate(host, Schedule(batch=20), queries)
    assert apart.latency_s.tolist() == [5.0, 9.0, 13.0, 17.0]
    joined = simulate(host, Schedule(batch=20, coalesce=True), queries)
    assert joined.latency_s.tolist() == [5.0, 9.0, 8.0, 12.0]
    assert joined.batches == 3


def test_workers_slow_each_other():
    curve = replace(LINE, workers=2, busy_seconds=(2.0,))
    found = simulate(
        Host(curve=curve, workers=2), Schedule(batch=10), trace((0, 10), (1, 10))
    )
    assert found.latency_s.tolist() == [10.0, 20.0]


def test_a_query_that_would_be_late_is_refused():
    host = Host(curve=LINE, workers=1)
    queries = trace((0, 10), (1, 10), (2, 1), (10, 5))
    found = simulate(host, Schedule(batch=10, shed=True), queries, deadline_s=12.0)
    assert np.isnan(found.latency_s).tolist() == [False, True, False, False]
    assert found.shed == 1
    assert found.late(12.0).tolist() == [False, True, False, False]
    assert found.quantile(0.99) == math.inf
    everything = simulate(host, Schedule(batch=10), queries, deadline_s=12.0)
    assert everything.shed == 0


def test_shedding_keeps_an_overload_within_its_deadline():
    host = Host(curve=named("wnd"), workers=8)
    queries = MLPERF.trace(rate_per_s=2_000.0, count=4_000, seed=0)
    found = simulate(host, Schedule(batch=128, shed=True), queries, deadline_s=0.05)
    answered = found.latency_s[~np.isnan(found.latency_s)]
    assert 0 < found.shed < len(queries)
    # Predictions spread work evenly over workers: a little optimistic.
    assert np.quantile(answered, 0.99) <= 1.1 * 0.05
    assert found.busy_frac > 0.95


def test_the_urgent_go_first():
    host = Host(curve=LINE, workers=1)
    queries = trace((0, 10), (1, 10), (2, 10))
    found = simulate(host, Schedule(batch=10), queries, priorities=[1, 2, 0])
    assert found.latency_s.tolist() == [10.0, 29.0, 18.0]


# Against itself


@given(
    batch=st.integers(1, 700),
    workers=st.integers(1, 12),
    load=st.floats(0.2, 1.3),
    threshold=st.one_of(st.none(), st.integers(1, 700)),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_both_ways_to_simulate_agree(batch, workers, load, threshold, seed):
    host = Host(curve=LINE, workers=workers, accelerator=replace(LINE, seconds=(0.3,)))
    queries = MLPERF.trace(rate_per_s=load * workers / 270, count=200, seed=seed)
    schedule = Schedule(batch=batch, threshold=threshold, version=3)
    short, long = (way(host, schedule, queries) for way in (simulate, event_by_event))
    np.testing.assert_allclose(short.latency_s, long.latency_s, rtol=1e-9)
    np.testing.assert_array_equal(short.accelerated, long.accelerated)
    np.testing.assert_array_equal(short.version, long.version)
    assert short.batches == long.batches
    assert short.busy_frac == pytest.approx(long.busy_frac)
    assert short.accelerator_busy_frac == pytest.approx(long.accelerator_busy_frac)


@given(
    batch=st.integers(1, 900),
    coalesce=st.booleans(),
    load=st.floats(0.3, 2.0),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_every_query_is_answered_and_none_faster_than_it_can(
    batch, coalesce, load, seed
):
    host = Host(curve=named("rmc1"), workers=4)
    queries = MLPERF.trace(rate_per_s=load * 500, count=200, seed=seed)
    found = simulate(host, Schedule(batch=batch, coalesce=coalesce), queries)
    table = host.curve.table(1_000)
    least = [table[split(int(each), batch)[0]] for each in queries.items]
    assert (found.latency_s >= np.array(least) - 1e-12).all()
    assert 0 < found.busy_frac <= 1 + 1e-12


def test_time_and_rate_scale_together():
    queries = MLPERF.trace(rate_per_s=100.0, count=500, seed=1)
    slow = replace(queries, at_s=2 * queries.at_s)
    curve = named("ncf")
    twice = replace(curve, seconds=tuple(2 * each for each in curve.seconds))
    found = [
        simulate(Host(curve=each, workers=3), Schedule(batch=64), at).latency_s
        for each, at in ((curve, queries), (twice, slow))
    ]
    np.testing.assert_allclose(2 * found[0], found[1])


# A controller in the loop


def test_windows_tell_all_that_happened_once():
    windows = []

    def control(window):
        windows.append(window)
        batch = 100 if len(windows) % 2 else 50
        return Schedule(batch=batch, version=len(windows))

    host = Host(curve=named("rmc1"), workers=4)
    queries = MLPERF.trace(rate_per_s=300.0, duration_s=5.0, seed=0)
    found = simulate(host, Schedule(batch=50), queries, control=control, period_s=0.5)
    assert [each.at_s for each in windows] == pytest.approx(
        [0.5 * (n + 1) for n in range(len(windows))]
    )
    for each in windows:
        assert all(each.at_s - 0.5 <= at <= each.at_s for at in each.arrived_s)
        assert len(each.items) == len(each.arrived_s)
    told = [one for each in windows for one in each.finished]
    counts = [int((found.version == version).sum()) for version in range(20)]
    assert len(told) <= len(queries)
    assert len(told) >= sum(counts[:-2]) - 400
    for version, latency in told[:50]:
        assert latency in found.of_version(version)
    # A query belongs to the schedule that was in force when it arrived.
    assert found.version.tolist() == [int(at / 0.5) for at in queries.at_s]


def test_the_age_of_the_queue_is_told():
    ages = []

    def control(window):
        ages.append(window.oldest_s)
        return Schedule(batch=10)

    queries = trace((0, 10), (0.5, 10), (30, 1))
    simulate(Host(curve=LINE, workers=1), Schedule(batch=10), queries, control=control)
    assert ages[:3] == [0.5, 1.5, 2.5]
    assert ages[10:12] == [0.0, 0.0]


def test_wrong_calls_are_refused():
    queries = trace((0, 10))
    for options in ({"period_s": 0.0}, {"priorities": [1, 1]}, {"priorities": [9]}):
        with pytest.raises(UsageError, match="periods"):
            simulate(Host(curve=LINE, workers=1), Schedule(batch=1), queries, **options)


def test_sizes_beyond_the_curve_are_extrapolated():
    work = Workload(arrivals=parse_arrivals("constant"), sizes=Counted(sizes=(3_000,)))
    found = simulate(
        Host(curve=named("rmc1"), workers=1), Schedule(batch=4_096),
        work.trace(rate_per_s=1e-3, count=2, seed=0),
    )  # fmt: skip
    slope = (22.6e-3 - 12.9e-3) / 512
    assert found.latency_s[0] == pytest.approx(22.6e-3 + (3_000 - 1_024) * slope)
