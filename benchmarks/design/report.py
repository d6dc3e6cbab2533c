"""The rows of all jobs, and the tables of README.md between their markers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.design.correlate import COLUMNS, correlated
from benchmarks.design.fields import KNOWN
from benchmarks.design.headline import CONTROLS, LEVELS, SEEDS, TRAINED, digest
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.results import Row, claims
from trimtab import stats
from trimtab.units import format_value

__all__ = ["all_rows", "fill", "records_of"]

_NEEDED = {("torchvision_v1", "imagenet"), ("nasbench101", "cifar10")}
# Where S is to be ahead of FLOPs for certain.
_PROXIES_201 = "nasbench201"

Record = Mapping[str, Any]


def records_of(store: Store, table: str) -> list[Record]:
    """Return the networks of a table that are stored, in whatever parts."""
    found: list[Record] = []
    for stored in store.all(f"table/{table}/").values():
        found += stored.get("networks", [])
    return found


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [
        *_field_rows(store.get("fields/torchvision") or {}),
        *_time_rows(store),
        *(
            row
            for table, columns in COLUMNS.items()
            for column in columns
            for row in _correlation_rows(table, column, records_of(store, table))
        ),
        *(
            row
            for base in ("resnet", "mobilenet")
            for row in _headline_rows(store, base)
        ),
    ]


def _field_rows(stored: Record) -> list[Row]:
    known, support = stored.get("known", {}), stored.get("support", {})
    right = sum(known.get(name) == size for name, size in KNOWN.items())
    wrong = [
        f"{name} {known[name]}, not {size}"
        for name, size in KNOWN.items()
        if name in known and known[name] != size
    ]
    exact = [
        name
        for name, each in support.items()
        if all(each["same"]) and each["traced"] == each["gradient"]
    ]
    return [
        Row(
            id="design/fields/known",
            name="receptive fields of the last convolution that are those of the table",
            value=right if known else None,
            unit="",
            op=">=",
            goal=len(KNOWN),
            note=("; ".join(wrong) or ", ".join(f"{k} {v}" for k, v in known.items()))
            if known
            else NOT_MEASURED,
        ),
        Row(
            id="design/fields/support",
            name="networks whose fields equal the support of gradients, place by place",
            value=len(exact) if support else None,
            unit="",
            op=">=",
            goal=8,
            note=", ".join(exact) or NOT_MEASURED,
        ),
    ]


def _time_rows(store: Store) -> list[Row]:
    times = (store.get("fields/torchvision") or {}).get("resnet50_s")
    cells = [each["seconds"] for each in records_of(store, "nasbench201")]
    return [
        Row(
            id="design/time/resnet50",
            name="analysis of ResNet-50 after capture, CPU time",
            value=stats.median(times) if times else None,
            unit="s",
            op="<=",
            goal=1.0,
            note="" if times else NOT_MEASURED,
        ),
        Row(
            id="design/time/nasbench201",
            name="capture and analysis of 491 networks of NAS-Bench-201, one core",
            value=sum(cells) if len(cells) == 491 else None,
            unit="s",
            op="<=",
            goal=300.0,
            note=f"{len(cells)} networks",
        ),
    ]


def _correlation_rows(table: str, column: str, records: list[Record]) -> list[Row]:
    base = f"design/rank/{table}/{column}"
    where = f"{table}, {column}"
    if not records:
        return [
            Row(
                id=f"{base}/S", name=f"{where}: Spearman of S", value=None, unit="",
                note=NOT_MEASURED,
            )
        ]  # fmt: skip
    found = correlated(records, column)
    rows = []
    for name, each in found.items():
        value, low, high = each["spearman"]
        tau, tau_low, tau_high = each["kendall"]
        ahead, ahead_low, ahead_high = each["ahead"]
        note = f"Kendall {tau:.3f} [{tau_low:.3f}, {tau_high:.3f}]"
        if name != "S":
            note += (
                f"; S is ahead by {ahead:+.3f} [{ahead_low:+.3f}, {ahead_high:+.3f}]"
            )
        rows.append(
            Row(
                id=f"{base}/{name}",
                name=f"{where}: Spearman of {name}, {len(records)} networks",
                value=value,
                unit="",
                interval=(low, high),
                note=note,
            )
        )
    ahead, low, high = found["FLOPs"]["ahead"]
    needed = (table, column) in _NEEDED or table.startswith(_PROXIES_201)
    rows.append(
        Row(
            id=f"{base}/ahead",
            name=f"{where}: S ahead of FLOPs, lower end of the interval",
            value=low,
            unit="",
            op=">=" if needed else "",
            goal=0.0 if needed else None,
            note=f"{ahead:+.3f} [{low:+.3f}, {high:+.3f}]",
        )
    )
    return rows


def _headline_rows(store: Store, base: str) -> list[Row]:
    trained = _trained(store, base)
    search = (store.get(f"search/{base}") or {}).get("designs", {})
    latency = (store.get(f"latency/{base}") or {}).get("latency_s", {})
    rows = []
    for name in (*LEVELS, *CONTROLS):
        row_id, title = f"design/headline/{base}/{name}", f"{base}, {name}"
        pairs = [
            (each[name], each["original"])
            for each in trained.values()
            if name in each and "original" in each
        ]
        if len(pairs) < 2:
            rows.append(
                Row(
                    id=row_id, name=f"{title}: accuracy against the original",
                    value=None, unit="", note=NOT_MEASURED,
                )
            )  # fmt: skip
            continue
        mine, theirs = (
            [each["accuracy"][-1] for each in side] for side in zip(*pairs, strict=True)
        )
        difference = stats.paired_difference(mine, theirs)
        mean = difference.mean
        note = (
            f"{100 * mean.value:+.2f} points [{100 * mean.low:+.2f}, "
            f"{100 * mean.high:+.2f}], {len(pairs)} pairs, p = "
            f"{difference.permutation_p:.3f}; {_costs(search, name)}"
        )
        if name in latency:
            was, now = latency["original"], latency[name]
            note += "".join(
                f"; latency {now[engine] / was[engine]:.2f}x ({engine})"
                for engine in was
            )
        goal = name in LEVELS
        rows.append(
            Row(
                id=row_id,
                name=f"{title}: points of accuracy gained, lower end of the interval",
                value=100 * mean.low,
                unit="",
                op=">=" if goal else "",
                goal=-1.5 if goal else None,
                note=note,
            )
        )
        if goal:
            saved = 1 - search[name]["parameters"] / search["original"]["parameters"]
            rows.append(
                Row(
                    id=f"{row_id}/parameters",
                    name=f"{title}: parameters saved",
                    value=saved,
                    unit="frac",
                    op=">=",
                    goal=0.5,
                    note="the abstract's mark is 65.38 %",
                )
            )
    rows.append(_search_row(base, search, trained))
    return rows


def _trained(store: Store, base: str) -> dict[int, dict[str, Record]]:
    """Return the trainings of each seed by design, those of other edits left out."""
    found: dict[int, dict[str, Record]] = {}
    for seed, name in itertools.product(range(SEEDS), TRAINED):
        run = store.get(f"train/{base}/{name.replace(' ', '-')}/{seed}")
        if run and "accuracy" in run and run["design"] == digest(base, name, seed):
            found.setdefault(seed, {})[name] = run
    return found


def _costs(search: Record, name: str) -> str:
    design = search[name]
    several = design if isinstance(design, list) else [design]
    was = search["original"]
    shares = [
        stats.median([each[key] / was[key] for each in several])
        for key in ("parameters", "multiply_adds")
    ]
    free = "" if several[0].get("robust", True) else "; --free, none is robust"
    return f"{shares[0]:.2f}x the parameters, {shares[1]:.2f}x the multiply-adds{free}"


def _search_row(
    base: str, search: Record, trained: Mapping[int, Mapping[str, Record]]
) -> Row:
    name = f"{base}: CPU seconds of the search, both levels"
    row_id = f"design/headline/{base}/search"
    if not search:
        return Row(id=row_id, name=name, value=None, unit="s", note=NOT_MEASURED)
    both = search["both"]
    note = f"{both['judged']} designs judged"
    if trained:
        one = stats.median(
            [run["cpu_s"] for each in trained.values() for run in each.values()]
        )
        note += (
            f"; training takes {one:.0f} s a network here, "
            f"{format_value(one * both['judged'], 's')} for as many"
        )
    return Row(id=row_id, name=name, value=both["cpu_s"], unit="s", note=note)


def fill(readme: Path, rows: Sequence[Row], head: str) -> None:
    """Write the tables into README.md, between the markers."""
    results.fill(readme, f"{head}\n\n{_tables(rows)}".rstrip("\n"))


def _tables(rows: Sequence[Row]) -> str:
    told = [
        row
        for row in rows
        if not row.id.startswith("design/rank/") or row.id.endswith("/ahead")
    ]
    parts = [claims(told), "### Rank correlation with published accuracy"]
    lines = ["| table | what | Spearman | |", "|---|---|---|---|"]
    for row in rows:
        if not row.id.startswith("design/rank/") or row.id.endswith("/ahead"):
            continue
        where, _, what = row.name.partition(": Spearman of ")
        value = NOT_MEASURED
        if row.value is not None and row.interval is not None:
            low, high = row.interval
            value = f"{row.value:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {where} | {what} | {value} | {row.note} |")
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"
