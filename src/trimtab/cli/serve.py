"""`trimtab serve`: recommendation within a bound on its tail latency."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.cli.serve_start import start
from trimtab.cli.serve_tune import tune
from trimtab.errors import BudgetInfeasibleError, UsageError

if TYPE_CHECKING:
    from trimtab.serve.capacity import Capacity
    from trimtab.serve.schedule import Schedule

__all__ = ["app"]


class _Group(TyperGroup):
    """Takes what is no command for a network: ``serve zoo:x`` is ``serve start``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in _HELP:
            args = ["start", *args]
        found: list[str] = super().parse_args(ctx, args)
        return found


_HELP = ("-h", "--help")

app = typer.Typer(
    cls=_Group,
    help="Serve queries within a bound on their tail latency: trimtab serve NETWORK "
    "is trimtab serve start NETWORK.",
    no_args_is_help=True,
)
app.command("start")(start)
app.command("tune")(tune)


@app.command("simulate")
def simulate_hosts(
    curve: Annotated[
        list[str] | None,
        typer.Option(
            help="Seconds by batch size: a .json, or zoo:NAME as once measured; "
            "repeat. All eight networks of the paper if not given.",
        ),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, max=4096, help="Workers.")] = 40,
    gpu: Annotated[
        str | None,
        typer.Option(help="gtx-1080ti, or the .json of an accelerator's curve."),
    ] = None,
    gpu_threads: Annotated[
        int,
        typer.Option(
            min=1, help="Of the processor that published speed-ups are taken over."
        ),
    ] = 1,
    slo: Annotated[
        str | None,
        typer.Option(help="Such as p95=100ms; the paper's if not given."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="mlperf, lognormal:MU,SIGMA, normal:MEAN,DEVIATION, fixed:N, file:PATH"
        ),
    ] = "mlperf",
    arrivals: Annotated[
        str,
        typer.Option(
            help="poisson, constant, gamma:CV2, mmpp:RATIO,STAY, diurnal:RATIO,PERIOD, "
            "step:RATIO,TIME, ramp:RATIO,TIME, trace:FILE, integer-gaps"
        ),
    ] = "poisson",
    bandwidth: Annotated[
        str | None,
        typer.Option(
            help="Of the memory that cores share, such as 256GB/s: counts what rows "
            "of tables take, of the networks that are shipped.",
        ),
    ] = None,
    coalesce: Annotated[
        bool, typer.Option("--coalesce", help="Join small chunks that wait.")
    ] = False,
    largest: Annotated[
        int, typer.Option(min=1, help="Items that static batches divide over cores.")
    ] = 1000,
    queries: Annotated[
        int, typer.Option(min=1_000, max=1_000_000, help="Of each simulation.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the queries.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a machine would sustain: the best schedule beside a static one."""
    with progress_bar(quiet=as_json) as progress:
        from trimtab.serve.arrivals import parse_arrivals
        from trimtab.serve.capacity import Effort, capacity, parse_target
        from trimtab.serve.curves import curve_names
        from trimtab.serve.scheduler import search, static
        from trimtab.serve.sizes import parse_sizes
        from trimtab.serve.workload import Workload
        from trimtab.stats import geometric_mean
        from trimtab.units import format_percent

        work = Workload(arrivals=parse_arrivals(arrivals), sizes=parse_sizes(sizes))
        effort = Effort(queries=queries)
        given = None if slo is None else parse_target(slo)
        names = list(curve or curve_names())
        hosts = [_host(each, cores, gpu, gpu_threads, bandwidth) for each in names]
        targets = [given or _target(each) for each in names]
        rows: list[dict[str, Any]] = []
        for name, host, target in zip(names, hosts, targets, strict=True):
            base = static(cores, largest=largest)
            before = capacity(host, base, work, target, seed=seed, effort=effort)
            row: dict[str, Any] = {
                "network": host.curve.network,
                "curve": host.curve.source,
                "accelerator": host.accelerator and host.accelerator.source,
                "target": {"share": target.share, "latency_s": target.latency_s},
                "static": _record(base, before),
                "best": None,
                "infeasible": "",
                "gain": None,
            }
            try:
                schedule, after = search(
                    host, work, target, seed=seed, effort=effort, coalesce=coalesce,
                    progress=lambda done, text, name=name: progress(  # type: ignore[misc]
                        name.removeprefix("zoo:"), done, text
                    ),
                )[0]  # fmt: skip
            except BudgetInfeasibleError as error:
                if len(names) == 1:
                    raise
                row["infeasible"] = error.rule
            else:
                row["best"] = _record(schedule, after)
                if before.rate_per_s:
                    row["gain"] = after.rate_per_s / before.rate_per_s
            rows.append(row)
    gains = [row["gain"] for row in rows if row["gain"]]
    mean = geometric_mean(gains) if gains else None
    if as_json:
        print_json(
            {
                "cores": cores, "sizes": sizes, "arrivals": arrivals, "seed": seed,
                "queries": queries, "hosts": rows, "geometric_mean_gain": mean,
            }
        )  # fmt: skip
        return
    out = console()
    accelerated = "" if gpu is None else f" and {gpu}"
    out.print(
        table(
            f"{cores} cores{accelerated}, {arrivals} arrivals, sizes {sizes}",
            _COLUMNS,
            [_row(each) for each in rows],
        )
    )
    for row in rows:
        if row["infeasible"]:
            out.print(plain(f"{row['network']}: {row['infeasible']}"), soft_wrap=True)
        elif row["static"]["infeasible"]:
            out.print(
                plain(f"{row['network']}, static: {row['static']['infeasible']}"),
                soft_wrap=True,
            )
    if mean is not None:
        out.print(f"geometric mean of {len(gains)} gains: {mean:.2f}")
    late = [row["best"]["late_high_frac"] for row in rows if row["best"]]
    if late:
        out.print(
            "simulated, the same queries for all; late queries are at most "
            f"{format_percent(max(late))} with 95 % confidence at the rates shown"
        )
    for source in dict.fromkeys(row["curve"] for row in rows):
        out.print(plain(f"curves: {source}"), soft_wrap=True)
    if gpu is not None:
        for source in dict.fromkeys(row["accelerator"] for row in rows):
            out.print(plain(f"accelerator: {source}"), soft_wrap=True)


_COLUMNS = [
    ("network", ""), ("target", ""), ("static batch", "items"), ("sustains", "1/s"),
    ("best batch", "items"), ("accelerator", ""), ("sustains", "1/s"), ("gain", "x"),
    ("tail", "s"), ("cores busy", "frac"),
]  # fmt: skip


def _row(row: dict[str, Any]) -> list[object]:
    from trimtab.units import format_duration

    base, best, target = row["static"], row["best"], row["target"]
    shown = f"p{100 * target['share']:g} {format_duration(target['latency_s'])}"
    head = [row["network"], shown, base["batch"], base["rate_per_s"]]
    if best is None:
        return [*head, "infeasible", None, None, None, None, None]
    device = "" if best["threshold"] is None else f"from {best['threshold']} items"
    if best["policy"] == "finish":
        device = "if it is first"
    return [
        *head, best["batch"], device, best["rate_per_s"], row["gain"],
        best["latency_s"], best["busy_frac"],
    ]  # fmt: skip


def _record(schedule: Schedule, found: Capacity) -> dict[str, Any]:
    return {
        **{
            key: value for key, value in asdict(schedule).items() if key != "version"
        },
        "rate_per_s": found.rate_per_s,
        "infeasible": found.infeasible,
        "latency_s": found.latency_s,
        "late_frac": found.late_frac.value,
        "late_high_frac": found.late_frac.high,
        "busy_frac": found.busy_frac,
        "trials": found.trials,
    }  # fmt: skip


def _host(
    name: str, cores: int, gpu: str | None, gpu_threads: int, bandwidth: str | None
) -> Any:
    """Return the host of one curve, with what its options add."""
    from trimtab.cli.partition import rate
    from trimtab.serve.curves import accelerated, contended, item_bytes, named
    from trimtab.serve.host import Host

    found = named(name)
    device = None
    if gpu is not None and gpu.endswith(".json"):
        device = named(gpu)
    elif gpu is not None:
        device = accelerated(gpu, name, found, threads=gpu_threads)
    if bandwidth is not None:
        if name.endswith(".json"):
            raise UsageError(
                f"--bandwidth {bandwidth} for {name!r}",
                rule="what its rows of tables take is known of shipped networks only",
                where="command line",
                remedy="measure the curve with all workers busy: it has busy_seconds",
            )
        found = contended(
            found,
            workers=cores,
            item_bytes=item_bytes(name),
            bandwidth_bytes_per_s=rate(bandwidth),
        )
    return Host(curve=found, workers=cores, accelerator=device)


def _target(name: str) -> Any:
    from trimtab.serve.capacity import Target
    from trimtab.serve.curves import target_s

    if name.endswith(".json"):
        raise UsageError(
            f"curve {name!r} without a target",
            rule="the paper has targets for its own networks only",
            where="command line",
            remedy="give --slo p95=100ms",
        )
    return Target(latency_s=target_s(name))
