"""`trimtab edge`: the edge's side of a divided network."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.cloud import (
    Compiled,
    TokenFile,
    address,
    guard,
    http_server,
    parts_of,
    require_address,
    require_http,
)
from trimtab.cli.output import console, print_json, progress_bar, table
from trimtab.cli.partition import rate
from trimtab.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from torch import Tensor

    from trimtab.graph.types import Graph
    from trimtab.partition.live.edge import Edge
    from trimtab.runtime.tokens import Token

__all__ = ["edge"]

_SHOWN = (
    ("requests", ""), ("answers", ""), ("remote", ""), ("local", ""), ("fallback", ""),
    ("hedged", ""), ("retried", ""), ("overloaded", ""), ("switches", ""),
    ("cut", ""), ("codec", ""), ("mode", ""), ("loads", ""), ("paused_s", "s"),
    ("kept_bytes", "bytes"), ("uplink_bytes_per_s", "B/s"), ("rtt_s", "s"),
    ("prediction_error_frac", "frac"), ("regret_frac", "frac"),
)  # fmt: skip


def edge(
    bundle: Annotated[Path, typer.Argument(help="A bundle with cuts.")],
    cloud: Annotated[
        str | None, typer.Option(help="HOST:PORT; without one, the edge alone.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Ask for its test examples; random inputs without."),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="How many; 100 if it is not said.")
    ] = None,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds between two; 0 for at once.")
    ] = 0.0,
    tls: Annotated[
        Path | None, typer.Option(help="Folder of certificates, see trimtab certs.")
    ] = None,
    name: Annotated[str, typer.Option("--as", help="Whose certificate it shows.")] = (
        "edge"
    ),
    cloud_name: Annotated[
        str, typer.Option(help="That the cloud's certificate has.")
    ] = "cloud",
    mode: Annotated[
        Literal["shared", "standby", "lazy", "pause"],
        typer.Option(help="Which layers it keeps in memory."),
    ] = "shared",
    memory: Annotated[
        str | None, typer.Option(help="For weights and activations, such as 200MB.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Bytes to the cloud on average, such as 100kB/s."),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Of `trimtab profile` here; else that of the bundle."),
    ] = None,
    compiled: Compiled = False,
    log: Annotated[
        Path | None, typer.Option(help="Decisions, one JSON a line.")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(help="HOST:PORT; answer others until stopped, ask nothing."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="With --http: a live page, too.")
    ] = False,
    token_file: TokenFile = None,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="--http without TLS, though others than this host may ask."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer requests with a cloud, or without it where that is better or away.

    With --http they come from others, by the Open Inference Protocol.
    """
    from trimtab.partition.live.connection import Address
    from trimtab.partition.live.open import open_edge
    from trimtab.partition.live.run import ask, logged
    from trimtab.partition.profiles import read
    from trimtab.runtime import certs
    from trimtab.runtime.tokens import read_token
    from trimtab.units import parse_bytes

    listen = None
    if http is not None:
        listen = address(http)
        # The certificates are for the cloud's link, too, which --plain is not about.
        guard("--http", listen[0], tls=None if plain else tls, plain=plain)
        require_http()
        if data is not None or requests is not None or every:
            raise UsageError(
                "--http with --data, --requests or --every",
                rule="with it others ask, the command asks nothing",
                where="command line",
                remedy="leave out the one or the others",
            )
    require_address(http, dashboard=dashboard, token_file=token_file)
    where = None
    if cloud is not None:
        host, port = address(cloud)
        context = certs.client(tls, name) if tls is not None else None
        where = Address(
            host=host, port=port, tls=context, name=cloud_name if tls else None
        )
    if log is not None and not log.absolute().parent.is_dir():
        raise UsageError(
            f"log {str(log)!r}",
            rule="its folder does not exist",
            where="--log",
            remedy="make the folder first",
        )
    token = read_token(token_file)
    most = None if memory is None else parse_bytes(memory)
    with parts_of(compiled, quiet=as_json) as make:
        side = open_edge(
            bundle, cloud=where, edge_bytes=most, mode=mode,
            profile=None if profile is None else read(profile),
            bytes_per_s=None if budget is None else rate(budget), make=make,
        )  # fmt: skip
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    latencies: list[float] = []
    noted = contextlib.nullcontext() if log is None else logged(side, log)
    if listen is not None:
        context = certs.server(tls, name) if tls is not None and not plain else None
        with side, noted:
            _answer(side, listen, context, token, dashboard=dashboard, as_json=as_json)
    else:
        count = requests or 100
        with progress_bar(quiet=as_json) as progress, side, noted:
            progress("edge", 0.0, "connecting")
            if where is not None and not side.connected():
                why = side.connection.refused or "it is not reached"
                progress("edge", 0.0, f"without the cloud: {why}")
            latencies = ask(
                side,
                _inputs(side.halves.graph, data, count),
                every_s=every,
                told=lambda done: progress(
                    "edge", done / count, side.controller.log[-1].name
                ),
            )
    state = side.state()
    found: dict[str, Any] = {**state, **_percentiles(latencies)}
    if as_json:
        print_json(found)
        return
    rows = [
        (key, _text(found[key], unit))
        for key, unit in (*_SHOWN, ("latency_p50_s", "s"), ("latency_p95_s", "s"))
        if key in found
    ]
    console().print(table("Edge", [("", ""), ("", "")], rows))
    if found["refused"]:
        console().print(found["refused"], soft_wrap=True)


def _answer(
    side: Edge,
    listen: tuple[str, int],
    context: ssl.SSLContext | None,
    token: Token | None,
    *,
    dashboard: bool,
    as_json: bool,
) -> None:
    """Answer others until the process is told to end."""
    from trimtab.partition.live.http import edge_app
    from trimtab.runtime.signals import told
    from trimtab.runtime.signature import model_of

    app = edge_app(side, shown=dashboard)
    with told() as wait, http_server(app, *listen, context, token) as served:
        if as_json:
            print_json({"http": served.url})
        else:
            asked = f"{served.url}{model_of(side.halves.graph).path}"
            console().print(f"POST {asked}; stop it with Ctrl-C", soft_wrap=True)
            if dashboard:
                console().print(f"live page: {served.url}/")
        wait()


def _percentiles(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    ranked = sorted(latencies)
    last = len(ranked) - 1
    return {
        "latency_p50_s": ranked[len(ranked) // 2],
        "latency_p95_s": ranked[min(last, 19 * len(ranked) // 20)],
    }


def _text(value: object, unit: str) -> str:
    from trimtab.units import format_bytes, format_duration, format_percent, format_rate

    if unit and isinstance(value, int | float):
        how = {"s": format_duration, "frac": format_percent, "bytes": format_bytes}
        return format_rate(value) if unit == "B/s" else how[unit](value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _inputs(graph: Graph, data: str | None, count: int) -> Iterator[Tensor]:
    """Return examples of a data set, over and over, or random ones."""
    import torch

    leaves = [leaf for leaf in graph.inputs if leaf.type is not None]
    kind = leaves[0].type
    assert kind is not None
    if len(leaves) != 1 or not kind.dtype.startswith("float"):
        raise UsageError(
            f"requests of graph {graph.name!r}",
            rule="the command asks networks of one input of numbers",
            where="trimtab edge",
            remedy="use trimtab.partition.live.open.open_edge in Python",
        )
    if data is None:
        drawn = torch.Generator().manual_seed(0)
        for _ in range(count):
            yield torch.randn(kind.shape, generator=drawn)
        return
    from trimtab.training.data import load

    x, _ = load(data).test
    if tuple(x.shape[1:]) != kind.shape[1:] or kind.shape[0] != 1:
        raise UsageError(
            f"data {data!r} with examples of shape {tuple(x.shape[1:])}",
            rule=f"the network takes {list(kind.shape)}",
            where="trimtab edge",
            remedy="give other data",
        )
    for number in range(count):
        yield x[number % len(x)][None]
