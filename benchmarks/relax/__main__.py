"""`make bench-relax`: relaxations against what else costs as many gradients.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. Configurations are chosen on examples that are held out for it, written to
``configurations.json``, and have to be committed before the test sets are opened.

    python -m benchmarks.relax                  # all jobs that may run
    python -m benchmarks.relax --quick          # under five minutes
    python -m benchmarks.relax --job none       # only the tables
    python -m benchmarks.relax --job tune --at-once 2
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import Again, Job, Quick, of_part, run, store_of, tell
from benchmarks.relax import report
from benchmarks.relax.compare import committed
from benchmarks.relax.theory import draw
from trimtab.cli.cluster import Cluster, executor_of

HERE = Path(__file__).parent
_QUICK = ("theory/all", "untuned/0", "untuned/1")
_OPEN = ("test", "parle")  # which open the test sets


class Part(enum.StrEnum):
    """What to do."""

    COST = "cost"
    THEORY = "theory"
    UNTUNED = "untuned"
    TUNE = "tune"
    TEST = "test"
    PARLE = "parle"
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
    every = report.jobs()
    if quick:
        chosen = [each for each in every if each.key in _QUICK]
    else:
        chosen = of_part(every, job)

    def of(*kinds: str) -> list[Job]:
        return [each for each in chosen if each.key.split("/")[0] in kinds]

    run(of("cost"), store, again=again or quick)  # what is timed runs alone, and here
    with executor_of(cluster) as executor:

        def do(*kinds: str) -> bool:
            run(
                of(*kinds), store, again=again or quick, at_once=at_once,
                executor=executor,
            )  # fmt: skip
            return bool(of(*kinds))

        do("theory", "untuned")
        if do("tune") and not quick:
            missing = report.choose(store)
            typer.echo(f"configurations: {len(missing)} are missing", err=True)
        if of(*_OPEN):
            try:
                committed()
            except SystemExit as closed:
                typer.echo(str(closed), err=True)
            else:
                for key in report.stale(store):
                    store.path(key).unlink()
                do(*_OPEN)
    tell(HERE, store, report.all_rows(store), quick=quick)
    if not quick and (found := store.get("theory/all")):
        typer.echo(draw(found), err=True)


if __name__ == "__main__":
    typer.run(main)
