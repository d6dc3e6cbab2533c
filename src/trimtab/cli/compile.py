"""`trimtab compile`: kernels for a network, chosen by analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.cli.output import console, plain, print_json, progress_bar, table

__all__ = ["compile_network"]

# Title, unit, key of a task, and the least width of a terminal that has room.
_COLUMNS = (
    ("task", "", "task", 0),
    ("computes", "", "nodes", 150),
    ("family", "", "family", 0),
    ("schedule", "", "schedule", 110),
    ("judged", "count", "judged", 120),
    ("predicted", "s", "latency_s", 0),
    ("bound by", "", "bottleneck", 80),
    ("share", "frac", "share_frac", 90),
    ("rejected", "", "rejected", 140),
)


def compile_network(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py file, or a bundle.",
            metavar="NET",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file to load.")
    ] = None,
    machine: Annotated[
        str, typer.Option(help="Name in the catalogue, `this`, or a .toml file.")
    ] = "this",
    threads: Annotated[int, typer.Option(min=1, help="Of a call.")] = 1,
    batch_sizes: Annotated[
        list[int] | None,
        typer.Option("--batch", help="Compile for a batch size; repeat for several."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Bundle to write.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(help="Show loops and code of the kernels of a module or node."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    cache: Annotated[
        bool, typer.Option(help="Use what earlier calls have found.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose and compile a kernel for every task, without running a candidate."""
    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "starting")
        from trimtab.bundle.store import require_free, require_writable

        if output is not None:
            require_free(output, overwrite=overwrite)
            require_writable(output)
        from trimtab.compiler.compile import prepare
        from trimtab.hardware.load import machine as find_machine
        from trimtab.pipeline.network import open_network

        target = find_machine(machine)
        opened = open_network(
            network,
            inputs=inputs or (),
            weights=None if weights is None else str(weights),
        )
        progress("load", 1.0, opened.name)
        compilation = prepare(
            opened.module,
            opened.args,
            opened.kwargs,
            name=opened.name,
            machine=target,
            threads=threads,
            batch_sizes=batch_sizes or None,
            seed=seed,
            cache=cache,
            progress=lambda done, text: progress("compile", done, text),
        )
        explanations = compilation.explain(explain) if explain else []
        if output is not None:
            compilation.network().save(output, overwrite=overwrite)
    report = compilation.report
    if as_json:
        record: dict[str, Any] = {"network": opened.name, **report}
        if explain:
            record["explanations"] = explanations
        if output is not None:
            record["bundle"] = str(output)
        print_json(record)
        return
    out = console()
    rows = _rows(report)
    columns = [
        (title, unit, key) for title, unit, key, width in _COLUMNS if out.width >= width
    ]
    out.print(
        table(
            f"{opened.name} on {target.title}, {threads} thread(s)",
            [(title, unit) for title, unit, _ in columns],
            [[row[key] for _, _, key in columns] for row in rows],
        )
    )
    from trimtab.compiler.report import others_in
    from trimtab.units import format_duration

    out.print(
        f"{report['kernels']} kernels for {len(report['tasks'])} tasks, no candidate "
        f"was run; predicted {format_duration(report['latency_s'])}"
    )
    for sentence in others_in(report):
        out.print(sentence)
    for text in explanations:
        out.print()
        out.print(plain(text), markup=False, soft_wrap=True)
    if output is not None:
        out.print(f"written to {output}")


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    total = report["latency_s"] or 1.0
    rows = []
    for task in report["tasks"]:
        schedule = task["schedule"] or {}
        seconds = task["latency_s"]
        rows.append(
            {
                **task,
                "task": task["module"] or task["nodes"][0],
                "nodes": " ".join(task["nodes"]),
                "schedule": " ".join(f"{k}={v}" for k, v in schedule.items()),
                "share_frac": None if seconds is None else seconds / total,
                "rejected": "; ".join(
                    dict.fromkeys(each["reason"] for each in task["rejected"])
                ),
            }
        )
    return rows
