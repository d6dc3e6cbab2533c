"""`trimtab run`: a plan from beginning to end."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.output import (
    console,
    print_json,
    progress_bar,
    table,
    verdict_records,
    verdict_table,
)

if TYPE_CHECKING:
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Carry out a plan: stages in order, then a bundle and a report."""
    overrides = {
        "output": output,
        "network": network,
        "data": data,
        "machine": machine,
        "threads": threads,
        "seed": seed,
    }
    carry_out(plan, overrides, overwrite=overwrite, as_json=as_json)


def carry_out(
    path: Path,
    overrides: Mapping[str, object],
    *,
    overwrite: bool,
    as_json: bool,
    change: Callable[[Plan], Plan] = lambda plan: plan,
) -> None:
    """Load a plan, carry it out, and print what it led to.

    Args:
        path: of the run file.
        overrides: keys that beat the file's.
        overwrite: whether an existing bundle may be replaced.
        as_json: whether JSON is printed.
        change: what is to be carried out instead.

    Raises:
        typer.Exit: 2, where a limit is not met.
    """
    with progress_bar(quiet=as_json) as progress:
        progress("start", 0.0, "")
        from trimtab.cost.verdict import fits
        from trimtab.pipeline.plan import load_plan
        from trimtab.pipeline.run import STAGES
        from trimtab.pipeline.run import run as through

        wanted = change(load_plan(path, overrides, set(STAGES)))
        progress("start", 1.0, f"{len(wanted.stages)} stages")
        gc.freeze()  # what was imported stays
        gc.enable()
        result = through(wanted, overwrite=overwrite, progress=progress)
    fitting = fits([*result.verdicts, *result.observed])
    if as_json:
        print_json(
            {
                "bundle": str(result.bundle),
                "report": str(result.report),
                "stages": [
                    {"name": name, "summary": summary}
                    for name, summary in result.stages
                ],
                "verdicts": verdict_records(result.verdicts),
                "observed": verdict_records(result.observed),
                "fits": fitting,
            }
        )
    else:
        out = console()
        out.print(table("Decided", [("stage", ""), ("result", "")], result.stages))
        if result.verdicts:
            out.print(verdict_table(result.verdicts))
        if result.observed:
            out.print(verdict_table(result.observed, "Observed on this host"))
        out.print(f"bundle: {result.bundle}", soft_wrap=True)
        out.print(f"report: {result.report}", soft_wrap=True)
    if not fitting:
        raise typer.Exit(2)
