"""Everything that goes wrong at once, for ten minutes, and what memory does meanwhile.

    python -m benchmarks.serve.soak 600

Who asks over HTTP is a process of its own: memory is that of the server, and of the few
numbers that are kept of queries in shared memory.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from scipy import stats as distributions

from benchmarks.serve.queries import (
    NETWORK,
    RATE,
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
from trimtab.serve.schedule import Schedule

__all__ = ["growth", "main", "soak"]

_WARM_FRAC: Final = 0.2  # in which memory may still grow
_BLOCKS: Final = 16


def soak(seconds: float) -> dict[str, Any]:
    """Do all of it for long, while schedules change, workers die, memory is watched."""
    drawn = random.Random(1)
    swaps = kills = 0
    with bench_of(overdue_s=3.0) as bench, served(bench) as url, _asker(url) as asker:

        def trouble(over: threading.Event) -> None:
            nonlocal swaps, kills
            last = begun = time.monotonic()
            while not over.wait(0.5):
                batch = drawn.choice((16, 64, 128, 256, 1024))
                bench.engine.schedule = Schedule(
                    batch=batch, coalesce=drawn.random() < 0.5
                )
                swaps += 1
                if time.monotonic() - last < 20.0 or not whole(bench, over):
                    continue
                last = time.monotonic()
                if kills % 3 == 2:
                    halt(bench, kills, drawn.choice((1.0, 6.0)))
                else:
                    tell(bench, kills, signal.SIGKILL)
                kills += 1
                done = time.monotonic() - begun
                print(f"  {done:.0f} s, {dict(bench.ledger.counts)}", file=sys.stderr)

        with watched(bench) as samples, beside(trouble):
            bench.stream(seconds)
        found, over_http = bench.outcome(), json.loads(asker.communicate()[0])
        return {
            **total(found, over_http), "over_http": over_http, "seconds": seconds,
            "swaps": swaps, "kills": kills, "memory": samples, **growth(samples),
        }  # fmt: skip


@contextlib.contextmanager
def _asker(url: str) -> Iterator[subprocess.Popen[str]]:
    """Start who asks over HTTP in a process of its own, so that memory is the server's.

    It ends, and prints what it was told, when its standard input is closed.
    """
    command = [sys.executable, "-m", "benchmarks.serve.soak", "asker", url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def asker(url: str) -> dict[str, Any]:
    """Ask over HTTP, every third time with a body that lies, until told to end."""
    drawn, ledger = random.Random(2), Ledger()
    ending = threading.Thread(target=sys.stdin.read, daemon=True)
    ending.start()
    with Served(url, timeout_s=100.0) as server:  # fewer than the last ones have
        number = 0
        while ending.is_alive():
            time.sleep(0.5 / RATE)  # twice as often as in shared memory
            body = server.prepare(1 + number % 300, number)
            post(server, spoilt(body, drawn) if number % 3 == 0 else body, ledger)
            number += 1
        return {**ledger.outcome(), "odd": ledger.odd}


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


def main(what: str, *more: str) -> None:
    """Soak for some seconds, or ask an address; print the result."""
    if what == "asker":
        print(json.dumps(asker(*more)))
        return
    torch.set_num_threads(1)
    print(json.dumps({"network": NETWORK, **soak(float(what))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
