"""A fleet of mixed hosts over a day, static batches against tuned ones.

Each host has a network, a number of cores and a speed of its own; all of them follow
the same day, whose peak is a share of what the static schedule can do on that host.
Every two hours the batch size is chosen anew by the controller's forecast, from queries
and rates of before that hour; it is judged on queries that it has not seen.

python -m benchmarks.serve.fleet
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from typing import Any, Final

import numpy as np

from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import stable_rate
from trimtab.serve.curves import curve_names, named
from trimtab.serve.forecast import Forecast
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import static
from trimtab.serve.simulate import simulate
from trimtab.serve.sizes import MLPERF, parse_sizes
from trimtab.serve.workload import Workload

__all__ = ["HOSTS", "day", "main"]

HOSTS: Final = 200
_CORES: Final = (16, 28, 40)
_PERIODS: Final = 12  # of two hours
_RATIO: Final = 2.5  # of peak and low
_PEAK: Final = 0.9  # of the rate that keeps all cores busy with static batches
_QUERIES: Final = 1_000  # of a host in a period
_BATCHES: Final = (8, 16, 25, 32, 48, 64, 96, 128, 192, 256, 512)
_SPEED: Final = 0.1  # standard deviation of the logarithm of a host's speed


def rates() -> list[float]:
    """Return the rate of each period over the peak's."""
    swing = (_RATIO - 1) / (_RATIO + 1)
    day = [
        1 + swing * math.sin(2 * math.pi * (each + 0.5) / _PERIODS)
        for each in range(_PERIODS)
    ]
    return [each / (1 + swing) for each in day]


def day(hosts: int, seed: int) -> dict[str, Any]:
    """Return p95 and p99 over static of every host, and of the fleet."""
    work = Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(hosts):
        network = curve_names()[number % len(curve_names())]
        cores = int(rng.choice(_CORES))
        speed = math.exp(_SPEED * rng.standard_normal())
        curve = named(network)
        true = replace(curve, seconds=tuple(each / speed for each in curve.seconds))
        host = Host(curve=true, workers=cores)
        fixed = static(cores)
        peak = _PEAK * stable_rate(host, fixed, work, seed=seed)
        # It has the host's own curve, as a profile gives it.
        forecast = Forecast(
            host, Schedule(batch=fixed.batch),
            sizes=MLPERF, batches=sorted({*_BATCHES, fixed.batch}), queries=1_000,
        )  # fmt: skip
        before, after = [], []
        for period, share in enumerate(rates()):
            trace = work.trace(
                rate_per_s=share * peak, count=_QUERIES,
                seed=1 + seed * 10**6 + number * _PERIODS + period,
            )  # fmt: skip
            forecast.rate.value = share * peak
            predicted = forecast.percentiles()
            best = min(predicted, key=lambda each: predicted[each])
            if predicted[best] > 0.95 * predicted[fixed.batch]:
                best = fixed.batch
            before.append(simulate(host, fixed, trace).latency_s[100:])
            after.append(simulate(host, Schedule(batch=best), trace).latency_s[100:])
        for name, parts in (("static", before), ("tuned", after)):
            whole = np.concatenate(parts)
            kept = found.setdefault(name, {"p95_s": [], "p99_s": []})
            kept["p95_s"].append(float(np.quantile(whole, 0.95)))
            kept["p99_s"].append(float(np.quantile(whole, 0.99)))
        if number % 20 == 19:
            print(f"  {number + 1} of {hosts} hosts", file=sys.stderr)
    return {"hosts": hosts, "networks": len(curve_names()), **found}


def main() -> None:
    """Print the day of a fleet as JSON."""
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else HOSTS
    print(json.dumps(day(hosts, seed=0)))


if __name__ == "__main__":
    main()
