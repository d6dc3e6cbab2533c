"""Queries in, batches out, answers joined; over 400 lines: all that ends a query.

A query is divided into chunks of about equal size, which go to whichever worker is
free, first come first served within a priority. Small queries that wait one after the
other go together, but none waits for company. A query is answered when its last chunk
is; the latency counts from when it was to come, not from when it was taken. Nothing of
a network or of PyTorch is known here.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from numpy.typing import NDArray

from trimtab.errors import ExecutionError, OverloadedError, TrimtabError
from trimtab.serve.live.arena import Arena, Rows
from trimtab.serve.live.board import DONE, Mailbox
from trimtab.serve.schedule import Backlog, Schedule, finish_s, split

__all__ = ["Answer", "Dispatcher", "Observed"]

_AHEAD_S: Final = 0.002  # of a worker's work: with less it gets the next, too

Arrays = Mapping[str, NDArray[Any]]


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a query.

    Attributes:
        outputs: by name, None where there is an error.
        error: why it was not answered.
        latency_s: from when it was to come to its last chunk.
        queue_s: from when it was taken to its first chunk.
        version: of the schedule that it was divided by.
        items: that it had.
    """

    outputs: Arrays | None
    error: TrimtabError | None
    latency_s: float
    queue_s: float
    version: int
    items: int


@final
@dataclass(frozen=True, slots=True)
class Observed:
    """A batch that was answered.

    Attributes:
        rows: of it.
        cpu_s: of the worker's thread.
        wall_s: by the clock.
        worker: which.
    """

    rows: int
    cpu_s: float
    wall_s: float
    worker: int


@dataclass(slots=True)
class _Query:
    place: int
    items: int
    left: int
    scheduled_ns: int
    taken_ns: int
    deadline_ns: int | None
    priority: int
    version: int
    done: Callable[[Answer], None]
    begun_ns: int = 0
    failed: TrimtabError | None = None


_Part = tuple[_Query, int, int]  # its rows: the first, and how many


@dataclass(slots=True)
class _Batch:
    """What a worker has."""

    rows: int
    parts: list[_Part]
    since_ns: int
    predicted_s: float


@dataclass(slots=True)
class _Worker:
    number: int
    box: Mailbox
    bell: int
    alive: bool = False
    batches: dict[int, _Batch] = field(default_factory=dict)
    due_s: float = 0.0  # of what it has, as predicted


@final
class Dispatcher:
    """Gives queries to workers. One thread at a time may call it.

    Args:
        arena: rows of inputs and outputs.
        boxes: of the workers.
        bells: eventfds that wake them.
        schedule: how queries are divided; it may be changed at any time.
        seconds: of a batch of so many rows, as far as is known.

    Attributes:
        schedule: in force for the next query.
        counts: of what happened, by name.
    """

    def __init__(
        self,
        arena: Arena,
        boxes: list[Mailbox],
        bells: list[int],
        schedule: Schedule,
        seconds: Callable[[int], float],
    ) -> None:
        self.arena, self.schedule, self.seconds = arena, schedule, seconds
        self._rows = Rows(arena.capacity)
        self._workers = [
            _Worker(number, box, bell)
            for number, (box, bell) in enumerate(zip(boxes, bells, strict=True))
        ]
        self._waiting: Backlog[_Part] = Backlog()
        self._numbers = itertools.count(1)
        self._inputs = {each.name: arena.rows(each.name) for each in arena.inputs}
        self._outputs = {each.name: arena.rows(each.name) for each in arena.outputs}
        self._ahead_s = 0.0  # of work that waits or runs, on all workers
        self.open = 0
        self._fresh: list[Observed] = []
        self.counts: dict[str, int] = dict.fromkeys(
            ("queries", "answers", "shed", "late", "failed", "batches", "joined",
             "again"), 0,
        )  # fmt: skip

    # A query comes

    def submit(
        self,
        inputs: Arrays,
        done: Callable[[Answer], None],
        *,
        scheduled_ns: int | None = None,
        deadline_ns: int | None = None,
        priority: int = 1,
    ) -> None:
        """Take a query.

        Args:
            inputs: rows of each input, of the dtype and shape of its field.
            done: told the answer, once; it must not wait.
            scheduled_ns: when it was to come (`time.monotonic_ns`); now by default.
            deadline_ns: after which nobody wants its answer.
            priority: 0, 1 or 2; smaller ones go first.

        Raises:
            OverloadedError: there is no room, or it would not be ready in time.
        """
        now = time.monotonic_ns()
        items = len(next(iter(inputs.values())))
        schedule = self.schedule
        chunks = split(items, schedule.batch)
        own_s = sum(map(self.seconds, chunks))
        if deadline_ns is not None:
            wait_s = self._finish_s(own_s, self.seconds(chunks[0]))
            if now + int(1e9 * wait_s) > deadline_ns:
                self.counts["shed"] += 1
                raise _full(items, wait_s, "it would not be ready in time")
        place = self._rows.take(items)
        if place is None:
            self.counts["shed"] += 1
            raise _full(items, self._ahead_s / max(1, self.alive), "the queue is full")
        for name, value in inputs.items():
            self._inputs[name][place : place + items] = value
        query = _Query(
            place, items, items, now if scheduled_ns is None else scheduled_ns, now,
            deadline_ns, priority, schedule.version, done,
        )  # fmt: skip
        self.open += 1
        self.counts["queries"] += 1
        self._ahead_s += own_s
        for rows in chunks:
            self._waiting.push((query, place, rows), rows, priority)
            place += rows
        self._assign(now)

    def _finish_s(self, own_s: float, longest_s: float) -> float:
        """Return when a query that came now would be ready, as far as is known."""
        idle = sum(each.alive and not each.batches for each in self._workers)
        return finish_s(
            0.0, outstanding_s=self._ahead_s, own_s=own_s, longest_s=longest_s,
            idle=idle if not len(self._waiting) else 0, workers=max(1, self.alive),
        )  # fmt: skip

    @property
    def alive(self) -> int:
        """Workers that are ready."""
        return sum(each.alive for each in self._workers)

    @property
    def backlog_s(self) -> float:
        """Seconds of work that waits or runs, on all workers together."""
        return self._ahead_s

    def oldest_s(self) -> float:
        """Return how long the first that waits has done so."""
        taken = [query.taken_ns for query, _, _ in self._waiting.heads()]
        return 1e-9 * (time.monotonic_ns() - min(taken)) if taken else 0.0

    # Batches go out

    def _assign(self, now: int) -> None:
        """Give waiting chunks to workers that are free, or very soon will be."""
        if not len(self._waiting):
            return
        for worker in self._workers:
            if worker.alive and not worker.batches and not self._give(worker, now):
                return
        for worker in self._workers:
            soon = len(worker.batches) == 1 and worker.due_s < _AHEAD_S
            if worker.alive and soon and not self._give(worker, now):
                return

    def _give(self, worker: _Worker, now: int) -> bool:
        """Give a worker the next batch; return whether there was one."""
        schedule = self.schedule
        while found := self._waiting.pop(schedule.batch, coalesce=schedule.coalesce):
            parts = [part for _, part in found if not self._is_late(part, now)]
            if parts:
                break
        else:
            return False
        number = next(self._numbers)
        rows = 0
        for query, _, count in parts:
            rows += count
            query.begun_ns = query.begun_ns or now
        seconds = self.seconds(rows)
        worker.batches[number] = _Batch(rows, parts, now, seconds)
        worker.due_s += seconds
        ranges = _ranges(parts)
        for at, (start, count) in enumerate(ranges, 1):
            worker.box.orders.put((number, start, count, len(ranges) - at))
        os.eventfd_write(worker.bell, 1)
        self.counts["batches"] += 1
        self.counts["joined"] += len(parts) > 1
        return True

    def _is_late(self, part: _Part, now: int) -> bool:
        """Drop what nobody waits for any more."""
        query, _, rows = part
        if query.failed is None:
            if query.deadline_ns is None or now <= query.deadline_ns:
                return False
            self.counts["late"] += 1
            query.failed = _full(query.items, 0.0, "its deadline has passed")
        self._ahead_s = max(0.0, self._ahead_s - self.seconds(rows))
        self._answered(query, rows, now)
        return True

    # Answers come back

    def collect(self) -> None:
        """Take all answers that are there, and give out what they make room for."""
        for worker in self._workers:
            self._collect(worker)
        self._assign(time.monotonic_ns())
        if not self.open:  # predictions change, and their sum would drift
            self._ahead_s = 0.0

    def _collect(self, worker: _Worker) -> None:
        for number, status, begun, ended, cpu in worker.box.answers.take():
            if not number:
                worker.alive = True
                continue
            batch = worker.batches.pop(number, None)
            if batch is None:
                continue
            worker.due_s = worker.due_s - batch.predicted_s if worker.batches else 0.0
            if status == DONE:
                seen = Observed(
                    batch.rows, 1e-9 * cpu, 1e-9 * (ended - begun), worker.number
                )
                self._fresh.append(seen)
            for query, _, rows in batch.parts:
                self._ahead_s = max(0.0, self._ahead_s - self.seconds(rows))
                if status != DONE and query.failed is None:
                    query.failed = _wrong(query.items, worker.box.text)
                self._answered(query, rows, ended)

    def _answered(self, query: _Query, rows: int, now: int) -> None:
        query.left -= rows
        if query.left:
            return
        self.open -= 1
        end = query.place + query.items
        outputs = None
        if query.failed is None:
            outputs = {
                name: each[query.place : end].copy()
                for name, each in self._outputs.items()
            }
            self.counts["answers"] += 1
        else:
            self.counts["failed"] += isinstance(query.failed, ExecutionError)
        self._rows.free(query.place)
        query.done(
            Answer(
                outputs,
                query.failed,
                1e-9 * (now - query.scheduled_ns),
                1e-9 * max(0, query.begun_ns - query.taken_ns),
                query.version,
                query.items,
            )
        )

    def fresh(self) -> list[Observed]:
        """Return the batches since the last call."""
        found, self._fresh = self._fresh, []
        return found

    # Workers go and come

    def is_alive(self, number: int) -> bool:
        """Return whether a worker is ready."""
        return self._workers[number].alive

    def fail(self, error: TrimtabError) -> None:
        """Answer all queries with an error: there is nobody left to work on them."""
        now = time.monotonic_ns()
        self._ahead_s = 0.0
        while found := self._waiting.pop(1, coalesce=False):
            for _, (query, _, rows) in found:
                query.failed = query.failed or error
                self._answered(query, rows, now)

    def lost(self, number: int) -> int:
        """Take back what a worker had that is no more; return how many batches.

        What it had answered counts; the rest goes to others, ahead of all that waits.
        """
        worker = self._workers[number]
        self._collect(worker)
        worker.alive = False
        worker.box.answers.clear()
        worker.box.orders.clear()
        batches = list(worker.batches.values())
        worker.batches.clear()
        worker.due_s = 0.0
        for batch in batches:
            for part in batch.parts:
                self._waiting.push(part, part[2], 0)
            self.counts["again"] += 1
        self._assign(time.monotonic_ns())
        return len(batches)

    def overdue(self, *, times: float, least_s: float) -> list[int]:
        """Return workers that have had a batch for far longer than predicted.

        Args:
            times: of what was predicted.
            least_s: in any case.
        """
        now = time.monotonic_ns()
        return [
            worker.number
            for worker in self._workers
            if worker.alive
            and any(
                1e-9 * (now - each.since_ns)
                > max(least_s, times * (worker.due_s + each.predicted_s))
                for each in worker.batches.values()
            )
        ]


def _ranges(parts: list[_Part]) -> list[tuple[int, int]]:
    """Return the rows of a batch: one range, if they stand one after the other."""
    found = [(parts[0][1], parts[0][2])]
    for _, start, rows in parts[1:]:
        before, count = found[-1]
        if start == before + count:
            found[-1] = (before, count + rows)
        else:
            found.append((start, rows))
    return found


def _full(items: int, wait_s: float, rule: str) -> OverloadedError:
    return OverloadedError(
        f"a query of {items} items",
        rule=rule,
        where="trimtab serve",
        remedy=f"try again in {max(wait_s, 0.01):.2f} s, or send fewer",
        retry_after_s=max(wait_s, 0.01),
    )


def _wrong(items: int, rule: str) -> ExecutionError:
    return ExecutionError(
        f"a query of {items} items",
        rule=rule,
        where="the network, in a worker",
        remedy="check the values of its inputs",
    )
