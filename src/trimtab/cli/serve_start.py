"""`trimtab serve NETWORK`: answer queries until told to end."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.cloud import TokenFile, address, guard, http_server, require_http
from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.serve.capacity import Target
    from trimtab.serve.live.engine import Engine
    from trimtab.serve.tuned import Tuned

__all__ = ["start", "target_of"]

_SHOWN = (
    ("queries", "count"), ("answers", "count"), ("shed", "count"), ("failed", "count"),
    ("batches", "count"), ("joined", "count"), ("restarts", "count"),
    ("latency_p50_s", "s"), ("latency_p95_s", "s"), ("latency_p99_s", "s"),
)  # fmt: skip


def start(
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
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="Items; profiled and simulated if not."),
    ] = None,
    schedule: Annotated[
        Path | None, typer.Option(help="What trimtab serve tune -o has written.")
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="Of queries, to expect, as of trimtab serve simulate.")
    ] = "mlperf",
    steady: Annotated[
        bool, typer.Option("--steady", help="Keep the first schedule, whatever comes.")
    ] = False,
    http: Annotated[str, typer.Option(help="HOST:PORT.")] = ":8080",
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="A live page, too.")
    ] = False,
    tls: Annotated[
        Path | None, typer.Option(help="Folder of certificates, see trimtab certs.")
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Whose certificate it shows.")] = (
        "edge"
    ),
    open_to_all: Annotated[
        bool,
        typer.Option("--plain", help="No TLS, though others than this host may ask."),
    ] = False,
    token_file: TokenFile = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file for the network.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run machine code of a bundle as it is.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer queries by the Open Inference Protocol, within a target on their tail.

    Without --batch or --schedule a batch size is found first: a worker is profiled, and
    queries of the expected sizes are simulated. While it runs a controller follows what
    comes.
    """
    listen = address(http)
    guard("--http", listen[0], tls=tls, plain=open_to_all)
    require_http()
    if batch is not None and schedule is not None:
        raise UsageError(
            "--batch with --schedule",
            rule="the schedule says the batch size",
            where="command line",
            remedy="leave out one of them",
        )
    from trimtab.partition.live import certs
    from trimtab.partition.live.run import until_told
    from trimtab.pipeline.serving import OPENER
    from trimtab.runtime.tokens import read_token
    from trimtab.serve.control import Controller
    from trimtab.serve.control import Settings as Control
    from trimtab.serve.host import Host
    from trimtab.serve.live.engine import Engine, Settings
    from trimtab.serve.live.http import model_of, serve_app
    from trimtab.serve.live.steering import Steering
    from trimtab.serve.schedule import Schedule
    from trimtab.serve.sizes import parse_sizes
    from trimtab.serve.tuned import read_tuned

    token = read_token(token_file)
    laws = parse_sizes(sizes)
    found = None if schedule is None else read_tuned(schedule)
    target = found.target if found and slo is None else target_of(spec, slo)
    context = certs.server(tls, name) if tls is not None and not open_to_all else None
    settings = Settings(
        spec=spec, opener=OPENER, workers=workers, trust=trust,
        weights=None if weights is None else str(weights),
        most_items=max(1024, laws.largest),
    )  # fmt: skip
    with progress_bar(quiet=as_json) as progress:
        progress("serve", 0.0, f"opening {spec}")
        engine = Engine(settings, Schedule(batch=batch or 1, coalesce=True))
        if found is None:
            found = first(engine, target, sizes, batch, progress)
        engine.schedule = found.schedule
        progress("serve", 0.9, "starting workers")
        engine.start()
        progress("serve", 1.0, f"{engine.state()['workers']} workers")
    controller = None
    if not steady:
        import numpy as np

        controller = Controller(
            Host(curve=found.curve, workers=engine.state()["workers"]),
            target,
            engine.schedule,
            sizes=laws.draw(1_000, np.random.default_rng(0)).tolist(),
            settings=Control(shed=True),
        )
    gc.collect()
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    with contextlib.closing(engine), Steering(engine, controller, target) as side:
        app = serve_app(side, found.why, shown=dashboard)
        with http_server(app, *listen, context, token) as served:
            asked = f"{served.url}{model_of(engine).path}"
            if as_json:
                print_json({
                    "http": served.url, "infer": asked, "why": found.why,
                    "target": {"share": target.share, "latency_s": target.latency_s},
                    "schedule": engine.state()["schedule"],
                })  # fmt: skip
            else:
                out = console()
                out.print(plain(found.why), soft_wrap=True)
                out.print(plain(f"POST {asked}; stop it with Ctrl-C"), soft_wrap=True)
                if dashboard:
                    out.print(f"live page: {served.url}/")
            until_told()
        state = engine.state()
    changes = [each.record() for each in side.log if each.action != "keep"]
    if as_json:
        print_json({**state, "changes": changes[-100:]})
        return
    rows = [(key, _text(state[key], unit)) for key, unit in _SHOWN]
    rows += [("batch", str(state["schedule"]["batch"])), ("changes", str(len(changes)))]
    console().print(table("Served", [("", ""), ("", "")], rows))


def first(
    engine: Engine,
    target: Target,
    sizes: str,
    batch: int | None,
    progress: Any,
) -> Tuned:
    """Return the schedule to begin with, and why it is that."""
    from trimtab.serve.arrivals import Poisson
    from trimtab.serve.host import Host
    from trimtab.serve.live.tuning import profiled, proposed
    from trimtab.serve.schedule import Schedule
    from trimtab.serve.sizes import parse_sizes
    from trimtab.serve.tuned import Tuned
    from trimtab.serve.workload import Workload
    from trimtab.units import format_duration

    progress("serve", 0.1, "profiling a worker")
    curve = profiled(engine)
    limit = f"{target.name} of {format_duration(target.latency_s)}"
    if batch is not None:
        chosen, rate = Schedule(batch=batch, coalesce=True), 0.0
        why = f"Batch {batch} as it was asked for; target {limit}."
    else:
        work = Workload(arrivals=Poisson(), sizes=parse_sizes(sizes))
        host = Host(curve=curve, workers=engine.workers)
        chosen, capacity = proposed(
            host, work, target, best=1,
            progress=lambda done, text: progress("serve", 0.2 + 0.7 * done, text),
        )[0]  # fmt: skip
        rate = capacity.rate_per_s
        why = (
            f"Batch {chosen.batch} sustains most within {limit} in a simulation of the "
            f"profiled workers: {rate:.3g} queries a second of {sizes} sizes."
        )
    return Tuned(
        network=engine.name, workers=engine.workers, target=target, schedule=chosen,
        rate_per_s=rate, why=why, curve=curve,
    )  # fmt: skip


def target_of(spec: str, slo: str | None) -> Target:
    """Return the target that was given, or the paper's of a shipped network.

    Raises:
        UsageError: neither is there.
    """
    from trimtab.serve.capacity import Target, parse_target
    from trimtab.serve.curves import curve_names, target_s

    if slo is not None:
        return parse_target(slo)
    name = spec.removeprefix("zoo:").removesuffix("-small").removesuffix("-reference")
    if not spec.startswith("zoo:") or name not in curve_names():
        raise UsageError(
            f"serving {spec!r} without a target",
            rule="the paper has targets for its own networks only",
            where="command line",
            remedy="give --slo p95=100ms",
        )
    return Target(latency_s=target_s(name))


def _text(value: float, unit: str) -> str:
    from trimtab.units import format_value

    return format_value(value, unit)
