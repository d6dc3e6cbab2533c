"""What a server would do with a trace: a discrete-event simulation.

Workers share one queue, first come first served; a query is answered with its last
chunk. An accelerator is a serial device with a queue of its own. The rules are those of
`trimtab.serve.schedule`, which the live dispatcher works by too. Nothing is random:
the same trace gives the same latencies.

What is left out: a batch that has begun keeps its pace whatever begins beside it, and
handing out work is a time of each batch, not a resource that batches queue for.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.serve.host import Host
from trimtab.serve.schedule import PRIORITIES, Backlog, Schedule, finish_s, offloads
from trimtab.serve.schedule import split as split_query
from trimtab.serve.window import Window
from trimtab.serve.workload import Trace

__all__ = ["Control", "Outcome", "simulate"]

Control = Callable[[Window], Schedule]
"""Told what a period has shown, returns the schedule from then on."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of each query of a trace.

    Attributes:
        latency_s: from its time in the trace to its last chunk; NaN where it was shed.
        version: of the schedule that it was planned by.
        accelerated: whether the accelerator took it.
        batches: that workers ran.
        end_s: when the last was finished.
        busy_frac: of the workers' time.
        accelerator_busy_frac: of the accelerator's.
    """

    latency_s: NDArray[np.float64]
    version: NDArray[np.int64]
    accelerated: NDArray[np.bool_]
    batches: int
    end_s: float
    busy_frac: float
    accelerator_busy_frac: float

    @property
    def shed(self) -> int:
        """Queries that were refused."""
        return int(np.isnan(self.latency_s).sum())

    def quantile(self, share: float, *, skip: int = 0) -> float:
        """Return a quantile of latency; a query that was shed took forever.

        Args:
            share: such as 0.95.
            skip: queries at the beginning that are left out.
        """
        taken = np.where(np.isnan(self.latency_s), np.inf, self.latency_s)[skip:]
        return float(np.quantile(taken, share, method="higher"))

    def late(self, target_s: float, *, skip: int = 0) -> NDArray[np.bool_]:
        """Return which queries took longer than a target, or were shed."""
        return ~(self.latency_s[skip:] <= target_s)

    def of_version(self, version: int) -> NDArray[np.float64]:
        """Return latencies of the answered queries that one schedule planned."""
        chosen = (self.version == version) & ~np.isnan(self.latency_s)
        return np.asarray(self.latency_s[chosen])


def simulate(
    host: Host,
    schedule: Schedule,
    trace: Trace,
    *,
    priorities: Sequence[int] | None = None,
    deadline_s: float = math.inf,
    control: Control | None = None,
    period_s: float = 1.0,
) -> Outcome:
    """Return what becomes of every query.

    Args:
        host: that serves.
        schedule: in force, from the beginning.
        trace: of queries.
        priorities: of each query, 0 first; all alike by default. The accelerator does
            not know them.
        deadline_s: of each query after its arrival, for schedules that shed.
        control: asked for the schedule of the next period.
        period_s: between its calls.

    Raises:
        UsageError: priorities that are not one for each query, or a period that is not
            above 0.

    Example:
        >>> from trimtab.serve.curves import ServiceCurve
        >>> curve = ServiceCurve(
        ...     network="example", source="made up", sizes=(1, 2), seconds=(1.0, 2.0)
        ... )
        >>> trace = Trace(at_s=np.array([0.0, 1.0]), items=np.array([4, 2]))
        >>> host = Host(curve=curve, workers=2)
        >>> simulate(host, Schedule(batch=2), trace).latency_s.tolist()
        [2.0, 3.0]
    """
    if not 0 < period_s < math.inf or (
        priorities is not None
        and (
            len(priorities) != len(trace)
            or not all(0 <= each < PRIORITIES for each in priorities)
        )
    ):
        raise UsageError(
            f"a simulation with periods of {period_s:g} s",
            rule=f"the period is above 0, and priorities, from 0 to {PRIORITIES - 1}, "
            "are as many as queries",
            where="trimtab.serve.simulate",
            remedy="leave priorities out where all queries are alike",
        )
    plain = (
        priorities is None
        and control is None
        and not (schedule.coalesce or schedule.shed or host.curve.busy_seconds)
        and (host.accelerator is None or schedule.policy == "threshold")
    )
    if plain:
        return _in_order(host, schedule, trace)
    return _Run(host, schedule, trace, priorities, deadline_s).run(control, period_s)


def _in_order(host: Host, schedule: Schedule, trace: Trace) -> Outcome:
    """Return the outcome where a chunk's start depends on those before it alone.

    Chunks then start in the order of arrival, each on the worker that is free first:
    a heap of the times at which workers become free is all there is to keep.
    """
    size = len(trace)
    table = host.curve.table(int(trace.items.max()))
    finished = np.empty(size)
    offloaded = np.zeros(size, dtype=np.bool_)
    if host.accelerator is not None and schedule.threshold is not None:
        offloaded = trace.items >= schedule.threshold
    chosen = ~offloaded
    sizes, counts = np.unique(trace.items[chosen], return_counts=True)
    plans = {
        items: [table[each] for each in split_query(items, schedule.batch)]
        for items in sizes.tolist()
    }
    free = [0.0] * host.workers
    replace = heapq.heapreplace
    ends = []
    for at, items in zip(
        trace.at_s[chosen].tolist(), trace.items[chosen].tolist(), strict=True
    ):
        last = 0.0
        for seconds in plans[items]:
            begin = free[0]
            end = (begin if begin > at else at) + seconds
            replace(free, end)
            if end > last:
                last = end
        ends.append(last)
    finished[chosen] = ends
    batches, busy_s = 0, 0.0
    for times, count in zip(plans.values(), counts.tolist(), strict=True):
        batches += count * len(times)
        busy_s += count * math.fsum(times)
    device_s = 0.0
    if host.accelerator is not None and offloaded.any():
        own = np.array(host.accelerator.table(int(trace.items.max())))
        taken = own[trace.items[offloaded]]
        # Serial: a query begins at the latest of its arrival and its forerunner's end.
        before = np.cumsum(taken) - taken
        begun = np.maximum.accumulate(trace.at_s[offloaded] - before) + before
        finished[offloaded] = begun + taken
        device_s = float(taken.sum())
    end_s = float(finished.max())
    return Outcome(
        latency_s=finished - trace.at_s,
        version=np.full(size, schedule.version),
        accelerated=offloaded,
        batches=batches,
        end_s=end_s,
        busy_frac=busy_s / (host.workers * end_s),
        accelerator_busy_frac=device_s / end_s,
    )


@final
@dataclass(slots=True)
class _Seen:
    """What the present period has shown so far."""

    finished: list[tuple[int, float]] = field(default_factory=list)
    batches: list[tuple[int, float]] = field(default_factory=list)
    first: int = 0
    shed: int = 0


@final
class _Run:
    """One simulation, event by event."""

    def __init__(
        self,
        host: Host,
        schedule: Schedule,
        trace: Trace,
        priorities: Sequence[int] | None,
        deadline_s: float,
    ) -> None:
        self.host, self.schedule, self.deadline_s = host, schedule, deadline_s
        self.at: list[float] = trace.at_s.tolist()
        self.items: list[int] = trace.items.tolist()
        self.priorities = priorities
        size = len(trace)
        # Batches that are joined are as large as a schedule allows.
        most = max(int(trace.items.max()), schedule.batch if schedule.coalesce else 1)
        self.alone = host.curve.table(most)
        self.slower = self._slower(most)
        self.device = host.accelerator.table(most) if host.accelerator else None
        self.left = [0] * size
        self.ends = [math.nan] * size
        self.versions = [0] * size
        self.offloaded = [False] * size
        self.idle = host.workers
        self.waiting: Backlog[int] = Backlog()
        self.waiting_s = 0.0
        self.running_until_s = 0.0  # sum over running batches of their ends
        self.device_free_s = self.device_s = self.busy_s = 0.0
        self.done: list[tuple[float, int, list[tuple[int, int]], float]] = []
        self.batches = 0
        self.watched = False
        self.seen = _Seen()

    def _slower(self, most: int) -> list[float] | None:
        """Return what each further busy worker adds to the time of a batch."""
        workers = self.host.workers
        if not self.host.curve.busy_seconds or workers == 1:
            return None
        full = self.host.curve.table(most, workers)
        return [
            (b - a) / (workers - 1)
            for a, b in zip(self.host.curve.table(most), full, strict=True)
        ]

    def run(self, control: Control | None, period_s: float) -> Outcome:
        """Work off the trace."""
        self.watched = control is not None
        tick_s = period_s if control is not None else math.inf
        at, done, size = self.at, self.done, len(self.at)
        arrived = 0
        while arrived < size or done:
            next_s = at[arrived] if arrived < size else math.inf
            ends = bool(done) and done[0][0] <= next_s
            now = done[0][0] if ends else next_s
            if now >= tick_s and control is not None:
                self._schedule(control(self._window(tick_s, period_s, arrived)))
                self.seen = _Seen(first=arrived)
                tick_s += period_s
            elif ends:
                self._finish(*heapq.heappop(done))
            else:
                self._arrive(arrived, now)
                arrived += 1
        return self._outcome()

    def _schedule(self, schedule: Schedule) -> None:
        self.schedule = schedule
        if schedule.coalesce and schedule.batch >= len(self.alone):
            self.alone = self.host.curve.table(schedule.batch)
            self.slower = self._slower(schedule.batch)

    def _arrive(self, query: int, now: float) -> None:
        schedule, items = self.schedule, self.items[query]
        self.versions[query] = schedule.version
        chunks = split_query(items, schedule.batch)
        expected_s = -1.0  # of the workers, once it is asked for

        def expected() -> float:
            nonlocal expected_s
            if expected_s < 0:
                alone, running = self.alone, self.host.workers - self.idle
                expected_s = finish_s(
                    now,
                    outstanding_s=self.waiting_s + self.running_until_s - running * now,
                    own_s=sum([alone[each] for each in chunks]),
                    longest_s=alone[chunks[0]],
                    idle=self.idle,
                    workers=self.host.workers,
                )
            return expected_s

        taken = False
        if self.device is not None:
            end = max(now, self.device_free_s) + self.device[items]
            taken = offloads(
                schedule, items, workers_finish_s=expected, accelerator_finish_s=end
            )
        if schedule.shed:
            until = end if taken else expected()
            if until > now + self.deadline_s:
                self.seen.shed += 1
                return
        if taken and self.device is not None:
            self.device_free_s = end
            self.device_s += self.device[items]
            self.offloaded[query] = True
            heapq.heappush(self.done, (end, -query - 1, [(items, query)], 0.0))
            return
        self.left[query] = len(chunks)
        priority = 1 if self.priorities is None else self.priorities[query]
        for each in chunks:
            if self.idle:
                self._begin([(each, query)], each, now)
            else:
                self.waiting.push(query, each, priority)
                self.waiting_s += self.alone[each]

    def _begin(self, batch: list[tuple[int, int]], items: int, now: float) -> None:
        seconds = self.alone[items]
        self.idle -= 1
        if self.slower is not None:
            busy = self.host.workers - self.idle
            seconds += self.slower[items] * (busy - 1)
        end = now + seconds
        self.running_until_s += end
        self.busy_s += seconds
        heapq.heappush(self.done, (end, self.batches, batch, seconds))
        self.batches += 1

    def _finish(
        self, now: float, number: int, batch: list[tuple[int, int]], seconds: float
    ) -> None:
        """Answer what is complete, then give the worker the next batch."""
        if number < 0:  # of the accelerator, which took the query whole
            self._answer(batch[0][1], now)
            return
        self.idle += 1
        self.running_until_s -= now
        for _, query in batch:
            self.left[query] -= 1
            if not self.left[query]:
                self._answer(query, now)
        if self.watched:
            self.seen.batches.append((sum([each[0] for each in batch]), seconds))
        schedule = self.schedule
        following = self.waiting.pop(schedule.batch, coalesce=schedule.coalesce)
        if following:
            items = 0
            for each, _ in following:
                items += each
                self.waiting_s -= self.alone[each]
            self._begin(following, items, now)

    def _answer(self, query: int, now: float) -> None:
        self.ends[query] = now
        if self.watched:
            self.seen.finished.append((self.versions[query], now - self.at[query]))

    def _window(self, at_s: float, period_s: float, arrived: int) -> Window:
        oldest = min((self.at[each] for each in self.waiting.heads()), default=at_s)
        seen = self.seen
        return Window(
            at_s=at_s,
            period_s=period_s,
            arrived_s=self.at[seen.first : arrived],
            items=self.items[seen.first : arrived],
            finished=seen.finished,
            batches=seen.batches,
            oldest_s=at_s - oldest,
            shed=seen.shed,
        )

    def _outcome(self) -> Outcome:
        ends = np.array(self.ends)
        end_s = float(np.nanmax(ends)) if np.isfinite(ends).any() else self.at[-1]
        return Outcome(
            latency_s=ends - np.array(self.at),
            version=np.array(self.versions, dtype=np.int64),
            accelerated=np.array(self.offloaded, dtype=np.bool_),
            batches=self.batches,
            end_s=end_s,
            busy_frac=self.busy_s / (self.host.workers * end_s),
            accelerator_busy_frac=self.device_s / end_s,
        )
