"""`make bench-summary`: one table of what was claimed and what was measured.

A line stands for one row of a benchmark's stored results, or for all rows that claim
the same of several networks, machines or traces. Every row with a goal belongs to
exactly one line, so that none can be left out; a test holds that. README has the table
to the letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from benchmarks.results import fill, met
from trimtab.units import format_value

__all__ = ["CLAIMS", "Claim", "stored", "summary"]

_HERE: Final = Path(__file__).parent


@final
@dataclass(frozen=True, slots=True)
class Claim:
    """A line of the summary.

    Attributes:
        text: what is claimed.
        rows: a regular expression of the ids of its rows, whole.
    """

    text: str
    rows: str


CLAIMS: Final[Sequence[Claim]] = (
    Claim("latency predicted for eight networks, median error", "cost/error/median"),
    Claim("pairs of networks ranked wrong", "cost/ranking"),
    Claim("ResNet-50 captured and estimated", "cost/speed/analysis"),
    Claim("`trimtab inspect zoo:resnet50`, imports included", "cost/speed/inspect"),
    Claim("memory of that", "cost/speed/memory"),
    Claim("ten networks, speed against the best peer, geometric means of 1 and 2 "
           "threads", "compile/e2e/./mean"),
    Claim("each of them", "compile/e2e/./.*/speed"),
    Claim("their largest errors against float64", "compile/e2e/./.*/error"),
    Claim("regret of the first schedule on three processors, geometric means",
           "compile/rank/.*/regret"),
    Claim("regret of the worst operator", "compile/rank/.*/regret_worst"),
    Claim("rank correlation of predicted and measured times",
           "compile/rank/.*/spearman"),
    Claim("schedules of the smallest space", "compile/rank/legal_points"),
    Claim("ResNet-50 tuned and compiled", "compile/cost/seconds"),
    Claim("again, from the cache", "compile/cost/again"),
    Claim("memory of that", "compile/cost/memory"),
    Claim("published receptive fields that come out", "design/fields/known"),
    Claim("networks whose gradients reach as far as the fields",
           "design/fields/support"),
    Claim("ResNet-50 analysed", "design/time/resnet50"),
    Claim("491 networks of NAS-Bench-201 analysed", "design/time/nasbench201"),
    Claim("rank correlation of the score with accuracy, ahead of FLOPs",
           "design/rank/.*/ahead"),
    Claim("made smaller: points of accuracy gained, lower ends",
           "design/headline/[^/]*/[^/]*"),
    Claim("parameters saved by that", "design/headline/.*/parameters"),
    Claim("schemes of weight sharing found from data", "symmetry/recovery/all"),
    Claim("random partitions that beat the true scheme", "symmetry/recovery/control"),
    Claim("seven schemes compared, N = 1000", "symmetry/cost/fit"),
    Claim("collapsed network against averaging over four turns, times as fast",
           "symmetry/cost/call"),
    Claim("five trainings at equal gradients: error of local entropy less that of "
           "tuned SGD, upper ends", "relax/default/.*"),
    Claim("inequality of stochastic control, lower ends", "relax/control/.*"),
    Claim("a step of local entropy in steps of SGD, 0.5 M weights", "relax/cost/.*"),
    Claim("latency predicted for eight divided networks, median error",
           "partition/calibrate/error"),
    Claim("each of them", "partition/calibrate/error/.*"),
    Claim("measured points that each is fitted to, and as many to judge by",
           "partition/calibrate/points"),
    Claim("adaptive cuts against the best of each request, and the best static one",
           "partition/policies/(optimum|static)"),
    Claim("until requests cost the optimum again", "partition/policies/recovery"),
    Claim("points of condition, cut and network that are simulated",
           "partition/study/points"),
    Claim("processor time of that", "partition/study/time"),
    Claim("the wire with TLS, of the transfer at 100 Mbit/s", "partition/wire/wall"),
    Claim("under eight kinds of fault: answers lost, wrong or twice; frames and "
           "clients that do harm",
           "partition/faults/(lost|wrong|duplicate|let-in|shown-out|harmful)"),
    Claim("until service is back", "partition/faults/back/.*"),
    Claim("fuzzed frames", "partition/faults/frames"),
    Claim("memory of the cloud grown by", "partition/faults/memory"),
    Claim("40 simulated cores, three targets: tuned against batch 25",
           "serve/paper/.*"),
    Claim("p95 saved at 70 % of that", "serve/tails/.*"),
    Claim("twice the load: until back under the target", "serve/follow/step"),
    Claim("six traces: p95 with the controller and without", "serve/follow/trace/.*"),
    Claim("live on two cores: tuned against batch 25", "serve/live/fixed"),
    Claim("tuned against the paper's own rule", "serve/live/paper"),
    Claim("tuned against an exhaustive search", "serve/live/best"),
    Claim("networks for which the simulator agrees with the engine", "serve/agree/.*"),
    Claim("processor time to dispatch a query", "serve/overhead/.*/cpu"),
    Claim("median latency of a network that does nothing",
           "serve/overhead/.*/alone_p50"),
    Claim("over HTTP against the best of Ray Serve, LitServe and FastAPI",
           "serve/peers"),
    Claim("queries lost, twice or wrong under four kinds of fault, and in a soak",
           "serve/(faults|soak)/(?!growth).*"),
    Claim("memory grown in ten minutes", "serve/soak/growth"),
    Claim("rates that MLPerf's LoadGen calls VALID", "serve/referee/.*"),
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


if __name__ == "__main__":
    main()
