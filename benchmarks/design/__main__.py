"""`make bench-design`: fields, rank correlations, and networks trained side by side.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. The rows are made anew from all that is stored.

    python -m benchmarks.design                    # all jobs
    python -m benchmarks.design --quick            # under five minutes
    python -m benchmarks.design --job none         # only the tables
    python -m benchmarks.design --job train --bases mobilenet
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.design import fields, headline, report, tables
from benchmarks.design.bases import BASES
from benchmarks.jobs import (
    NOT_MEASURED,
    Again,
    Job,
    Quick,
    of_part,
    origins,
    run,
    store_of,
)
from benchmarks.results import write

HERE = Path(__file__).parent


class Part(enum.StrEnum):
    """What to do."""

    FIELDS = "fields"
    TABLE = "table"
    SEARCH = "search"
    LATENCY = "latency"
    TRAIN = "train"
    ALL = "all"
    NONE = "none"


def main(
    quick: Quick = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    bases: Annotated[str, typer.Option(help="Names, by comma.")] = ",".join(BASES),
    again: Again = False,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = store_of(HERE, quick=quick)
    every: list[Job] = [*fields.jobs(), *tables.jobs(), *headline.jobs()]
    if quick:
        chosen = [*fields.jobs(), tables.quick_job()]
    else:
        unknown = [name for name in bases.split(",") if name not in BASES]
        if unknown:
            raise typer.BadParameter(f"{unknown[0]}: use {', '.join(BASES)}")
        chosen = [
            each for each in of_part(every, job) if _is_of(each, bases.split(","))
        ]
    run(chosen, store, again=again or quick)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    write(HERE, rows, quick=quick)
    if not quick:
        report.fill(HERE / "README.md", rows, origins(store))


def _is_of(job: Job, bases: list[str]) -> bool:
    kind, of, *_ = job.key.split("/")
    return kind in ("fields", "table") or of in bases


if __name__ == "__main__":
    typer.run(main)
