"""A schedule for the machine that is here: profiled, simulated, tried under load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, final

from trimtab.serve.capacity import Capacity, Effort, Target
from trimtab.serve.curves import ServiceCurve, accelerated, read
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.load import Drawn, InProcess, run
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import search
from trimtab.serve.verdict import Report, judge, least_queries
from trimtab.serve.workload import Workload

__all__ = [
    "DISPATCH_S",
    "MOST_PER_S",
    "Confirmed",
    "accelerator_of",
    "confirm",
    "profiled",
    "proposed",
]

_SIZES: Final = (1, 8, 32, 128, 512, 1024)
_QUERIES: Final = 3_000  # of a simulation
DISPATCH_S: Final = 60e-6
"""Of a batch, to a worker and back."""

MOST_PER_S: Final = 4_000
"""Queries a second that a load in Python can send in time."""

_SHARES: Final = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25)  # of the simulated rate, tried live

Progress = Callable[[float, str], None]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A schedule under load.

    Attributes:
        schedule: that was tried.
        simulated_per_s: that it was to sustain.
        rate_per_s: the largest that was tried and valid; 0 if none was.
        report: of that run, or of the last one.
    """

    schedule: Schedule
    simulated_per_s: float
    rate_per_s: float
    report: Report


def profiled(engine: Engine, *, device: Literal["cuda"] | None = None) -> ServiceCurve:
    """Return seconds of a batch by its size, of a worker alone, measured now.

    Args:
        engine: that need not be started.
        device: that is profiled in place of a worker's core.

    Raises:
        TrimtabError: the network cannot be run, or there is no such device.
    """
    most = engine.settings.most_items
    sizes = sorted({*(each for each in _SIZES if each < most), most})
    found = engine.profile(sizes, device=device)
    return ServiceCurve(
        network=engine.name,
        source=f"profiled on this machine, {device or 'a worker'} alone",
        sizes=tuple(sizes),
        seconds=tuple(found[each] for each in sizes),
        dispatch_s=DISPATCH_S,
    )


def accelerator_of(
    engine: Engine, name: str, network: str, curve: ServiceCurve
) -> ServiceCurve:
    """Return the curve of an accelerator beside the workers.

    Args:
        engine: that need not be started.
        name: ``cuda``, which is profiled; the ``.json`` of a measured curve, or one
            that is known by its speed-ups over `curve`.
        network: whose speed-ups are taken.
        curve: of a worker.

    Raises:
        UsageError: there is no such device here, or none is known of that name.
        DataError: the file is no curve.
    """
    if name == "cuda":
        return profiled(engine, device="cuda")
    if name.endswith(".json"):
        return read(Path(name))
    return accelerated(name, network, curve)


def proposed(
    host: Host, work: Workload, target: Target, *, best: int, progress: Progress
) -> list[tuple[Schedule, Capacity]]:
    """Return the schedules that are best in a simulation of a few seconds.

    Args:
        host: as it was profiled.
        work: laws of the queries.
        target: to keep.
        best: how many.
        progress: told the share that is done.

    Raises:
        BudgetInfeasibleError: none keeps the target at any rate.
    """
    effort = Effort(queries=_QUERIES, precision=0.03)
    return search(host, work, target, effort=effort, best=best, progress=progress)


def confirm(
    engine: Engine,
    candidates: Sequence[tuple[Schedule, Capacity]],
    work: Workload,
    target: Target,
    *,
    seconds: float,
    seed: int = 0,
    progress: Progress = lambda done, text: None,
) -> list[Confirmed]:
    """Return schedules by what they sustain under load, the best first.

    Each is tried at its simulated rate and below, until a run is valid; all meet the
    same queries in the same order.

    Args:
        engine: that was started.
        candidates: with what they are simulated to sustain.
        work: laws of the queries.
        target: to keep.
        seconds: of a run; longer where too few queries would come.
        seed: of the queries.
        progress: told the share that is done at most.
    """
    drawn = Drawn(engine.inputs, most_items=engine.settings.most_items, seed=seed)
    subject = InProcess(engine, drawn)
    found = []
    for at, (schedule, simulated) in enumerate(candidates):
        engine.schedule = schedule
        for step, share in enumerate(_SHARES):
            rate = share * min(simulated.rate_per_s, MOST_PER_S)
            done = (at + step / len(_SHARES)) / len(candidates)
            progress(done, f"batch {schedule.batch} at {rate:.3g} queries a second")
            count = max(least_queries(target), round(rate * seconds))
            trace = work.trace(rate_per_s=rate, seed=seed, count=count)
            report = judge(run(subject, trace), target, seed=seed)
            if report.valid:
                break
        found.append(
            Confirmed(
                schedule=schedule,
                simulated_per_s=simulated.rate_per_s,
                rate_per_s=report.rate_per_s if report.valid else 0.0,
                report=report,
            )
        )
    progress(1.0, f"{len(found)} schedules under load")
    return sorted(found, key=lambda each: -each.rate_per_s)
