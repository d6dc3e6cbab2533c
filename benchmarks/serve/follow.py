"""The controller on loads that change, against the static schedule and the best fixed.

python -m benchmarks.serve.follow rmc1
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import numpy as np

from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Effort, Target
from trimtab.serve.control import Controller
from trimtab.serve.curves import named, target_s
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import search, static
from trimtab.serve.simulate import Outcome, simulate
from trimtab.serve.sizes import MLPERF, parse_sizes
from trimtab.serve.workload import Trace, Workload

__all__ = ["LOADS", "main"]

LOADS: Final = {
    "low": ("poisson", 0.3),
    "high": ("poisson", 0.8),
    "step": ("step:2,15s", 0.4),
    "diurnal": ("diurnal:3,30s", 0.55),
    "bursts": ("mmpp:3,3s", 0.45),
    "gamma": ("gamma:4", 0.6),
}
"""Arrivals, and their rate over what the best schedule sustains."""

_CORES: Final = 8
_SECONDS: Final = 35.0
_STEP_S: Final = 15.0
_FIRST_S: Final = 2.0  # left out: the controller begins with a batch size of its own
_BACK: Final = 0.95  # of the queries that arrive in a span have to be in time again
_SPAN_S: Final = 5.0


def follow(network: str) -> dict[str, Any]:
    """Return tails of every load, and when a step was over."""
    host, target = (
        Host(curve=named(network), workers=_CORES),
        Target(latency_s=max(target_s(network), 2 * named(network).batch_s(128))),
    )
    plain = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))
    effort = Effort(queries=4_000, precision=0.02)
    schedule, found = search(host, plain, target, effort=effort, coalesce=False)[0]
    rows: dict[str, Any] = {}
    for name, (arrivals, share) in LOADS.items():
        work = Workload(arrivals=parse_arrivals(arrivals), sizes=parse_sizes("mlperf"))
        trace = work.trace(
            rate_per_s=share * found.rate_per_s, duration_s=_SECONDS, seed=5
        )
        control = Controller(host, target, Schedule(batch=64), sizes=MLPERF)
        own = simulate(
            host, control.schedule, trace, control=control.observe, period_s=0.25
        )
        fixed = simulate(host, schedule, trace)
        rows[name] = {
            "controlled_s": _p95(own, trace),
            "static_s": _p95(simulate(host, static(_CORES), trace), trace),
            "fixed_s": _p95(fixed, trace),
            "changes": control.schedule.version,
            "lost": int(np.isnan(own.latency_s).sum()),
        }
        if name == "step":
            rows[name]["back_s"] = _back_s(own, trace, target)
            rows[name]["fixed_back_s"] = _back_s(fixed, trace, target)
        print(f"  {network} {name}: {rows[name]}", file=sys.stderr)
    return {
        "target_s": target.latency_s, "rate_per_s": found.rate_per_s,
        "batch": schedule.batch, "rows": rows,
    }  # fmt: skip


def _p95(found: Outcome, trace: Trace) -> float:
    return float(np.quantile(found.latency_s[trace.at_s > _FIRST_S], 0.95))


def _back_s(found: Outcome, trace: Trace, target: Target) -> float:
    """Return from when on after the step all spans of some seconds keep the target."""
    after, late = trace.at_s - _STEP_S, found.late(target.latency_s)
    over = [
        second + 1
        for second in range(int(_SECONDS - _STEP_S - _SPAN_S) + 1)
        if late[(after >= second) & (after < second + _SPAN_S)].mean() > 1 - _BACK
    ]
    return float(max(over, default=0))


def main() -> None:
    """Print one network's result as JSON."""
    print(json.dumps(follow(sys.argv[1])))


if __name__ == "__main__":
    main()
