"""`trimtab serve NETWORK`: answer queries until told to end."""

from __future__ import annotations

import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.cloud import TokenFile, address, guard, require_http
from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.cli.serve_cluster import check_cluster, start_cluster
from trimtab.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from fastapi import FastAPI

    from trimtab.runtime.tokens import Token
    from trimtab.runtime.web import Server
    from trimtab.serve.capacity import Target

__all__ = ["paper_name", "start", "target_of"]

_SHOWN = (
    ("queries", "count"), ("answers", "count"), ("shed", "count"), ("failed", "count"),
    ("late", "count"), ("batches", "count"), ("joined", "count"),
    ("offloaded", "count"), ("restarts", "count"),
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
    accelerator: Annotated[
        str | None,
        typer.Option(help="cuda, for queries that it is better for; or none."),
    ] = None,
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
    cluster: Annotated[
        str | None,
        typer.Option(help="Of Ray, a replica a host: auto, or ray://HOST:PORT."),
    ] = None,
    replicas: Annotated[
        str | None, typer.Option(help="Such as 2, or 1..4; up to one a host if not.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer queries by the Open Inference Protocol, within a target on their tail.

    Without --batch or --schedule a batch size is found first: a worker is profiled, and
    queries of the expected sizes are simulated. While it runs a controller follows what
    comes. With --cluster each host of a Ray cluster does so, as many as it takes.
    """
    listen = address(http)
    guard("--http", listen[0], tls=tls, plain=open_to_all)
    require_http()
    check_cluster(cluster, replicas)
    if batch is not None and schedule is not None:
        raise UsageError(
            "--batch with --schedule",
            rule="the schedule says the batch size",
            where="command line",
            remedy="leave out one of them",
        )
    if accelerator not in (None, "cuda"):
        raise UsageError(
            f"accelerator {accelerator!r}",
            rule="one that is emulated gives no answers",
            where="--accelerator",
            remedy="give cuda; trimtab serve tune takes others",
        )
    from trimtab.pipeline.serving import OPENER
    from trimtab.runtime import certs
    from trimtab.runtime.signals import told
    from trimtab.runtime.tokens import read_token
    from trimtab.serve.live.engine import Settings
    from trimtab.serve.live.http import model_of, serve_app
    from trimtab.serve.live.opening import Wanted, opened
    from trimtab.serve.live.steering import Steering
    from trimtab.serve.sizes import parse_sizes
    from trimtab.serve.tuned import read_tuned

    token = read_token(token_file)
    found = None if schedule is None else read_tuned(schedule)
    target = found.target if found and slo is None else target_of(spec, slo)
    context = None if tls is None else certs.server(tls, name)
    settings = Settings(
        spec=spec, opener=OPENER, workers=workers, trust=trust,
        weights=None if weights is None else str(weights),
        most_items=max(1024, parse_sizes(sizes).largest),
        accelerator=None if accelerator is None else "cuda",
    )  # fmt: skip
    wanted = Wanted(
        settings=settings, target=target, sizes=sizes, batch=batch, found=found,
        steady=steady,
    )  # fmt: skip
    if cluster is not None:
        start_cluster(
            wanted, cluster, replicas,
            lambda app: _server(app, listen, context, token),
            dashboard=dashboard, as_json=as_json,
        )  # fmt: skip
        return
    with progress_bar(quiet=as_json) as progress:
        engine, controller, found = opened(
            wanted, lambda done, text: progress("serve", done, text)
        )
    gc.collect()
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    with contextlib.closing(engine), Steering(engine, controller, target) as side:
        app = serve_app(side, found.why, shown=dashboard)
        with told() as wait, _server(app, listen, context, token) as served:
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
            wait()
        state = engine.state()
    changes = [each.record() for each in side.log if each.action != "keep"]
    if as_json:
        print_json({**state, "changes": changes[-100:]})
        return
    rows = [(key, _text(state[key], unit)) for key, unit in _SHOWN]
    rows += [("batch", str(state["schedule"]["batch"])), ("changes", str(len(changes)))]
    console().print(table("Served", [("", ""), ("", "")], rows))


def _server(
    app: FastAPI,
    listen: tuple[str, int],
    tls: ssl.SSLContext | None,
    token: Token | None,
) -> Server:
    """Return a server; with certificates that were given on loopback, too."""
    from trimtab.runtime.web import Server

    return Server(app, *listen, tls=tls, token=token, stopping=app.state.stop)


def target_of(spec: str, slo: str | None) -> Target:
    """Return the target that was given, or the paper's of a shipped network.

    Raises:
        UsageError: neither is there.
    """
    from trimtab.serve.capacity import Target, parse_target
    from trimtab.serve.curves import curve_names, target_s

    if slo is not None:
        return parse_target(slo)
    name = paper_name(spec)
    if not spec.startswith("zoo:") or name not in curve_names():
        raise UsageError(
            f"serving {spec!r} without a target",
            rule="the paper has targets for its own networks only",
            where="command line",
            remedy="give --slo p95=100ms",
        )
    return Target(latency_s=target_s(name))


def paper_name(spec: str) -> str:
    """Return what the paper calls a network of the zoo, without its preset."""
    name = spec.removeprefix("zoo:")
    return name.removesuffix("-small").removesuffix("-reference")


def _text(value: float, unit: str) -> str:
    from trimtab.units import format_value

    return format_value(value, unit)
