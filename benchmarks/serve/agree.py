"""The simulator against the engine: the same queries, at the same times, on both.

One worker on a core of its own; who asks and who dispatches share another. The worker
is profiled as ``trimtab serve tune`` does it, and a schedule is found as that does.
Then the engine gets the traces that the simulator gets. Where queries were sent too
late (p99 over 5 % of the target) the trial is repeated. The target is the paper's, or
three times the largest query alone where one worker has no chance at it.

python -m benchmarks.serve.agree rmc1
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any, Final

import numpy as np

from benchmarks.serve.trials import Bracket, settings_of, tail, trial, work
from trimtab.serve.capacity import Effort, Target
from trimtab.serve.curves import ServiceCurve, target_s
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.load import Drawn, InProcess
from trimtab.serve.live.tuning import profiled
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import search
from trimtab.serve.simulate import simulate

__all__ = ["LOADS", "agree", "main"]

LOADS: Final = (0.5, 0.8)
"""Shares of the largest rate, as simulated, at which tails are compared."""

_SEED: Final = 300
_AGAIN: Final = 3  # trials of a load whose queries were sent too late
_REPEATS: Final = 3
_STEPS: Final = 5
_MANY: Final = 14  # steps of the simulator, which takes no time
_ALONE: Final = 3.0


def agree(network: str, *, quick: bool = False) -> dict[str, Any]:
    """Return tails and largest rates of both."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed: one is the worker's own")
    engine = Engine(settings_of(network, 1), Schedule(batch=256, coalesce=True))
    curve = profiled(engine)
    host = Host(curve=curve, workers=1)
    limit_s = max(target_s(network), _ALONE * curve.batch_s(work().sizes.largest))
    target = Target(latency_s=limit_s)
    effort = Effort(queries=2_000, precision=0.03)
    schedule = search(host, work(), target, effort=effort, best=1)[0][0]
    seconds, least = (1.5, 100) if quick else (6.0, 200)

    def count(rate: float) -> int:
        return max(least, round(rate * seconds))

    def expected(rate: float) -> float:
        trace = work().trace(rate_per_s=rate, count=count(rate), seed=_SEED)
        return tail(simulate(host, schedule, trace).latency_s, target)

    simulated = Bracket(guess=1 / curve.batch_s(256), limit_s=limit_s)
    for _ in range(_MANY):
        rate = simulated.next()
        assert rate is not None
        simulated.see(rate, expected(rate))
    drawn = Drawn(engine.inputs, most_items=engine.settings.most_items, seed=1)
    subject = InProcess(engine, drawn)
    # The worker has the first core: threads that begin from here on have the others.
    os.sched_setaffinity(0, cores[1:])
    repeated = 0

    def measured(rate: float) -> dict[str, Any]:
        nonlocal repeated
        trace = work().trace(rate_per_s=rate, count=count(rate), seed=_SEED)
        for attempt in range(_AGAIN):
            seen = trial(engine, subject, schedule, trace, target)
            print(f"  {rate:.4g}/s {seen}", file=sys.stderr)
            if seen["timely"]:
                break
            repeated += attempt + 1 < _AGAIN
        return seen

    with engine:
        measured(0.3 * simulated.rate())  # what is met first is slower
        engine.observed()
        loads = []
        for share in LOADS:
            rate = share * simulated.rate()
            seen = [measured(rate) for _ in range(1 if quick else _REPEATS)]
            loads.append(
                {
                    "load": share, "rate_per_s": rate, "simulated_s": expected(rate),
                    "measured_s": [each["tail_s"] for each in seen],
                    "timely": all(each["timely"] for each in seen),
                }
            )  # fmt: skip
        batches = _batches(engine, curve)
        live = Bracket(guess=simulated.rate(), limit_s=limit_s)
        timely = []
        for _ in range(2 if quick else _STEPS):
            rate = live.next()
            if rate is None:
                break
            step = measured(rate)
            live.see(rate, step["tail_s"])
            timely.append(step["timely"])
    return {
        "network": network, "target_s": limit_s, "paper_target_s": target_s(network),
        "batch": schedule.batch, "loads": loads,
        "simulated_per_s": simulated.rate(), "measured_per_s": live.rate(),
        "rates_timely": all(timely), "repeated": repeated, **batches,
        "profiled": {"sizes": curve.sizes, "seconds": curve.seconds},
    }  # fmt: skip


def _batches(engine: Engine, curve: ServiceCurve) -> dict[str, float]:
    """Return what batches took over what was profiled, and how much they waited."""
    seen = engine.observed()
    expected = math.fsum(curve.batch_s(each.rows) - curve.dispatch_s for each in seen)
    wall = math.fsum(each.wall_s for each in seen)
    cpu = math.fsum(each.cpu_s for each in seen)
    return {
        "batches": len(seen),
        "cpu_over_profiled": cpu / expected,
        "wall_over_cpu": wall / cpu,
        "rows": float(np.mean([each.rows for each in seen])),
    }


def main() -> None:
    """Print one network's result as JSON."""
    print(json.dumps(agree(sys.argv[1], quick="--quick" in sys.argv)))


if __name__ == "__main__":
    main()
