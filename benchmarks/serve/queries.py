"""Queries under faults: what each is told, what is wrong with it, who serves it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from trimtab.errors import OverloadedError, TrimtabError
from trimtab.pipeline.serving import OPENER, open_model
from trimtab.runtime.web import Server
from trimtab.serve.arrivals import Poisson
from trimtab.serve.capacity import Target
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.http import serve_app
from trimtab.serve.live.http_load import Served
from trimtab.serve.live.load import Drawn
from trimtab.serve.live.models import attach
from trimtab.serve.live.pool import Answer
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Workload

__all__ = [
    "NETWORK",
    "RATE",
    "Bench",
    "Ledger",
    "bench_of",
    "beside",
    "halt",
    "post",
    "served",
    "spoilt",
    "tell",
    "total",
    "watched",
    "whole",
]

NETWORK: Final = "zoo:rmc1-small"
_POOL: Final = 4096  # items
_ARENA: Final = 256 * 2**20
RATE: Final = 20.0  # queries a second, where it is not to be too much
_TARGET: Final = Target(latency_s=0.1)
_WAIT_S: Final = 120.0  # for the last answers
_CLOSE: Final = 1e-4  # of a value: batches of other sizes add up in another order
_SAMPLE_S: Final = 1.0


class Ledger:
    """What queries are told; of those that are over only counts are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._numbers = iter(range(2**62))
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []  # what untyped ends said, the first ones

    def sent(self) -> int:
        """Return the number of a new query."""
        with self._lock:
            self._open.add(number := next(self._numbers))
            self.counts["sent"] += 1
        return number

    def told(self, number: int, end: str) -> None:
        """Write down how a query ended."""
        with self._lock:
            if number not in self._open:
                self.counts["duplicated"] += 1
                return
            self._open.discard(number)
            self.counts[end] += 1

    def outcome(self, *, wait_s: float = _WAIT_S) -> dict[str, int]:
        """Return all counts, once each query had its time."""
        until = time.monotonic() + wait_s
        while self._open and time.monotonic() < until:
            time.sleep(0.05)
        with self._lock:
            return {
                **dict.fromkeys(
                    ("answered", "shed", "refused", "untyped", "wrong", "duplicated"), 0
                ),
                **self.counts,
                "lost": len(self._open),
            }


class Bench:
    """An engine, what it is asked, and the right answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.ledger = engine, Ledger()
        most = engine.settings.most_items
        drawn = Drawn(engine.inputs, most_items=_POOL, seed=0)
        self.inputs = drawn.draw(_POOL, 0)
        self.starts = _POOL - most
        model = open_model(engine.settings.spec)
        assert model.module is not None
        attach(
            model.module, engine._shared, engine._table
        )  # the weights of the workers
        with torch.inference_mode():
            found = model.call(
                [torch.from_numpy(each) for each in self.inputs.values()]
            )
        self.right = {
            field.name: each.numpy()
            for field, each in zip(engine.outputs, found, strict=True)
        }

    def ask(self, items: int, deadline_s: float | None) -> None:
        """Ask a query in shared memory."""
        number = self.ledger.sent()
        start = number * 7919 % self.starts
        rows = slice(start, start + items)

        def done(answer: Answer) -> None:
            self.ledger.told(number, self._end(answer, rows))

        query = {name: each[rows] for name, each in self.inputs.items()}
        try:
            self.engine.ask(query, done, deadline_s=deadline_s)
        except TrimtabError as error:
            self.ledger.told(number, _end(error))

    def _end(self, answer: Answer, rows: slice) -> str:
        if answer.error is not None:
            return _end(answer.error)
        assert answer.outputs is not None
        right = all(
            np.allclose(each, self.right[name][rows], atol=_CLOSE)
            for name, each in answer.outputs.items()
        )
        return "answered" if right else "wrong"

    def stream(
        self,
        seconds: float,
        *,
        rate: float = RATE,
        sizes: str = "mlperf",
        deadline_s: float | None = None,
    ) -> None:
        """Ask at the times of a trace; never wait for an answer."""
        work = Workload(arrivals=Poisson(), sizes=parse_sizes(sizes))
        trace = work.trace(rate_per_s=rate, duration_s=seconds, seed=0)
        begun = time.monotonic()
        for at_s, items in zip(trace.at_s.tolist(), trace.items.tolist(), strict=True):
            time.sleep(max(0.0, begun + at_s - time.monotonic()))
            self.ask(items, deadline_s)

    def pid(self, number: int) -> int:
        """Return the process of a worker."""
        return self.engine._processes[number % self.engine.workers].pid

    def outcome(self) -> dict[str, Any]:
        """Return what became of all queries."""
        found: dict[str, Any] = self.ledger.outcome()
        return {**found, "restarts": self.engine.restarts,
                "again": self.engine.state()["again"]}  # fmt: skip


def _end(error: TrimtabError) -> str:
    if isinstance(error, OverloadedError):
        return "shed"
    return "refused" if error.rule and error.remedy else "untyped"


@contextlib.contextmanager
def bench_of(**more: Any) -> Iterator[Bench]:
    settings = Settings(
        spec=NETWORK, opener=OPENER, workers=2, pin=False, arena_bytes=_ARENA, **more
    )
    with Engine(settings, Schedule(batch=128, coalesce=True)) as engine:
        yield Bench(engine)


@contextlib.contextmanager
def beside(what: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something in a thread while the block lasts, until an event is set."""
    over = threading.Event()
    thread = threading.Thread(target=what, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def whole(bench: Bench, over: threading.Event) -> bool:
    """Wait until all workers are ready; return whether they are."""
    while bench.engine.state()["workers"] < bench.engine.workers:
        if over.wait(0.1):
            return False
    return True


def tell(bench: Bench, number: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(bench.pid(number), what)


def halt(bench: Bench, number: int, seconds: float) -> None:
    """Let a worker stand still for a while."""
    pid = bench.pid(number)
    for what in (signal.SIGSTOP, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)
        if what == signal.SIGSTOP:
            time.sleep(seconds)


@contextlib.contextmanager
def served(bench: Bench) -> Iterator[str]:
    with Steering(bench.engine, None, _TARGET) as side:
        app = serve_app(side, "for faults")
        with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
            yield server.url


def post(
    server: Served,
    body: tuple[bytes, int],
    ledger: Ledger,
    *,
    statuses: Counter[int] | None = None,
) -> None:
    number = ledger.sent()

    def done(error: TrimtabError | None) -> None:
        said = "" if error is None else error.rule
        status = 200 if error is None else 429
        if error is not None and not isinstance(error, OverloadedError):
            status = int(said[7:10]) if said.startswith("status ") else 0
        if statuses is not None:
            statuses[status] += 1
        ends = {200: "answered", 429: "shed"}
        # What the client keeps of an answer is its beginning.
        typed = 400 <= status < 500 and f'status {status}: {{"error":"' in said
        if not typed and status not in ends:
            ledger.odd = [*ledger.odd, said][:10]
        ledger.told(number, ends.get(status, "refused" if typed else "untyped"))

    server.send(body, 0, done)


def spoilt(body: tuple[bytes, int], drawn: random.Random) -> tuple[bytes, int]:
    """Return a body with something wrong with it, and what its head says of its JSON.

    Args:
        body: a right one, and the bytes of its JSON.
        drawn: says what.
    """
    content, head = body
    data = bytearray(content)
    match drawn.randrange(8):
        case 0:  # cut
            return content[: drawn.randrange(len(content))], head
        case 1:  # longer than it says
            return content + drawn.randbytes(drawn.randrange(1, 64)), head
        case 2:  # a head that lies
            return content, drawn.choice(
                (0, 1, head - 1, head + 1, len(content), 10**15)
            )
        case 3:  # other bytes in the JSON
            for _ in range(drawn.randrange(1, 5)):
                data[drawn.randrange(head)] = drawn.randrange(256)
        case 4:  # numbers that are none, ids out of range
            at = drawn.randrange(head, len(data))
            data[at:] = b"\xff" * (len(data) - at)
        case 5:  # sizes that lie
            said = content[:head].replace(b'"shape":[', b'"shape":[9', 1)
            return said + content[head:], len(said)
        case 6:  # deep
            depth = drawn.choice((10, 300, 30_000))
            said = b'{"inputs":' + b"[" * depth + b"]" * depth + b"}"
            return said, len(said)
        case _:  # huge numbers
            said = content[:head].replace(b'size":', b'size":' + b"9" * 4_000, 1)
            return said + content[head:], len(said)
    return bytes(data), head


def total(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    counts = {key: each for key, each in other.items() if isinstance(each, int)}
    return {**one, **{key: one.get(key, 0) + each for key, each in counts.items()}}


@contextlib.contextmanager
def watched(bench: Bench) -> Iterator[list[tuple[float, int, int]]]:
    """Write down seconds, bytes of this process, and of the largest worker."""
    samples = [(0.0, _resident("self"), 0)]
    begun = time.monotonic()

    def watch(over: threading.Event) -> None:
        while not over.wait(_SAMPLE_S):
            workers = [_resident(bench.pid(each)) for each in range(2)]
            at = round(time.monotonic() - begun, 1)
            samples.append((at, _resident("self"), max(workers)))

    with beside(watch):
        yield samples


def _resident(pid: int | str) -> int:
    """Return bytes that are a process's own, or 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0
