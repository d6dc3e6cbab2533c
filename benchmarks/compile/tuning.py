"""The same compilation time: what MetaSchedule reaches in our seconds, 10x and 100x.

Our seconds are those that choosing and compiling the operator took here, in the same
process, after the imports. MetaSchedule runs twice, as evolution and as random
schedules, and the better of the two counts at every budget. All kernels are timed by
the CPU time of the thread with hot caches.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.compile.workloads import WORKLOADS
from benchmarks.jobs import NOT_MEASURED, Job
from benchmarks.results import Row

__all__ = ["FACTORS", "REACHED", "best_at", "jobs", "network_jobs", "reached", "rows"]

FACTORS = (1, 10, 100)
REACHED = ("conv3x3_56", "conv1x1_14", "depthwise_56", "matmul_512")
"""Operators for which the time to 95 % of ours is measured."""

_SHARE = 0.95
_CAP_S = 120.0
_STRATEGIES = ("replay-trace", "evolutionary")


def best_at(result: Mapping[str, Any], seconds: float) -> float | None:
    """Return the time of MetaSchedule's best kernel by then, of both searches."""
    times = [
        each["measured_s"]
        for search in result["searches"].values()
        for each in search["trace"]
        if each["at_s"] <= seconds
    ]
    return min(times, default=None)


def reached(result: Mapping[str, Any], goal_s: float) -> float | None:
    """Return after how many seconds one of the searches had a kernel that fast."""
    times = [
        each["at_s"]
        for search in result["searches"].values()
        for each in search["trace"]
        if each["measured_s"] <= goal_s and each["at_s"] <= _CAP_S
    ]
    return min(times, default=None)


def rows(results: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of stored results, by key ``tuning/OPERATOR``."""
    found: list[Row] = []
    for name, workload in WORKLOADS.items():
        stored = results.get(f"tuning/{name}", {"failed": NOT_MEASURED})
        found += [
            _budget_row(name, workload.title, stored, factor) for factor in FACTORS
        ]
        if name in REACHED:
            found.append(_reached_row(name, workload.title, stored))
    found.append(_network_row(results.get("tuning/resnet50", {})))
    return found


def _budget_row(name: str, title: str, stored: Mapping[str, Any], factor: int) -> Row:
    value, note = None, str(stored.get("failed", ""))
    budget = factor * stored.get("ours_seconds", 0.0)
    if not note and budget > stored["budget_s"]:
        note = NOT_MEASURED
    if not note:
        ours_s = stored["ours_s"]
        flops = WORKLOADS[name].flops
        theirs_s = best_at(stored, budget)
        note = f"{budget:.3g} s; ours {flops / ours_s / 1e9:.0f} GFLOP/s, MetaSchedule "
        if theirs_s is None:
            note += "none: it had no candidate yet"
        else:
            value = theirs_s / ours_s
            note += f"{flops / theirs_s / 1e9:.0f}"
    return Row(
        id=f"compile/tuning/{name}/{factor}x",
        name=f"{title}: our speed against MetaSchedule's, which had {factor} x our "
        "seconds",
        value=value,
        unit="x",
        samples=f"samples/tuning.{name}.json",
        note=note,
    )


def _reached_row(name: str, title: str, stored: Mapping[str, Any]) -> Row:
    value, note = None, str(stored.get("failed", ""))
    if not note and stored["budget_s"] < _CAP_S:
        note = NOT_MEASURED
    if not note:
        goal_s = stored["ours_s"] / _SHARE
        value = reached(stored, goal_s)
        note = f"ours took {stored['ours_seconds']:.3g} s"
        if value is None:
            best_s = best_at(stored, _CAP_S)
            share = f"{100 * stored['ours_s'] / best_s:.0f} %" if best_s else "none"
            note += f"; not within {_CAP_S:.0f} s: it reached {share}"
    return Row(
        id=f"compile/tuning/{name}/reached",
        name=f"{title}: seconds until MetaSchedule had {100 * _SHARE:.0f} % of our "
        "speed",
        value=value,
        unit="s",
        samples=f"samples/tuning.{name}.json",
        note=note,
    )


def _network_row(stored: Mapping[str, Any]) -> Row:
    value, note = None, str(stored.get("failed", "" if stored else NOT_MEASURED))
    if not note:
        note = f"both had {stored['seconds']:.3g} s; MetaSchedule "
        theirs = [
            each["latency_s"]
            for each in stored["searches"].values()
            if each["latency_s"] is not None
        ]
        if theirs:
            value = min(theirs) / stored["ours_s"]
            note += f"{1e3 * min(theirs):.3g} ms, ours {1e3 * stored['ours_s']:.3g} ms"
        else:
            search = min(stored["searches"].values(), key=lambda each: each["without"])
            note += (
                f"none: {search['without']} of {search['tasks']} kernels had no "
                "candidate yet"
            )
    return Row(
        id="compile/tuning/resnet50/total",
        name="ResNet-50: our speed against MetaSchedule's, which had our total seconds",
        value=value,
        unit="x",
        samples="samples/tuning.resnet50.json",
        note=note,
    )


def jobs(operators: Sequence[str], factors: Sequence[int]) -> list[Job]:
    """Return one job an operator."""
    longest = max(factors)
    return [
        Job(
            key=f"tuning/{operator}",
            module="benchmarks.compile.tuning",
            arguments=(operator, str(longest), str(int(longest >= max(FACTORS)))),
        )
        for operator in operators
    ]


def network_jobs() -> list[Job]:
    """Return the job of ResNet-50."""
    return [
        Job(
            key="tuning/resnet50",
            module="benchmarks.compile.tuning",
            arguments=("resnet50",),
        )
    ]


def _median_s(call: Callable[[], object], share_s: float = 0.5) -> float:
    call()
    times: list[float] = []
    while len(times) < 5 or (sum(times) < share_s and len(times) < 1000):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def _operator(name: str, factor: int, to_the_cap: bool) -> dict[str, Any]:
    from benchmarks.compile.adapter import llvm_cpu, space
    from trimtab.compiler.tvm import metaschedule

    workload = WORKLOADS[name]
    schedules = space(workload, "this")
    schedules.first_pick()  # what is imported on first use
    pick, seconds = schedules.first_pick()
    (call,) = schedules.build(pick).calls(1)
    before_s = _median_s(call)
    budget = factor * seconds
    if to_the_cap and name in REACHED:
        budget = max(budget, _CAP_S)
    searches = {}
    for strategy in _STRATEGIES:
        found = metaschedule.tune(
            workload.function(),
            llvm_cpu=llvm_cpu(),
            seconds=budget,
            strategy=strategy,  # type: ignore[arg-type]
        )
        searches[strategy] = asdict(found)
    return {
        "ours_seconds": seconds,
        "budget_s": budget,
        "ours_s": statistics.median([before_s, _median_s(call)]),
        "searches": searches,
    }


def _resnet50() -> dict[str, Any]:
    import torch
    from tvm.relax.frontend.torch import from_exported_program

    from benchmarks.compile.adapter import compiled, llvm_cpu
    from benchmarks.compile.cost import import_everything
    from benchmarks.compile.networks import prepared
    from trimtab.compiler.tvm import metaschedule

    import_everything()
    network = prepared("resnet50")
    start = time.perf_counter()
    ours, _ = compiled(network.module, network.inputs, 1)
    seconds = time.perf_counter() - start
    ours_s = _median_s(lambda: ours(*network.inputs))
    folded = _folded(network.module)
    exported = torch.export.export(folded, network.inputs)
    module = from_exported_program(exported, unwrap_unit_return_tuple=True)
    searches = {}
    for strategy in _STRATEGIES:
        found = metaschedule.tune_network(
            module,
            llvm_cpu=llvm_cpu(),
            seconds=seconds,
            arguments=[each.numpy() for each in network.inputs],
            strategy=strategy,  # type: ignore[arg-type]
        )
        searches[strategy] = {
            "latency_s": found.latency_s,
            "tasks": len(found.tasks),
            "without": len(found.without_candidate),
            "details": asdict(found),
        }
    return {"seconds": seconds, "ours_s": ours_s, "searches": searches}


def _folded(module: Any) -> Any:
    """Return the network with its batch normalisations in the convolutions."""
    from torch.fx.experimental.optimization import fuse

    return fuse(module).eval()


def main() -> None:
    """Measure what the command line names; print the result."""
    if sys.argv[1] == "resnet50":
        found = _resnet50()
    else:
        found = _operator(sys.argv[1], int(sys.argv[2]), bool(int(sys.argv[3])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
