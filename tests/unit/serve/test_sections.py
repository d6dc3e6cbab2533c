"""What reports show of serving."""

import math

from trimtab.bundle.section import Series, Table
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Target
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.sections import curve_of, observed_section, predicted_section
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.verdict import Report
from trimtab.serve.workload import Workload
from trimtab.stats import Interval

WORK = Workload(arrivals=parse_arrivals("constant"), sizes=parse_sizes("fixed:1"))
HOST = Host(
    curve=ServiceCurve(network="n", source="made up", sizes=(1,), seconds=(0.01,)),
    workers=1,
)
TARGET = Target(latency_s=0.05)


def exactly(value):
    return Interval(value=value, low=value, high=value, confidence=0.95)


def report(rate, latency):
    return Report(
        valid=False, reasons=("slow",), planned=9, issued=9, ends={}, rate_per_s=rate,
        answered_per_s=rate, judged=9, late_frac=None, delay_p99_s=0.0, target=TARGET,
        latency_s={name: exactly(latency) for name in ("p50", "p95", "p99")},
    )  # fmt: skip


def test_below_saturation_evenly_spaced_queries_never_wait():
    slow, fast = curve_of(HOST, Schedule(batch=1), WORK, [10.0, 1000.0], seed=0)
    assert math.isclose(slow.latency_s["p95"], 0.01, rel_tol=1e-6)
    # 1,000 a second come, 100 are done: the last of 2,000 waits 20 s - 2 s.
    assert fast.latency_s["p99"] > 10


def test_the_prediction_has_the_planned_rate_and_the_most():
    (at,) = curve_of(HOST, Schedule(batch=1), WORK, [40.0], seed=0)
    made = predicted_section(
        HOST, Schedule(batch=1), WORK, TARGET, capacity_per_s=99.0, at=at, seed=0
    )
    table, figure = made.figures
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == [40.0, 99.0]
    assert isinstance(figure, Series)
    assert figure.lines[0].x[-1] == 99.0
    assert "made up" in made.text


def test_what_was_never_answered_is_in_the_table_and_not_drawn():
    simulated = curve_of(HOST, Schedule(batch=1), WORK, [10.0], seed=0)
    made = observed_section(
        simulated, [report(5.0, 0.02), report(9.0, math.inf)], TARGET,
        profiled=((1,), (0.01,), (0.02,)),
    )  # fmt: skip
    table, figure, seconds = made.figures
    assert isinstance(table, Table)
    assert table.rows[1][0] == "INVALID"
    assert table.rows[1][-1] == "slow"
    assert isinstance(figure, Series)
    assert figure.lines[-1].x == (5.0,)
    assert isinstance(seconds, Series)
    assert [line.y for line in seconds.lines] == [(0.01,), (0.02,)]
