"""`trimtab compile`: kernels for a network, chosen by analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trimtab.cli.cluster import Cluster, executor_of
from trimtab.cli.output import console, plain, print_json, progress_bar, table

__all__ = ["compile_network"]

_ANY = 10_000
# Title, unit, key of a task, the least width of a terminal that has room, and the most.
_COLUMNS = (
    ("task", "", "task", 0, _ANY),
    ("computes", "", "nodes", 150, _ANY),
    ("family", "", "family", 0, _ANY),
    ("schedule", "", "schedule", 130, _ANY),
    ("judged", "count", "judged", 120, _ANY),
    ("predicted", "s", "latency_s", 0, _ANY),
    ("bound by", "", "bottleneck", 80, 99),
    ("largest limits", "", "limits", 100, _ANY),
    ("share", "frac", "share_frac", 90, _ANY),
    ("rejected", "", "rejected", 150, _ANY),
)


def compile_network(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
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
        typer.Option(
            help="Show why a module or node is computed as it is: loops, limits and "
            "code of its kernels, for every batch size."
        ),
    ] = None,
    limits: Annotated[
        bool, typer.Option("--limits", help="Show every limit of every task.")
    ] = False,
    winograd: Annotated[
        bool,
        typer.Option(
            help="Let Winograd's schedules compute convolutions: faster, but what is "
            "no number spreads over a tile of pixels."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    cache: Annotated[
        bool, typer.Option(help="Use what earlier calls have found.")
    ] = True,
    cluster: Cluster = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Choose and compile a kernel for every task, without running a candidate."""
    with (
        executor_of(cluster) as executor,
        progress_bar(quiet=as_json) as progress,
    ):
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
            winograd=winograd,
            executor=executor,
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
    from trimtab.compiler.report import others_in
    from trimtab.units import format_duration

    several = len(report["batches"]) > 1
    for each in report["batches"]:
        batch = f", batch {each['batch']}" if several else ""
        title = f"{opened.name} on {target.title}, {threads} thread(s){batch}"
        out.print(_tasks(each, title, out.width))
        if limits:
            out.print(_limits(each, f"Limits of each task{batch}"))
        for sentence in others_in(each):
            out.print(f"batch {each['batch']}: {sentence}" if several else sentence)
    predicted = ", ".join(
        format_duration(each["latency_s"])
        + (f" for a batch of {each['batch']}" if several else "")
        for each in report["batches"]
    )
    out.print(
        f"{report['kernels']} kernels for "
        f"{sum(len(each['tasks']) for each in report['batches'])} tasks, no candidate "
        f"was run; predicted {predicted}"
    )
    for text in explanations:
        out.print()
        out.print(plain(text), markup=False, soft_wrap=True)
    if output is not None:
        out.print(f"written to {output}")


def _tasks(report: dict[str, Any], title: str, width: int) -> Any:
    """Return the table of the tasks of one batch size."""
    columns = [each[:3] for each in _COLUMNS if each[3] <= width <= each[4]]
    return table(
        title,
        [(heading, unit) for heading, unit, _ in columns],
        [[row[key] for _, _, key in columns] for row in _rows(report)],
    )


def _limits(report: dict[str, Any], title: str) -> Any:
    """Return the table of all limits of the tasks of one batch size."""
    names = list(
        dict.fromkeys(name for task in report["tasks"] for name in task["limits_s"])
    )
    return table(
        title,
        [("task", ""), *((name, "s") for name in names)],
        [
            [_name(task), *(task["limits_s"].get(name) for name in names)]
            for task in report["tasks"]
        ],
    )


def _name(task: dict[str, Any]) -> str:
    return str(task["module"] or task["nodes"][0])


def _rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    from trimtab.compiler.report import limits_in

    total = report["latency_s"] or 1.0
    rows = []
    for task in report["tasks"]:
        schedule = task["schedule"] or {}
        rows.append(
            {
                **task,
                "task": _name(task),
                "nodes": " ".join(task["nodes"]),
                "schedule": " ".join(f"{k}={v}" for k, v in schedule.items()),
                "limits": limits_in(task, 2).replace(", ", "\n"),
                "share_frac": task["latency_s"] / total,
                "rejected": "; ".join(
                    dict.fromkeys(each["reason"] for each in task["rejected"])
                ),
            }
        )
    return rows
