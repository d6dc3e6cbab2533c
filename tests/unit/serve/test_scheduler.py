"""The climb, the oracle and the search find what is there to be found."""

import pytest

from trimtab.errors import BudgetInfeasibleError, UsageError
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Effort, Target, capacity
from trimtab.serve.curves import accelerated, named
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import (
    BATCHES,
    THRESHOLDS,
    exhaustive,
    hill_climb,
    search,
    static,
)
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Workload

WORK = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))
EFFORT = Effort(queries=4_000, precision=0.02)


def test_the_climb_stops_behind_the_first_peak():
    tried = []

    def worth(schedule):
        tried.append(schedule)
        return {1: 1.0, 2: 3.0, 4: 2.0, 8: 9.0}[schedule.batch]

    steps = hill_climb(worth, batches=(1, 2, 4, 8))
    assert [each.schedule.batch for each in steps] == [1, 2, 4]
    assert [each.rate_per_s for each in steps] == [1.0, 3.0, 2.0]
    assert exhaustive(worth, [Schedule(batch=each) for each in (1, 2, 4, 8)])[
        0
    ].schedule == Schedule(batch=8)


def test_the_climb_goes_past_sizes_that_keep_no_target():
    rates = {1: 0.0, 2: 0.0, 4: 5.0, 8: 4.0}
    steps = hill_climb(lambda each: rates[each.batch], batches=(1, 2, 4, 8))
    assert max(steps, key=lambda each: each.rate_per_s).schedule.batch == 4


def test_thresholds_are_climbed_with_the_best_batch_size():
    def worth(schedule):
        if schedule.threshold is None:
            return {16: 2.0, 32: 5.0, 64: 4.0}[schedule.batch]
        return {1: 1.0, 100: 8.0, 200: 7.0, 300: 99.0}[schedule.threshold]

    steps = hill_climb(worth, batches=(16, 32, 64), thresholds=(1, 100, 200, 300))
    assert [(each.schedule.batch, each.schedule.threshold) for each in steps] == [
        (16, None), (32, None), (64, None), (32, 1), (32, 100), (32, 200),
    ]  # fmt: skip


@pytest.mark.parametrize("network", ["wnd", "din", "rmc2"])
def test_the_search_is_as_good_as_trying_everything(network):
    host, target = Host(curve=named(network), workers=8), Target(latency_s=0.2)

    def worth(schedule):
        return capacity(host, schedule, WORK, target, effort=EFFORT).rate_per_s

    best = exhaustive(worth, [Schedule(batch=each) for each in BATCHES])[0]
    found = search(host, WORK, target, effort=EFFORT, coalesce=False)
    assert found[0][1].rate_per_s >= 0.97 * best.rate_per_s
    assert len(found) == 3
    rates = [each.rate_per_s for _, each in found]
    assert rates == sorted(rates, reverse=True)


def test_the_search_uses_an_accelerator():
    cpu = named("wnd")
    target = Target(latency_s=0.025)
    plain = Host(curve=cpu, workers=2)
    both = Host(curve=cpu, workers=2, accelerator=accelerated("gtx-1080ti", "wnd", cpu))
    (alone, *_), (helped, *_) = (
        search(host, WORK, target, effort=EFFORT, coalesce=False)
        for host in (plain, both)
    )
    assert helped[1].rate_per_s > 1.5 * alone[1].rate_per_s
    assert helped[0].threshold is not None or helped[0].policy == "finish"


def test_the_paper_has_a_climb_that_uses_it_too():
    cpu = named("wnd")
    host = Host(curve=cpu, workers=2, accelerator=accelerated("gtx-1080ti", "wnd", cpu))

    def worth(schedule):
        return capacity(
            host, schedule, WORK, Target(latency_s=0.025), effort=EFFORT
        ).rate_per_s

    steps = hill_climb(worth, thresholds=THRESHOLDS)
    best = max(steps, key=lambda each: each.rate_per_s)
    assert best.schedule.threshold is not None
    without = max(each.rate_per_s for each in steps if each.schedule.threshold is None)
    assert best.rate_per_s > without


def test_a_target_that_nothing_keeps_is_an_error_with_the_nearest():
    host = Host(curve=named("mtwnd"), workers=2)
    with pytest.raises(BudgetInfeasibleError, match="no batch size keeps it") as caught:
        search(host, WORK, Target(latency_s=0.005), effort=EFFORT)
    assert isinstance(caught.value.best, Schedule)
    assert caught.value.binding == "p95"


def test_static_is_the_paper_rule():
    assert [static(each).batch for each in (2, 16, 40)] == [500, 62, 25]


def test_batch_sizes_have_bounds():
    with pytest.raises(UsageError, match="batch sizes"):
        search(
            Host(curve=named("ncf"), workers=2), WORK, Target(latency_s=1.0), batches=()
        )


def test_progress_is_told():
    told = []
    search(
        Host(curve=named("ncf"), workers=2), WORK, Target(latency_s=0.1),
        effort=EFFORT, batches=(64, 128), coalesce=False,
        progress=lambda done, text: told.append(done),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1] == 1.0
