"""How much slower a network is while others use caches and memory.

    python -m benchmarks.partition.memory mobilenet_v1

A worker on the other core writes a working set over and over. One that computes in its
registers is the control: cores of one kind share more than memory. Memory that is only
held, as in the paper's tool, would press nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import statistics
import sys
import time
from typing import Any, Final

import torch

from benchmarks.partition.side import opened
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.partition.live.pressure import Stress, no_stress
from trimtab.zoo.inputs import example_values

__all__ = ["LEVELS", "main"]

LEVELS: Final[dict[str, dict[str, int]]] = {
    "nothing": {},
    "arithmetic": {"cpu": 1},
    "16 MiB": {"memory_bytes": 16 * 2**20},
    "1 GiB": {"memory_bytes": 2**30},
}
_ROUNDS: Final = 3
_LEAST_CALLS: Final = 5
_LEAST_S: Final = 1.0
_BEGIN_S: Final = 1.0  # until a worker has touched all of its memory once


def _measured(network: str) -> dict[str, Any]:
    traced = opened(network)
    run = Executor(traced.graph, traced.weights)
    values = {Ref(name): each for name, each in example_values(traced.graph).items()}
    mine, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine})
    if not others:
        raise SystemExit("pressure on memory needs a second core")
    times: dict[str, list[float]] = {name: [] for name in LEVELS}
    turns = [name for name in LEVELS for _ in range(_ROUNDS)]
    random.Random(0).shuffle(turns)
    for name in turns:
        with contextlib.ExitStack() as ends:
            if LEVELS[name]:
                ends.enter_context(Stress(**LEVELS[name], cores=(others[0],)))
                time.sleep(_BEGIN_S)
            run.run(values)
            begun, calls = time.monotonic(), 0
            while calls < _LEAST_CALLS or time.monotonic() - begun < _LEAST_S:
                used = time.thread_time()
                run.run(values)
                times[name].append(time.thread_time() - used)
                calls += 1
    return {
        "network": network,
        "cpu_s": {name: statistics.median(each) for name, each in times.items()},
        "calls": {name: len(each) for name, each in times.items()},
    }


def main(network: str) -> None:
    """Measure a network; print the result."""
    if why := no_stress():
        raise SystemExit(why)
    print(json.dumps(_measured(network)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
