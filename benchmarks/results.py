"""results.json of every benchmark: one row per claim, and its table.

A row states value, operator and goal; whether the goal is met follows from them and is
recomputed wherever it is shown. What was not measured is a row without a value.
"""

from __future__ import annotations

import json
import operator
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from trimtab.hardware.load import machine
from trimtab.units import format_value

_BEGIN, _END = "<!-- results: written by the command -->", "<!-- end of results -->"
_OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One claim.

    Attributes:
        id: of the claim, `benchmark/what`.
        name: for people.
        value: measured; None where it was not.
        unit: base unit of `trimtab.units.format_value`.
        op: how value and goal must stand; "" for a row that only informs.
        goal: of the claim.
        peer: whom it is compared with.
        peer_value: measured in the same run.
        interval: of the value.
        samples: raw values, or the name of the file that has them.
        note: the story where it misses.
    """

    id: str
    name: str
    value: float | None
    unit: str
    op: str = ""
    goal: float | None = None
    peer: str | None = None
    peer_value: float | None = None
    interval: tuple[float, float] | None = None
    samples: list[float] | str | None = None
    note: str = ""


def met(row: dict[str, object]) -> bool | None:
    """Return whether a row meets its goal; None where it has none."""
    if not row["op"]:
        return None
    value, goal = row["value"], row["goal"]
    if not isinstance(value, int | float) or not isinstance(goal, int | float):
        return False
    return bool(_OPERATORS[str(row["op"])](value, goal))


def write(folder: Path, rows: list[Row], *, quick: bool) -> Path:
    """Write the results of a benchmark and print them."""
    records = [asdict(row) for row in rows]
    for record in records:
        record["met"] = met(record)
    path = folder / ("results.quick.json" if quick else "results.json")
    draft = path.with_suffix(".making")
    draft.write_text(
        json.dumps(
            {
                "machine": machine("this").title,
                "date": datetime.now(UTC).date().isoformat(),
                "commit": _commit(),
                "rows": records,
            },
            indent=1,
        )
        + "\n",
        "utf-8",
    )
    draft.replace(path)
    print(table(path))
    return path


def claims(rows: Sequence[Row]) -> str:
    """Return rows as a table: what was claimed, measured, and whether it holds."""
    lines = ["| claim | measured | goal | met | |", "|---|---|---|---|---|"]
    for row in rows:
        value = "not measured"
        if row.value is not None:
            value = format_value(row.value, row.unit)
            if row.interval is not None:
                low, high = (format_value(each, row.unit) for each in row.interval)
                value += f" [{low}, {high}]"
        goal, outcome = "", ""
        if row.op and row.goal is not None:
            goal = f"{row.op} {format_value(row.goal, row.unit)}"
            fits = met({"op": row.op, "value": row.value, "goal": row.goal})
            outcome = "yes" if fits else "**no**"
        lines.append(f"| {row.name} | {value} | {goal} | {outcome} | {row.note} |")
    return "\n".join(lines)


def fill(readme: Path, body: str) -> None:
    """Put what a command found into a README, between the markers."""
    text = readme.read_text("utf-8")
    pattern = re.compile(re.escape(_BEGIN) + ".*?" + re.escape(_END), re.DOTALL)
    made = f"{_BEGIN}\n\n{body}\n\n{_END}"
    readme.write_text(pattern.sub(lambda _: made, text), "utf-8")


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def table(path: Path) -> str:
    """Return the rows of a results file as Markdown."""
    stored = json.loads(path.read_text("utf-8"))
    lines = [
        f"{path.parent.name}: {stored['machine']}, {stored['date']}, commit "
        f"{stored['commit']}",
        "",
        "| claim | measured | goal | met | peer | note |",
        "|---|---|---|---|---|---|",
    ]
    for row in stored["rows"]:
        outcome = {None: "", True: "yes", False: "**no**"}[met(row)]
        value = "not measured"
        if row["value"] is not None:
            value = format_value(row["value"], row["unit"])
        if row["interval"]:
            low, high = (format_value(end, row["unit"]) for end in row["interval"])
            value += f" [{low}, {high}]"
        goal = (
            f"{row['op']} {format_value(row['goal'], row['unit'])}" if row["op"] else ""
        )
        peer = ""
        if row["peer"]:
            peer = f"{row['peer']} {format_value(row['peer_value'], row['unit'])}"
        lines.append(
            f"| {row['name']} | {value} | {goal} | {outcome} | {peer} | {row['note']} |"
        )
    return "\n".join(lines) + "\n"
