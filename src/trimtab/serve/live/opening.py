"""From what is wanted to an engine at work, and to what will steer it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from trimtab.serve.arrivals import Poisson
from trimtab.serve.capacity import Target
from trimtab.serve.control import Controller
from trimtab.serve.control import Settings as Control
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.tuning import profiled, proposed
from trimtab.serve.schedule import Policy, Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.tuned import Tuned
from trimtab.serve.workload import Workload
from trimtab.units import format_duration

__all__ = ["Wanted", "opened"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a host is to serve, and how; plain data that other hosts can be told.

    Attributes:
        settings: of the engine.
        target: of the tail.
        sizes: of queries, to expect, as `parse_sizes` takes them.
        batch: items, or None to find how many.
        found: a schedule to begin with, or None to find one on the host.
        steady: whether the first schedule stays, whatever comes.
    """

    settings: Settings
    target: Target
    sizes: str = "mlperf"
    batch: int | None = None
    found: Tuned | None = None
    steady: bool = False


def opened(
    wanted: Wanted, progress: Callable[[float, str], None] = lambda done, text: None
) -> tuple[Engine, Controller | None, Tuned]:
    """Return a started engine, its controller, and the schedule that they begin with.

    Args:
        wanted: what is served.
        progress: told the share that is done.

    Raises:
        TrimtabError: the network cannot be served.
    """
    progress(0.0, f"opening {wanted.settings.spec}")
    engine = Engine(wanted.settings, Schedule(batch=wanted.batch or 1, coalesce=True))
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close, within_s=0.0)
        device = engine.settings.accelerator
        if device == "cuda":  # the controller has to know it, wherever it begins
            progress(0.05, "profiling the accelerator")
            device = profiled(engine, device=device)
        found = wanted.found or _first(engine, device, wanted, progress)
        alone = replace(found.schedule, threshold=None, policy="threshold")
        if device is None and found.schedule != alone:  # it is of a host with one
            found = replace(found, schedule=alone)
        engine.schedule = found.schedule
        progress(0.9, "starting workers")
        engine.start()
        stack.pop_all()
    progress(1.0, f"{engine.workers} workers")
    if wanted.steady:
        return engine, None, found
    drawn = parse_sizes(wanted.sizes).draw(1_000, np.random.default_rng(0))
    controller = Controller(
        Host(curve=found.curve, workers=engine.workers, accelerator=device),
        wanted.target,
        engine.schedule,
        sizes=drawn.tolist(),
        settings=Control(shed=True),
    )
    return engine, controller, found


def _first(
    engine: Engine,
    device: ServiceCurve | None,
    wanted: Wanted,
    progress: Callable[[float, str], None],
) -> Tuned:
    """Return the schedule to begin with, and why it is that."""
    target = wanted.target
    progress(0.1, "profiling a worker")
    curve = profiled(engine)
    limit = f"{target.name} of {format_duration(target.latency_s)}"
    if wanted.batch is not None:
        # From how many items on an accelerator is better nobody has said.
        policy: Policy = "threshold" if device is None else "finish"
        chosen = Schedule(batch=wanted.batch, coalesce=True, policy=policy)
        rate = 0.0
        why = f"Batch {wanted.batch} as it was asked for; target {limit}."
    else:
        work = Workload(arrivals=Poisson(), sizes=parse_sizes(wanted.sizes))
        host = Host(curve=curve, workers=engine.workers, accelerator=device)
        chosen, capacity = proposed(
            host, work, target, best=1,
            progress=lambda done, text: progress(0.2 + 0.7 * done, text),
        )[0]  # fmt: skip
        rate = capacity.rate_per_s
        why = (
            f"Batch {chosen.batch} sustains most within {limit} in a simulation of the "
            f"profiled workers: {rate:.3g} queries a second of {wanted.sizes} sizes."
        )
    return Tuned(
        network=engine.name, workers=engine.workers, target=target, schedule=chosen,
        rate_per_s=rate, why=why, curve=curve,
    )  # fmt: skip
