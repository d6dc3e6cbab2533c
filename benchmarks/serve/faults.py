"""What becomes of queries while workers die or stall, bodies lie and load is too much.

    python -m benchmarks.serve.faults killed 20

Each scenario sends queries at the times of a trace, whatever happens, and writes down
what each is told: it has to be answered once and rightly, or be refused with an error
that has a type. Times are no results here: other work may run beside it.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import torch

from benchmarks.serve.queries import (
    NETWORK,
    RATE,
    Bench,
    Ledger,
    bench_of,
    beside,
    halt,
    post,
    served,
    spoilt,
    tell,
    total,
    watched,
    whole,
)
from trimtab.serve.live.http_load import Served

__all__ = ["SCENARIOS", "main"]

_ITEMS: Final = 256
_PATIENT_S: Final = 100.0  # a client that gives up says nothing of the server

# Scenarios


def killed(seconds: float) -> dict[str, Any]:
    """Kill workers that work, one after the other, then all at the same time."""
    with bench_of() as bench:

        def kill(over: threading.Event) -> None:
            for victims in itertools.cycle([(0,), (1,), (0, 1)]):
                if over.wait(2.0) or not whole(bench, over):
                    return
                for number in victims:
                    tell(bench, number, signal.SIGKILL)

        with beside(kill):
            bench.stream(seconds)
        return bench.outcome()


def stopped(seconds: float) -> dict[str, Any]:
    """Let workers stand still: for a second, and for longer than is waited for them."""
    with bench_of(overdue_s=3.0) as bench:

        def stop(over: threading.Event) -> None:
            for number, last_s in enumerate(itertools.cycle([1.0, 1.0, 6.0])):
                if over.wait(2.0) or not whole(bench, over):
                    return
                halt(bench, number, last_s)

        with beside(stop):
            bench.stream(seconds)
        return bench.outcome()


def overload(seconds: float) -> dict[str, Any]:
    """Send ten times what two workers can do: with a deadline, then without."""
    with bench_of() as bench:
        rate = 10 * _capacity(bench)
        half = seconds / 2
        with watched(bench) as samples:
            bench.stream(half, rate=rate, sizes="fixed:1024", deadline_s=0.1)
            bench.stream(half, rate=rate, sizes="fixed:1024")
            found = bench.outcome()
        # In the same process over HTTP: whoever asks gets a status in any case. Smaller
        # ones, as many items a second: a client that still sends when it is refused
        # may not hear why.
        rate *= 1024 / _ITEMS
        with served(bench) as url, Served(url, timeout_s=_PATIENT_S) as server:
            body = server.prepare(_ITEMS, 0)
            ledger = Ledger()
            begun = time.monotonic()
            for number in range(int(half / 4 * rate)):
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
                post(server, body, ledger)
            over_http = {**ledger.outcome(), "odd": ledger.odd}
        return {
            **total(found, over_http), "over_http": over_http,
            "sent_per_s": found["sent"] / seconds,
            "grown_bytes": max(s[1] for s in samples) - samples[0][1],
        }  # fmt: skip


def malformed(seconds: float) -> dict[str, Any]:
    """Send bodies that are wrong in every way among right ones, over HTTP."""
    drawn = random.Random(0)
    statuses: Counter[int] = Counter()
    with (
        bench_of() as bench,
        served(bench) as url,
        Served(url, timeout_s=_PATIENT_S) as server,
    ):
        begun = time.monotonic()
        number = 0
        while time.monotonic() < begun + seconds:
            due = begun + number / (4 * RATE)
            time.sleep(max(0.0, due - time.monotonic()))
            body = server.prepare(1 + number % 50, number)
            spoil = number % 4 != 0
            post(server, spoilt(body, drawn) if spoil else body, bench.ledger,
                  statuses=statuses if spoil else None)  # fmt: skip
            number += 1
        found = bench.outcome()
        return {
            **found,
            "odd": bench.ledger.odd,
            "statuses": {str(key): statuses[key] for key in sorted(statuses)},
        }


SCENARIOS: Final[dict[str, Callable[[float], dict[str, Any]]]] = {
    "killed": killed,
    "stopped": stopped,
    "overload": overload,
    "malformed": malformed,
}


# What they share


def _capacity(bench: Bench) -> float:
    """Return queries of 1024 items a second that the workers can do now."""
    count, begun = 40, time.monotonic()
    for _ in range(count):
        bench.ask(1024, None)
    bench.ledger.outcome()
    return count / (time.monotonic() - begun)


def main(name: str, seconds: str) -> None:
    """Run a scenario for so long, print the result."""
    torch.set_num_threads(1)
    print(json.dumps({"network": NETWORK, **SCENARIOS[name](float(seconds))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
