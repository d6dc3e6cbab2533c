"""`make bench-partition`: wire, faults, predictions, policies and the study.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. Emulated links and quotas need root; faults go through a proxy without.

    python -m benchmarks.partition                  # all jobs
    python -m benchmarks.partition --quick          # under five minutes
    python -m benchmarks.partition --job none       # only the tables
    python -m benchmarks.partition --job calibrate --again
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import Store, cache_folder, origins, run
from benchmarks.partition import report
from benchmarks.results import claims, fill, write

HERE = Path(__file__).parent


class Part(enum.StrEnum):
    """What to do."""

    WIRE = "wire"
    FAULTS = "faults"
    FUZZ = "fuzz"
    CALIBRATE = "calibrate"
    MEMORY = "memory"
    POLICIES = "policies"
    STUDY = "study"
    ALL = "all"
    NONE = "none"


def main(
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Annotated[bool, typer.Option(help="Do what is stored anew.")] = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Policies beside each other; the rest is timed.")
    ] = 1,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = Store(cache_folder("partition") / "quick" if quick else HERE / "samples")
    every = report.quick_jobs() if quick else report.jobs()
    chosen = [each for each in every if job in (Part.ALL, each.key.split("/")[0])]
    # Policies are simulated; all others are timed, one after the other.
    simulated = [each for each in chosen if each.key.startswith("policies/")]
    for some, count in (
        ([each for each in chosen if each not in simulated], 1),
        (simulated, at_once),
    ):
        run(some, store, again=again or quick, at_once=count)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.value is not None]
    write(HERE, rows, quick=quick)
    if not quick:
        fill(HERE / "README.md", f"{origins(store)}\n\n{claims(rows)}")


if __name__ == "__main__":
    typer.run(main)
