"""How queries become batches, and where they run: rules of simulator and engine alike.

A dispatcher calls these for every query, so that they are plain arithmetic on integers
and floats: no arrays, no objects but what they return.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar, final

from trimtab.errors import UsageError

__all__ = [
    "DEFAULT_PRIORITY",
    "PRIORITIES",
    "Backlog",
    "Policy",
    "Schedule",
    "coalesced",
    "finish_s",
    "offloads",
    "split",
]

Policy = Literal["threshold", "finish"]
Chunk = TypeVar("Chunk")

PRIORITIES: Final = 3
"""Classes of queries: 0 goes first. More would be a promise nobody can keep."""

DEFAULT_PRIORITY: Final = 1
"""Of queries that say nothing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a server does with a query until it is given another schedule.

    Attributes:
        batch: most items of a batch on a worker.
        threshold: items from which the accelerator takes a query, of policy
            ``threshold``; None to leave it idle.
        policy: ``threshold`` goes by size, as the paper does; ``finish`` takes the
            device that is predicted to finish first.
        coalesce: whether small chunks that wait may run as one batch.
        shed: whether a query is refused that is predicted to miss its deadline.
        version: tells the queries of one schedule from those of another.

    Raises:
        UsageError: a number below 1.
    """

    batch: int
    threshold: int | None = None
    policy: Policy = "threshold"
    coalesce: bool = False
    shed: bool = False
    version: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.threshold is not None and self.threshold < 1):
            raise UsageError(
                f"a schedule of batch {self.batch}, threshold {self.threshold}",
                rule="both are at least 1",
                where="trimtab.serve.Schedule",
                remedy="give 1 or more; threshold None leaves the accelerator idle",
            )


def split(items: int, batch: int) -> list[int]:
    """Return the chunks of a query: as few as a batch allows, as equal as can be.

    A rest in the last chunk, as batch after batch leaves it, has the cost of a whole
    batch's start and less use of it.

    Example:
        >>> split(300, 256), split(7, 3), split(5, 8)
        ([150, 150], [3, 2, 2], [5])
    """
    if items <= batch:
        return [items]
    count = -(-items // batch)
    each, more = divmod(items, count)
    return [each + 1] * more + [each] * (count - more)


def coalesced(waiting: Iterable[int], batch: int) -> int:
    """Return how many chunks at the head of a queue run as one batch.

    Only what waits anyway is joined, first come first served: nothing is held back for
    others to come.

    Args:
        waiting: items of the chunks, the next one first.
        batch: most items of a batch; the first chunk runs whatever its size.

    Example:
        >>> coalesced([10, 20, 30, 5], 64)
        3
    """
    total = count = 0
    for items in waiting:
        total += items
        if count and total > batch:
            break
        count += 1
    return count


def finish_s(
    now_s: float,
    *,
    outstanding_s: float,
    own_s: float,
    longest_s: float,
    idle: int,
    workers: int,
) -> float:
    """Return when a query on the workers is predicted to be finished.

    It begins when the work before it is done, spread evenly over the workers, or at
    once where one is idle; it ends with its longest chunk, or its work spread evenly
    if that is more.

    Args:
        now_s: time.
        outstanding_s: service time that waits or runs.
        own_s: service time of its chunks.
        longest_s: the longest of them.
        idle: workers that have nothing to do.
        workers: all of them.
    """
    begin = now_s if idle else now_s + outstanding_s / workers
    even = now_s + (outstanding_s + own_s) / workers
    return max(begin + longest_s, even)


def offloads(
    schedule: Schedule,
    items: int,
    *,
    workers_finish_s: Callable[[], float],
    accelerator_finish_s: float,
) -> bool:
    """Return whether the accelerator takes a query whole.

    Args:
        schedule: in force.
        items: of the query.
        workers_finish_s: returns when the workers would be finished; asked by policy
            ``finish`` only.
        accelerator_finish_s: when the accelerator would be.
    """
    if schedule.policy == "threshold":
        return schedule.threshold is not None and items >= schedule.threshold
    return accelerator_finish_s < workers_finish_s()


@final
class Backlog(Generic[Chunk]):
    """Chunks that wait: first come first served within a priority.

    Example:
        >>> backlog = Backlog()
        >>> backlog.push("late", 40)
        >>> backlog.push("urgent", 30, priority=0)
        >>> len(backlog), backlog.pop(64, coalesce=True), len(backlog)
        (2, [(30, 'urgent')], 1)
    """

    __slots__ = ("_classes", "_count")

    def __init__(self) -> None:
        self._classes: tuple[deque[tuple[int, Chunk]], ...] = tuple(
            deque() for _ in range(PRIORITIES)
        )
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, chunk: Chunk, items: int, priority: int = 1) -> None:
        """Let a chunk wait."""
        self._classes[priority].append((items, chunk))
        self._count += 1

    def pop(self, batch: int, *, coalesce: bool) -> list[tuple[int, Chunk]]:
        """Take the next batch: chunks of one priority, each with its items."""
        for waiting in self._classes:
            if waiting:
                if not coalesce:
                    self._count -= 1
                    return [waiting.popleft()]
                count = coalesced((each[0] for each in waiting), batch)
                self._count -= count
                return [waiting.popleft() for _ in range(count)]
        return []

    def heads(self) -> list[Chunk]:
        """Return the chunk of each priority that has waited longest."""
        return [waiting[0][1] for waiting in self._classes if waiting]
