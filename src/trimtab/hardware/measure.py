"""The clock: how long a call takes, and how long a graph takes node by node.

One thread is timed by its CPU time, which other programs on the machine do not stretch;
several threads only by the wall.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from trimtab.graph.execute import Executor
from trimtab.graph.types import Node, Ref

__all__ = ["Profile", "median_time_s", "profile", "thread_times_s", "torch_threads"]

Progress = Callable[[float, str], None]


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use that many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _clock(threads: int) -> Callable[[], float]:
    return time.thread_time if threads == 1 else time.perf_counter


def median_time_s(
    call: Callable[[], object], *, threads: int = 1, share_s: float = 0.3
) -> float:
    """Return the median time of a call, after one that warms up.

    Args:
        call: what to time.
        threads: torch may use.
        share_s: wall time to spend; at least five calls are made.
    """
    clock = _clock(threads)
    times: list[float] = []
    with torch_threads(threads):
        call()
        end = time.perf_counter() + share_s
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 500):
            start = clock()
            call()
            times.append(clock() - start)
    return statistics.median(times)


def thread_times_s(
    call: Callable[[], object],
    *,
    calls: int,
    before: Callable[[], object] = lambda: None,
) -> list[float]:
    """Return CPU times of the thread for calls, after one that warms up.

    Args:
        call: what to time.
        calls: how many; with none, nothing is called.
        before: done ahead of each call, not timed.
    """
    times: list[float] = []
    for index in range(calls + 1 if calls else 0):
        before()
        start = time.thread_time()
        call()
        if index:
            times.append(time.thread_time() - start)
    return times


def least_times_s(
    calls: Mapping[str, Callable[[], object]], *, rounds: int
) -> dict[str, float]:
    """Return the least CPU time of each call, all in turn, after one that warms up.

    For loops whose time is a property of the core: all that disturbs them adds to it.

    Args:
        calls: what to time, by name; of one thread.
        rounds: how often.
    """
    clock = _clock(1)
    least = dict.fromkeys(calls, math.inf)
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            least[name] = min(least[name], clock() - start)
    return least


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Measured times of a graph.

    Attributes:
        latency_s: median of whole calls.
        interval_s: their quartiles.
        nodes_s: median per node, by name; they add up to more than `latency_s` where
            reading the clock counts.
        slow_nodes_s: time that nine in ten stay below, per node.
        calls: how many were timed.
        threads: torch used.
        clock: what was read.
    """

    latency_s: float
    interval_s: tuple[float, float]
    nodes_s: Mapping[str, float]
    slow_nodes_s: Mapping[str, float]
    calls: int
    threads: int
    clock: str


def profile(
    executor: Executor,
    inputs: Mapping[Ref, Any],
    *,
    threads: int = 1,
    calls: int = 15,
    progress: Progress = lambda done, text: None,
) -> Profile:
    """Return how long a graph takes, alternating whole calls and timed nodes.

    Args:
        executor: the graph.
        inputs: values of its inputs.
        threads: torch may use.
        calls: to time, after two that warm up.
        progress: told the share that is done.
    """
    clock = _clock(threads)
    whole: list[float] = []
    nodes: dict[str, list[float]] = {node.name: [] for node in executor.graph.nodes}
    last = 0.0

    def watch(node: Node) -> None:
        nonlocal last
        nodes[node.name].append(clock() - last)
        last = clock()

    with torch_threads(threads):
        for index in range(calls + 2):
            if index == 2:
                whole.clear()
                for times in nodes.values():
                    times.clear()
            start = clock()
            executor.run(inputs)
            whole.append(clock() - start)
            last = clock()
            executor.run(inputs, watch=watch)
            progress((index + 1) / (calls + 2), "measuring")
    low, _, high = statistics.quantiles(whole, n=4)
    return Profile(
        latency_s=statistics.median(whole),
        interval_s=(low, high),
        nodes_s={name: statistics.median(times) for name, times in nodes.items()},
        slow_nodes_s={
            name: statistics.quantiles(times, n=10)[-1] for name, times in nodes.items()
        },
        calls=calls,
        threads=threads,
        clock="thread CPU time" if threads == 1 else "wall time",
    )
