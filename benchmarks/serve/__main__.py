"""`make bench-serve`: what serving sustains within bounds on its tail.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was.

    python -m benchmarks.serve                 # all jobs
    python -m benchmarks.serve --quick         # a few minutes
    python -m benchmarks.serve --job none      # only the tables
    python -m benchmarks.serve --job paper --at-once 2
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import NOT_MEASURED, Store, cache_folder, origins, run
from benchmarks.results import claims, fill, write
from benchmarks.serve import report

HERE = Path(__file__).parent
SAMPLES = HERE / "samples"
_QUICK = ("paper/40/medium/plain", "follow/wnd")


class Part(enum.StrEnum):
    """What to do."""

    PAPER = "paper"
    TAILS = "tails"
    PROCESSES = "processes"
    FOLLOW = "follow"
    FLEET = "fleet"
    FAULTS = "faults"
    SOAK = "soak"
    REFEREE = "referee"
    ALL = "all"
    NONE = "none"


def main(
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Annotated[bool, typer.Option(help="Do what is stored anew.")] = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Simulations beside each other.")
    ] = 1,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = Store(cache_folder("serve") / "quick" if quick else SAMPLES)
    every = report.jobs()
    if quick:
        chosen = [each for each in every if each.key in _QUICK]
    else:
        chosen = [each for each in every if job in (Part.ALL, each.key.split("/")[0])]
    run(chosen, store, again=again or quick, at_once=at_once)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    write(HERE, rows, quick=quick)
    if not quick:
        body = f"{origins(store)}\n\n{claims(rows)}\n\n### Every network\n\n"
        fill(HERE / "README.md", body + report.networks(store))


if __name__ == "__main__":
    typer.run(main)
