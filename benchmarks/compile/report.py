"""The rows of all jobs, and the tables of README.md between their markers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compile import cost, endtoend, rank, tuning
from benchmarks.compile.adapter import TARGETS
from benchmarks.compile.networks import NETWORKS
from benchmarks.jobs import NOT_MEASURED, Store, origins
from benchmarks.results import Row, met
from benchmarks.results import fill as fill_in
from trimtab.units import format_value

__all__ = ["all_rows", "fill", "tables"]

Record = dict[str, Any]


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [
        *endtoend.rows(store.all("e2e/")),
        *cost.rows(store.all("cost/")),
        *rank.rows(
            store.all("rank/"), {name: title for name, (title, *_) in TARGETS.items()}
        ),
        *tuning.rows(store.all("tuning/")),
    ]


def fill(readme: Path, results: Path, store: Store) -> None:
    """Write the tables of a results file into README.md, between the markers."""
    fill_in(readme, f"{origins(store)}\n\n{tables(results)}".rstrip("\n"))


def tables(results: Path) -> str:
    """Return the tables of a results file as Markdown."""
    stored = json.loads(results.read_text("utf-8"))
    rows = {row["id"]: row for row in stored["rows"]}
    head = f"{stored['machine']}, {stored['date']}, commit {stored['commit']}"
    parts = [head, "### Goals", _goals(list(rows.values()))]
    for threads in (1, 2):
        title = f"### Latency, {threads} thread{'s' * (threads > 1)}"
        parts += [title, _latencies(rows, threads)]
    parts += ["### Rank and regret", _ranks(list(rows.values()))]
    parts += ["### MetaSchedule", _claims(list(rows.values()), "compile/tuning/")]
    return "\n\n".join(parts) + "\n"


def _value(row: Record, default: str = NOT_MEASURED) -> str:
    return default if row["value"] is None else format_value(row["value"], row["unit"])


def _goals(rows: Sequence[Record]) -> str:
    """Return the rows that sum up or stand alone, with their goals."""
    lines = ["| claim | measured | goal | met | note |", "|---|---|---|---|---|"]
    for row in rows:
        if not row["op"] or re.match(r"compile/e2e/\d/\w+/", row["id"]):
            continue
        lines.append(
            f"| {row['name']} | {_value(row)} | {row['op']} "
            f"{format_value(row['goal'], row['unit'])} | "
            f"{'yes' if met(row) else '**no**'} | {row['note']} |"
        )
    return "\n".join(lines)


def _latencies(rows: Mapping[str, Record], threads: int) -> str:
    engines = ("ours", *endtoend.PEERS)
    lines = [
        f"| network | {' | '.join(engines)} | speed against the best | share of the "
        "roofline | error |",
        "|---" * (len(engines) + 4) + "|",
    ]
    for name in NETWORKS:
        base = f"compile/e2e/{threads}/{name}"
        if f"{base}/speed" not in rows:
            continue
        speed, error = rows[f"{base}/speed"], rows[f"{base}/error"]
        best = speed["peer"]
        cells = []
        for engine in engines:
            text = _value(rows[f"{base}/latency/{engine}"], "-")
            cells.append(f"**{text}**" if engine == best else text)
        shown = _value(speed, "-")
        if speed["interval"]:
            low, high = speed["interval"]
            shown += f" [{low:.2f}, {high:.2f}]"
        bound = "-"
        if error["value"] is not None:
            bound = f"{error['value']:.0e}{'' if met(error) else ' **too large**'}"
        share = _value(rows[f"{base}/roofline"], "-")
        lines.append(f"| {name} | {' | '.join(cells)} | {shown} | {share} | {bound} |")
    return "\n".join(lines)


def _ranks(rows: Sequence[Record]) -> str:
    lines = ["| operator, caches, target | regret | |", "|---|---|---|"]
    lines += [
        f"| {row['name'].replace(': regret of the first pick', '')} | {_value(row)} | "
        f"{row['note']} |"
        for row in rows
        if row["id"].startswith("compile/rank/") and not row["op"]
    ]
    return "\n".join(lines)


def _claims(rows: Sequence[Record], prefix: str) -> str:
    lines = ["| claim | measured | |", "|---|---|---|"]
    for row in rows:
        if row["id"].startswith(prefix):
            shown = _value(row, "none" if "none" in row["note"] else "-")
            lines.append(f"| {row['name']} | {shown} | {row['note']} |")
    return "\n".join(lines)
