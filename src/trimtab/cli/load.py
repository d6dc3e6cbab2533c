"""`trimtab load`: queries to a server at the times that they are to come."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.cloud import TokenFile
from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.serve.capacity import Target
    from trimtab.serve.live.http_load import Served
    from trimtab.serve.sizes import Sizes
    from trimtab.serve.verdict import Report

__all__ = ["load"]


def load(
    url: Annotated[
        str, typer.Argument(help="http://HOST:PORT, or .../v2/models/NAME.")
    ],
    rate: Annotated[
        float, typer.Option(min=0.001, max=1_000_000, help="Queries a second.")
    ] = 100.0,
    arrivals: Annotated[
        str,
        typer.Option(
            help="poisson, constant, gamma:CV2, mmpp:RATIO,STAY, diurnal:RATIO,PERIOD, "
            "step:RATIO,TIME, ramp:RATIO,TIME, trace:FILE, integer-gaps"
        ),
    ] = "poisson",
    sizes: Annotated[
        str,
        typer.Option(
            help="mlperf, lognormal:MU,SIGMA, normal:MEAN,DEVIATION, fixed:N, file:PATH"
        ),
    ] = "mlperf",
    duration: Annotated[str, typer.Option(help="Such as 60s.")] = "60s",
    slo: Annotated[
        str | None, typer.Option(help="Such as p95=100ms: to be held against.")
    ] = None,
    histogram: Annotated[
        Path | None, typer.Option(help="File for an HDR histogram.")
    ] = None,
    referee: Annotated[
        Literal["loadgen"] | None,
        typer.Option(help="Who asks and judges instead: MLPerf's LoadGen."),
    ] = None,
    logs: Annotated[Path, typer.Option(help="Folder for what LoadGen writes.")] = Path(
        "loadgen"
    ),
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the queries.")] = 0,
    token_file: TokenFile = None,
    tls: Annotated[
        Path | None, typer.Option(help="Folder of certificates, see trimtab certs.")
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Whose certificate it shows.")] = (
        "load"
    ),
    server_name: Annotated[
        str, typer.Option(help="That the server's certificate has.")
    ] = "edge",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a server at given times, whether it keeps up or not.

    Latencies count from when a query was to come, and none waits for another. It ends
    with VALID, or with INVALID, the reasons, and exit code 2. With --referee loadgen
    both are MLPerf's: its Server scenario at that rate, and its verdict.
    """
    from trimtab.runtime import certs
    from trimtab.runtime.tokens import read_token
    from trimtab.serve.arrivals import parse_arrivals
    from trimtab.serve.capacity import parse_target
    from trimtab.serve.histogram import check_histogram, write_histogram
    from trimtab.serve.live.http_load import Served
    from trimtab.serve.live.load import run
    from trimtab.serve.sizes import parse_sizes
    from trimtab.serve.verdict import judge
    from trimtab.serve.workload import Workload
    from trimtab.units import parse_duration

    work = Workload(arrivals=parse_arrivals(arrivals), sizes=parse_sizes(sizes))
    target = None if slo is None else parse_target(slo)
    if histogram is not None:
        check_histogram(histogram)
    token = read_token(token_file)
    asks: dict[str, Any] = {"seed": seed, "token": token}
    if tls is not None:
        if not url.startswith("https://"):
            raise UsageError(
                f"--tls for {url!r}",
                rule="queries, and the token, would go without it",
                where="command line",
                remedy="give https://HOST:PORT",
            )
        asks |= {"tls": certs.client(tls, name), "server_name": server_name}
    if referee is not None:
        if target is None or arrivals != "poisson" or histogram is not None:
            raise UsageError(
                "--referee loadgen without --slo, or with --arrivals or --histogram",
                rule="it judges a tail, of queries that are a Poisson process",
                where="command line",
                remedy="give --slo p95=100ms, and leave out the others",
            )
        _refereed(
            url, work.sizes, target, asks, rate=rate,
            seconds=parse_duration(duration), logs=logs, seed=seed, as_json=as_json,
        )  # fmt: skip
        return
    trace = work.trace(rate_per_s=rate, seed=seed, duration_s=parse_duration(duration))
    with (
        progress_bar(quiet=as_json) as progress,
        Served(url, **asks) as server,
    ):
        _check_items(int(trace.items.max()), server)
        gc.collect()
        gc.freeze()
        gc.enable()
        ran = run(
            server, trace, progress=lambda done, text: progress("load", done, text)
        )
        progress("judge", 0.0, "intervals")
        report = judge(ran, target, seed=seed)
        progress("judge", 1.0, f"{report.judged} queries")
    if histogram is not None:
        write_histogram(ran.latency_s.tolist(), histogram)
    if as_json:
        print_json({"server": url, "model": server.name, **report.record()})
    else:
        _show(server.name, report)
    if not report.valid:
        raise typer.Exit(2)


def _check_items(most: int, server: Served) -> None:
    if most > server.most_items:
        raise UsageError(
            f"queries of {most} items",
            rule=f"the server takes {server.most_items} at most",
            where="--sizes",
            remedy="give smaller ones",
        )


def _refereed(
    url: str,
    law: Sizes,
    target: Target,
    asks: Mapping[str, Any],
    *,
    rate: float,
    seconds: float,
    logs: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Have LoadGen ask and judge, and print what it says."""
    from trimtab.serve.live.http_load import Served
    from trimtab.serve.live.referee import check_referee, referee, samples_of

    check_referee()
    sizes = samples_of(law, seed=seed)
    with (
        progress_bar(quiet=as_json) as progress,
        Served(url, **asks) as server,
    ):
        _check_items(max(sizes), server)
        planned = rate * seconds
        found = referee(
            server, sizes, target, rate_per_s=rate, seconds=seconds, folder=logs,
            seed=seed, progress=lambda ended: progress(
                "loadgen", min(1.0, ended / planned), f"{ended} queries"
            ),
        )  # fmt: skip
    if as_json:
        print_json({"server": url, "model": server.name, "logs": str(logs),
                    **found.record()})  # fmt: skip
    else:
        out = console()
        out.print(plain(found.summary), soft_wrap=True, markup=False)
        out.print(f"[bold]{'VALID' if found.valid else 'INVALID'}[/]")
        if found.error:
            out.print(plain(f"  a query: {found.error}"), soft_wrap=True, markup=False)
    if not found.valid:
        raise typer.Exit(2)


def _show(name: str, report: Report) -> None:
    from trimtab.units import format_duration, format_percent

    out = console()
    ends = report.ends
    rows: list[tuple[str, str]] = [
        ("issued", f"{report.issued} of {report.planned}"),
        *((each, str(count)) for each, count in ends.items() if count),
        ("rate", f"{report.rate_per_s:.4g}/s, answered {report.answered_per_s:.4g}/s"),
    ]
    for each, found in report.latency_s.items():
        low, high = (_time(value) for value in (found.low, found.high))
        rows.append((each, f"{_time(found.value)} ({low} to {high})"))
    if report.late_frac is not None:
        late = report.late_frac
        rows.append(("late", f"{format_percent(late.value)}, at most "
                     f"{format_percent(late.high)}"))  # fmt: skip
    rows.append(("issue delay p99", format_duration(report.delay_p99_s)))
    out.print(table(f"Load on {name}", [("", ""), ("", "")], rows))
    out.print(f"[bold]{'VALID' if report.valid else 'INVALID'}[/]")
    for reason in report.reasons:
        out.print(plain(f"  {reason}"), soft_wrap=True, markup=False)


def _time(seconds: float) -> str:
    from trimtab.units import format_duration

    if math.isnan(seconds):
        return "unknown"
    return format_duration(seconds) if math.isfinite(seconds) else "never"
