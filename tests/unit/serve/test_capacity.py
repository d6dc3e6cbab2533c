"""Latency-bounded throughput against closed forms, and when there is none."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trimtab.errors import UsageError
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import (
    Effort,
    Target,
    capacity,
    late_share,
    parse_target,
    stable_rate,
)
from trimtab.serve.curves import ServiceCurve, named
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import Counted, parse_sizes
from trimtab.serve.workload import Workload

LINE = ServiceCurve(network="made up", source="by hand", sizes=(1,), seconds=(1e-3,))
MLPERF = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))


def exponential_sizes():
    drawn = np.random.default_rng(7).exponential(500.0, size=200_000)
    return Counted(sizes=tuple(np.maximum(1, np.rint(drawn)).astype(int).tolist()))


def test_one_server_with_exponential_service():
    """M/M/1: p95 of sojourn is ln(20) * s / (1 - rho), so rho = 1 - ln(20) * s / t."""
    work = Workload(arrivals=parse_arrivals("poisson"), sizes=exponential_sizes())
    service, limit = 0.5, 6.0
    found = [
        capacity(
            Host(curve=LINE, workers=1), Schedule(batch=10**5), work,
            Target(latency_s=limit), seed=seed, effort=Effort(queries=40_000),
        ).rate_per_s
        for seed in range(4)
    ]  # fmt: skip
    expected = (1 - math.log(20.0) * service / limit) / service
    assert np.mean(found) == pytest.approx(expected, rel=0.03)


def test_the_rate_found_holds_and_a_little_more_does_not():
    host, schedule = Host(curve=named("wnd"), workers=8), Schedule(batch=128)
    target = Target(latency_s=0.025)
    found = capacity(host, schedule, MLPERF, target)
    assert found.infeasible == ""
    assert found.late_frac.value <= 0.05
    assert found.latency_s <= target.latency_s
    assert found.late_frac.low <= found.late_frac.value <= found.late_frac.high
    assert 0.5 < found.busy_frac < 1
    tighter = capacity(host, schedule, MLPERF, target, effort=Effort(precision=0.001))
    assert tighter.rate_per_s == pytest.approx(found.rate_per_s, rel=0.01)


def test_what_no_rate_can_keep_is_named():
    """A query of 700 items takes 7 chunks of 7.7 ms on two workers: 30.8 ms."""
    found = capacity(
        Host(curve=named("wnd"), workers=2), Schedule(batch=100), MLPERF,
        Target(latency_s=0.005),
    )  # fmt: skip
    assert found.rate_per_s == 0.0
    assert "meets no other takes p95" in found.infeasible
    assert "over 5.00 ms" in found.infeasible


def test_confidence_costs_rate():
    host, schedule = Host(curve=named("wnd"), workers=8), Schedule(batch=128)
    seen, sure = (
        capacity(
            host, schedule, MLPERF, Target(latency_s=0.025),
            effort=Effort(confidence=confidence),
        )
        for confidence in (None, 0.95)
    )  # fmt: skip
    assert sure.rate_per_s < seen.rate_per_s
    assert sure.late_frac.high <= 0.075


def test_no_rate_is_beyond_what_workers_can_do():
    loose = Target(latency_s=100.0)
    host, schedule = Host(curve=named("rmc1"), workers=40), Schedule(batch=25)
    found = capacity(host, schedule, MLPERF, loose)
    assert found.rate_per_s == stable_rate(host, schedule, MLPERF, seed=0)


def test_a_target_that_everything_keeps_has_an_end():
    host = Host(
        curve=named("ncf"), workers=4, accelerator=replace(LINE, seconds=(1e-5,))
    )
    for schedule in (Schedule(batch=512, coalesce=True),
                     Schedule(batch=512, policy="finish")):  # fmt: skip
        found = capacity(
            host, schedule, MLPERF, Target(latency_s=1e6), effort=Effort(queries=400)
        )
        least = stable_rate(host, schedule, MLPERF, seed=0)
        assert found.rate_per_s == pytest.approx(32 * least)


def test_the_stable_rate_is_arithmetic():
    work = Workload(arrivals=parse_arrivals("poisson"), sizes=Counted(sizes=(300,)))
    host = Host(curve=LINE, workers=6)
    assert stable_rate(host, Schedule(batch=100), work, seed=0) == pytest.approx(
        6 / (300 * 1e-3)
    )
    device = Host(curve=LINE, workers=6, accelerator=replace(LINE, seconds=(1e-4,)))
    assert stable_rate(
        device, Schedule(batch=100, threshold=300), work, seed=0
    ) == pytest.approx(1 / (300 * 1e-4))
    both = replace(work, sizes=Counted(sizes=(100, 300)))
    # Half of the queries each; the workers need 100 / 6 ms for theirs, the device 30.
    assert stable_rate(
        device, Schedule(batch=100, threshold=200), both, seed=0
    ) == pytest.approx(1 / (0.5 * 300 * 1e-4), rel=0.03)


def test_an_accelerator_and_joined_chunks_raise_it():
    target, cpu = Target(latency_s=0.025), Host(curve=named("wnd"), workers=4)
    gpu = replace(cpu, accelerator=replace(LINE, seconds=(1e-5,)))
    alone = capacity(cpu, Schedule(batch=256), MLPERF, target).rate_per_s
    both = capacity(gpu, Schedule(batch=256, threshold=400), MLPERF, target).rate_per_s
    assert both > 1.5 * alone
    small = Workload(arrivals=parse_arrivals("poisson"), sizes=Counted(sizes=(8,)))
    apart, joined = (
        capacity(cpu, Schedule(batch=64, coalesce=each), small, target).rate_per_s
        for each in (False, True)
    )
    assert joined > 1.5 * apart


def test_bursts_cost_rate():
    host, target = Host(curve=named("wnd"), workers=4), Target(latency_s=0.05)
    rates = [
        capacity(
            host, Schedule(batch=256),
            Workload(arrivals=parse_arrivals(spec), sizes=parse_sizes("mlperf")),
            target,
        ).rate_per_s
        for spec in ("constant", "integer-gaps", "poisson", "gamma:4", "mmpp:4,1s")
    ]  # fmt: skip
    assert rates == sorted(rates, reverse=True)


def test_intervals_of_blocks_are_wider_where_neighbours_are_alike():
    drawn = np.random.default_rng(0).random(20_000) < 0.05
    apart, together = late_share(drawn), late_share(np.sort(drawn))
    assert apart.value == together.value
    assert together.high - together.low > 5 * (apart.high - apart.low)
    assert apart.low < 0.05 < apart.high


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        found = late_share(rng.random(4_000) < 0.05)
        inside += found.low <= 0.05 <= found.high
    assert inside / 300 == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize(
    "numbers",
    [{"queries": 100}, {"warm_frac": 1.0}, {"precision": 0.0}, {"blocks": 5},
     {"confidence": 0.4}],
)  # fmt: skip
def test_effort_has_bounds(numbers):
    with pytest.raises(UsageError, match="10 blocks of 10"):
        Effort(**numbers)


@pytest.mark.parametrize("numbers", [{"latency_s": 0.0}, {"latency_s": 1, "share": 1}])
def test_a_target_has_bounds(numbers):
    with pytest.raises(UsageError, match="target"):
        Target(**numbers)
    assert Target(latency_s=0.1, share=0.999).name == "p99.9"


def test_a_target_is_read():
    assert parse_target("p95=100ms") == Target(latency_s=0.1)
    for text in ("", "95=1s", "p100=1s", "p0=1s", "p95", "p95=100", "p95=-1s"):
        with pytest.raises(UsageError, match=r"quantity|target"):
            parse_target(text)
