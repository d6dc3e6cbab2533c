"""A trace as requests meet it: when each begins, and what it takes with each cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.partition.conditions import OVERHEAD_BYTES, Conditions, Objective
from trimtab.partition.space import Space, combined
from trimtab.partition.traces import Trace

__all__ = ["Course", "Pace", "course_of", "paid", "probed_s", "recovery_s"]

Floats = NDArray[np.float64]

_NOISE: Final = 0.05  # deviation of the logarithm of each part of a request
_RISE: Final = 5.0  # times that the uplink must rise to be a recovery
_NEAR: Final = 1.1  # times the optimum: recovered
_MOST: Final = 1_000_000  # requests


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How requests come.

    Attributes:
        rate_per_s: of requests.
        deadline_s: after which a request is late; None for no limit.
        seed: of noise.

    Raises:
        UsageError: a rate or a deadline that is not above 0.
    """

    rate_per_s: float = 10.0
    deadline_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        late = self.deadline_s is not None and not self.deadline_s > 0
        if late or not 0 < self.rate_per_s < float("inf"):
            raise UsageError(
                f"{self.rate_per_s} requests a second with deadline {self.deadline_s}",
                rule="both are above 0",
                where="trimtab.partition.replay",
                remedy="give 10 and no deadline",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """A trace as requests meet it.

    Attributes:
        at_s: when each request begins.
        row: of the trace that it has.
        conditions: of each row.
        edge_s: time on the edge, of each row and cut.
        link_s: the same on the link.
        busy_s: of it without the round trip.
        cloud_s: the same in the cloud.
        expected_s: cost without noise, of each request and cut.
        noise: factors of edge, link and cloud, of each request.
    """

    at_s: Floats
    row: NDArray[np.intp]
    conditions: tuple[Conditions, ...]
    edge_s: Floats
    link_s: Floats
    busy_s: Floats
    cloud_s: Floats
    expected_s: Floats
    noise: Floats


def course_of(space: Space, trace: Trace, pace: Pace, objective: Objective) -> Course:
    """Return what each request of a trace would take with each cut.

    Raises:
        UsageError: more requests than a million.
    """
    count = max(1, int(trace.length_s * pace.rate_per_s))
    if count > _MOST:
        raise UsageError(
            f"{count} requests",
            rule=f"a replay takes {_MOST} at most",
            where="trimtab.partition.replay",
            remedy="give a lower rate, or a shorter trace",
        )
    at_s = np.arange(count) / pace.rate_per_s
    row = trace.rows(at_s)
    conditions = tuple(
        Conditions(
            uplink_bytes_per_s=float(trace.uplink_bytes_per_s[each]),
            rtt_s=float(trace.rtt_s[each]),
            edge_slowdown=float(trace.edge_load[each]),
            cloud_slowdown=float(trace.cloud_load[each]),
        )
        for each in range(len(trace))
    )
    parts = np.array([space.parts(each) for each in conditions])
    trips = np.array([each.rtt_s for each in conditions])[:, None]
    busy = np.where(space.local, 0.0, parts[:, 1] - trips)
    rng = np.random.default_rng(pace.seed)
    noise = np.exp(rng.normal(0.0, _NOISE, (3, count)))
    expected = combined(objective, parts[:, 0], parts[:, 1], busy, parts[:, 2])
    return Course(
        at_s=at_s,
        row=row,
        conditions=conditions,
        edge_s=parts[:, 0],
        link_s=parts[:, 1],
        busy_s=busy,
        cloud_s=parts[:, 2],
        expected_s=expected[row],
        noise=noise,
    )


def paid(course: Course, objective: Objective, cuts: NDArray[np.intp]) -> Floats:
    """Return the cost of each request with the cut it takes, with noise."""
    at = (course.row, cuts)
    edge, link, cloud = course.noise
    return combined(
        objective,
        edge * course.edge_s[at],
        link * course.link_s[at],
        link * course.busy_s[at],
        cloud * course.cloud_s[at],
    )


def probed_s(trace: Trace, begin_s: float, size: float) -> float:
    """Return the time of a probe, at the rates of all the time it takes."""
    left, now = size + OVERHEAD_BYTES, begin_s
    row = int(trace.rows(np.array([begin_s]))[0])
    trip = float(trace.rtt_s[row])
    while True:
        rate = float(trace.uplink_bytes_per_s[row])
        last = row + 1 == len(trace)
        until = math.inf if last else float(trace.time_s[row + 1])
        if left <= rate * (until - now):
            return now + left / rate - begin_s + trip
        left, now, row = left - rate * (until - now), until, row + 1


def recovery_s(
    trace: Trace, course: Course, costs_s: Floats, least_s: Floats
) -> float | None:
    """Return the longest time from a rise of the uplink to a request near the optimum.

    A rise that ends before counts as long as it lasts.

    Args:
        trace: of the link.
        course: of its requests.
        costs_s: of each request.
        least_s: of the same with the best cut.

    Returns:
        Seconds, or None where the uplink never rose to many times as much.
    """
    rate = trace.uplink_bytes_per_s
    rises = np.flatnonzero(rate[1:] >= _RISE * rate[:-1]) + 1
    if not rises.size:
        return None
    moved = np.flatnonzero(np.abs(np.log(rate[1:] / rate[:-1])) > np.log(2.0)) + 1
    longest = 0.0
    for each in rises:
        later = moved[moved > each]
        until = float(trace.time_s[later[0]]) if later.size else trace.length_s
        begin = float(trace.time_s[each])
        mine = np.flatnonzero((course.at_s >= begin) & (course.at_s < until))
        near = mine[costs_s[mine] <= _NEAR * least_s[mine]]
        took = (float(course.at_s[near[0]]) if near.size else until) - begin
        longest = max(longest, took)
    return longest
