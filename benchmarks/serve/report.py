"""Jobs, and the rows of all results."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from scipy import stats as distributions

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.results import Row
from benchmarks.serve import report_faults, report_live
from benchmarks.serve.follow import LOADS
from benchmarks.serve.paper import CORES, LEVELS, PROCESSES, SEEDS
from benchmarks.serve.peers import results as peers
from trimtab.serve.curves import curve_names
from trimtab.stats import bootstrap_interval, geometric_mean

__all__ = ["all_rows", "jobs", "networks"]

_GOALS: Final = {"low": 1.8, "medium": 1.9, "high": 2.0}
_SHARE: Final = 0.7
_BACK_S: Final = 10.0
_MARGIN: Final = 1.05
_TITLES: Final = {
    "plain": "without contention",
    "contended": "with a shared memory",
    "coalesce": "without contention, small chunks joined",
    "climb": "without contention, by the paper's climb",
    "gpu-1": "with a GTX 1080 Ti, speed-ups over one thread",
    "gpu-40": "with a GTX 1080 Ti, speed-ups over 40 threads",
}


def tables() -> list[tuple[int, str, str]]:
    """Return cores, level and variant of every table."""
    found = [(cores, level, "plain") for cores in CORES for level in LEVELS]
    found += [
        (40, level, variant)
        for variant in ("contended", "gpu-1", "gpu-40")
        for level in LEVELS
    ]
    return [*found, (40, "medium", "climb"), (40, "medium", "coalesce")]


def jobs(*, quick: bool = False) -> list[Job]:
    """Return all jobs, or short forms of those that have one."""
    paper = "benchmarks.serve.paper"
    return [
        *[
            Job(
                key=f"paper/{cores}/{level}/{variant}",
                module=paper,
                arguments=("table", str(cores), level, variant),
                cap_s=3600.0,
            )
            for cores, level, variant in tables()
        ],
        *[
            Job(
                key=f"tails/{cores}",
                module=paper,
                arguments=("tails", str(cores), str(_SHARE)),
                cap_s=3600.0,
            )
            for cores in CORES
        ],
        Job(
            key="processes/4",
            module=paper,
            arguments=("processes", "4"),
            cap_s=3600.0,
        ),
        *[
            Job(
                key=f"follow/{network}",
                module="benchmarks.serve.follow",
                arguments=(network,),
                cap_s=3600.0,
            )
            for network in curve_names()
        ],
        Job(key="fleet/day", module="benchmarks.serve.fleet", cap_s=7200.0),
        *report_live.jobs(),
        *peers.jobs(quick=quick),
        *report_faults.jobs(),
    ]


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [
        *[_table(store, *each) for each in tables()],
        *[_tails(store, cores) for cores in CORES],
        *_processes(store),
        *_fleet(store),
        *_follow(store),
        *report_live.rows(store),
        *peers.rows(store),
        *report_faults.rows(store),
    ]


def networks(store: Store) -> str:
    """Return what each network sustains, as a Markdown table of every stored job."""
    lines = [
        "| cores, target, variant | network | static q/s | batch | from items | "
        "sustains q/s | gain |",
        "|---|---|---|---|---|---|---|",
    ]
    for cores, level, variant in tables():
        found = _get(store, f"paper/{cores}/{level}/{variant}")
        for network, row in (found or {"rows": {}})["rows"].items():
            if "batch" not in row:
                lines.append(
                    f"| {cores}, {level}, {variant} | {network} | infeasible | | | | |"
                )
                continue
            device = "" if row["threshold"] is None else str(row["threshold"])
            if row["policy"] == "finish":
                device = "first to finish"
            base = np.mean(row["static_per_s"])
            lines.append(
                f"| {cores}, {level}, {variant} | {network} | "
                f"{'infeasible' if row['infeasible'] else f'{base:.0f}'} | "
                f"{row['batch']} | {device} | {np.mean(row['tuned_per_s']):.0f} | "
                + ("" if row["gain"] is None else f"{row['gain']:.2f}")
                + " |"
            )
    return "\n".join(lines)


def _get(store: Store, key: str) -> dict[str, Any] | None:
    found = store.get(key)
    return None if found is None or "failed" in found else found


def _over_seeds(values: list[float]) -> tuple[float, float]:
    """Return the t interval of a mean over sequences of queries."""
    if len(values) < 2:
        return values[0], values[0]
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(distributions.t.ppf(0.975, len(values) - 1)) * error
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def _table(store: Store, cores: int, level: str, variant: str) -> Row:
    name = (
        f"{cores} cores, {level} target, {_TITLES[variant]}: tuned over static, "
        "geometric mean"
    )
    goal = _GOALS[level] if (cores, variant) == (40, "plain") else None
    row_id = f"serve/paper/{cores}/{level}/{variant}"
    found = _get(store, f"paper/{cores}/{level}/{variant}")
    if found is None:
        return Row(
            id=row_id, name=name, value=None, unit="x", op=">=" if goal else "",
            goal=goal, note=NOT_MEASURED,
        )  # fmt: skip
    rows = found["rows"]
    feasible = {key: row for key, row in rows.items() if row["gain"]}
    by_seed = [
        geometric_mean([row["gains"][seed] for row in feasible.values()])
        for seed in range(len(SEEDS))
    ]
    out = [key for key in rows if key not in feasible]
    note = ", ".join(
        f"{key} {row['gain']:.2f} ({row['batch']})" for key, row in feasible.items()
    )
    if out:
        note += f"; not counted, infeasible: {', '.join(out)}"
    return Row(
        id=row_id,
        name=name,
        value=geometric_mean([row["gain"] for row in feasible.values()]),
        unit="x",
        op=">=" if goal else "",
        goal=goal,
        interval=_over_seeds(by_seed),
        samples=by_seed,
        note=note,
    )


def _tails(store: Store, cores: int) -> Row:
    name = (
        f"{cores} cores: p95 saved at {100 * _SHARE:.0f} % of the static capacity, mean"
    )
    goal = 0.25 if cores == 40 else None
    found = _get(store, f"tails/{cores}")
    rows = (found or {"rows": {}})["rows"]
    cuts = [row["cut_frac"] for row in rows.values()]
    by_seed = [
        float(np.mean([row["cuts"][seed] for row in rows.values()]))
        for seed in range(len(next(iter(rows.values()))["cuts"]) if rows else 0)
    ]
    return Row(
        id=f"serve/tails/{cores}",
        name=name,
        value=float(np.mean(cuts)) if cuts else None,
        unit="frac",
        op=">=" if goal else "",
        goal=goal,
        interval=_over_seeds(by_seed) if by_seed else None,
        note=", ".join(
            f"{key} {100 * row['cut_frac']:.0f} % ({row['batch']})"
            for key, row in rows.items()
        )
        or NOT_MEASURED,
    )


def _processes(store: Store) -> list[Row]:
    """Return what each law of arrivals does to the rate that is sustained."""
    found = (_get(store, "processes/4") or {"rows": {}})["rows"]
    rows = []
    for spec in PROCESSES[1:]:
        ratios = {
            key: row[spec] / row["poisson"] for key, row in found.items() if row[spec]
        }
        rows.append(
            Row(
                id=f"serve/arrivals/{spec}",
                name=f"4 cores, batches of 256: sustained under {spec} over Poisson",
                value=geometric_mean(list(ratios.values())) if ratios else None,
                unit="x",
                note=", ".join(
                    f"{key} {row[spec]:.0f} for {row['poisson']:.0f}"
                    for key, row in found.items()
                )
                or NOT_MEASURED,
            )
        )
    return rows


def _fleet(store: Store) -> list[Row]:
    found = _get(store, "fleet/day")
    rows = []
    for tail in ("p95", "p99"):
        name = f"fleet over a day: {tail} saved by tuned batches, mean over hosts"
        row_id = f"serve/fleet/{tail}"
        if found is None:
            rows.append(
                Row(id=row_id, name=name, value=None, unit="frac", note=NOT_MEASURED)
            )
            continue
        before, after = (
            np.array(found[each][f"{tail}_s"]) for each in ("static", "tuned")
        )
        saved = 1 - after / before
        interval = bootstrap_interval(saved, np.mean, seed=0, resamples=2_000)
        rows.append(
            Row(
                id=row_id,
                name=name,
                value=interval.value,
                unit="frac",
                interval=(interval.low, interval.high),
                peer="abstract: production, hundreds of machines",
                peer_value=0.3,
                note=f"{found['hosts']} hosts of {found['networks']} networks; worst "
                f"{100 * saved.min():.0f} %, median {100 * np.median(saved):.0f} %",
            )
        )
    return rows


def _follow(store: Store) -> list[Row]:
    found = {
        network: result
        for network in curve_names()
        if (result := _get(store, f"follow/{network}")) is not None
    }
    note = "" if found else NOT_MEASURED
    if found and len(found) < len(curve_names()):
        note = f"of {', '.join(found)}"
    back = {key: each["rows"]["step"]["back_s"] for key, each in found.items()}
    rows = [
        Row(
            id="serve/follow/step",
            name="controller, twice the load: back under the target, slowest network",
            value=max(back.values()) if back else None,
            unit="s",
            op="<=",
            goal=_BACK_S,
            note=note or ", ".join(f"{key} {each:.0f}" for key, each in back.items()),
        )
    ]
    for load in LOADS:
        ratios = {
            key: each["rows"][load]["controlled_s"] / each["rows"][load]["static_s"]
            for key, each in found.items()
        }
        fixed = [
            each["rows"][load]["controlled_s"] / each["rows"][load]["fixed_s"]
            for each in found.values()
        ]
        rows.append(
            Row(
                id=f"serve/follow/trace/{load}",
                name=f"controller, {load}: p95 over static's, worst network",
                value=max(ratios.values()) if ratios else None,
                unit="x",
                op="<=",
                goal=_MARGIN,
                note=note
                or "geometric mean "
                f"{geometric_mean(list(ratios.values())):.2f}, over the best fixed "
                f"schedule's {geometric_mean(fixed):.2f}; "
                + ", ".join(f"{key} {each:.2f}" for key, each in ratios.items()),
            )
        )
    return rows
