"""Load on a server at the times that a trace says, whatever the server does.

Who waits for an answer before asking again asks less the slower the server is, and
never meets the queries that would have waited (coordinated omission). Here all times
are known before the first query; none waits for another; a latency counts from when its
query was to come. How late queries were sent is written down: beyond a little, the run
says something of this machine, and is worth nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import OverloadedError, TrimtabError
from trimtab.serve.live.arena import Field
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.pool import Answer
from trimtab.serve.verdict import ENDS, Ran
from trimtab.serve.workload import Trace
from trimtab.zoo.preset import Input
from trimtab.zoo.queries import Queries

__all__ = ["Drawn", "InProcess", "Rows", "Sampled", "Subject", "end_of", "run"]

_SPIN_NS: Final = 300_000  # a sleep ends late by about as much
_START_NS: Final = 100_000_000
_MOST_OPEN: Final = 20_000
_LATE_NS: Final = 10_000_000_000  # that the first query that is open may be
_POOL_BYTES: Final = 64 * 2**20
_POOL_ITEMS: Final = 8192
_APART: Final = 7919  # a prime: queries one behind the other differ

Arrays = Mapping[str, NDArray[Any]]
Told = Callable[[TrimtabError | None], None]


class Subject(Protocol):
    """What is put under load."""

    def prepare(self, items: int, number: int) -> Any:
        """Return a query of so many items, ahead of its time."""

    def send(self, query: Any, scheduled_ns: int, done: Told) -> None:
        """Send a query, and return at once; `done` is told once, from any thread."""


class Rows(Protocol):
    """Where the inputs of queries come from."""

    def draw(self, items: int, number: int) -> Arrays:
        """Return the inputs of a query; the same number gives the same ones."""


@final
class Drawn:
    """Random inputs of any length: parts of one pool, which is drawn once.

    Ids are popular ones mostly (Zipf), features normal; what has no bounds is 0.

    Args:
        inputs: of an item.
        most_items: of a query.
        seed: of the numbers.

    Example:
        >>> field = Field(name="ids", dtype="int64", shape=(2,), bounds=(9,))
        >>> rows = Drawn([field], most_items=4).draw(3, 0)["ids"]
        >>> rows.shape, bool((rows < 9).all())
        ((3, 2), True)
    """

    def __init__(
        self, inputs: Sequence[Field], *, most_items: int, seed: int = 0
    ) -> None:
        item_bytes = max(1, sum(each.item_bytes for each in inputs))
        count = max(most_items, min(_POOL_ITEMS, _POOL_BYTES // item_bytes))
        self._starts = count - most_items + 1
        drawn = Queries([_input(each) for each in inputs], seed=seed).draw(count)
        self._pool: dict[str, NDArray[Any]] = {}
        for each, rows in zip(inputs, drawn, strict=True):
            known = each.bounds is not None or each.dtype.startswith("float")
            made = rows if known else np.zeros_like(rows)
            self._pool[each.name] = made.reshape(count, *each.shape).astype(each.dtype)

    def draw(self, items: int, number: int) -> Arrays:
        """Return the inputs of a query; the same number gives the same ones."""
        start = number * _APART % self._starts
        return {name: rows[start : start + items] for name, rows in self._pool.items()}


@final
class Sampled:
    """Inputs that are examples of a data set, one behind the other.

    Args:
        rows: of each input, by name; as many of each.
        most_items: of a query; fewer examples are repeated.

    Example:
        >>> rows = Sampled({"x": np.arange(3)}, most_items=4)
        >>> rows.draw(4, 0)["x"].tolist()
        [0, 1, 2, 0]
    """

    def __init__(self, rows: Arrays, *, most_items: int) -> None:
        count = min(len(each) for each in rows.values())
        taken = np.arange(max(count, most_items)) % count
        self._starts = len(taken) - most_items + 1
        self._pool = {name: np.ascontiguousarray(each[taken])
                      for name, each in rows.items()}  # fmt: skip

    def draw(self, items: int, number: int) -> Arrays:
        """Return the inputs of a query; the same number gives the same ones."""
        start = number * _APART % self._starts
        return {name: rows[start : start + items] for name, rows in self._pool.items()}


def _input(each: Field) -> Input:
    """Return a field as the generator of queries knows it."""
    shape = each.shape or (1,)
    rows = () if each.dtype.startswith("float") else each.bounds or (1,)
    return Input(name=each.name, shape=shape, rows=rows)


@final
class InProcess:
    """An engine of this process under load.

    Args:
        engine: that was started.
        drawn: what it is asked.
        deadline_s: after which nobody wants an answer, or None.
    """

    def __init__(
        self, engine: Engine, drawn: Rows, *, deadline_s: float | None = None
    ) -> None:
        self.engine, self.drawn, self.deadline_s = engine, drawn, deadline_s

    def prepare(self, items: int, number: int) -> Arrays:
        """Return a query."""
        return self.drawn.draw(items, number)

    def send(self, query: Arrays, scheduled_ns: int, done: Told) -> None:
        """Ask."""

        def told(answer: Answer) -> None:
            done(answer.error)

        try:
            self.engine.ask(
                query, told, scheduled_ns=scheduled_ns, deadline_s=self.deadline_s
            )
        except TrimtabError as error:
            done(error)


def run(
    subject: Subject,
    trace: Trace,
    *,
    wait_s: float = 10.0,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> Ran:
    """Send the queries of a trace when it says so; return what became of them.

    It stops where far too many are open: a longer queue would tell nothing more, and
    takes memory.

    Args:
        subject: what is asked.
        trace: when, and how many items.
        wait_s: for the last answers.
        progress: told the share that was sent, about every second.
    """
    count = len(trace)
    begin = time.monotonic_ns() + _START_NS
    at = (begin + np.rint(1e9 * trace.at_s)).astype(np.int64).tolist()
    items = trace.items.tolist()
    sent_ns = np.zeros(count, np.int64)
    ended_ns = np.zeros(count, np.int64)
    ends = np.full(count, ENDS.index("open"), np.int8)
    failures: list[TrimtabError] = []
    over = threading.Semaphore(0)
    ended = 0
    lock = threading.Lock()

    def told(number: int) -> Told:
        def done(error: TrimtabError | None) -> None:
            nonlocal ended
            now = time.monotonic_ns()
            with lock:
                ended_ns[number] = now
                ends[number] = ENDS.index(end_of(error))
                ended += 1
                if ends[number] == ENDS.index("failed") and error is not None:
                    failures[1:] = [error]
            over.release()

        return done

    issued, shown = 0, begin
    for number in range(count):
        query = subject.prepare(items[number], number)
        now = _until(at[number])
        sent_ns[number] = now
        subject.send(query, at[number], told(number))
        issued = number + 1
        if now > shown:
            shown = now + 10**9
            progress(issued / count, f"{issued} queries, {issued - ended} open")
            # Looked at once a second: it goes over all that were sent.
            waiting = np.flatnonzero(ends[:issued] == ENDS.index("open"))
            if waiting.size and now - at[waiting[0]] > _LATE_NS:
                break
        if issued - ended > _MOST_OPEN:
            break
    until = time.monotonic() + wait_s
    for _ in range(issued):
        if not over.acquire(timeout=max(0.0, until - time.monotonic())):
            break
    progress(1.0, f"{issued} queries")
    with lock:
        scheduled = np.array(at[:issued])
        answered = ends[:issued] == ENDS.index("answered")
        latency = np.where(answered, 1e-9 * (ended_ns[:issued] - scheduled), np.inf)
        return Ran(
            latency_s=latency,
            delay_s=1e-9 * np.maximum(0, sent_ns[:issued] - scheduled),
            ends=ends[:issued].copy(),
            planned=count,
            seconds=float(trace.at_s[issued - 1]),
            error=str(failures[0]) if failures else "",
        )


def end_of(error: TrimtabError | None) -> str:
    """Return how a query ended that was told this: a name of `ENDS`."""
    if error is None:
        return "answered"
    return "shed" if isinstance(error, OverloadedError) else "failed"


def _until(due_ns: int) -> int:
    """Wait for a time; return the one that it is then."""
    while (left := due_ns - time.monotonic_ns()) > _SPIN_NS:
        time.sleep(1e-9 * (left - _SPIN_NS))
    while (now := time.monotonic_ns()) < due_ns:
        time.sleep(0)  # gives the interpreter to those who take answers
    return now
