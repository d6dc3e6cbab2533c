"""Which schedule is best: the paper's climb, every one tried, a search by simulation.

The climbs are told what a schedule is worth by whoever can say so, a simulation or a
server under load. What differs from the authors' code: it takes batch sizes from a list
that a person writes, judges by the p95 of 64 queries, and drops what is queued at each
change; here a worth is a latency-bounded throughput, found on the same queries for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from trimtab.errors import BudgetInfeasibleError, UsageError
from trimtab.serve.capacity import (
    Capacity,
    Effort,
    Target,
    capacity,
    stable_rate,
)
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import LARGEST
from trimtab.serve.workload import Workload
from trimtab.units import format_duration

__all__ = [
    "BATCHES",
    "THRESHOLDS",
    "Candidate",
    "Worth",
    "exhaustive",
    "hill_climb",
    "search",
    "static",
]

Worth = Callable[[Schedule], float]
"""Queries a second that a schedule sustains within the target; 0 for none."""

BATCHES: Final = (
    1, 2, 4, 8, 16, 25, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024,
)  # fmt: skip
"""Batch sizes that are tried."""

THRESHOLDS: Final = (1, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024)
"""Items from which the accelerator takes a query, that are tried."""

_SHORT: Final = 4  # times shorter than the last trials are those that only rank
_FINALISTS: Final = 4


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A schedule and what it is worth.

    Attributes:
        schedule: that was tried.
        rate_per_s: that it sustains.
    """

    schedule: Schedule
    rate_per_s: float


def static(workers: int, *, largest: int = LARGEST) -> Schedule:
    """Return the paper's baseline: the largest query divided over all workers.

    Example:
        >>> static(40).batch, static(16).batch, static(1_000, largest=700).batch
        (25, 62, 1)
    """
    return Schedule(batch=max(1, largest // workers))


def hill_climb(
    worth: Worth,
    *,
    batches: Sequence[int] = BATCHES,
    thresholds: Sequence[int] = (),
) -> list[Candidate]:
    """Return the steps of the paper's climb; the best of them is its choice.

    The batch size grows from the smallest until it gets worse; then, with the best
    batch size, the accelerator takes every query, and the threshold grows until that
    gets worse.

    Args:
        worth: of a schedule.
        batches: in the order of the climb.
        thresholds: the same; none without an accelerator.
    """
    steps = _climb(worth, [Schedule(batch=each) for each in batches])
    if thresholds:
        best = _best(steps).schedule
        steps += _climb(
            worth, [replace(best, threshold=each) for each in thresholds]
        )  # fmt: skip
    return steps


def exhaustive(worth: Worth, schedules: Sequence[Schedule]) -> list[Candidate]:
    """Return every schedule with its worth, the best first."""
    found = [Candidate(schedule=each, rate_per_s=worth(each)) for each in schedules]
    return sorted(found, key=lambda each: -each.rate_per_s)


def search(
    host: Host,
    work: Workload,
    target: Target,
    *,
    seed: int = 0,
    effort: Effort | None = None,
    batches: Sequence[int] = BATCHES,
    thresholds: Sequence[int] = THRESHOLDS,
    coalesce: bool = True,
    best: int = 3,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> list[tuple[Schedule, Capacity]]:
    """Return the best schedules by simulation, to be confirmed where it counts.

    All batch sizes meet the same short sequence of queries, and the best few of them a
    long one; one that would keep workers busy all the time at a rate that others are
    known to sustain within the target need not be tried. With an accelerator,
    thresholds and the rule of the earliest finish are tried with the best batch sizes,
    not with all: both matter, and together.

    Args:
        host: that serves.
        work: laws of the queries.
        target: to keep.
        seed: of the queries.
        effort: of the long trials.
        batches: to try.
        thresholds: to try, where there is an accelerator.
        coalesce: whether small chunks that wait are joined.
        best: how many to return.
        progress: told the share that is done.

    Raises:
        BudgetInfeasibleError: no schedule keeps the target at any rate; the error has
            the one that misses it least.
    """
    effort = effort or Effort()
    short = replace(
        effort,
        queries=max(20 * effort.blocks, effort.queries // _SHORT),
        precision=max(effort.precision, 0.02),
    )
    known: dict[Schedule, Capacity] = {}

    def tried(schedule: Schedule) -> Capacity:
        if schedule not in known:
            known[schedule] = capacity(
                host, schedule, work, target, seed=seed, effort=short
            )
        return known[schedule]

    def ranked(count: int) -> list[Schedule]:
        return sorted(known, key=lambda each: -known[each].rate_per_s)[:count]

    starts = [
        Schedule(batch=size, coalesce=coalesce)
        for size in _different(batches, work.sizes.largest)
    ]
    alone = replace(host, accelerator=None)
    limits = {each: stable_rate(alone, each, work, seed=seed) for each in starts}
    starts.sort(key=lambda each: -limits[each])
    count = max(best, _FINALISTS)
    for number, start in enumerate(starts):
        progress(0.4 * number / len(starts), f"batch {start.batch}")
        least = known[ranked(count)[-1]].rate_per_s if len(known) >= count else 0.0
        # Joined chunks may do more than chunks apart: their limit is not known.
        if coalesce or limits[start] > least or not least:
            tried(start)
    if host.accelerator is not None:
        for number, start in enumerate(ranked(_FINALISTS)):
            progress(0.4 + 0.3 * number / _FINALISTS, "thresholds")
            for each in thresholds:
                if each <= work.sizes.largest:
                    tried(replace(start, threshold=each))
            tried(replace(start, policy="finish"))
    finalists = ranked(count)
    long = []
    for number, chosen in enumerate(finalists):
        progress(0.7 + 0.3 * number / len(finalists), f"batch {chosen.batch}")
        found = capacity(host, chosen, work, target, seed=seed, effort=effort)
        long.append((chosen, found))
    progress(1.0, f"{len(known)} schedules")
    long.sort(key=lambda pair: -pair[1].rate_per_s)
    if not long[0][1].rate_per_s:
        nearest = min(known, key=lambda each: known[each].latency_s)
        raise BudgetInfeasibleError(
            f"{target.name} of {format_duration(target.latency_s)}",
            rule=f"no batch size keeps it at any rate; batch {nearest.batch} misses it "
            f"least: {known[nearest].infeasible}",
            where="trimtab.serve.scheduler",
            remedy="allow more time, or give more or faster workers",
            best=nearest,
            binding=target.name,
        )
    return long[:best]


def _different(batches: Sequence[int], largest: int) -> list[int]:
    """Return sizes that differ in effect: one that holds every query is the last."""
    if not batches or min(batches) < 1:
        raise UsageError(
            f"batch sizes {list(batches)}",
            rule="there is one at least, and none below 1",
            where="trimtab.serve.scheduler",
            remedy="leave them out",
        )
    below = sorted({each for each in batches if each < largest})
    return [*below, *[each for each in sorted(batches) if each >= largest][:1]]


def _climb(worth: Worth, schedules: Sequence[Schedule]) -> list[Candidate]:
    steps: list[Candidate] = []
    for each in schedules:
        steps.append(Candidate(schedule=each, rate_per_s=worth(each)))
        if len(steps) > 1 and steps[-1].rate_per_s < steps[-2].rate_per_s:
            break
    return steps


def _best(steps: Sequence[Candidate]) -> Candidate:
    return max(steps, key=lambda each: each.rate_per_s)
