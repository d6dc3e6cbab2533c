"""What dispatching a query costs: processor time of all but the network, and the way.

The network does nothing: it returns its first input. Counted are the dispatcher's
thread, whole, and of the thread that asks all that is within `Engine.ask`: to check, to
copy, to divide, to hand out, to take answers, to join, to tell. What a worker spends on
a batch is counted apart. Queries come at a steady pace, as they do to a server that is
not idle and not full.

python -m benchmarks.serve.overhead 3000
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from trimtab.pipeline.serving import OPENER
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.pool import Answer
from trimtab.serve.schedule import Schedule

__all__ = ["LOADS", "main", "measured"]

LOADS: Final = {"small": (1, 64, 1), "mlperf": (256, 128, 2)}
"""Items of a query, the batch size, and workers."""

_RATE_PER_S: Final = 1_000.0
_REPEATS: Final = 5
_WARM: Final = 300


class Nothing(nn.Module):
    """Returns the first of its numbers."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Return a column."""
        return numbers[:, 0]


def nothing() -> nn.Module:
    """Return the network that does nothing."""
    return Nothing()


def example_inputs() -> tuple[Tensor]:
    """Return an item."""
    return (torch.zeros(1, 16),)


def measured(queries: int) -> dict[str, Any]:
    """Return processor time and latency of every load, a number a repeat."""
    found = {}
    for name, (items, batch, workers) in LOADS.items():
        settings = Settings(
            spec="benchmarks.serve.overhead:nothing", opener=OPENER, workers=workers
        )
        with Engine(settings, Schedule(batch=batch, coalesce=True)) as engine:
            inputs = {"numbers": np.ones((items, 16), np.float32)}
            _paced(engine, inputs, _WARM)
            paced = [_paced(engine, inputs, queries) for _ in range(_REPEATS)]
            alone = [_alone(engine, inputs, queries) for _ in range(_REPEATS)]
        found[name] = {
            "items": items, "batch": batch, "workers": workers,
            "cpu_s": [each["cpu_s"] for each in paced],
            "asking_s": [each["asking_s"] for each in paced],
            "joining_s": [each["joining_s"] for each in paced],
            "alone_p50_s": [each["p50_s"] for each in alone],
            "alone_p99_s": [each["p99_s"] for each in alone],
        }  # fmt: skip
        print(f"  {name}: {found[name]}", file=sys.stderr)
    return {"queries": queries, "rate_per_s": _RATE_PER_S, "rows": found}


def _paced(engine: Engine, inputs: Any, queries: int) -> dict[str, float]:
    """Return processor time a query at a steady pace."""
    answers: list[Answer] = []
    clock = time.pthread_getcpuclockid(engine.thread)
    begin, asking = time.clock_gettime(clock), 0
    at = time.monotonic()
    for number in range(queries):
        if (left := at + number / _RATE_PER_S - time.monotonic()) > 0:
            time.sleep(left)
        before = time.thread_time_ns()
        engine.ask(inputs, answers.append)
        asking += time.thread_time_ns() - before
    while len(answers) < queries:
        time.sleep(0.01)
    assert not any(each.error for each in answers)
    joining_s = (time.clock_gettime(clock) - begin) / queries
    asking_s = 1e-9 * asking / queries
    return {
        "asking_s": asking_s, "joining_s": joining_s, "cpu_s": asking_s + joining_s,
    }  # fmt: skip


def _alone(engine: Engine, inputs: Any, queries: int) -> dict[str, float]:
    """Return latencies, by the clock, of queries that meet no other."""
    ended = threading.Semaphore(0)
    latencies: list[float] = []

    def done(answer: Answer) -> None:
        latencies.append(answer.latency_s)
        ended.release()

    for _ in range(queries):
        engine.ask(inputs, done)
        ended.acquire()
    p50, p99 = np.quantile(latencies, (0.5, 0.99)).tolist()
    return {"p50_s": p50, "p99_s": p99}


def main() -> None:
    """Print what was measured as JSON."""
    print(json.dumps(measured(int(sys.argv[1]) if len(sys.argv) > 1 else 3_000)))


if __name__ == "__main__":
    main()
