"""Does the model order schedules as the clock does? One job an operator and target.

Random legal schedules of the whole space and the one that the compiler picks are timed
by the CPU time of the thread, with hot caches, and with cold weights: consecutive calls
read different copies of the weights, more than the last level of cache holds, while the
image stays hot, as in a network. Nothing measured here is given to the model.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from benchmarks.compile.workloads import WORKLOADS
from benchmarks.jobs import NOT_MEASURED, Job
from benchmarks.results import Row
from trimtab import stats
from trimtab.hardware.load import machine

__all__ = ["Kernel", "Space", "jobs", "measure", "rows", "summary"]

CANDIDATES = 60
MODES = ("hot", "cold")
_ROUNDS = 3  # through all candidates
_SAMPLES = 5  # of a candidate in a round
_FINALISTS = 5  # timed again beside the pick, in turn
_FINAL_ROUNDS = 15
_SHORTEST_S = 1e-3  # of one sample: shorter calls are timed by the dozen
_CACHES = 2.0  # last levels of cache that the copies of the weights fill
_MOST_COPIES = 2048
_RESAMPLES = 500
_SPREAD = 1.5  # p90 / p10 below which an order means nothing


class Kernel(Protocol):
    """One schedule, compiled."""

    weight_bytes: int

    def calls(self, copies: int) -> Sequence[Callable[[], object]]:
        """Return calls; each reads its own copy of the weights."""
        ...


class Space(Protocol):
    """The schedules of one operator for one target."""

    def legal(self) -> int:
        """Return how many there are."""
        ...

    def sample(self, count: int, seed: int) -> Sequence[Any]:
        """Return different ones, drawn evenly from all."""
        ...

    def predicted_s(self, points: Sequence[Any], *, cold: bool) -> Sequence[float]:
        """Return the predicted time of each."""
        ...

    def first_pick(self) -> tuple[Any, float]:
        """Return the one the compiler takes, and the seconds this took."""
        ...

    def build(self, point: Any) -> Kernel:
        """Compile one."""
        ...


def copies_of(weight_bytes: int, cache_bytes: int) -> int:
    """Return how many copies of the weights keep every one of them cold.

    Example:
        >>> copies_of(2**20, 32 * 2**20), copies_of(1, 2**25), copies_of(2**30, 2**25)
        (65, 2048, 2)
    """
    wanted = int(_CACHES * cache_bytes / weight_bytes) + 1
    return max(2, min(_MOST_COPIES, wanted))


class _Turns:
    """Calls of one kernel, sampled in turns."""

    def __init__(self, kernel: Kernel, mode: str, cache_bytes: int) -> None:
        copies = copies_of(kernel.weight_bytes, cache_bytes) if mode == "cold" else 1
        self._calls = kernel.calls(copies)
        self._next = 0
        first = self._one(len(self._calls) if mode == "cold" else 2)
        self._number = max(1, round(_SHORTEST_S / max(first, 1e-9)))

    def _one(self, number: int) -> float:
        calls, start_at = self._calls, self._next
        count = len(calls)
        start = time.thread_time()
        for index in range(number):
            calls[(start_at + index) % count]()
        spent = time.thread_time() - start
        self._next = (start_at + number) % count
        return spent / number

    def sample(self, samples: int) -> list[float]:
        """Return seconds a call, after a sample that warms up."""
        self._one(self._number)
        return [self._one(self._number) for _ in range(samples)]


def measure(
    space: Space,
    *,
    count: int = CANDIDATES,
    seed: int = 0,
    cache_bytes: int = 0,
) -> dict[str, Any]:
    """Return what was predicted and measured, hot and cold.

    Args:
        space: of one operator.
        count: random schedules.
        seed: of their choice.
        cache_bytes: of the last level of cache.
    """
    points = list(space.sample(count, seed))
    kernels = [space.build(point) for point in points]
    found: dict[str, Any] = {"legal": space.legal(), "candidates": len(points)}
    pick, seconds = space.first_pick()
    gc.disable()
    for mode in MODES:
        cold = mode == "cold"
        if cold and kernels[0].weight_bytes == 0:
            found[mode] = {"without": "the operator has no constant weights"}
            continue
        found[mode] = {
            "pick": str(pick),
            "pick_s": seconds,
            "points": [str(point) for point in points],
            "predicted_s": list(space.predicted_s(points, cold=cold)),
            "pick_predicted_s": space.predicted_s([pick], cold=cold)[0],
            **_times(kernels, space.build(pick), mode, cache_bytes),
        }
    gc.enable()
    return found


def _times(
    kernels: Sequence[Kernel], pick: Kernel, mode: str, cache_bytes: int
) -> dict[str, Any]:
    """Return samples of all kernels, then of the best and the pick in turn."""
    samples: list[list[float]] = [[] for _ in kernels]
    if mode == "hot":
        turns = [_Turns(each, mode, cache_bytes) for each in kernels]
        for _ in range(_ROUNDS):
            for index, each in enumerate(turns):
                samples[index] += each.sample(_SAMPLES)
    else:  # the copies of one kernel at a time fit into memory
        for index, kernel in enumerate(kernels):
            samples[index] += _Turns(kernel, mode, cache_bytes).sample(
                _ROUNDS * _SAMPLES
            )
    order = sorted(range(len(kernels)), key=lambda at: statistics.median(samples[at]))
    best = order[:_FINALISTS]
    finalists = {str(at): _Turns(kernels[at], mode, cache_bytes) for at in best}
    finalists["pick"] = _Turns(pick, mode, cache_bytes)
    final: dict[str, list[float]] = {name: [] for name in finalists}
    for _ in range(_FINAL_ROUNDS):
        for name, turn in finalists.items():
            final[name] += turn.sample(1)
    return {"samples_s": samples, "final_s": final}


def summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return spread, rank correlation and regret of one operator in one mode.

    The regret is of the pick against the best of it and the random ones, all timed in
    turn once more: the best of many noisy times would be a lucky one.
    """
    times = [statistics.median(each) for each in measured["samples_s"]]
    low, high = np.quantile(times, [0.1, 0.9])
    correlation = _correlation(measured["predicted_s"], times)
    final = {
        name: statistics.median(each) for name, each in measured["final_s"].items()
    }
    pick = final["pick"]
    return {
        "spread": float(high / low),
        "spearman": correlation[0],
        "spearman_interval": correlation[1:],
        "regret": pick / min(final.values()) - 1.0,
        "pick_s": pick,
        "best_s": min(final.values()),
        "predicted_s": measured["pick_predicted_s"],
    }


def _correlation(
    predicted: Sequence[float], times: Sequence[float]
) -> tuple[float, float, float]:
    """Return Spearman's correlation and its interval; 0 if all are predicted equal."""
    if len(set(predicted)) == 1:
        return 0.0, 0.0, 0.0
    found = stats.spearman(predicted, times, resamples=_RESAMPLES)
    return found.value, found.low, found.high


def rows(
    results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> list[Row]:
    """Return the rows of stored results.

    Args:
        results: by key ``rank/OPERATOR/TARGET``.
        titles: of the targets, by name.
    """
    found: list[Row] = [_legal(results)]
    for target, title in titles.items():
        for mode in MODES:
            found += _rows_of(results, target, title, mode)
    return found


def _legal(results: Mapping[str, Mapping[str, Any]]) -> Row:
    legal = {key: each["legal"] for key, each in results.items() if "legal" in each}
    few = [f"{key.split('/')[1]} {each}" for key, each in legal.items() if each < 1000]
    return Row(
        id="compile/rank/legal_points",
        name="legal schedules of the smallest space",
        value=min(legal.values(), default=None),
        unit="count",
        op=">=",
        goal=1000,
        note="; ".join(dict.fromkeys(few)) if legal else NOT_MEASURED,
    )


def _rows_of(
    results: Mapping[str, Mapping[str, Any]], target: str, title: str, mode: str
) -> list[Row]:
    each_row, regrets, correlations = [], {}, {}
    for name, workload in WORKLOADS.items():
        stored = results.get(f"rank/{name}/{target}", {})
        row = Row(
            id=f"compile/rank/{target}/{mode}/{name}",
            name=f"{workload.title}: regret of the first pick, {mode}, {title}",
            value=None,
            unit="frac",
            samples=f"samples/rank.{name}.{target}.json",
        )
        if mode not in stored:
            note = stored.get("failed", NOT_MEASURED)
        elif "without" in stored[mode]:
            note = stored[mode]["without"]
        else:
            one = summary(stored[mode])
            regrets[name] = one["regret"]
            if one["spread"] > _SPREAD:
                correlations[name] = one["spearman"]
            low, high = one["spearman_interval"]
            row = replace(row, value=one["regret"])
            note = (
                f"Spearman {one['spearman']:.2f} [{low:.2f}, {high:.2f}]; "
                f"p90/p10 {one['spread']:.1f}; {stored['legal']} legal; "
                f"{workload.flops / one['pick_s'] / 1e9:.0f} GFLOP/s, predicted "
                f"{workload.flops / one['predicted_s'] / 1e9:.0f}"
            )
        each_row.append(replace(row, note=note))
    worst = max(regrets, key=lambda name: regrets[name], default="")
    where = f"{mode}, {title}"
    counted = f"{len(regrets)} operators" if regrets else NOT_MEASURED
    return [
        Row(
            id=f"compile/rank/{target}/{mode}/regret",
            name=f"regret of the first pick, geometric mean, {where}",
            value=stats.geometric_mean([1 + each for each in regrets.values()]) - 1
            if regrets
            else None,
            unit="frac",
            op="<=",
            goal=0.05,
            note=counted,
        ),
        Row(
            id=f"compile/rank/{target}/{mode}/regret_worst",
            name=f"regret of the first pick, worst operator, {where}",
            value=regrets[worst] if regrets else None,
            unit="frac",
            op="<=",
            goal=0.15,
            note=worst or NOT_MEASURED,
        ),
        Row(
            id=f"compile/rank/{target}/{mode}/spearman",
            name=f"Spearman of predicted and measured, median where the spread exceeds "
            f"{_SPREAD}, {where}",
            value=statistics.median(correlations.values()) if correlations else None,
            unit="",
            op=">=",
            goal=0.85,
            note=f"{len(correlations)} of {counted}" if regrets else NOT_MEASURED,
        ),
        *each_row,
    ]


def jobs(operators: Sequence[str], targets: Sequence[str], count: int) -> list[Job]:
    """Return one job an operator and target."""
    return [
        Job(
            key=f"rank/{operator}/{target}",
            module="benchmarks.compile.rank",
            arguments=(operator, target, str(count)),
        )
        for operator in operators
        for target in targets
    ]


def main() -> None:
    """Measure the operator and target of the command line; print the result."""
    from benchmarks.compile.adapter import space

    operator, target, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    last = max(machine("this").caches, key=lambda cache: cache.level)
    found = measure(
        space(WORKLOADS[operator], target), count=count, cache_bytes=last.size_bytes
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
