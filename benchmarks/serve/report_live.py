"""Jobs and rows of the live engine: throughput, agreement, overhead."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.results import Row
from benchmarks.serve.agree import LOADS
from benchmarks.serve.overhead import LOADS as QUERIES
from trimtab.serve.curves import curve_names
from trimtab.stats import geometric_mean

__all__ = ["jobs", "quick_jobs", "rows"]

_GAIN: Final = 1.5
_REGRET: Final = 0.97
_TAIL: Final = 0.15
_RATE: Final = 0.10
_MODELS: Final = 6
_CPU_S: Final = 60e-6
_ALONE_S: Final = 200e-6


def jobs() -> list[Job]:
    """Return all jobs; on a quiet machine of two cores about an hour together."""
    return [
        *[
            Job(
                key=f"{what}/{network}",
                module=f"benchmarks.serve.{what}",
                arguments=(network,),
                cap_s=1800.0,
            )
            for what in ("live", "agree")
            for network in curve_names()
        ],
        Job(key="overhead/null", module="benchmarks.serve.overhead", cap_s=900.0),
    ]


def quick_jobs() -> list[Job]:
    """Return the short forms: one network, and fewer queries."""
    return [
        Job(
            key=f"{what}/ncf",
            module=f"benchmarks.serve.{what}",
            arguments=("ncf", "--quick"),
        )
        for what in ("live", "agree")
    ] + [
        Job(
            key="overhead/null",
            module="benchmarks.serve.overhead",
            arguments=("500",),
        )
    ]


def rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [*_live(store), *_agree(store), *_overhead(store)]


def _found(store: Store, what: str) -> dict[str, dict[str, Any]]:
    found = {each: store.get(f"{what}/{each}") for each in curve_names()}
    return {
        key: each
        for key, each in found.items()
        if each is not None and "failed" not in each
    }


def _absent(found: dict[str, Any]) -> str:
    missing = [each for each in curve_names() if each not in found]
    return f"not measured: {', '.join(missing)}" if missing else ""


def _note(*parts: str) -> str:
    return "; ".join(each for each in parts if each)


def _live(store: Store) -> list[Row]:
    found = _found(store, "live")
    held = {key: each for key, each in found.items() if "infeasible" not in each}
    out = [key for key in found if key not in held]
    infeasible = f"infeasible, simulated: {', '.join(out)}" if out else ""
    rows = []
    for against, title, goal in (
        ("fixed", "batches of 25", _GAIN),
        ("paper", "the paper's rule, 1000 items over the workers", 1.0),
        ("best", "the best of all batch sizes tried", _REGRET),
    ):
        gains: dict[str, float] = {}
        told: list[str] = []
        lifted: list[str] = []
        neither: list[str] = []
        for key, each in held.items():
            names, last = each["names"], each["last"]
            own, other = (
                last[names[name]]["rate_per_s"] for name in ("tuned", against)
            )
            if not other:
                (lifted if own else neither).append(key)
            else:
                gains[key] = own / other
                told.append(
                    f"{key} {own:.4g} for {other:.4g} q/s "
                    f"({names['tuned']} for {names[against]})"
                )
        values = list(gains.values())
        outside = [
            f"not counted, {why}: {', '.join(which)}"
            for why, which in (
                ("as the other keeps the target at no rate", lifted),
                ("as neither keeps it at any rate tried", neither),
            )
            if which
        ]
        note = _note(", ".join(told), *outside, infeasible, _absent(found))
        worst = against == "paper"
        mean = None
        if values and all(values):
            mean = min(values) if worst else geometric_mean(values)
        rows.append(
            Row(
                id=f"serve/live/{against}",
                name=f"live, all cores, tuned over {title}: "
                + ("worst network" if worst else "geometric mean"),
                value=0.0 if values and mean is None else mean,
                unit="x",
                op=">=",
                goal=goal,
                samples=values,
                note=note if found else NOT_MEASURED,
            )
        )
    return rows


def _agree(store: Store) -> list[Row]:
    found = _found(store, "agree")
    tails: dict[str, list[float]] = {}
    rates, late = {}, []
    for key, each in found.items():
        for load in each["loads"]:
            ratio = float(np.median([t or np.inf for t in load["measured_s"]]))
            tails.setdefault(key, []).append(ratio / load["simulated_s"] - 1)
        rates[key] = each["measured_per_s"] / each["simulated_per_s"] - 1
        if not (each["rates_timely"] and all(load["timely"] for load in each["loads"])):
            late.append(key)
    within = [key for key, each in tails.items() if max(map(abs, each)) <= _TAIL]
    near = [key for key, each in rates.items() if abs(each) <= _RATE]
    shares = ", ".join(f"{100 * each:.0f} %" for each in LOADS)
    caution = f"queries were sent too late: {', '.join(late)}" if late else ""
    tail_note = ", ".join(
        f"{key} {' '.join(f'{100 * each:+.0f} %' for each in both)}"
        for key, both in tails.items()
    )
    rate_note = ", ".join(
        f"{key} {100 * each:+.0f} % of {found[key]['simulated_per_s']:.4g} q/s"
        for key, each in rates.items()
    )
    both = [key for key in within if key in near]
    absent = _absent(found)
    titles = (
        ("tail", f"p95 within 15 % at {shares} of the largest rate", within, tail_note),
        ("rate", "largest rate within 10 %", near, rate_note),
        ("both", "both of these", both, ", ".join(both)),
    )
    return [
        Row(
            id=f"serve/agree/{what}",
            name=f"simulator against engine, one worker: {title}, networks",
            value=float(len(which)) if found else None,
            unit="count",
            op=">=",
            goal=float(_MODELS),
            note=_note(note, caution, absent) if found else NOT_MEASURED,
        )
        for what, title, which, note in titles
    ]


def _overhead(store: Store) -> list[Row]:
    found = store.get("overhead/null")
    measured = (found or {}).get("rows", {})
    rows = []
    for name, (items, batch, workers) in QUERIES.items():
        each = measured.get(name)
        title = f"{items} items, batches of {batch}, {workers} workers"
        for what, told, goal in (
            ("cpu", "processor time of a query, asking and dispatching", _CPU_S),
            ("alone_p50", "from asking to answer, alone, p50", _ALONE_S),
        ):
            values = each[f"{what}_s"] if each else []
            note = NOT_MEASURED
            if each:
                note = f"{len(values)} repeats"
                if what == "cpu":
                    parts = [
                        1e6 * float(np.median(each[part]))
                        for part in ("asking_s", "joining_s")
                    ]
                    note += f"; asking {parts[0]:.0f} us, joining {parts[1]:.0f} us"
            rows.append(
                Row(
                    id=f"serve/overhead/{name}/{what}",
                    name=f"a network that does nothing, {title}: {told}",
                    value=float(np.median(values)) if values else None,
                    unit="s",
                    op="<=",
                    goal=goal,
                    interval=(min(values), max(values)) if values else None,
                    samples=values or None,
                    note=note,
                )
            )
    return rows
