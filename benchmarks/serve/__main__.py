"""`make bench-serve`: what serving sustains within bounds on its tail.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was.

    python -m benchmarks.serve                 # all jobs
    python -m benchmarks.serve --quick         # a few minutes
    python -m benchmarks.serve --job none      # only the tables
    python -m benchmarks.serve --job paper --at-once 2
    python -m benchmarks.serve --job live      # about 35 minutes, on a quiet machine
    python -m benchmarks.serve --job agree     # about 15
    python -m benchmarks.serve --job overhead  # a minute
    python -m benchmarks.serve --job live --quick
    python -m benchmarks.serve --job peers     # needs a quiet machine
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.jobs import Again, Quick, of_part, run, store_of, tell
from benchmarks.serve import report, report_live
from benchmarks.serve.peers import results as peers

HERE = Path(__file__).parent
_QUICK = ("paper/40/medium/plain", "follow/wnd", "peers/ncf")


class Part(enum.StrEnum):
    """What to do."""

    PAPER = "paper"
    TAILS = "tails"
    PROCESSES = "processes"
    FOLLOW = "follow"
    FLEET = "fleet"
    LIVE = "live"
    AGREE = "agree"
    OVERHEAD = "overhead"
    PEERS = "peers"
    FAULTS = "faults"
    SOAK = "soak"
    REFEREE = "referee"
    ALL = "all"
    NONE = "none"


def main(
    quick: Quick = False,
    job: Annotated[Part, typer.Option(help="What to do.")] = Part.ALL,
    again: Again = False,
    at_once: Annotated[
        int, typer.Option(min=1, help="Simulations beside each other.")
    ] = 1,
) -> None:
    """Do what is not stored yet, then write results and tables."""
    store = store_of(HERE, quick=quick)
    every = report.jobs(quick=quick)
    if quick:
        every = [each for each in every if each.key in _QUICK]
        every += report_live.quick_jobs()
    run(of_part(every, job), store, again=again or quick, at_once=at_once)
    tables = (
        f"### Over HTTP, beside others\n\n{peers.table(store)}\n\n"
        f"### Every network\n\n{report.networks(store)}"
    )
    rows = report.all_rows(store)
    tell(HERE, store, rows, quick=quick, more="" if quick else tables)


if __name__ == "__main__":
    typer.run(main)
