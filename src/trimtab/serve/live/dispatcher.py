"""Queries in, batches out, answers joined; over 400 lines: all that ends a query.

A query is divided into chunks of about equal size, which go to whichever worker is
free, first come first served within a priority. Small queries that wait one after the
other go together, but none waits for company. An accelerator, where there is one, takes
queries whole, one after the other, from a queue of its own. A query is answered when
its last chunk is; the latency counts from when it was to come, not from when it was
taken. Nothing of a network or of PyTorch is known here.

All this happens for each query, in one process of Python: what is made for a query is
kept to a few objects (`trimtab.serve.live.pool`), and a worker is rung once a batch.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

from numpy.typing import NDArray

from trimtab.errors import ExecutionError, OverloadedError, TrimtabError
from trimtab.serve.live.arena import Arena, Rows
from trimtab.serve.live.board import DONE, ENTRIES, Mailbox
from trimtab.serve.live.pool import Answer, Batch, Observed, Part, Pool, Query, Worker
from trimtab.serve.schedule import Schedule, offloads, split

__all__ = ["Dispatcher"]

# Of a worker's work: with less it gets the next, too, or it would be idle while its
# answer is taken. With more, chunks are given away early that others could still join.
_AHEAD_S: Final = 0.0005
_KEPT: Final = 4096  # latencies, and batches
_MOST_LOST: Final = 3  # workers that a chunk may be running on when they end
_ALONE: Final = 2**62  # items of a chunk that none is joined to
# Rows that may all stand apart: a worker has two batches at most.
_MOST_JOINED: Final = ENTRIES // 2

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@final
class Dispatcher:
    """Gives queries to workers. One thread at a time may call it.

    Args:
        arena: rows of inputs and outputs.
        boxes: of the workers, that of the accelerator last.
        bells: eventfds that wake them.
        schedule: how queries are divided; it may be changed at any time.
        seconds: of a batch of so many rows, as far as is known.
        accelerator: the same of the accelerator; None where there is none.
        seen: told each batch that was answered.

    Attributes:
        schedule: in force for the next query.
        counts: of what happened, by name.
        latencies: of late answers: when, and how long it took, in nanoseconds.
        observed: batches that were answered lately.
    """

    def __init__(
        self,
        arena: Arena,
        boxes: list[Mailbox],
        bells: list[int],
        schedule: Schedule,
        seconds: Callable[[int], float],
        accelerator: Callable[[int], float] | None = None,
        seen: Callable[[Observed], None] = lambda each: None,
    ) -> None:
        self.arena, self.schedule = arena, schedule
        self._rows = Rows(arena.capacity)
        self._workers = [
            Worker(number, box, bell)
            for number, (box, bell) in enumerate(zip(boxes, bells, strict=True))
        ]
        most = len(boxes) if accelerator is None else len(boxes) - 1
        self._pool = Pool(self._workers[:most], seconds, joins=True)
        self._device: Pool | None = None
        if accelerator is not None:
            self._device = Pool(self._workers[most:], accelerator, joins=False)
        self._pools = [each for each in (self._pool, self._device) if each is not None]
        self._numbers = itertools.count(1)
        self._inputs = {each.name: arena.rows(each.name) for each in arena.inputs}
        self._outputs = {each.name: arena.rows(each.name) for each in arena.outputs}
        self.open = 0
        self.latencies: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self.observed: deque[Observed] = deque(maxlen=_KEPT)
        self._seen = seen
        self.counts: dict[str, int] = dict.fromkeys(
            ("queries", "answers", "shed", "late", "failed", "batches", "joined",
             "again", "offloaded"), 0,
        )  # fmt: skip

    # A query comes

    def submit(
        self,
        inputs: Arrays,
        items: int,
        done: Callable[[Answer], None],
        *,
        scheduled_ns: int | None = None,
        deadline_ns: int | None = None,
        priority: int = 1,
    ) -> None:
        """Take a query: `admit`, `write` and `hand_out` in one.

        Args:
            inputs: rows of each input, of the dtype and shape of its field.
            items: how many.
            done: told the answer, once; it must not wait.
            scheduled_ns: when it was to come (`time.monotonic_ns`); now by default.
            deadline_ns: after which nobody wants its answer.
            priority: 0, 1 or 2; smaller ones go first.

        Raises:
            OverloadedError: there is no room, or it would not be ready in time.
        """
        query = self.admit(
            items, done, scheduled_ns=scheduled_ns, deadline_ns=deadline_ns,
            priority=priority,
        )  # fmt: skip
        self.write(query, inputs)
        self.hand_out(query)

    def admit(
        self,
        items: int,
        done: Callable[[Answer], None],
        *,
        scheduled_ns: int | None = None,
        deadline_ns: int | None = None,
        priority: int = 1,
    ) -> Query:
        """Find a place for a query, which is open from now on.

        Raises:
            OverloadedError: there is no room, or it would not be ready in time.
        """
        now = time.monotonic_ns()
        schedule, pool = self.schedule, self._pool
        chunks = split(items, schedule.batch)
        if self._device is not None and self._offloads(items, chunks, now):
            pool, chunks = self._device, [items]
        if deadline_ns is not None:
            wait_s = pool.finish_s(chunks, now)
            if now + int(1e9 * wait_s) > deadline_ns:
                self.counts["shed"] += 1
                raise _full(items, wait_s, "it would not be ready in time")
        place = self._rows.take(items)
        if place is None:
            self.counts["shed"] += 1
            wait_s = pool.ahead_s / max(1, pool.alive)
            raise _full(items, wait_s, "the queue is full")
        self.open += 1
        self.counts["queries"] += 1
        self.counts["offloaded"] += pool is self._device
        return Query(
            place, items, items, now if scheduled_ns is None else scheduled_ns, now,
            deadline_ns, schedule.version, done, pool, chunks, priority,
        )  # fmt: skip

    def write(self, query: Query, inputs: Arrays) -> None:
        """Write a query's rows to its place; others may go on meanwhile."""
        place, end = query.place, query.place + query.items
        for name, value in inputs.items():
            self._inputs[name][place:end] = value

    def hand_out(self, query: Query) -> None:
        """Give a query that is written to workers, or let it wait for them."""
        pool, place, now = query.pool, query.place, time.monotonic_ns()
        if pool is self._device and not pool.alive:  # it was lost meanwhile
            pool, query.chunks = self._pool, split(query.items, self.schedule.batch)
        for rows in query.chunks:
            seconds = pool.seconds(rows)
            pool.ahead_s += seconds
            part = (query, place, rows, seconds)
            place += rows
            free = None if pool.waiting else pool.free()
            if free is None:
                pool.waiting.push(part, rows, query.priority)
            else:  # as `_assign` would, but many queries find a worker free
                self._hand(pool, free, [part], now)
        if pool.waiting:
            self._assign(pool, now)

    def _offloads(self, items: int, chunks: list[int], now: int) -> bool:
        """Return whether the accelerator takes a query, and is there to take it."""
        device = self._device
        if device is None or not device.alive:
            return False
        return offloads(
            self.schedule, items,
            workers_finish_s=lambda: self._pool.finish_s(chunks, now),
            accelerator_finish_s=device.finish_s([items], now),
        )  # fmt: skip

    @property
    def workers(self) -> int:
        """How many there are, ready or not; their numbers are below it."""
        return len(self._pool.workers)

    @property
    def alive(self) -> int:
        """Workers that are ready, the accelerator's not among them."""
        return self._pool.alive

    @property
    def backlog_s(self) -> float:
        """Seconds of work that waits or runs, on all workers together."""
        return sum(each.ahead_s for each in self._pools)

    def oldest_s(self) -> float:
        """Return how long the first that waits has done so."""
        taken = [
            part[0].taken_ns for pool in self._pools for part in pool.waiting.heads()
        ]
        return 1e-9 * (time.monotonic_ns() - min(taken)) if taken else 0.0

    # Batches go out

    def _assign(self, pool: Pool, now: int) -> None:
        """Give waiting chunks to workers that are free, or very soon will be."""
        while pool.waiting and (free := pool.free()) is not None:
            if not self._give(pool, free, now):
                return
        if not pool.waiting:
            return
        for worker in pool.workers:
            soon = len(worker.batches) == 1 and worker.due_s < _AHEAD_S
            if worker.alive and soon and not self._give(pool, worker, now):
                return

    def _give(self, pool: Pool, worker: Worker, now: int) -> bool:
        """Give a worker the next batch; return whether there was one."""
        schedule = self.schedule
        joins = pool.joins and schedule.coalesce
        most = min(schedule.batch, _MOST_JOINED)
        while found := pool.waiting.pop(most, coalesce=joins):
            parts = [part for _, part in found if not self._is_late(pool, part, now)]
            if parts:
                break
        else:
            return False
        self._hand(pool, worker, parts, now)
        return True

    def _hand(self, pool: Pool, worker: Worker, parts: list[Part], now: int) -> None:
        """Put a batch into a worker's mailbox, and ring."""
        number = next(self._numbers)
        query, start, rows, seconds = parts[0]
        query.begun_ns = query.begun_ns or now
        if len(parts) == 1:
            worker.box.orders.put((number, start, rows, 0))
        else:
            for part in parts:
                part[0].begun_ns = part[0].begun_ns or now
            rows = sum([part[2] for part in parts])
            seconds = pool.seconds(rows)
            self.counts["joined"] += 1
            ranges = _ranges(parts)
            for at, (start, count) in enumerate(ranges, 1):
                worker.box.orders.put((number, start, count, len(ranges) - at))
        worker.batches[number] = Batch(rows, parts, now, seconds)
        worker.due_s += seconds
        self.counts["batches"] += 1
        os.eventfd_write(worker.bell, 1)

    def _is_late(self, pool: Pool, part: Part, now: int) -> bool:
        """Drop what nobody waits for any more."""
        query, _, rows, seconds = part
        if query.failed is None:
            if query.deadline_ns is None or now <= query.deadline_ns:
                return False
            self.counts["late"] += 1
            query.failed = _full(query.items, 0.0, "its deadline has passed")
        pool.ahead_s -= seconds
        self._answered(query, rows, now)
        return True

    # Answers come back

    def collect(self) -> None:
        """Take all answers that are there, and give out what they make room for."""
        for pool in self._pools:
            for worker in pool.workers:
                self._collect(pool, worker)
            self._assign(pool, time.monotonic_ns())
        if not self.open:  # sums of floats drift
            for pool in self._pools:
                pool.ahead_s = 0.0

    def _collect(self, pool: Pool, worker: Worker) -> None:
        for number, status, begun, ended, cpu in worker.box.answers.take():
            if not number:
                worker.alive = True
                continue
            batch = worker.batches.pop(number, None)
            if batch is None:
                continue
            if worker.batches:
                worker.due_s -= batch.predicted_s
                next(iter(worker.batches.values())).since_ns = ended
            else:
                worker.due_s = 0.0
            if status == DONE:
                wall_s = 1e-9 * (ended - begun)
                seen = Observed(batch.rows, 1e-9 * cpu, wall_s, worker.number)
                self.observed.append(seen)
                self._seen(seen)
            for query, _, rows, seconds in batch.parts:
                pool.ahead_s -= seconds
                if status != DONE and query.failed is None:
                    query.failed = _wrong(query.items, worker.box.text)
                self._answered(query, rows, ended)

    def _answered(self, query: Query, rows: int, now: int) -> None:
        query.left -= rows
        if query.left:
            return
        self.open -= 1
        place, end = query.place, query.place + query.items
        took_ns = now - query.scheduled_ns
        outputs = None
        if query.failed is None:
            outputs = {
                name: each[place:end].copy() for name, each in self._outputs.items()
            }
            self.counts["answers"] += 1
            self.latencies.append((now, took_ns))
        else:
            self.counts["failed"] += isinstance(query.failed, ExecutionError)
        self._rows.free(place)
        query.done(
            Answer(
                outputs, query.failed, 1e-9 * took_ns,
                1e-9 * max(0, query.begun_ns - query.taken_ns), query.version,
                query.items,
            )
        )  # fmt: skip

    # Workers go and come

    def is_alive(self, number: int) -> bool:
        """Return whether a worker is ready."""
        return self._workers[number].alive

    def fail(self, error: TrimtabError) -> None:
        """Answer all queries with an error: there is nobody left to work on them."""
        now = time.monotonic_ns()
        for pool in self._pools:
            while found := pool.waiting.pop(1, coalesce=False):
                for _, (query, _, rows, seconds) in found:
                    pool.ahead_s -= seconds
                    query.failed = query.failed or error
                    self._answered(query, rows, now)

    def end(self, error: TrimtabError) -> None:
        """Answer all queries, those that workers have, too: workers are no more."""
        for pool in self._pools:
            for worker in pool.workers:
                self._collect(pool, worker)
                worker.alive = False
                for batch in worker.batches.values():
                    for part in batch.parts:
                        pool.waiting.push(part, part[2], 0)
                worker.batches.clear()
        self.fail(error)

    def lost(self, number: int) -> int:
        """Take back what a worker had that is no more; return how many batches.

        What it had answered counts; the rest goes to others, ahead of all that waits.
        What an accelerator had, or was to have, is divided and goes to workers. A chunk
        that was running on several when they ended fails: it may be why they did.
        """
        worker = self._workers[number]
        pool = next(each for each in self._pools if worker in each.workers)
        self._collect(pool, worker)
        worker.alive = False
        worker.box.answers.clear()
        worker.box.orders.clear()
        batches = list(worker.batches.values())
        worker.batches.clear()
        worker.due_s = 0.0
        again = len(batches)
        self.counts["again"] += again
        suspects = batches.pop(0).parts if batches and pool is self._pool else []
        parts = [part for batch in batches for part in batch.parts]
        if pool is self._device:
            while found := pool.waiting.pop(1, coalesce=False):
                parts += [part for _, part in found]
            pool.ahead_s = 0.0
            parts = [each for part in parts for each in self._divided(part)]
            self._pool.ahead_s += sum(part[3] for part in parts)
        for part in suspects:  # they were running: none takes others with it again
            _suspect(part)
            self._pool.waiting.push(part, _ALONE, 0)
        for part in parts:
            self._pool.waiting.push(part, part[2], 0)
        self._assign(self._pool, time.monotonic_ns())
        return again

    def _divided(self, part: Part) -> list[Part]:
        """Return what an accelerator had as chunks for workers."""
        query, place, rows, _ = part
        found = []
        for each in split(rows, self.schedule.batch):
            found.append((query, place, each, self._pool.seconds(each)))
            place += each
        return found

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


def _suspect(part: Part) -> None:
    """Write down that a worker ended while it had a chunk; fail it after several."""
    query, place, _, _ = part
    lost = query.lost = query.lost or {}
    lost[place] = lost.get(place, 0) + 1
    if lost[place] >= _MOST_LOST and query.failed is None:
        query.failed = ExecutionError(
            f"a query of {query.items} items",
            rule=f"{_MOST_LOST} workers ended, or hung, while they had it",
            where="the network, in a worker",
            remedy="check the values of its inputs, and the memory that is there",
        )


def _ranges(parts: list[Part]) -> list[tuple[int, int]]:
    """Return the rows of a batch: one range, if they stand one after the other."""
    found = [(parts[0][1], parts[0][2])]
    for _, start, rows, _ in parts[1:]:
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
