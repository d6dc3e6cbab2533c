"""Latency-bounded throughput: the largest rate at which enough queries are in time.

Rates are tried by doubling and bisection, all on the same sequence of gaps and sizes
(common random numbers), so that two schedules are compared on the same queries. The
beginning, when queues are still empty, is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from numpy.typing import NDArray
from scipy import stats as distributions

from trimtab.errors import UsageError
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule, split
from trimtab.serve.simulate import Outcome, simulate
from trimtab.serve.workload import Trace, Workload
from trimtab.stats import Interval
from trimtab.units import format_duration, parse_duration

__all__ = [
    "Capacity",
    "Effort",
    "Target",
    "capacity",
    "late_share",
    "parse_target",
    "stable_rate",
]

_ALONE: Final = 1_000  # queries, one at a time, to see whether any rate will do
_LEAST: Final = 2.0**-8  # of the first rate, below which nothing is tried
_MOST: Final = (
    32.0  # times the stable rate, where joined chunks or a device may do more
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit on the tail of latency.

    Attributes:
        latency_s: that is not exceeded.
        share: of queries, such as 0.95.

    Raises:
        UsageError: a time that is not above 0, a share outside (0, 1).
    """

    latency_s: float
    share: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.latency_s < math.inf or not 0 < self.share < 1:
            raise UsageError(
                f"a target of {self.latency_s:g} s for a share of {self.share:g}",
                rule="the time is above 0, the share between 0 and 1",
                where="trimtab.serve.Target",
                remedy="give p95=100ms",
            )

    @property
    def name(self) -> str:
        """The percentile, as it is written."""
        return f"p{100 * self.share:g}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How carefully a capacity is looked for.

    Attributes:
        queries: of each trial.
        warm_frac: of them at the beginning that are left out.
        precision: within which the rate is found.
        confidence: with which a trial must hold, one-sided; None for what was seen.
        blocks: that a trial is cut into for intervals: neighbours are alike, far
            apart queries are not.

    Raises:
        UsageError: fewer than 10 blocks of 10 queries, or a number out of bounds.
    """

    queries: int = 10_000
    warm_frac: float = 0.1
    precision: float = 0.01
    confidence: float | None = None
    blocks: int = 20

    def __post_init__(self) -> None:
        kept = self.queries - self.warm
        if (
            not 0 <= self.warm_frac < 1
            or self.blocks < 10
            or kept < 10 * self.blocks
            or not 1e-4 <= self.precision < 1
            or not (self.confidence is None or 0.5 <= self.confidence < 1)
        ):
            raise UsageError(
                f"a search with {self}",
                rule="a trial has at least 10 blocks of 10 queries, a precision from "
                "0.0001 and, if any, a confidence from 0.5 to 1",
                where="trimtab.serve.Effort",
                remedy="leave out what need not differ",
            )

    @property
    def warm(self) -> int:
        """Queries at the beginning that are left out."""
        return int(self.queries * self.warm_frac)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Latency-bounded throughput.

    Attributes:
        rate_per_s: the largest rate that was found to hold; 0 where none does.
        infeasible: why none does; "" where one does.
        late_frac: share of late queries at that rate, with its interval.
        latency_s: the percentile of the target at that rate; alone, if infeasible.
        busy_frac: of the workers at that rate.
        trials: rates that were simulated.
    """

    rate_per_s: float
    infeasible: str
    late_frac: Interval
    latency_s: float
    busy_frac: float
    trials: int


def parse_target(text: str) -> Target:
    """Return the target of a text such as ``p95=100ms``.

    Raises:
        UsageError: no such text.

    Example:
        >>> parse_target("p99.9=20ms")
        Target(latency_s=0.02, share=0.999)
    """
    match = re.fullmatch(r"p([0-9]{1,2}(?:\.[0-9]{1,3})?)=(.+)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(
            f"target {text!r}",
            rule="it is a percentile and a time",
            where="trimtab.serve.Target",
            remedy="give p95=100ms",
        )
    share = round(float(match[1]) / 100, 5)
    return Target(latency_s=parse_duration(match[2]), share=share)


def capacity(
    host: Host,
    schedule: Schedule,
    work: Workload,
    target: Target,
    *,
    seed: int = 0,
    effort: Effort | None = None,
) -> Capacity:
    """Return the largest rate at which the target is kept.

    No rate beyond what workers can do at all is tried, where that is known: in a short
    trace a queue that grows for ever would not have grown long enough yet.

    Args:
        host: that serves.
        schedule: that it serves by.
        work: laws of the queries.
        target: to keep.
        seed: of the queries.
        effort: how carefully it is looked for.
    """
    effort = effort or Effort()
    alone = _alone(host, schedule, work, target, seed)
    if alone.quantile(target.share) > target.latency_s:
        found = alone.quantile(target.share)
        return Capacity(
            rate_per_s=0.0,
            infeasible=f"a query that meets no other takes {target.name} "
            f"{format_duration(found)}, over {format_duration(target.latency_s)}",
            late_frac=late_share(alone.late(target.latency_s)),
            latency_s=found,
            busy_frac=alone.busy_frac,
            trials=0,
        )
    trial = _trials(host, schedule, work, seed, effort)
    limit = stable_rate(host, schedule, work, seed=seed)
    rate = limit / 4
    if schedule.coalesce or (host.accelerator and schedule.policy == "finish"):
        limit *= _MOST
    least, tried = rate * _LEAST, 0
    low, best, high = 0.0, alone, math.inf
    while high / max(low, least) > 1 + effort.precision:
        outcome = trial(rate)
        tried += 1
        if _holds(outcome, target, effort):
            low, best = rate, outcome
            if rate >= limit:
                break
        else:
            high = rate
        if math.isinf(high):
            rate = min(2 * rate, limit)
        elif low == 0.0:
            rate /= 2
        else:
            rate = math.sqrt(low * high)
    late = best.late(target.latency_s, skip=effort.warm if low else 0)
    return Capacity(
        rate_per_s=low,
        infeasible="" if low else "at every rate tried too many queries are late",
        late_frac=late_share(late, blocks=effort.blocks),
        latency_s=best.quantile(target.share, skip=effort.warm if low else 0),
        busy_frac=best.busy_frac,
        trials=tried,
    )


def late_share(
    late: NDArray[np.bool_], *, blocks: int = 20, confidence: float = 0.95
) -> Interval:
    """Return the share of late queries with an interval by means of blocks.

    Near saturation a query is late where its neighbours are: means of long blocks are
    nearly independent where queries are not (batch means; Law, "Simulation Modeling
    and Analysis"). Without any late query the rule of three gives the upper end.

    Example:
        >>> late_share(np.zeros(3_000, dtype=bool)).high
        0.001
    """
    share = float(late.mean())
    if not late.any():
        return Interval(value=0.0, low=0.0, high=3 / late.size, confidence=confidence)
    means = np.array([each.mean() for each in np.array_split(late, blocks)])
    error = float(means.std(ddof=1)) / math.sqrt(blocks)
    reach = float(distributions.t.ppf((1 + confidence) / 2, blocks - 1)) * error
    return Interval(
        value=share,
        low=max(0.0, share - reach),
        high=min(1.0, share + reach),
        confidence=confidence,
    )


def stable_rate(host: Host, schedule: Schedule, work: Workload, *, seed: int) -> float:
    """Return the rate at which workers, or the accelerator, are busy all the time.

    With contention workers are taken to be slowed by all others; chunks are not joined.
    The accelerator counts where its queries are known by their size.
    """
    items = work.items(10_000, seed=seed)
    most = int(items.max())
    table = host.curve.table(most, host.workers)
    device = [0.0] * (most + 1)
    taken = most + 1  # items from which the accelerator takes a query
    if host.accelerator is not None and schedule.policy == "threshold":
        device = host.accelerator.table(most)
        taken = schedule.threshold or taken
    workers_s = device_s = 0.0
    sizes, counts = np.unique(items, return_counts=True)
    for each, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        if each >= taken:
            device_s += count * device[each]
        else:
            chunks = split(each, schedule.batch)
            workers_s += count * math.fsum(table[chunk] for chunk in chunks)
    return items.size / max(workers_s / host.workers, device_s)


def _trials(
    host: Host, schedule: Schedule, work: Workload, seed: int, effort: Effort
) -> Callable[[float], Outcome]:
    """Return what simulates a rate, on the same queries each time."""
    count = effort.queries
    unit = (
        work.trace(rate_per_s=1.0, seed=seed, count=count)
        if work.arrivals.stretches
        else None
    )

    def trial(rate: float) -> Outcome:
        if unit is None:
            trace = work.trace(rate_per_s=rate, seed=seed, count=count)
        else:
            trace = replace(unit, at_s=unit.at_s / rate)
        return simulate(host, schedule, trace)

    return trial


def _alone(
    host: Host, schedule: Schedule, work: Workload, target: Target, seed: int
) -> Outcome:
    """Return the outcome of queries that never meet."""
    items = work.items(_ALONE, seed=seed)
    table = host.curve.table(int(items.max()))
    longest = sum(table[each] for each in split(int(items.max()), schedule.batch))
    gap = 10 * max(longest, target.latency_s)
    if host.accelerator is not None:
        gap += host.accelerator.batch_s(int(items.max()))
    at = gap * np.arange(items.size, dtype=np.float64)
    return simulate(host, replace(schedule, shed=False), Trace(at_s=at, items=items))


def _holds(outcome: Outcome, target: Target, effort: Effort) -> bool:
    late = outcome.late(target.latency_s, skip=effort.warm)
    allowed = 1 - target.share
    if effort.confidence is None:
        return float(late.mean()) <= allowed
    # The upper end of a two-sided interval is a one-sided bound of half its doubt.
    both = late_share(late, blocks=effort.blocks, confidence=2 * effort.confidence - 1)
    return both.high <= allowed
