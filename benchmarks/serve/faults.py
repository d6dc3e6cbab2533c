"""What becomes of queries while workers die or stall, bodies lie and load is too much.

    python -m benchmarks.serve.faults killed 20
    python -m benchmarks.serve.faults soak 600

Each scenario sends queries at the times of a trace, whatever happens, and writes down
what each is told: it has to be answered once and rightly, or be refused with an error
that has a type. Times are no results here: other work may run beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy import stats as distributions

from trimtab.errors import OverloadedError, TrimtabError
from trimtab.pipeline.serving import OPENER, open_model
from trimtab.runtime.web import Server
from trimtab.serve.arrivals import Poisson
from trimtab.serve.capacity import Target
from trimtab.serve.live.dispatcher import Answer
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.http import serve_app
from trimtab.serve.live.http_load import Served
from trimtab.serve.live.load import Drawn
from trimtab.serve.live.models import attach
from trimtab.serve.live.steering import Steering
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Workload

__all__ = ["SCENARIOS", "Ledger", "growth", "main", "spoilt"]

_NETWORK: Final = "zoo:rmc1-small"
_POOL: Final = 4096  # items
_ARENA: Final = 256 * 2**20
_RATE: Final = 20.0  # queries a second, where it is not to be too much
_TARGET: Final = Target(latency_s=0.1)
_WAIT_S: Final = 120.0  # for the last answers
_CLOSE: Final = 1e-4  # of a value: batches of other sizes add up in another order
_SAMPLE_S: Final = 1.0
_WARM_FRAC: Final = 0.2  # of a soak, in which memory may still grow
_BLOCKS: Final = 16


class Ledger:
    """What queries are told; of those that are over only counts are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._numbers = iter(range(2**62))
        self.counts: Counter[str] = Counter()

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


class _Bench:
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
        rate: float = _RATE,
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
def _bench(**more: Any) -> Iterator[_Bench]:
    settings = Settings(
        spec=_NETWORK, opener=OPENER, workers=2, pin=False, arena_bytes=_ARENA, **more
    )
    with Engine(settings, Schedule(batch=128, coalesce=True)) as engine:
        yield _Bench(engine)


@contextlib.contextmanager
def _beside(what: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something in a thread while the block lasts, until an event is set."""
    over = threading.Event()
    thread = threading.Thread(target=what, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _whole(bench: _Bench, over: threading.Event) -> bool:
    """Wait until all workers are ready; return whether they are."""
    while bench.engine.state()["workers"] < bench.engine.workers:
        if over.wait(0.1):
            return False
    return True


def _signal(bench: _Bench, number: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(bench.pid(number), what)


def _stop(bench: _Bench, number: int, seconds: float) -> None:
    """Let a worker stand still for a while."""
    pid = bench.pid(number)
    for what in (signal.SIGSTOP, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)
        if what == signal.SIGSTOP:
            time.sleep(seconds)


# Scenarios


def killed(seconds: float) -> dict[str, Any]:
    """Kill workers that work, one after the other, then all at the same time."""
    with _bench() as bench:

        def kill(over: threading.Event) -> None:
            for victims in itertools.cycle([(0,), (1,), (0, 1)]):
                if over.wait(2.0) or not _whole(bench, over):
                    return
                for number in victims:
                    _signal(bench, number, signal.SIGKILL)

        with _beside(kill):
            bench.stream(seconds)
        return bench.outcome()


def stopped(seconds: float) -> dict[str, Any]:
    """Let workers stand still: for a second, and for longer than is waited for them."""
    with _bench(overdue_s=3.0) as bench:

        def stop(over: threading.Event) -> None:
            for number, last_s in enumerate(itertools.cycle([1.0, 1.0, 6.0])):
                if over.wait(2.0) or not _whole(bench, over):
                    return
                _stop(bench, number, last_s)

        with _beside(stop):
            bench.stream(seconds)
        return bench.outcome()


def overload(seconds: float) -> dict[str, Any]:
    """Send ten times what two workers can do: with a deadline, then without."""
    with _bench() as bench:
        rate = 10 * _capacity(bench)
        half = seconds / 2
        with _watched(bench) as samples:
            bench.stream(half, rate=rate, sizes="fixed:1024", deadline_s=0.1)
            bench.stream(half, rate=rate, sizes="fixed:1024")
            found = bench.outcome()
        # In the same process over HTTP: whoever asks gets a status in any case.
        with _served(bench) as url, Served(url) as server:
            body = server.prepare(1024, 0)
            ledger = Ledger()
            begun = time.monotonic()
            for number in range(int(half * min(rate, 1_000.0))):
                due = begun + number / min(rate, 1_000.0)
                time.sleep(max(0.0, due - time.monotonic()))
                _post(server, body, ledger)
            over_http = ledger.outcome()
        return {
            **_sum(found, over_http), "over_http": over_http,
            "rate_per_s": rate, "sent_per_s": found["sent"] / seconds,
            "grown_bytes": max(s[1] for s in samples) - samples[0][1],
        }  # fmt: skip


def malformed(seconds: float) -> dict[str, Any]:
    """Send bodies that are wrong in every way among right ones, over HTTP."""
    drawn = random.Random(0)
    statuses: Counter[int] = Counter()
    with _bench() as bench, _served(bench) as url, Served(url) as server:
        begun = time.monotonic()
        number = 0
        while time.monotonic() < begun + seconds:
            due = begun + number / (4 * _RATE)
            time.sleep(max(0.0, due - time.monotonic()))
            body = server.prepare(1 + number % 50, number)
            spoil = number % 4 != 0
            _post(server, spoilt(body, drawn) if spoil else body, bench.ledger,
                  statuses=statuses if spoil else None)  # fmt: skip
            number += 1
        found = bench.outcome()
        return {
            **found,
            "statuses": {str(key): statuses[key] for key in sorted(statuses)},
        }


def soak(seconds: float) -> dict[str, Any]:
    """Do all of it for long, while schedules change, workers die, memory is watched."""
    drawn = random.Random(1)
    web = Ledger()
    swaps = kills = 0
    with _bench(overdue_s=3.0) as bench, _served(bench) as url, Served(url) as server:

        def trouble(over: threading.Event) -> None:
            nonlocal swaps, kills
            last = begun = time.monotonic()
            while not over.wait(0.5):
                batch = drawn.choice((16, 64, 128, 256, 1024))
                bench.engine.schedule = Schedule(
                    batch=batch, coalesce=drawn.random() < 0.5
                )
                swaps += 1
                if time.monotonic() - last < 20.0 or not _whole(bench, over):
                    continue
                last = time.monotonic()
                if kills % 3 == 2:
                    _stop(bench, kills, drawn.choice((1.0, 6.0)))
                else:
                    _signal(bench, kills, signal.SIGKILL)
                kills += 1
                done = time.monotonic() - begun
                print(f"  {done:.0f} s, {dict(bench.ledger.counts)}", file=sys.stderr)

        def ask(over: threading.Event) -> None:
            number = 0
            while not over.wait(0.5 / _RATE):  # twice as often as in shared memory
                body = server.prepare(1 + number % 300, number)
                _post(server, spoilt(body, drawn) if number % 3 == 0 else body, web)
                number += 1

        with _watched(bench) as samples, _beside(trouble), _beside(ask):
            bench.stream(seconds)
        found, over_http = bench.outcome(), web.outcome()
        return {
            **_sum(found, over_http), "over_http": over_http, "seconds": seconds,
            "swaps": swaps, "kills": kills, "memory": samples, **growth(samples),
        }  # fmt: skip


SCENARIOS: Final[dict[str, Callable[[float], dict[str, Any]]]] = {
    "killed": killed,
    "stopped": stopped,
    "overload": overload,
    "malformed": malformed,
    "soak": soak,
}


# What they share


def _capacity(bench: _Bench) -> float:
    """Return queries of 1024 items a second that the workers can do now."""
    count, begun = 40, time.monotonic()
    for _ in range(count):
        bench.ask(1024, None)
    bench.ledger.outcome()
    return count / (time.monotonic() - begun)


@contextlib.contextmanager
def _served(bench: _Bench) -> Iterator[str]:
    with Steering(bench.engine, None, _TARGET) as side:
        app = serve_app(side, "for faults")
        with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
            yield server.url


def _post(
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
        typed = 400 <= status < 500 and '"field"' in said
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


def _sum(one: dict[str, Any], other: dict[str, int]) -> dict[str, Any]:
    return {**one, **{key: one.get(key, 0) + each for key, each in other.items()}}


@contextlib.contextmanager
def _watched(bench: _Bench) -> Iterator[list[tuple[float, int, int]]]:
    """Write down seconds, bytes of this process, and of the largest worker."""
    samples = [(0.0, _resident("self"), 0)]
    begun = time.monotonic()

    def watch(over: threading.Event) -> None:
        while not over.wait(_SAMPLE_S):
            workers = [_resident(bench.pid(each)) for each in range(2)]
            at = round(time.monotonic() - begun, 1)
            samples.append((at, _resident("self"), max(workers)))

    with _beside(watch):
        yield samples


def _resident(pid: int | str) -> int:
    """Return bytes that are a process's own, or 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def growth(samples: list[tuple[float, int, int]]) -> dict[str, Any]:
    """Return by how much memory grew in the judged part, with an interval.

    The line of least squares through means of blocks: samples beside each other are
    alike, blocks hardly. The interval is Student's t of its slope.

    Args:
        samples: seconds, bytes of the server, bytes of a worker.

    Example:
        >>> found = growth([(float(s), 10**6 + 1_000 * s, 0) for s in range(500)])
        >>> round(found["grown"][0] / found["judged_s"])
        1000
    """
    kept = samples[int(_WARM_FRAC * len(samples)) :]
    blocks = np.array_split(np.array(kept, dtype=np.float64), _BLOCKS)
    means = np.array([each.mean(axis=0) for each in blocks])
    line = distributions.linregress(means[:, 0], means[:, 1])
    reach = float(distributions.t.ppf(0.975, _BLOCKS - 2)) * float(line.stderr)
    seconds = kept[-1][0] - kept[0][0]
    slope = float(line.slope)
    return {
        "judged_s": seconds,
        "grown": [seconds * each for each in (slope, slope - reach, slope + reach)],
        "most_bytes": max(each[1] for each in kept),
        "worker_bytes": max(each[2] for each in kept),
    }


def main(name: str, seconds: str) -> None:
    """Run a scenario; print the result."""
    torch.set_num_threads(1)
    print(json.dumps({"network": _NETWORK, **SCENARIOS[name](float(seconds))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
