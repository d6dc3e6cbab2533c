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

from benchmarks.jobs import Again, Quick, of_part, run, store_of, tell
from benchmarks.partition import report

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
    quick: Quick = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Again = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Policies beside each other; the rest is timed.")
    ] = 1,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = store_of(HERE, quick=quick)
    chosen = of_part(report.quick_jobs() if quick else report.jobs(), job)
    # Policies are simulated; all others are timed, one after the other.
    simulated = [each for each in chosen if each.key.startswith("policies/")]
    for some, count in (
        ([each for each in chosen if each not in simulated], 1),
        (simulated, at_once),
    ):
        run(some, store, again=again or quick, at_once=count)
    tell(HERE, store, report.all_rows(store), quick=quick)


if __name__ == "__main__":
    typer.run(main)
