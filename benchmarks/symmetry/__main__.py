"""`make bench-symmetry`: schemes recovered, rivals, a prior for invariance, cost.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. The rows are made anew from all that is stored.

    python -m benchmarks.symmetry                  # all jobs
    python -m benchmarks.symmetry --quick          # under five minutes
    python -m benchmarks.symmetry --job none       # only the tables
    python -m benchmarks.symmetry --job recover
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import NOT_MEASURED, Job, Store, cache_folder, origins, run
from benchmarks.results import write
from benchmarks.symmetry import report

HERE = Path(__file__).parent


class Part(enum.StrEnum):
    """What to do."""

    COST = "cost"
    RECOVER = "recover"
    TASK = "task"
    UNSEEN = "unseen"
    LILA = "lila"
    ALL = "all"
    NONE = "none"


def main(
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Annotated[bool, typer.Option(help="Do what is stored anew.")] = False,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = Store(cache_folder("symmetry") / "quick" if quick else HERE / "samples")
    if quick:
        chosen = [
            Job(
                key="recover/shifted/300/0",
                module="benchmarks.symmetry.recover",
                arguments=("shifted", "300", "0"),
            )
        ]
    else:
        chosen = [
            each for each in report.jobs() if job in (Part.ALL, each.key.split("/")[0])
        ]
    run(chosen, store, again=again or quick)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    write(HERE, rows, quick=quick)
    if not quick:
        report.fill(HERE / "README.md", rows, origins(store))


if __name__ == "__main__":
    typer.run(main)
