"""Requests of a trace: costs by hand, probes over changing rates, recoveries."""

import numpy as np
import pytest
from tests.unit.partition.test_plan import graph, space  # noqa: F401 - a fixture

from trimtab.errors import UsageError
from trimtab.partition.conditions import OVERHEAD_BYTES, Conditions
from trimtab.partition.course import Pace, course_of, paid, probed_s, recovery_s
from trimtab.partition.traces import Trace


def trace(rates, rtt_s=0.02, step_s=1.0, cloud_load=1.0):
    count = len(rates)
    return Trace(
        name="made up", time_s=step_s * np.arange(count),
        uplink_bytes_per_s=np.array(rates, dtype=float), rtt_s=np.full(count, rtt_s),
        edge_load=np.ones(count), cloud_load=np.full(count, cloud_load),
    )  # fmt: skip


def test_costs_are_those_of_the_space(graph):  # noqa: F811
    some = space(graph)
    course = course_of(some, trace([1e5, 1e6]), Pace(rate_per_s=2), "latency")
    assert course.at_s.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert course.row.tolist() == [0, 0, 1, 1]
    for number, rate in enumerate((1e5, 1e5, 1e6, 1e6)):
        at = Conditions(uplink_bytes_per_s=rate, rtt_s=0.02)
        assert course.expected_s[number] == pytest.approx(some.costs(at, "latency"))
    cuts = np.zeros(4, dtype=np.intp)
    ratio = paid(course, "latency", cuts) / course.expected_s[:, 0]
    assert ((ratio > 0.7) & (ratio < 1.4)).all()


def test_a_probe_takes_the_rates_of_its_time():
    size = 1_000 - OVERHEAD_BYTES
    steady = trace([500.0, 500.0, 500.0])
    assert probed_s(steady, 0.25, size) == pytest.approx(2.0 + 0.02)
    rising = trace([100.0, 1e6])  # 75 bytes until second 1
    assert probed_s(rising, 0.25, size) == pytest.approx(0.75 + 925 / 1e6 + 0.02)


def test_recovery_is_the_longest_wait_after_a_rise(graph):  # noqa: F811
    up = trace([1e6, 1e4, 1e6, 1e6, 1e4, 1e6])
    course = course_of(space(graph), up, Pace(rate_per_s=4), "latency")
    least = np.ones(len(course.at_s))
    costs = least.copy()
    assert recovery_s(up, course, costs, least) == 0.0
    costs[8:10] = 2.0  # from second 2 to 2.5
    assert recovery_s(up, course, costs, least) == 0.5
    costs[20:] = 2.0  # from second 5 to the end
    assert recovery_s(up, course, costs, least) == 1.0
    steady = trace([1e6, 1e6])
    course = course_of(space(graph), steady, Pace(), "latency")
    assert recovery_s(steady, course, costs, least) is None


def test_limits(graph):  # noqa: F811
    with pytest.raises(UsageError, match="above 0"):
        Pace(rate_per_s=0.0)
    with pytest.raises(UsageError, match="deadline"):
        Pace(deadline_s=0.0)
    with pytest.raises(UsageError, match="1000000 at most"):
        course_of(space(graph), trace([1.0, 1.0]), Pace(rate_per_s=1e6), "latency")
