"""`make bench-summary`: one table of what was claimed and what was measured.

A line stands for one row of a benchmark's stored results, or for all rows that claim
the same of several networks, machines or traces. Every row with a goal belongs to
exactly one line, so that none can be left out; a test holds that. README has the table
to the letter.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from benchmarks.results import fill, met
from trimtab.units import format_value

__all__ = ["CLAIMS", "Claim", "stored", "summary"]

_HERE: Final = Path(__file__).parent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A line of the summary.

    Attributes:
        text: what is claimed.
        rows: a regular expression of the ids of its rows, whole.
    """

    text: str
    rows: str


def _claim(text: str, rows: str) -> Claim:
    return Claim(text=text, rows=rows)


CLAIMS: Final[Sequence[Claim]] = (
    _claim("latency predicted for eight networks, median error", "cost/error/median"),
    _claim("pairs of networks ranked wrong", "cost/ranking"),
    _claim("ResNet-50 captured and estimated", "cost/speed/analysis"),
    _claim("`trimtab inspect zoo:resnet50`, imports included", "cost/speed/inspect"),
    _claim("memory of that", "cost/speed/memory"),
    _claim("ten networks, speed against the best peer, geometric means of 1 and 2 "
           "threads", "compile/e2e/./mean"),
    _claim("each of them", "compile/e2e/./.*/speed"),
    _claim("their largest errors against float64", "compile/e2e/./.*/error"),
    _claim("regret of the first schedule on three processors, geometric means",
           "compile/rank/.*/regret"),
    _claim("regret of the worst operator", "compile/rank/.*/regret_worst"),
    _claim("rank correlation of predicted and measured times",
           "compile/rank/.*/spearman"),
    _claim("schedules of the smallest space", "compile/rank/legal_points"),
    _claim("ResNet-50 tuned and compiled", "compile/cost/seconds"),
    _claim("again, from the cache", "compile/cost/again"),
    _claim("memory of that", "compile/cost/memory"),
    _claim("published receptive fields that come out", "design/fields/known"),
    _claim("networks whose gradients reach as far as the fields",
           "design/fields/support"),
    _claim("ResNet-50 analysed", "design/time/resnet50"),
    _claim("491 networks of NAS-Bench-201 analysed", "design/time/nasbench201"),
    _claim("rank correlation of the score with accuracy, ahead of FLOPs",
           "design/rank/.*/ahead"),
    _claim("made smaller: points of accuracy gained, lower ends",
           "design/headline/[^/]*/[^/]*"),
    _claim("parameters saved by that", "design/headline/.*/parameters"),
    _claim("schemes of weight sharing found from data", "symmetry/recovery/all"),
    _claim("random partitions that beat the true scheme", "symmetry/recovery/control"),
    _claim("seven schemes compared, N = 1000", "symmetry/cost/fit"),
    _claim("collapsed network against averaging over four turns, times as fast",
           "symmetry/cost/call"),
    _claim("five trainings at equal gradients: error of local entropy less that of "
           "tuned SGD, upper ends", "relax/default/.*"),
    _claim("inequality of stochastic control, lower ends", "relax/control/.*"),
    _claim("a step of local entropy in steps of SGD, 0.5 M weights", "relax/cost/.*"),
    _claim("latency predicted for eight divided networks, median error",
           "partition/calibrate/error"),
    _claim("each of them", "partition/calibrate/error/.*"),
    _claim("measured points that each is fitted to, and as many to judge by",
           "partition/calibrate/points"),
    _claim("adaptive cuts against the best of each request, and the best static one",
           "partition/policies/(optimum|static)"),
    _claim("until requests cost the optimum again", "partition/policies/recovery"),
    _claim("points of condition, cut and network that are simulated",
           "partition/study/points"),
    _claim("processor time of that", "partition/study/time"),
    _claim("the wire with TLS, of the transfer at 100 Mbit/s", "partition/wire/wall"),
    _claim("under eight kinds of fault: answers lost, wrong or twice; frames and "
           "clients that do harm",
           "partition/faults/(lost|wrong|duplicate|let-in|shown-out|harmful)"),
    _claim("until service is back", "partition/faults/back/.*"),
    _claim("fuzzed frames", "partition/faults/frames"),
    _claim("memory of the cloud grown by", "partition/faults/memory"),
    _claim("40 simulated cores, three targets: tuned against batch 25",
           "serve/paper/.*"),
    _claim("p95 saved at 70 % of that", "serve/tails/.*"),
    _claim("twice the load: until back under the target", "serve/follow/step"),
    _claim("six traces: p95 with the controller and without", "serve/follow/trace/.*"),
    _claim("live on two cores: tuned against batch 25", "serve/live/fixed"),
    _claim("tuned against the paper's own rule", "serve/live/paper"),
    _claim("tuned against an exhaustive search", "serve/live/best"),
    _claim("networks for which the simulator agrees with the engine", "serve/agree/.*"),
    _claim("processor time to dispatch a query", "serve/overhead/.*/cpu"),
    _claim("median latency of a network that does nothing",
           "serve/overhead/.*/alone_p50"),
    _claim("over HTTP against the best of Ray Serve, LitServe and FastAPI",
           "serve/peers"),
    _claim("queries lost, twice or wrong under four kinds of fault, and in a soak",
           "serve/(faults|soak)/(?!growth).*"),
    _claim("memory grown in ten minutes", "serve/soak/growth"),
    _claim("rates that MLPerf's LoadGen calls VALID", "serve/referee/.*"),
)  # fmt: skip


def stored(folder: Path = _HERE) -> list[dict[str, Any]]:
    """Return the rows with a goal of all stored results."""
    return [
        row
        for path in sorted(folder.glob("*/results.json"))
        for row in json.loads(path.read_text("utf-8"))["rows"]
        if row["op"]
    ]


def summary(rows: Sequence[dict[str, Any]], claims: Sequence[Claim] = CLAIMS) -> str:
    """Return the table of all claims, in Markdown.

    Raises:
        ValueError: a row belongs to no claim, or to several; a claim has no row, or
            rows in several units.
    """
    owners = {
        row["id"]: [each for each in claims if re.fullmatch(each.rows, row["id"])]
        for row in rows
    }
    wrong = [name for name, found in owners.items() if len(found) != 1]
    empty = [each.rows for each in claims if [each] not in owners.values()]
    if wrong or empty:
        raise ValueError(f"rows without one claim: {wrong}; claims without: {empty}")
    lines = [
        "| part | claim | ours | goal | beside | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for claim in claims:
        own = [row for row in rows if owners[row["id"]] == [claim]]
        part = own[0]["id"].split("/")[0]
        lines.append(f"| {part} | {claim.text} | {_cells(own)} |")
    done = sum(bool(met(row)) for row in rows)
    absent = sum(row["value"] is None for row in rows)
    return "\n".join(lines) + (
        f"\n\nOf {len(rows)} goals {done} are met, {len(rows) - done - absent} missed, "
        f"{absent} not measured yet."
    )


def _cells(rows: Sequence[dict[str, Any]]) -> str:
    if len({row["unit"] for row in rows}) > 1:
        raise ValueError(f"several units: {[row['id'] for row in rows]}")
    values = [(row["value"], row["unit"]) for row in rows if row["value"] is not None]
    ours = "not measured"
    if values:
        ends = [format_value(*pick(values)) for pick in (min, max)]
        ours = " to ".join(dict.fromkeys(ends))
    goals = dict.fromkeys(
        f"{row['op']} {format_value(row['goal'], row['unit'])}" for row in rows
    )
    peers = ", ".join(sorted({row["peer"] for row in rows if row["peer"]}))
    good = sum(bool(met(row)) for row in rows)
    verdict = f"{good} of {len(rows)}" if len(rows) > 1 else "met" if good else "missed"
    absent = len(rows) - len(values)
    if not values:
        verdict = "not measured"
    else:
        verdict += f", {absent} not measured" if absent else ""
        if good < len(values):
            verdict = f"**{verdict}**"
    return f"{ours} | {' or '.join(goals)} | {peers} | {verdict}"


def main() -> None:
    """Print the table, and put it into README where that is here."""
    table = summary(stored())
    print(table)
    fill(_HERE.parent / "README.md", table)
    sys.exit(0)


if __name__ == "__main__":
    main()
