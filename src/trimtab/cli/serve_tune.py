"""`trimtab serve tune`: the schedule for a network on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.cli.serve_start import paper_name, target_of
from trimtab.errors import BudgetInfeasibleError

if TYPE_CHECKING:
    from trimtab.serve.live.tuning import Confirmed
    from trimtab.serve.schedule import Schedule

__all__ = ["tune"]


def tune(
    spec: Annotated[
        str,
        typer.Argument(help="A bundle, zoo:NAME, package.module:factory, or .py file."),
    ],
    slo: Annotated[
        str | None,
        typer.Option(help="Such as p95=100ms; the paper's of a shipped network."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes; one a core.")
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Of queries, as of trimtab serve simulate.")
    ] = "mlperf",
    arrivals: Annotated[
        str, typer.Option(help="Of queries, as of trimtab serve simulate.")
    ] = "poisson",
    accelerator: Annotated[
        str | None,
        typer.Option(
            help="cuda; or one that is emulated: gtx-1080ti, or the .json of its curve."
        ),
    ] = None,
    best: Annotated[
        int, typer.Option(min=1, max=10, help="Schedules that are tried under load.")
    ] = 3,
    trial: Annotated[str, typer.Option(help="How long each run is.")] = "10s",
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the queries.")] = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run machine code of a bundle as it is.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="For trimtab serve --schedule")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find a schedule: profile, simulate, try the best few under load.

    The load runs on this machine, too: leave it alone meanwhile. An accelerator takes
    queries whole, by their size or where it is predicted to be done first. An emulated
    one takes its time and computes nothing: it shows which queries it would take.
    """
    from dataclasses import replace

    from trimtab.pipeline.serving import OPENER
    from trimtab.serve.arrivals import parse_arrivals
    from trimtab.serve.host import Host
    from trimtab.serve.live.engine import Engine, Settings
    from trimtab.serve.live.tuning import accelerator_of, confirm, profiled, proposed
    from trimtab.serve.schedule import Schedule
    from trimtab.serve.sizes import parse_sizes
    from trimtab.serve.tuned import Tuned, check_place, write_tuned
    from trimtab.serve.workload import Workload
    from trimtab.units import format_duration, parse_duration

    if output is not None:
        check_place(output)
    target, seconds = target_of(spec, slo), parse_duration(trial)
    work = Workload(arrivals=parse_arrivals(arrivals), sizes=parse_sizes(sizes))
    settings = Settings(
        spec=spec, opener=OPENER, workers=workers, trust=trust,
        most_items=max(1024, work.sizes.largest),
    )  # fmt: skip
    with progress_bar(quiet=as_json) as progress:
        progress("profile", 0.0, f"opening {spec}")
        engine = Engine(settings, Schedule(batch=work.sizes.largest, coalesce=True))
        curve = profiled(engine)
        progress("profile", 1.0, f"{len(curve.sizes)} batch sizes")
        host = Host(curve=curve, workers=engine.workers)
        if accelerator is not None:
            device = accelerator_of(engine, accelerator, paper_name(spec), curve)
            host = replace(host, accelerator=device)
            engine.close()
            settings = replace(
                settings, accelerator="cuda" if accelerator == "cuda" else device
            )
            engine = Engine(settings, engine.schedule)
        candidates = proposed(
            host, work, target, best=best,
            progress=lambda done, text: progress("simulate", done, text),
        )  # fmt: skip
        with engine:
            found = confirm(
                engine, candidates, work, target, seconds=seconds, seed=seed,
                progress=lambda done, text: progress("try", done, text),
            )  # fmt: skip
    limit = f"{target.name} of {format_duration(target.latency_s)}"
    chosen = found[0]
    if not chosen.rate_per_s:
        raise BudgetInfeasibleError(
            limit,
            rule=f"under load no schedule kept it at any rate that was tried; batch "
            f"{chosen.schedule.batch}: {'; '.join(chosen.report.reasons)}",
            where="trimtab serve tune",
            remedy="allow more time, leave the machine alone meanwhile, or give a "
            "longer --trial",
            best=chosen.schedule,
            binding=target.name,
        )
    tuned = Tuned(
        network=engine.name, workers=engine.workers, target=target,
        schedule=chosen.schedule, rate_per_s=chosen.rate_per_s, curve=curve,
        why=f"Batch {chosen.schedule.batch}{_device(chosen.schedule)} was valid within "
        f"{limit} under load at {chosen.rate_per_s:.3g} queries a second, the most of "
        f"{len(found)} schedules that were best in a simulation of the profiled "
        "workers.",
    )  # fmt: skip
    if output is not None:
        write_tuned(tuned, output)
    if as_json:
        print_json({
            "network": tuned.network, "workers": tuned.workers, "why": tuned.why,
            "batch": tuned.schedule.batch, "rate_per_s": tuned.rate_per_s,
            "tried": [_record(each) for each in found],
        })  # fmt: skip
        return
    out = console()
    out.print(
        table(
            f"{tuned.network}, {tuned.workers} workers, {limit}",
            [("batch", "count"), ("accelerator", ""), ("simulated", "1/s"),
             ("under load", "1/s"), (target.name, "s"), ("late", "frac"),
             ("why not more", "")],
            [_row(each, target.name) for each in found],
        )
    )  # fmt: skip
    out.print(plain(tuned.why), soft_wrap=True)
    if output is not None:
        out.print(plain(f"trimtab serve {spec} --schedule {output}"), soft_wrap=True)


def _row(each: Confirmed, name: str) -> list[object]:
    report = each.report
    return [
        each.schedule.batch, _device(each.schedule).removeprefix(", "),
        each.simulated_per_s, each.rate_per_s, report.latency_s[name].value,
        None if report.late_frac is None else report.late_frac.value,
        "; ".join(report.reasons),
    ]  # fmt: skip


def _device(schedule: Schedule) -> str:
    if schedule.policy == "finish":
        return ", the accelerator where it is done first"
    if schedule.threshold is None:
        return ""
    return f", the accelerator from {schedule.threshold} items"


def _record(each: Confirmed) -> dict[str, Any]:
    return {
        "batch": each.schedule.batch, "threshold": each.schedule.threshold,
        "policy": each.schedule.policy, "simulated_per_s": each.simulated_per_s,
        "rate_per_s": each.rate_per_s, "report": each.report.record(),
    }  # fmt: skip
