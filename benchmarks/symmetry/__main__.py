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

from benchmarks.jobs import Again, Job, Quick, of_part, run, store_of, tell
from benchmarks.symmetry import report
from trimtab.cli.cluster import Cluster, executor_of

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
    quick: Quick = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Again = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Jobs beside each other, of one thread each.")
    ] = 1,
    cluster: Cluster = None,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = store_of(HERE, quick=quick)
    if quick:
        chosen = [
            Job(
                key="recover/mnist/shifted/300/0",
                module="benchmarks.symmetry.recover",
                arguments=("mnist", "shifted", "300", "0"),
            )
        ]
    else:
        chosen = of_part(report.jobs(), job)
    # What is timed runs alone.
    alone = [each for each in chosen if each.threads > 1]
    run(alone, store, again=again or quick)
    chosen = [each for each in chosen if each.threads == 1]
    with executor_of(cluster) as executor:
        run(chosen, store, again=again or quick, at_once=at_once, executor=executor)
    tell(HERE, store, report.all_rows(store), quick=quick)


if __name__ == "__main__":
    typer.run(main)
