"""`make bench-symmetry`: schemes recovered, rivals, a prior for invariance, cost.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. The rows are made anew from all that is stored.

    python -m benchmarks.symmetry                  # all jobs
    python -m benchmarks.symmetry --quick          # under five minutes
    python -m benchmarks.symmetry --job none       # only the tables
    python -m benchmarks.symmetry --job recover --at-once 2
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import NOT_MEASURED, Job, Store, cache_folder, origins, run
from benchmarks.results import claims, fill, write
from benchmarks.symmetry import report
from benchmarks.symmetry.tasks import SAMPLES

HERE = Path(__file__).parent


class Part(enum.StrEnum):
    """What to do."""

    COST = "cost"
    RECOVER = "recover"
    RIVALS = "rivals"
    UNSEEN = "unseen"
    LILA = "lila"
    ALL = "all"
    NONE = "none"


def main(
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Annotated[bool, typer.Option(help="Do what is stored anew.")] = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Jobs beside each other, of one thread each.")
    ] = 1,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = Store(cache_folder("symmetry") / "quick" if quick else SAMPLES)
    if quick:
        chosen = [
            Job(
                key="recover/mnist/shifted/300/0",
                module="benchmarks.symmetry.recover",
                arguments=("mnist", "shifted", "300", "0"),
            )
        ]
    else:
        chosen = [
            each for each in report.jobs() if job in (Part.ALL, each.key.split("/")[0])
        ]
    # What is timed runs alone.
    alone = [each for each in chosen if each.threads > 1]
    run(alone, store, again=again or quick)
    chosen = [each for each in chosen if each.threads == 1]
    run(chosen, store, again=again or quick, at_once=at_once)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    write(HERE, rows, quick=quick)
    if not quick:
        fill(HERE / "README.md", f"{origins(store)}\n\n{claims(rows)}")


if __name__ == "__main__":
    typer.run(main)
