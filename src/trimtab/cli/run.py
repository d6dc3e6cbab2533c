"""`trimtab run`: a plan from beginning to end."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
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
from trimtab.cli.run_view import run_view

if TYPE_CHECKING:
    from rich.table import Table

    from trimtab.pipeline.bought import Stand
    from trimtab.pipeline.plan import Plan

__all__ = ["carry_out", "run"]


def run(
    plan: Annotated[Path, typer.Argument(help="The run file.", metavar="PLAN.toml")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder of the result.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Beats the file's.")] = None,
    data: Annotated[str | None, typer.Option(help="Beats the file's.")] = None,
    machine: Annotated[str | None, typer.Option(help="Beats the file's.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Beats the file's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Beats the file's.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing bundle whole.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="Do this stage alone; those before it are taken from an earlier run.",
        ),
    ] = None,
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="Do this stage and those behind it again; those before it are taken "
            "from an earlier run.",
        ),
    ] = None,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache/--no-cache", help="Keep results of stages, and go on from them."
        ),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Carry out a plan: stages in order, then a bundle and a report.

    Finished stages are kept in the cache folder: a run that was killed goes on from
    them, and one whose plan has changed does again what the change concerns.
    """
    overrides = {
        "output": output,
        "network": network,
        "data": data,
        "machine": machine,
        "threads": threads,
        "seed": seed,
    }
    carry_out(
        plan, overrides, overwrite=overwrite, as_json=as_json, cache=cache, only=only,
        first=first,
    )  # fmt: skip


def carry_out(
    path: Path,
    overrides: Mapping[str, object],
    *,
    overwrite: bool,
    as_json: bool,
    cache: bool = True,
    only: str | None = None,
    first: str | None = None,
    change: Callable[[Plan], Plan] = lambda plan: plan,
) -> None:
    """Load a plan, carry it out, and print what it led to.

    Args:
        path: of the run file.
        overrides: keys that beat the file's.
        overwrite: whether an existing bundle may be replaced.
        as_json: whether JSON is printed.
        cache: whether results of stages are kept, and taken from earlier runs.
        only: the stage that is done alone.
        first: the stage from which on all are done again.
        change: what is to be carried out instead.

    Raises:
        typer.Exit: 2, where a limit is not met.
    """
    with run_view(quiet=as_json) as progress:
        progress("start", 0.0, "")
        from trimtab.cost.verdict import fits
        from trimtab.pipeline.bought import records
        from trimtab.pipeline.plan import load_plan
        from trimtab.pipeline.run import STAGES
        from trimtab.pipeline.run import run as through

        wanted = change(load_plan(path, overrides, set(STAGES)))
        progress("start", 1.0, f"{len(wanted.stages)} stages")
        gc.freeze()  # what was imported stays
        gc.enable()
        progress.expect(
            ["network", *(name for name in STAGES if name in wanted.stages), "bundle"]
        )
        result = through(
            wanted, overwrite=overwrite, progress=progress, cache=cache, only=only,
            first=first,
        )  # fmt: skip
    fitting = fits([*result.verdicts, *result.observed])
    if as_json:
        print_json(
            {
                "bundle": str(result.bundle),
                "report": str(result.report),
                "stages": [
                    {"name": name, "summary": summary, "kept": name in result.kept}
                    for name, summary in result.stages
                ],
                "stands": records(result.stands),
                "notes": list(result.notes),
                "verdicts": verdict_records(result.verdicts),
                "observed": verdict_records(result.observed),
                "fits": fitting,
            }
        )
    else:
        out = console()
        out.print(table("Decided", [("stage", ""), ("result", "")], result.stages))
        out.print(_bought(result.stands))
        for note in result.notes:
            out.print(plain(f"note: {note}"), markup=False, soft_wrap=True)
        if result.verdicts:
            out.print(verdict_table(result.verdicts))
        if result.observed:
            out.print(verdict_table(result.observed, "Observed on this host"))
        out.print(f"bundle: {result.bundle}", soft_wrap=True)
        out.print(f"report: {result.report}", soft_wrap=True)
    if not fitting:
        raise typer.Exit(2)


def _bought(stands: Sequence[Stand]) -> Table:
    """Return the network before and after each stage; a change has its factor."""
    from trimtab.pipeline.bought import QUANTITIES, columns_of
    from trimtab.units import format_value

    names = columns_of(stands)
    rows: list[list[str]] = []
    before: Stand | None = None
    for each in stands:
        row = [each.stage]
        for name in names:
            value = each.values.get(name)
            old = before.values.get(name) if before is not None else None
            text = "" if value is None else format_value(value, QUANTITIES[name][1])
            if value and old and value != old and name != "accuracy_frac":
                text += f" ({value / old:.3g}x)"
            row.append(text)
        rows.append([*row, each.judged()])
        before = each
    headings = ["after", *(QUANTITIES[name][0] for name in names), "budget"]
    return table("What each stage bought", [(each, "") for each in headings], rows)
