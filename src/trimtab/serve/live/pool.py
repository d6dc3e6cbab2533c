"""Queries on their way, and the workers that take them: records, one for each.

What is made for a query is kept to a few objects, in one process of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from trimtab.errors import TrimtabError
from trimtab.serve.live.board import Mailbox
from trimtab.serve.schedule import Backlog, finish_s

__all__ = ["Answer", "Batch", "Observed", "Part", "Pool", "Query", "Worker"]

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


class Answer(NamedTuple):
    """What became of a query; a tuple, as one is made for each.

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


class Observed(NamedTuple):
    """A batch that was answered; a tuple, as one is made for each.

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
class Query:
    """One that was taken, and is not answered yet."""

    place: int
    items: int
    left: int
    scheduled_ns: int
    taken_ns: int
    deadline_ns: int | None
    version: int
    done: Callable[[Answer], None]
    pool: Pool
    chunks: list[int]
    priority: int
    begun_ns: int = 0
    lost: dict[int, int] | None = None  # workers, by the first row of the chunk
    failed: TrimtabError | None = None


# Its rows: the first, and how many; the seconds that they were predicted to take.
Part: TypeAlias = tuple[Query, int, int, float]


@dataclass(slots=True)
class Batch:
    """What a worker has."""

    rows: int
    parts: list[Part]
    since_ns: int  # when its worker had nothing else to do
    predicted_s: float


@dataclass(slots=True)
class Worker:
    """A process, its mailbox and its bell."""

    number: int
    box: Mailbox
    bell: int
    alive: bool = False
    batches: dict[int, Batch] = field(default_factory=dict)
    due_s: float = 0.0  # of what it has, as predicted


@dataclass(slots=True)
class Pool:
    """Workers that are alike, and their queue."""

    workers: list[Worker]
    seconds: Callable[[int], float]
    joins: bool  # chunks, where the schedule allows it
    waiting: Backlog[Part] = field(default_factory=Backlog)
    ahead_s: float = 0.0  # of work that waits or runs

    @property
    def alive(self) -> int:
        """Workers that are ready."""
        return sum([each.alive for each in self.workers])

    def free(self) -> Worker | None:
        """Return a worker that has nothing to do, or None."""
        for each in self.workers:
            if each.alive and not each.batches:
                return each
        return None

    def finish_s(self, chunks: list[int], now: int) -> float:
        """Return how long from now on a query would take, as far as is known."""
        own = [self.seconds(each) for each in chunks]
        outstanding_s, idle = self.ahead_s, 0
        for each in self.workers:
            if each.batches:
                first = next(iter(each.batches.values()))
                run_s = 1e-9 * (now - first.since_ns)
                outstanding_s -= min(run_s, first.predicted_s)
            else:
                idle += each.alive
        return finish_s(
            0.0, outstanding_s=max(0.0, outstanding_s), own_s=sum(own),
            longest_s=max(own), idle=0 if self.waiting else idle,
            workers=max(1, self.alive),
        )  # fmt: skip
