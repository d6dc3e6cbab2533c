"""The rate that is claimed, found with our own load, and what LoadGen says of it.

    python -m benchmarks.serve.referee rmc1

A schedule is found as `trimtab serve tune` finds it. Our own load then asks at the
simulated rate and below, until a run is valid: that is the claim, once in shared memory
and once over HTTP, of a server in a process of its own. At each LoadGen has the word.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trimtab.pipeline.serving import OPENER
from trimtab.serve.arrivals import Poisson
from trimtab.serve.capacity import Target
from trimtab.serve.curves import target_s
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.http_load import Served
from trimtab.serve.live.load import Drawn, InProcess, Subject, run
from trimtab.serve.live.referee import referee, samples_of
from trimtab.serve.live.tuning import profiled, proposed
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.tuned import Tuned, write_tuned
from trimtab.serve.verdict import judge, least_queries
from trimtab.serve.workload import Workload

__all__ = ["NETWORKS", "WAYS", "main"]

NETWORKS: Final = ("rmc1", "rmc3", "din")
WAYS: Final = ("memory", "http")
_SIZES: Final = "mlperf"
_SHARES: Final = (0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05)  # of the simulated rate
_TRIED_S: Final = 20.0
_JUDGED_S: Final = 30.0
_WORKERS: Final = 2


def _judged(subject: Subject, rate_per_s: float, target: Target) -> dict[str, Any]:
    """Return what is claimed of a server, and what LoadGen says of it."""
    work = Workload(arrivals=Poisson(), sizes=parse_sizes(_SIZES))
    tried = []
    for share in _SHARES:
        rate = share * rate_per_s
        count = max(least_queries(target), round(rate * _TRIED_S))
        report = judge(run(subject, work.trace(rate_per_s=rate, count=count, seed=3)),
                       target)  # fmt: skip
        tried.append({"rate_per_s": rate, "valid": report.valid,
                      "reasons": report.reasons})  # fmt: skip
        print(f"  {rate:.3g}/s: {report.reasons or 'VALID'}", file=sys.stderr)
        if report.valid:
            break
    else:
        return {"claimed_per_s": None, "tried": tried}
    with tempfile.TemporaryDirectory() as folder:
        found = referee(
            subject, samples_of(parse_sizes(_SIZES)), target, rate_per_s=rate,
            seconds=_JUDGED_S, folder=Path(folder),
        )  # fmt: skip
    print(f"  LoadGen: {found.said}, {found.ends}", file=sys.stderr)
    return {"claimed_per_s": rate, "tried": tried, **found.record()}


@contextlib.contextmanager
def _server(spec: str, tuned: Tuned) -> Iterator[str]:
    """Start `trimtab serve`; return its address."""
    with tempfile.TemporaryDirectory() as folder:
        write_tuned(tuned, path := Path(folder) / "schedule.json")
        command = [
            sys.executable, "-m", "trimtab", "serve", "start", spec, "--schedule",
            str(path), "--workers", str(_WORKERS), "--steady", "--http", ":0", "--json",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process:
            try:
                assert process.stdout is not None
                said = ""
                for line in process.stdout:
                    said += line
                    if line.startswith("}"):
                        break
                yield json.loads(said)["http"]
            finally:
                process.terminate()
                process.communicate()


def main(name: str) -> None:
    """Print what is claimed of a network, and what LoadGen says, as JSON."""
    spec = f"zoo:{name}-small"
    target = Target(latency_s=target_s(name))
    work = Workload(arrivals=Poisson(), sizes=parse_sizes(_SIZES))
    settings = Settings(spec=spec, opener=OPENER, workers=_WORKERS)
    with Engine(settings, Schedule(batch=1, coalesce=True)) as engine:
        curve = profiled(engine)
        host = Host(curve=curve, workers=_WORKERS)
        schedule, simulated = proposed(
            host, work, target, best=1, progress=lambda done, text: None
        )[0]
        engine.schedule = schedule
        drawn = Drawn(engine.inputs, most_items=engine.settings.most_items)
        found = {
            "memory": _judged(InProcess(engine, drawn), simulated.rate_per_s, target)
        }
        tuned = Tuned(
            network=engine.name, workers=_WORKERS, target=target, schedule=schedule,
            rate_per_s=simulated.rate_per_s, why="for the referee", curve=curve,
        )  # fmt: skip
    with _server(spec, tuned) as url, Served(url) as server:
        found["http"] = _judged(server, simulated.rate_per_s, target)
    print(json.dumps({
        "network": name, "target_s": target.latency_s, "share": target.share,
        "batch": schedule.batch, "simulated_per_s": simulated.rate_per_s,
        "load": os.getloadavg()[0], "rows": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
