"""`trimtab edge`: the edge's side of a divided network."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.cloud import address
from trimtab.cli.output import console, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from trimtab.graph.types import Graph

__all__ = ["edge"]

_SHOWN = (
    ("requests", ""), ("answers", ""), ("remote", ""), ("local", ""), ("fallback", ""),
    ("hedged", ""), ("retried", ""), ("overloaded", ""), ("switches", ""),
    ("cut", ""), ("codec", ""), ("uplink_bytes_per_s", "B/s"), ("rtt_s", "s"),
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
    requests: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
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
    log: Annotated[
        Path | None, typer.Option(help="Decisions, one JSON a line.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer requests with a cloud, or without it where that is better or away."""
    from trimtab.partition.live import certs
    from trimtab.partition.live.edge import Address
    from trimtab.partition.live.open import open_edge
    from trimtab.partition.live.run import ask

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
    side = open_edge(bundle, cloud=where)
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    with progress_bar(quiet=as_json) as progress, side:
        progress("edge", 0.0, "connecting")
        if where is not None and not side.connected():
            why = str(side.refused) if side.refused else "it is not reached"
            progress("edge", 0.0, f"without the cloud: {why}")
        latencies = ask(
            side,
            _inputs(side.halves.graph, data, requests),
            every_s=every,
            told=lambda done: progress("edge", done / requests, side.state()["cut"]),
        )
        state = side.state()
        decisions = [each.record() for each in side.controller.log]
    if log is not None:
        log.write_text("".join(f"{json.dumps(each)}\n" for each in decisions), "utf-8")
    latencies.sort()
    found: dict[str, Any] = {
        **state,
        "latency_p50_s": latencies[len(latencies) // 2],
        "latency_p95_s": latencies[min(len(latencies) - 1, 19 * len(latencies) // 20)],
    }
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


def _text(value: object, unit: str) -> str:
    from trimtab.units import format_duration, format_percent, format_rate

    if unit and isinstance(value, int | float):
        how = {"s": format_duration, "frac": format_percent}
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
