"""The paper's table, simulated: what tuned schedules sustain against the static one.

A schedule is chosen on one sequence of queries and judged on three others, the same for
all schedules, so that no choice profits from the luck it was chosen by.

python -m benchmarks.serve.paper table 40 medium plain
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np

from trimtab.errors import BudgetInfeasibleError
from trimtab.hardware.load import machine
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Effort, Target, capacity, stable_rate
from trimtab.serve.curves import (
    accelerated,
    contended,
    curve_names,
    item_bytes,
    named,
    target_s,
)
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import BATCHES, hill_climb, search, static
from trimtab.serve.simulate import simulate
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.workload import Workload

__all__ = ["CORES", "LEVELS", "PROCESSES", "SEEDS", "VARIANTS", "host_of", "main"]

CORES: Final = (40, 16)
LEVELS: Final = {"low": 0.5, "medium": 1.0, "high": 1.5}
"""Targets, as shares of the paper's."""

VARIANTS: Final = ("plain", "contended", "gpu-1", "gpu-40", "coalesce", "climb")
"""Without contention; with it; with an accelerator whose speed-ups are over 1 or 40
threads; with small chunks joined; by the paper's climb in place of the search."""

SEEDS: Final = (1, 2, 3)
_MORE: Final = tuple(range(1, 11))  # where a sequence is simulated once
_QUERIES: Final = 6_000
_CLIMB: Final = tuple(2**power for power in range(11))
_SOCKETS: Final = 2  # of 20 cores, which the paper's 40 are taken to be
_GATHERED: Final = 0.5  # of a memory's peak that short rows get: an assumption
_ACCELERATOR: Final = "gtx-1080ti"


def work() -> Workload:
    return Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))


def host_of(network: str, cores: int, variant: str) -> Host:
    """Return the host of a row of the table."""
    curve = named(network)
    device = None
    if variant == "contended":
        memory = machine("skylake-sp").memory.bandwidth_bytes_per_s
        curve = contended(
            curve,
            workers=cores,
            item_bytes=item_bytes(network),
            bandwidth_bytes_per_s=_GATHERED * _SOCKETS * memory,
        )
    if variant.startswith("gpu"):
        threads = int(variant.split("-")[1])
        device = accelerated(_ACCELERATOR, network, curve, threads=threads)
    return Host(curve=curve, workers=cores, accelerator=device)


def table(cores: int, level: str, variant: str) -> dict[str, Any]:
    """Return the row of each network."""
    rows = {}
    for network in curve_names():
        host = host_of(network, cores, variant)
        target = Target(latency_s=LEVELS[level] * target_s(network))
        rows[network] = _compared(host, target, variant)
        print(f"  {network}: {rows[network]['gain']}", file=sys.stderr)
    return {"rows": rows}


def _compared(host: Host, target: Target, variant: str) -> dict[str, Any]:
    effort = Effort(queries=_QUERIES)
    judged = {}
    try:
        chosen = _chosen(host, target, variant, effort)
    except BudgetInfeasibleError as error:
        return {"gain": None, "infeasible": error.rule}
    # The baseline has no accelerator, whatever is beside it.
    plain = Host(curve=host.curve, workers=host.workers)
    for name, on, schedule in (
        ("static", plain, static(host.workers)), ("tuned", host, chosen)
    ):  # fmt: skip
        judged[name] = [
            capacity(on, schedule, work(), target, seed=seed, effort=effort)
            for seed in SEEDS
        ]
    before, after = (
        [each.rate_per_s for each in judged[name]] for name in ("static", "tuned")
    )
    return {
        "batch": chosen.batch,
        "threshold": chosen.threshold,
        "policy": chosen.policy,
        "static_per_s": before,
        "tuned_per_s": after,
        "gain": float(np.mean(after) / np.mean(before)) if min(before) else None,
        "gains": [b / a for a, b in zip(before, after, strict=True) if a],
        "infeasible": judged["static"][0].infeasible,
        "late_high_frac": max(each.late_frac.high for each in judged["tuned"]),
        "busy_frac": float(np.mean([each.busy_frac for each in judged["tuned"]])),
    }


def _chosen(host: Host, target: Target, variant: str, effort: Effort) -> Schedule:
    if variant != "climb":
        joined = variant == "coalesce"
        # Event by event small batches take long to simulate, and none below 25 is best.
        sizes = [each for each in BATCHES if each >= 25 or not joined]
        return search(
            host, work(), target, effort=effort, coalesce=joined, batches=sizes
        )[0][0]
    short = Effort(queries=2_000, precision=0.02)
    steps = hill_climb(
        lambda each: capacity(host, each, work(), target, effort=short).rate_per_s,
        batches=_CLIMB,
    )
    return max(steps, key=lambda each: each.rate_per_s).schedule


def tails(cores: int, share: float) -> dict[str, Any]:
    """Return p95 at a share of the rate that batches of 25 keep workers busy at."""
    rows = {}
    for network in curve_names():
        host = host_of(network, cores, "plain")
        rate = share * stable_rate(host, static(cores), work(), seed=0)

        def p95(schedule: Schedule, seed: int, host: Host = host, rate: float = rate):  # type: ignore[no-untyped-def]
            trace = work().trace(rate_per_s=rate, count=10_000, seed=seed)
            return simulate(host, schedule, trace).quantile(0.95, skip=1_000)

        best = min(
            (Schedule(batch=each) for each in BATCHES if each >= 8),
            key=lambda each: p95(each, 0),
        )
        before = [p95(static(cores), seed) for seed in _MORE]
        after = [p95(best, seed) for seed in _MORE]
        rows[network] = {
            "batch": best.batch,
            "static_s": before,
            "tuned_s": after,
            "cut_frac": 1 - float(np.mean(after) / np.mean(before)),
            "cuts": [1 - b / a for a, b in zip(before, after, strict=True)],
        }
        print(f"  {network}: {rows[network]['cut_frac']:.3f}", file=sys.stderr)
    return {"rows": rows}


def processes(cores: int) -> dict[str, Any]:
    """Return what batches of 256 sustain under arrivals of other laws."""
    rows: dict[str, dict[str, float]] = {}
    for network in ("rmc1", "wnd", "dien"):
        host, schedule = host_of(network, cores, "plain"), Schedule(batch=256)
        target = Target(latency_s=target_s(network))
        rows[network] = {
            spec: float(
                np.mean(
                    [
                        capacity(
                            host, schedule, replace(work(), arrivals=law), target,
                            seed=seed, effort=Effort(queries=_QUERIES),
                        ).rate_per_s
                        for seed in SEEDS
                    ]
                )
            )
            for spec, law in ((each, parse_arrivals(each)) for each in PROCESSES)
        }  # fmt: skip
        print(f"  {network}: {rows[network]}", file=sys.stderr)
    return {"rows": rows}


PROCESSES: Final = ("poisson", "integer-gaps", "gamma:4", "mmpp:3,5s", "constant")
"""Arrivals that are compared."""

_JOBS: Final[dict[str, Callable[..., dict[str, Any]]]] = {
    "table": lambda cores, level, variant: table(int(cores), level, variant),
    "processes": lambda cores: processes(int(cores)),
    "tails": lambda cores, share: tails(int(cores), float(share)),
}


def main() -> None:
    """Print one job's result as JSON."""
    what, *rest = sys.argv[1:]
    print(json.dumps(_JOBS[what](*rest)))


if __name__ == "__main__":
    main()
