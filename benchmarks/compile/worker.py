"""One engine with one network in a process of its own, calling when it is asked.

Reads the number of calls from standard input, a line each, and answers with their times
as JSON; between questions it sleeps. What the engine prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.compile.engines import ENGINES, Engine
from benchmarks.compile.networks import prepared

_SHORTEST_S = 2e-3  # of what is timed as one: shorter calls are timed by the dozen
_TRIALS = 7  # calls that decide between variants


def errors(
    outputs: tuple[torch.Tensor, ...], reference: tuple[torch.Tensor, ...]
) -> list[float]:
    """Return of each output max |y - y64| / max |y64|.

    Raises:
        ValueError: number or shapes of the outputs differ.
    """
    found = []
    for mine, exact in zip(outputs, reference, strict=True):
        if mine.shape != exact.shape:
            raise ValueError(f"shape {tuple(mine.shape)}, not {tuple(exact.shape)}")
        difference = (mine.double() - exact).abs().max()
        found.append(float(difference / exact.abs().max()))
    return found


def timed(call: Callable[[], Any], calls: int, number: int) -> dict[str, list[float]]:
    """Return wall and process CPU seconds of calls, each the mean of `number`."""
    wall, cpu = [], []
    gc.disable()
    for _ in range(calls):
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(number):
            call()
        cpu.append((time.process_time() - cpu_start) / number)
        wall.append((time.perf_counter() - start) / number)
    gc.enable()
    return {"wall_s": wall, "cpu_s": cpu}


def fastest(engine: Engine) -> str:
    """Return the fastest variant, all called in turn."""
    times: dict[str, list[float]] = {name: [] for name in engine.variants}
    for _ in range(_TRIALS if len(times) > 1 else 0):
        for name, variant in engine.variants.items():
            variant.call()
            start = time.perf_counter()
            variant.call()
            times[name].append(time.perf_counter() - start)
    return min(times, key=lambda name: statistics.median(times[name] or [0.0]))


def pin(threads: int) -> None:
    """Keep every thread of this process on one processor, where it has one thread."""
    if threads > 1:
        return
    last = max(os.sched_getaffinity(0))
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), {last})


def main() -> None:
    """Set up the engine, say so, and call as often as is asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    name, network_name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with torch.no_grad():
        try:
            network = prepared(network_name, files=False)
            start = time.perf_counter()
            engine = ENGINES[name](network, threads)
            variant = engine.variants[chosen := fastest(engine)]
            found = errors(variant.outputs(variant.call()), network.reference)
            setup_s = time.perf_counter() - start
        except Exception as error:
            answer(failed=f"{type(error).__name__}: {error}"[:500])
            return
        pin(threads)
        once = statistics.median(timed(variant.call, 5, 1)["wall_s"])
        number = max(1, round(_SHORTEST_S / once))
        answer(
            variant=chosen,
            variants=list(engine.variants),
            version=engine.version,
            notes=dict(engine.notes),
            errors=found,
            setup_s=setup_s,
            call_s=once,
            number=number,
        )
        for line in sys.stdin:
            timed(variant.call, 2, number)  # others had the caches
            answer(**timed(variant.call, int(line), number))


if __name__ == "__main__":
    main()
