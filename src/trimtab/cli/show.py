"""`trimtab show`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import (
    console,
    plain,
    print_json,
    table,
    verdict_records,
    verdict_table,
)

__all__ = ["show"]


def show(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    graph: Annotated[
        bool, typer.Option("--graph", help="Print the graph as text.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a bundle: origin, stages, verdicts, files, observations."""
    from dataclasses import asdict

    from trimtab.bundle import observations
    from trimtab.bundle.store import read
    from trimtab.graph.text import to_text

    found = read(bundle)
    if graph and not as_json:
        print(plain(to_text(found.graph)), end="")
        return
    manifest = found.manifest
    seen = observations.read(bundle)
    if as_json:
        record = asdict(manifest)
        record["verdicts"] = verdict_records(manifest.verdicts)
        record["observations"] = [asdict(each) for each in seen]
        if graph:
            record["graph"] = to_text(found.graph)
        print_json(record)
        return
    out = console()
    facts = [
        ("name", manifest.name),
        ("network", manifest.plan.get("network", found.graph.name)),
        ("machine", f"{manifest.machine}, {manifest.threads} thread(s)"),
        ("seed", manifest.seed),
        *manifest.versions.items(),
        *((f"{name} (sha-256)", value[:16]) for name, value in manifest.inputs.items()),
    ]
    out.print(table("Bundle", [("fact", ""), ("value", "")], facts))
    if manifest.stages:
        out.print(table("Decided", [("stage", ""), ("result", "")], manifest.stages))
    if manifest.verdicts:
        out.print(verdict_table(manifest.verdicts))
    sizes = [(name, (bundle / name).stat().st_size) for name in manifest.files]
    out.print(table("Files", [("file", ""), ("size", "bytes")], sizes))
    if seen:
        out.print(
            table(
                "Observed",
                [("date", ""), ("kind", ""), ("host", ""), ("values", "")],
                [
                    (
                        each.date,
                        each.kind,
                        each.host,
                        ", ".join(
                            f"{key} {num:.4g}" for key, num in each.values.items()
                        ),
                    )
                    for each in seen
                ],
            )
        )
