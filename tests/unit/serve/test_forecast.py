"""What is predicted follows what was seen, and is right."""

import numpy as np
import pytest

from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.curves import named
from trimtab.serve.forecast import Forecast
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.simulate import simulate
from trimtab.serve.sizes import MLPERF, parse_sizes
from trimtab.serve.window import Window
from trimtab.serve.workload import Workload

HOST = Host(curve=named("rmc1"), workers=8)
BATCHES = (16, 32, 64, 128, 256, 512)


def forecast(**options):
    return Forecast(
        HOST, Schedule(batch=64), sizes=MLPERF, batches=BATCHES, **options
    )  # fmt: skip


def window(at_s=1.0, **parts):
    nothing = {"arrived_s": (), "items": (), "finished": (), "batches": ()}
    return Window(at_s=at_s, period_s=1.0, **{**nothing, **parts})


def test_predictions_are_those_of_a_longer_simulation():
    found = forecast(queries=8_000)
    found.rate.see(400.0)
    predicted = found.percentiles()
    work = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))
    queries = work.trace(rate_per_s=400.0, count=40_000, seed=9)
    for batch in BATCHES:
        seen = simulate(HOST, Schedule(batch=batch), queries).quantile(0.95)
        # Its rate is rounded up, by a tenth at most.
        assert seen * 0.9 <= predicted[batch] <= seen * 1.35


def test_predictions_are_kept_until_something_drifts():
    found = forecast()
    found.rate.see(600.0)
    first = found.percentiles()
    assert found.percentiles() is first
    found.rate.see(601.0)
    assert found.percentiles() is first
    found.learn(window(items=[200] * 3))
    assert found.percentiles() is first
    found.learn(window(items=[700] * 2_000))
    assert found.mean_items == 700
    later = found.percentiles()
    assert all(later[batch] > first[batch] for batch in BATCHES)


def test_a_slower_machine_is_noticed_where_it_was_seen():
    found = forecast()
    curve, rates = HOST.curve, dict(found.rates)
    for _ in range(8):
        found.learn(window(batches=[(64, 2 * curve.batch_s(64))] * 5))
    assert found.slowdown == pytest.approx(2.0, rel=0.05)
    assert found.rates[64] == pytest.approx(rates[64] / 2, rel=0.05)


def test_burstiness_is_estimated():
    found = forecast()
    assert found.cv2 == 1.0
    at = parse_arrivals("gamma:4").times(
        2_000, rate_per_s=100.0, rng=np.random.default_rng(0)
    )
    for begin in range(0, 2_000, 100):
        found.learn(window(arrived_s=at[begin : begin + 100].tolist()))
    assert found.cv2 == pytest.approx(4.0, rel=0.25)
    found.rate.see(600.0)
    bursty, calm = found.percentiles(), forecast()
    calm.rate.see(600.0)
    assert all(bursty[each] > calm.percentiles()[each] for each in BATCHES)


def test_the_longest_chunk_is_of_any_query():
    """Of 700 items, 512 are split in two of 350; a query of 500 stays whole."""
    assert forecast().alone_s[512] == pytest.approx(HOST.curve.batch_s(500))
    assert forecast().alone_s[64] == pytest.approx(HOST.curve.batch_s(64))
