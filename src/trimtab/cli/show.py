"""`trimtab show`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.output import (
    console,
    plain,
    print_json,
    table,
    verdict_records,
    verdict_table,
)

if TYPE_CHECKING:
    from trimtab.bundle.store import Bundle

__all__ = ["show"]


def show(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    graph: Annotated[
        bool, typer.Option("--graph", help="Print the graph as text.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(
            "--why",
            metavar="NUMBER",
            help="Trace a number to its rule and inputs: latency, parameters, peak, "
            "accuracy ...",
        ),
    ] = None,
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
    if reason is not None:
        _explain(found, reason, as_json=as_json)
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


def _explain(bundle: Bundle, quantity: str, *, as_json: bool) -> None:
    """Print where a number comes from."""
    from dataclasses import asdict

    from trimtab.pipeline.why import why
    from trimtab.units import format_value

    found = why(bundle, quantity)
    if as_json:
        print_json(asdict(found))
        return
    out = console()
    value = format_value(found.value, found.unit)
    said = f"{found.quantity} is {value}: {found.rule}."
    out.print(plain(said), markup=False, soft_wrap=True)
    total = sum(each.value or 0.0 for each in found.parts)
    if found.parts:
        out.print(
            table(
                "Parts",
                [("part", ""), ("value", found.unit or "count"), ("share", "frac"),
                 ("rule", ""), ("inputs", "")],
                [
                    (
                        each.what, each.value,
                        each.value / total if each.value and total else None,
                        each.rule, each.inputs,
                    )
                    for each in found.parts
                ],
            )
        )  # fmt: skip
    if found.figures:
        out.print(
            table(
                "Numbers of the machine",
                [("number", ""), ("value", "count"), ("known", ""), ("from", "")],
                [
                    (each.path, each.value, each.origin, each.source)
                    for each in found.figures
                ],
            )
        )
    for note in found.notes:
        out.print(plain(note), markup=False, soft_wrap=True)
