"""Stage `serve`: a schedule, and a load that confirms it; over 400 lines for both.

What is decided rests on the cost model alone: seconds of a batch are those that the
compiler predicts of its kernels, and a simulation finds the schedule. So the bundle is
the same for the same plan and seed. Then, where the plan is for this host, workers are
started, profiled and put under an open-loop load: that is observed, not bundled.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from trimtab._version import __version__
from trimtab.bundle import manifest as manifests
from trimtab.bundle import store
from trimtab.bundle.stage import Context, StageResult
from trimtab.cost.verdict import Verdict
from trimtab.errors import BudgetInfeasibleError, PlanError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.store import digest
from trimtab.hardware.detect import fingerprint
from trimtab.pipeline.serving import OPENER
from trimtab.runtime import record as records
from trimtab.runtime.batches import plan_batches
from trimtab.runtime.store import PROGRAM
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Target, parse_target
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.host import Host
from trimtab.serve.live.engine import Engine
from trimtab.serve.live.engine import Settings as EngineSettings
from trimtab.serve.live.load import Drawn, InProcess, Rows, Sampled, run
from trimtab.serve.live.tuning import DISPATCH_S, MOST_PER_S, profiled, proposed
from trimtab.serve.schedule import Schedule
from trimtab.serve.sections import (
    Loaded,
    curve_of,
    observed_section,
    predicted_section,
)
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.tuned import Tuned, dumps
from trimtab.serve.verdict import Report, judge, least_queries
from trimtab.serve.workload import Workload
from trimtab.units import format_duration, format_value

__all__ = ["FILE", "STAGE", "Settings", "predicted_curve"]

FILE = "serving.json"
"""In the bundle: what `trimtab serve start --schedule` takes."""

_TAIL = 0.95  # of `Budget.p95_latency_s`


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[serve]`.

    Attributes:
        slo: such as ``p99=20ms``; p95 within the budget's ``p95_latency_s`` if left
            out.
        sizes: items of a query, as of `trimtab serve simulate`.
        arrivals: when they come, the same.
        rate_per_s: that is planned for; the budget's ``throughput_per_s`` if left out,
            else the share `load` of what can be sustained.
        load: that share.
        workers: processes; by default all cores of the machine, divided by the threads
            of a call.
        seconds: of the load that confirms.
        confirm: whether it is put under load at all.
    """

    slo: str | None = None
    sizes: str = "fixed:1"
    arrivals: str = "poisson"
    rate_per_s: float | None = None
    load: float = 0.5
    workers: int | None = None
    seconds: float = 5.0
    confirm: bool = True

    def __post_init__(self) -> None:
        bounds = {
            "rate_per_s": (self.rate_per_s, 1e6),
            "load": (self.load, 1.0),
            "workers": (self.workers, 256),
            "seconds": (self.seconds, 600.0),
        }
        for name, (value, most) in bounds.items():
            if value is not None and not 0 < value <= most:
                raise UsageError(
                    f"{name} = {value}",
                    rule=f"it is above 0 and at most {most:g}",
                    where="table [serve]",
                    remedy="correct it, or leave it out",
                )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    """What the cost model leads to."""

    host: Host
    schedule: Schedule
    capacity_per_s: float
    at: Loaded


@final
class _Serve:
    settings = Settings
    gives = ("p95_latency_s", "throughput_per_s")
    reads: tuple[str, ...] = ("data", "machine", "threads", "budget", "seed", "files")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Find the schedule, and confirm it where the plan is for this host.

        Raises:
            PlanError: there is no target, or no machine code for any batch size.
            BudgetInfeasibleError: no schedule keeps the target at any rate.
        """
        target = _target(context, settings)
        work = Workload(
            arrivals=parse_arrivals(settings.arrivals),
            sizes=parse_sizes(settings.sizes),
        )
        curve = predicted_curve(
            context.files, work.sizes.largest, context.name, context.machine.title
        )
        workers = settings.workers or max(
            1, context.machine.cores // context.machine.cores_for(context.threads)
        )
        context.progress(0.02, "simulating")
        decided = _decided(
            Host(curve=curve, workers=workers), work, target, settings, context
        )
        schedule, at = decided.schedule, decided.at
        limit = f"{target.name} of {format_duration(target.latency_s)}"
        tuned = Tuned(
            network=context.name, workers=workers, target=target, schedule=schedule,
            rate_per_s=0.0, curve=curve,
            why=f"Batch {schedule.batch} sustains most within {limit} in a simulation "
            f"of {curve.source}: {_rated(decided.capacity_per_s)}.",
        )  # fmt: skip
        result = StageResult(
            network=context.network,
            summary=f"batch {schedule.batch} on {workers} worker(s), predicted "
            f"{_rated(decided.capacity_per_s)} within {limit}; at "
            f"{_rated(at.rate_per_s)} p95 {format_duration(at.latency_s['p95'])}",
            sections=(
                predicted_section(
                    decided.host, schedule, work, target, at=at, seed=context.seed,
                    capacity_per_s=decided.capacity_per_s,
                ),
            ),
            values={
                "p95_latency_s": at.latency_s["p95"],
                "throughput_per_s": decided.capacity_per_s,
            },
            files={FILE: dumps(tuned).encode()},
        )  # fmt: skip
        if not settings.confirm:
            return result
        if context.machine.fingerprint != fingerprint():
            return replace(
                result,
                observed_summary=f"not confirmed: this host is not "
                f"{context.machine.name}",
            )
        return _confirmed(result, decided, work, target, settings, context)


def _target(context: Context, settings: Settings) -> Target:
    if settings.slo is not None:
        return parse_target(settings.slo)
    if context.budget.p95_latency_s is not None:
        return Target(latency_s=context.budget.p95_latency_s, share=_TAIL)
    raise PlanError(
        "stage [serve] without a target",
        rule="it serves within a limit on the tail, and the plan has none",
        where="table [serve]",
        remedy='add slo = "p95=20ms", or p95_latency_s = "20ms" to [budget]',
    )


def predicted_curve(
    files: Mapping[str, bytes], most: int, network: str, machine: str
) -> ServiceCurve:
    """Return seconds of a batch as the compiler predicts them of its kernels.

    Args:
        files: that the stage `compile` left.
        most: items of a batch, at least.
        network: for people.
        machine: title, for people.

    Raises:
        PlanError: no machine code is among them, or it is for one batch size.
    """
    if PROGRAM not in files:
        raise _needs_compile("there is no machine code to serve")
    record = records.loads(files[PROGRAM], PROGRAM)
    if not record.any_batch:
        raise _needs_compile("its code is for one batch size")
    seconds = {
        int(each["batch"]): float(each["latency_s"])
        for each in record.report["batches"]
    }
    batches = sorted(seconds)
    # Between compiled sizes the time is that of parts and rows of zeros: all are kept.
    sizes = range(1, max(most, batches[-1]) + 1)
    return ServiceCurve(
        network=network,
        source=f"predicted by the compiler for {machine}",
        sizes=tuple(sizes),
        seconds=tuple(
            math.fsum(seconds[part] for part in plan_batches(size, batches).buckets)
            for size in sizes
        ),
        dispatch_s=DISPATCH_S,
    )


def _needs_compile(rule: str) -> PlanError:
    return PlanError(
        "stage [serve]",
        rule=rule,
        where="table [compile]",
        remedy="add [compile] with batch_sizes = [1, 16]",
    )


def _rated(per_s: float) -> str:
    return format_value(per_s, "queries/s")


def _rate(capacity_per_s: float, settings: Settings, context: Context) -> float:
    wanted = settings.rate_per_s or context.budget.throughput_per_s
    return wanted or settings.load * min(capacity_per_s, MOST_PER_S)


def _decided(
    host: Host, work: Workload, target: Target, settings: Settings, context: Context
) -> _Decided:
    found, capacity = proposed(
        host, work, target, best=1,
        progress=lambda done, text: context.progress(0.02 + 0.3 * done, text),
    )[0]  # fmt: skip
    rate = _rate(capacity.rate_per_s, settings, context)
    (at,) = curve_of(host, found, work, [rate], seed=context.seed)
    return _Decided(
        host=host, schedule=found, capacity_per_s=capacity.rate_per_s, at=at
    )


def _confirmed(
    result: StageResult,
    prior: _Decided,
    work: Workload,
    target: Target,
    settings: Settings,
    context: Context,
) -> StageResult:
    """Add what was observed under load; what was decided stays."""
    context.progress(0.35, "starting workers")
    with tempfile.TemporaryDirectory(prefix="trimtab-serve-") as folder:
        place = Path(folder) / "served.trimtab"
        _write(place, context)
        most = max(work.sizes.largest, prior.schedule.batch)
        engine = Engine(
            EngineSettings(
                spec=str(place), opener=OPENER, trust=True,  # made a moment ago
                workers=min(prior.host.workers, len(os.sched_getaffinity(0))),
                most_items=most,
            ),
            prior.schedule,
        )  # fmt: skip
        with contextlib.closing(engine):
            curve = profiled(engine)
            host = Host(curve=curve, workers=engine.workers)
            try:
                here = _decided(host, work, target, settings, context)
            except BudgetInfeasibleError as error:
                return replace(result, observed_summary=f"not confirmed: {error.rule}")
            engine.schedule = here.schedule
            engine.start()
            reports = [
                _under_load(engine, rate, work, target, settings, context)
                for rate in (here.at.rate_per_s / 2, here.at.rate_per_s)
            ]
    report = reports[-1]
    p95 = report.latency_s["p95"].value
    rates = sorted({
        *(share * here.capacity_per_s for share in (0.1, 0.4, 0.7, 1.0)),
        *(each.rate_per_s for each in reports),
    })  # fmt: skip
    said = "" if report.valid else f": {'; '.join(report.reasons)}"
    return replace(
        result,
        observed_summary=f"observed {'VALID' if report.valid else 'INVALID'} at "
        f"{_rated(report.rate_per_s)} with batch {here.schedule.batch}: p95 "
        f"{format_duration(p95)}, "
        f"{format_duration(here.at.latency_s['p95'])} in a simulation of the profiled "
        f"workers{said}",
        observed=_observed(report, here, prior.host.curve, context.threads),
        observed_sections=(
            observed_section(
                curve_of(host, here.schedule, work, rates, seed=context.seed),
                reports,
                target,
                profiled=(
                    curve.sizes,
                    [prior.host.curve.batch_s(each) for each in curve.sizes],
                    [curve.batch_s(each) for each in curve.sizes],
                ),
            ),
        ),
        observed_verdicts=_verdicts(report, here.at.rate_per_s, context),
        lasting=report.punctual,
    )


def _write(place: Path, context: Context) -> None:
    """Write what workers open: the network and its code, as the bundle will have it."""
    graph = capture(
        context.network, context.inputs, context.keywords, name=context.name
    )
    store.write(
        place,
        manifests.Manifest(
            format=manifests.FORMAT, name="served", versions={"trimtab": __version__},
            seed=context.seed, machine=context.machine.name, threads=context.threads,
            plan={}, inputs={"graph": digest(graph)}, stages=(), values={},
            verdicts=(), files={},
        ),
        graph=graph,
        weights=weights_of(context.network, graph),
        sections=(),
        extra=context.files,
    )  # fmt: skip


def _under_load(
    engine: Engine,
    rate: float,
    work: Workload,
    target: Target,
    settings: Settings,
    context: Context,
) -> Report:
    context.progress(0.7, _rated(rate))
    count = max(least_queries(target), round(rate * settings.seconds))
    trace = work.trace(rate_per_s=rate, seed=context.seed, count=count)
    subject = InProcess(engine, _rows(engine, context))
    ran = run(
        subject, trace,
        progress=lambda done, text: context.progress(0.7 + 0.25 * done, text),
    )  # fmt: skip
    return judge(ran, target, seed=context.seed)


def _rows(engine: Engine, context: Context) -> Rows:
    """Return held-out examples to ask with; drawn ones where the data do not fit."""
    most, inputs = engine.settings.most_items, engine.inputs
    if context.data is not None and len(inputs) == 1:
        x = context.data.test[0].numpy()
        if x.shape[1:] == inputs[0].shape:
            return Sampled({inputs[0].name: x.astype(inputs[0].dtype)}, most_items=most)
    return Drawn(inputs, most_items=most, seed=context.seed)


def _observed(
    report: Report, here: _Decided, prior: ServiceCurve, threads: int
) -> dict[str, dict[str, float]]:
    found: dict[str, float] = {
        "valid": float(report.valid),
        "rate_per_s": report.rate_per_s,
        "answered_per_s": report.answered_per_s,
        "simulated_p95_latency_s": here.at.latency_s["p95"],
        "simulated_throughput_per_s": here.capacity_per_s,
        "batch": here.schedule.batch,
        "workers": here.host.workers,
    }
    for name, each in report.latency_s.items():
        if math.isfinite(each.value):
            found[f"{name}_latency_s"] = each.value
    curve = here.host.curve
    batches: dict[str, float] = {"threads": threads}
    for size, seconds in zip(curve.sizes, curve.seconds, strict=True):
        batches[f"measured_batch_{size}_s"] = seconds
        batches[f"predicted_batch_{size}_s"] = prior.batch_s(size) - prior.dispatch_s
    return {"serving": found, "batches": batches}


def _verdicts(report: Report, rate: float, context: Context) -> tuple[Verdict, ...]:
    """Return how the run stands to the budget; none where it says nothing of it."""
    if not report.punctual:
        return ()
    sustained = rate
    if not report.valid and report.late_frac is not None:
        sustained = report.answered_per_s * (1 - report.late_frac.value)
    return context.budget.judge({
        "p95_latency_s": report.latency_s["p95"].value,
        "throughput_per_s": sustained,
    })  # fmt: skip


STAGE = _Serve()
