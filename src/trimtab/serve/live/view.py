"""What the live page of a server shows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, final

from trimtab.bundle.section import Table
from trimtab.runtime.dashboard.history import History, Rates
from trimtab.runtime.dashboard.state import (
    Group,
    Span,
    State,
    Strip,
    Target,
    Tile,
    Tone,
    Trend,
)
from trimtab.runtime.estimators import Recent
from trimtab.serve.live.steering import Steering
from trimtab.units import format_duration

__all__ = ["View"]

_WINDOW_S: Final = 10.0  # of percentiles and rates
_KEPT_S: Final = 180.0  # that figures show
_ROWS: Final = 12
_PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_COUNTED: Final = ("queries", "answers", "shed", "late", "failed", "batches", "joined",
                   "again")  # fmt: skip
_NOTES: Final = {
    "queries": "taken", "answers": "given", "shed": "refused: 429",
    "late": "deadline had passed", "failed": "by the network", "batches": "to workers",
    "joined": "of several queries", "again": "a worker was lost",
}  # fmt: skip


@final
class View:
    """What is seen of a server.

    Args:
        side: that answers.
        why: of its first schedule: a sentence.
    """

    def __init__(self, side: Steering, why: str) -> None:
        self.side, self.why = side, why
        self._percentiles = dict(_PERCENTILES)
        self._percentiles[side.target.name] = side.target.share
        self._latency = Recent(_WINDOW_S, most=20_000)
        self._statuses: dict[str, int] = {"2": 0, "4": 0, "5": 0}
        self._history = History(_KEPT_S)
        self._rates = Rates()
        self._runs: deque[tuple[float, int]] = deque(maxlen=200)  # since, batch

    def answered(self, took_s: float, status: int) -> None:
        """Take how long a request took, and how it ended."""
        self._statuses[str(status)[0]] += 1
        if status == 200:
            self._latency.see(took_s, at=time.monotonic())

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        at_s = time.monotonic()
        known = self.side.engine.state()
        latency = {
            name: self._latency.quantile(share, at=at_s)
            for name, share in self._percentiles.items()
        }
        rates = self._rates.see({each: known[each] for each in _COUNTED}, at_s=at_s)
        batch = int(known["schedule"]["batch"])
        if not self._runs or self._runs[-1][1] != batch:
            self._runs.append((at_s, batch))
        self._history.see(
            {**latency, "answers": rates["answers"], "shed": rates["shed"],
             "oldest": known["oldest_s"], "batch": float(batch)},
            at_s=at_s,
        )  # fmt: skip
        status, tone = self._status(latency, known)
        return State(
            status=status,
            tone=tone,
            heading="In force",
            headline=f"Batch {batch}",
            reasons=self._reasons(known),
            blocks=(
                self._now(latency, rates, known),
                *self._trends(at_s),
                self._strip(at_s),
                self._counts(known),
                *self._decisions(at_s),
            ),
        )

    def _status(
        self, latency: Mapping[str, float | None], known: Mapping[str, Any]
    ) -> tuple[str, Tone]:
        if not known["workers"]:
            return "no worker is ready", "bad"
        target = self.side.target
        value = latency[target.name]
        if value is None:
            return "ready", "good"
        limit = format_duration(target.latency_s)
        said = f"{target.name} {format_duration(value)}, target {limit}"
        if value <= target.latency_s:
            return said, "good"
        return said, "bad"

    def _reasons(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = [self.why]
        if not self.side.steered:
            found.append("It stays, whatever comes.")
        elif self.side.log:
            last = self.side.log[-1]
            found.append(
                f"Last looked at: {last.why}; predicted "
                f"{self.side.target.name} {format_duration(last.predicted_s)} at "
                f"{last.rate_per_s:.3g} queries a second, {last.mean_items:.0f} items."
            )
        if self.side.old or known["schedule"]["shed"]:
            found.append("The queue is old: what would be late is refused.")
        return tuple(found)

    def _now(
        self,
        latency: Mapping[str, float | None],
        rates: Mapping[str, float],
        known: Mapping[str, Any],
    ) -> Group:
        target = self.side.target
        tiles = [
            Tile(name=f"{name} latency", value=value, unit="s",
                 metric=f"latency_{name.replace('.', '_')}",
                 note=f"HTTP, last {_WINDOW_S:.0f} s")
            for name, value in latency.items()
        ]  # fmt: skip
        tiles += [
            Tile(name="target", value=target.latency_s, unit="s", metric="target",
                 note=f"of {target.name}"),
            Tile(name="throughput", value=rates["answers"], unit="req/s",
                 note="last 2 s"),
            Tile(name="open", value=known["open"], metric="open", note="queries"),
            Tile(name="backlog", value=known["backlog_s"], unit="s", metric="backlog",
                 note="of work, all workers"),
            Tile(name="oldest", value=known["oldest_s"], unit="s", metric="oldest",
                 note="in the queue"),
            Tile(name="batch", value=known["schedule"]["batch"], metric="batch",
                 note="items at most"),
            Tile(name="workers", value=known["workers"], metric="workers",
                 note=f"{known['restarts']} restarts",
                 tone="plain" if known["workers"] else "bad"),
        ]  # fmt: skip
        return Group(title="Now", tiles=tuple(tiles))

    def _counts(self, known: Mapping[str, Any]) -> Group:
        tiles = [
            Tile(name=name, value=known[name], metric=name, counter=True,
                 note=_NOTES[name],
                 tone="bad" if name == "failed" and known[name] else "plain")
            for name in _COUNTED
        ]  # fmt: skip
        for digit, note, tone in (("4", "bad, or too many", "warn"),
                                  ("5", "nobody could answer", "bad")):  # fmt: skip
            count = self._statuses[digit]
            tiles.append(
                Tile(name=f"HTTP {digit}xx", value=count, metric=f"http_{digit}xx",
                     counter=True, note=note,
                     tone="plain" if not count else "warn" if tone == "warn" else "bad")
            )  # fmt: skip
        return Group(title="So far", tiles=tuple(tiles))

    def _trends(self, at_s: float) -> tuple[Trend, ...]:
        target = self.side.target
        line = Target(name=f"target of {target.name}", value=target.latency_s)
        trend = self._history.trend
        return (
            trend("Latency", "s", {name: name for name in self._percentiles},
                  at_s=at_s, log=True, target=line),
            trend("Answers and refusals", "req/s",
                  {"answers": "answers", "shed": "refused"}, at_s=at_s, stacked=True),
            trend("Oldest in the queue", "s", {"oldest": "oldest"}, at_s=at_s),
        )  # fmt: skip

    def _strip(self, at_s: float) -> Strip:
        ends = [*(since for since, _ in self._runs), at_s][1:]
        sizes = sorted({batch for _, batch in self._runs})
        oldest = at_s - _KEPT_S
        return Strip(
            title="Batch size in force",
            spans=tuple(
                Span(name=str(batch), begin_s=max(since, oldest) - at_s,
                     end_s=end - at_s, colour=sizes.index(batch))
                for (since, batch), end in zip(self._runs, ends, strict=True)
                if end > oldest
            ),
        )  # fmt: skip

    def _decisions(self, at_s: float) -> tuple[Table, ...]:
        log = list(self.side.log)
        if not log:
            return ()
        changes = [each for each in log[:-1] if each.action != "keep"]
        rows = [
            (
                f"{format_duration(max(0.0, at_s - each.at_s))} ago", each.action,
                each.schedule.batch, each.rate_per_s, each.mean_items, each.seen_s,
                each.predicted_s, each.best_batch, each.best_s, each.why,
            )
            for each in [*changes, *log[-1:]][: -_ROWS - 1 : -1]
        ]  # fmt: skip
        return (
            Table(
                title="The last look, and changes before",
                columns=("when", "action", "batch", "rate", "items", "seen",
                         "predicted", "best batch", "it would have", "why"),
                units=("", "", "count", "req/s", "count", "s", "s", "count", "s", ""),
                rows=tuple(rows),
            ),
        )  # fmt: skip
