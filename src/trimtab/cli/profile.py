"""`trimtab profile`: seconds of every node on the machine at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import console, print_json, progress_bar, table

__all__ = ["profile"]

_SHOWN = 15


def profile(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
            metavar="NET",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON file of the profile.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file to load.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="One call may use.")] = 1,
    calls: Annotated[int, typer.Option(min=3, help="To time.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time every node of a network here; `partition` reads the file elsewhere."""
    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "capturing")
        from trimtab.hardware.load import machine
        from trimtab.partition.profiles import measured, write
        from trimtab.pipeline.network import open_graph

        traced = open_graph(
            network,
            inputs=inputs or (),
            weights=None if weights is None else str(weights),
        )
        progress("load", 1.0, f"{len(traced.graph.nodes)} operators")
        found = measured(
            traced.graph,
            traced.weights,
            machine("this").title,
            threads=threads,
            calls=calls,
            progress=lambda done, text: progress("measure", done, text),
        )
        write(found, output)
    record = {
        "network": traced.graph.name,
        "machine": found.machine,
        "threads": threads,
        "latency_s": float(found.seconds.sum()),
        "spread": found.spread,
        "profile": str(output),
    }
    if as_json:
        print_json(record)
        return
    rows = sorted(zip(found.nodes, found.p50_s, found.p90_s, strict=True),
                  key=lambda row: -row[1])  # fmt: skip
    out = console()
    out.print(
        table(
            f"{traced.graph.name} on {found.machine}, {threads} thread(s): its slowest "
            "nodes",
            [("node", ""), ("median", "s"), ("nine in ten below", "s")],
            rows[:_SHOWN],
        )
    )
    out.print(f"profile: {output}", soft_wrap=True)
