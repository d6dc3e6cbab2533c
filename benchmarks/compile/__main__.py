"""`make bench-compile`: rank, compilation time, end to end and cost of the compiler.

Each result is stored in ``samples/`` when it is known; a run that is stopped goes on
where it was. The rows are made anew from all that is stored.

    python -m benchmarks.compile                # all jobs
    python -m benchmarks.compile --quick        # under five minutes
    python -m benchmarks.compile --job none     # only the tables
    python -m benchmarks.compile --job e2e --networks resnet18 --threads 1 --again
    python -m benchmarks.compile --job rank --operators matmul_512 --targets avx2
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compile import cost, endtoend, rank, report, tuning
from benchmarks.compile.adapter import TARGETS
from benchmarks.compile.engines import ENGINES
from benchmarks.compile.networks import NETWORKS
from benchmarks.compile.workloads import WORKLOADS
from benchmarks.jobs import NOT_MEASURED, Job, Store, cache_folder, run
from benchmarks.results import write

HERE = Path(__file__).parent


class Part(enum.StrEnum):
    """What to measure."""

    E2E = "e2e"
    RANK = "rank"
    TUNING = "tuning"
    COST = "cost"
    ALL = "all"
    NONE = "none"


def quick_jobs() -> list[Job]:
    """Return a few jobs of every part."""
    fast = [name for name in ENGINES if name != "torch.compile"]
    return [
        *endtoend.jobs(["squeezenet1_1", "dlrm_mlps"], [1], fast, rounds=3),
        *cost.jobs(),
        *rank.jobs(["matmul_512"], ["this"], 12),
        *tuning.jobs(["matmul_512"], [1, 10]),
    ]


def selected(
    part: Part,
    networks: list[str],
    threads: list[int],
    engines: list[str],
    operators: list[str],
    targets: list[str],
    rounds: int,
) -> list[Job]:
    """Return the jobs of a selection."""
    found: list[Job] = []
    if part in (Part.E2E, Part.ALL):
        found += endtoend.jobs(networks, threads, engines, rounds)
    if part in (Part.COST, Part.ALL):
        found += cost.jobs()
    if part in (Part.RANK, Part.ALL):
        found += rank.jobs(operators, targets, rank.CANDIDATES)
    if part in (Part.TUNING, Part.ALL):
        found += tuning.jobs(operators, tuning.FACTORS)
        if operators == list(WORKLOADS):
            found += tuning.network_jobs()
    return found


def _listed(text: str | None, allowed: list[str], option: str) -> list[str]:
    """Return the names of an option, all that are allowed if it is not given."""
    names = text.split(",") if text else allowed
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: use {', '.join(allowed)}", param_hint=option
        )
    return names


def main(
    quick: Annotated[bool, typer.Option(help="The short form.")] = False,
    job: Annotated[Part, typer.Option(help="What to measure.")] = Part.ALL,
    networks: Annotated[str | None, typer.Option(help="Names, by comma.")] = None,
    threads: Annotated[str | None, typer.Option(help="1, 2 or 1,2.")] = None,
    engines: Annotated[str | None, typer.Option(help="Names, by comma.")] = None,
    operators: Annotated[str | None, typer.Option(help="Names, by comma.")] = None,
    targets: Annotated[str | None, typer.Option(help="Names, by comma.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each engine.")] = 9,
    again: Annotated[bool, typer.Option(help="Measure what is stored anew.")] = False,
) -> None:
    """Measure what is not stored yet, then write results and tables."""
    store = Store(cache_folder("compile") / "quick" if quick else HERE / "samples")
    if quick:
        chosen = quick_jobs()
    else:
        chosen = selected(
            job,
            _listed(networks, list(NETWORKS), "--networks"),
            [int(each) for each in _listed(threads, ["1", "2"], "--threads")],
            _listed(engines, list(ENGINES), "--engines"),
            _listed(operators, list(WORKLOADS), "--operators"),
            _listed(targets, list(TARGETS), "--targets"),
            rounds,
        )
    run(chosen, store, again=again or quick)
    rows = report.all_rows(store)
    if quick:
        rows = [row for row in rows if row.note != NOT_MEASURED]
    path = write(HERE, rows, quick=quick)
    if not quick:
        report.fill(HERE / "README.md", path, store)


if __name__ == "__main__":
    typer.run(main)
