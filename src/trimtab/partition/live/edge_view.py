"""What the live page of an edge shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np

from trimtab.bundle.section import Bars, Table
from trimtab.partition.conditions import Conditions
from trimtab.partition.live.digest import JUDGED_S, Digest, name_of
from trimtab.partition.live.edge import Edge
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
from trimtab.units import format_duration, format_percent

__all__ = ["EdgeView"]

_WINDOW_S: Final = 10.0  # of percentiles and rates
_KEPT_S: Final = 180.0  # that figures show
_ROWS: Final = 12
_PERCENTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_ENDS: Final = {  # in the order of edge, link, cloud, so that colours mean the same
    "local": "the edge alone, by decision",
    "hedge_won": "the edge, as it was first",
    "remote": "the cloud answered",
    "fallback": "the edge, as the cloud failed",
}
_EVENTS: Final = {
    "hedged": "the cloud was late", "retried": "the connection had ended",
    "overloaded": "the cloud had no room", "failed": "nobody answered",
}  # fmt: skip


@final
class EdgeView:
    """What is seen of an edge.

    Args:
        edge: that was started.
    """

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self._latency = Recent(_WINDOW_S, most=5_000)
        self._statuses: dict[str, int] = {"2": 0, "4": 0, "5": 0}
        self._history = History(_KEPT_S)
        self._rates = Rates()
        self._digest = Digest()
        self._colours: dict[str, int] = {}

    def answered(self, took_s: float, status: int) -> None:
        """Take how long a request took, and how it ended."""
        self._statuses[str(status)[0]] += 1
        if status == 200:
            self._latency.see(took_s, at=time.monotonic())

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        at_s = time.monotonic()
        known, decisions = self.edge.decided(self._digest.since)
        self._digest.take(decisions, at_s=at_s)
        latency = {
            name: self._latency.quantile(share, at=at_s) for name, share in _PERCENTILES
        }
        rates = self._rates.see(self.edge.counts, at_s=at_s)
        self._history.see(
            {
                **latency,
                **{f"{name}/s": rates[name] for name in _ENDS},
                "uplink": known.uplink_bytes_per_s,
                "rtt": known.rtt_s,
            },
            at_s=at_s,
        )
        status, tone = self._status()
        shown = self._compared(known)
        headline, reasons = self._in_force(shown, known, at_s)
        return State(
            status=status,
            tone=tone,
            heading="In force",
            headline=headline,
            reasons=reasons,
            blocks=(
                self._candidates(shown, known),
                self._now(latency, rates, known, at_s),
                *self._answers(known, at_s),
                self._strip(at_s),
                self._ends(),
                *self._link(at_s),
                self._assumed(known),
                self._table(at_s),
            ),
        )

    # In words

    def _status(self) -> tuple[str, Tone]:
        edge = self.edge
        if edge.connection.refused is not None:
            return "the cloud is refused", "bad"
        if edge.connection.cloud is None:
            return "without a cloud", "plain"
        where = f"{edge.connection.cloud.host}:{edge.connection.cloud.port}"
        if edge.controller.connected:
            return f"connected to {where}", "good"
        if edge.whole:
            return f"{where} is away: the edge answers alone", "warn"
        return f"{where} is away: nobody can answer", "bad"

    def _in_force(
        self, shown: Sequence[int], known: Conditions, at_s: float
    ) -> tuple[str, tuple[str, ...]]:
        controller, space = self.edge.controller, self.edge.controller.space
        why = self.edge.connection.refused
        refused = () if why is None else (str(why),)
        if not self._digest.runs:
            return "No request yet", refused
        choices = [space.choice(each, known) for each in shown]
        choice, second = choices[0], choices[1] if len(choices) > 1 else None
        parts = ((choice.edge_s, "on the edge"), (choice.link_s, "on the link"),
                 (choice.cloud_s, "in the cloud"))  # fmt: skip
        spent = [(seconds, place) for seconds, place in parts if seconds > 0]
        said = ", ".join(f"{format_duration(each)} {place}" for each, place in spent)
        reasons = [
            *refused,
            f"Best for {controller.settings.objective}; predicted "
            f"{format_duration(choice.latency_s)}"
            + (f": {said}." if len(spent) > 1 else f", all of it {spent[0][1]}."),
        ]
        if not controller.connected and bool(space.local.any()):
            reasons.append("Without the cloud the edge has no other choice.")
        elif second is not None:
            more = second.latency_s / max(choice.latency_s, 1e-12) - 1
            if more >= 1:
                how = f"{more + 1:.3g} times as long"
            elif more >= 0:
                how = f"{format_percent(more)} more"
            else:
                how = f"{format_percent(-more)} less, not enough to change for"
            reasons.append(
                f"Runner-up {name_of(second.name, second.codec)}: "
                f"{format_duration(second.latency_s)}, {how}."
            )
        name, run = name_of(choice.name, choice.codec), self._digest.runs[-1]
        lasted = "Since just now"
        if run.name == name:
            lasted = f"For {format_duration(max(0.0, at_s - run.begin_s))} and "
            lasted += f"{run.requests} requests"
        reasons.append(f"{lasted}; {controller.switches} changes of the cut so far.")
        return name, tuple(reasons)

    # Numbers

    def _now(
        self,
        latency: Mapping[str, float | None],
        rates: Mapping[str, float],
        known: Conditions,
        at_s: float,
    ) -> Group:
        latencies = [
            Tile(name=f"{name} latency", value=value, unit="s",
                 metric=f"latency_{name}", note=f"HTTP, last {_WINDOW_S:.0f} s")
            for name, value in latency.items()
        ]  # fmt: skip
        return Group(
            title="Now",
            tiles=(
                *latencies,
                Tile(name="throughput", value=rates["answers"], unit="req/s",
                     note="last 2 s"),
                Tile(name="goodput", value=known.uplink_bytes_per_s, unit="bytes/s",
                     metric="goodput", note="to the cloud"),
                Tile(name="round trip", value=known.rtt_s, unit="s", metric="rtt",
                     note="of a small frame"),
                Tile(name="prediction error", unit="frac", metric="prediction_error",
                     value=self._digest.error_frac(at_s),
                     note=f"median of {JUDGED_S:.0f} s"),
                Tile(name="regret", unit="frac", metric="regret",
                     value=self._digest.regret_frac(at_s),
                     note="over the best in hindsight"),
            ),
        )  # fmt: skip

    def _ends(self) -> Group:
        counts = self.edge.counts
        open_requests = counts["requests"] - counts["answers"] - counts["failed"]
        ends = [
            Tile(name=name.replace("_", " "), value=counts[name], note=note,
                 metric="answers", counter=True, labels=(("by", name),))
            for name, note in _ENDS.items()
        ]  # fmt: skip
        events = [
            Tile(name=name, value=counts[name], note=note, metric=name, counter=True,
                 tone="bad" if name == "failed" and counts[name] else "plain")
            for name, note in _EVENTS.items()
        ]  # fmt: skip
        asked = Tile(name="requests", value=counts["requests"], metric="requests",
                     counter=True, note=f"{open_requests} of them open")  # fmt: skip
        return Group(title="Who answered, and what happened",
                     tiles=(asked, *ends, *events))  # fmt: skip

    def _assumed(self, known: Conditions) -> Group:
        controller = self.edge.controller
        refused, failed = self._statuses["4"], self._statuses["5"]
        return Group(
            title="Link and machines, and how it went",
            tiles=(
                Tile(name="edge slowdown", value=known.edge_slowdown, unit="x",
                     metric="edge_slowdown", note="against its profile"),
                Tile(name="cloud slowdown", value=known.cloud_slowdown, unit="x",
                     metric="cloud_slowdown", note="against its profile"),
                Tile(name="cloud queue", value=known.queue_s, unit="s",
                     metric="cloud_queue", note="a request waits"),
                Tile(name="fading", value=known.fading, unit="x", metric="fading",
                     note="median over low end"),
                Tile(name="cut changes", value=controller.switches, metric="switches",
                     counter=True, note="so far"),
                Tile(name="connections", value=self.edge.counts["connections"],
                     metric="connections", counter=True, note="made so far"),
                Tile(name="connected", value=float(controller.connected),
                     metric="connected", note="now"),
                Tile(name="HTTP 4xx", value=refused, metric="http_refused",
                     counter=True, note="bad, or too many",
                     tone="warn" if refused else "plain"),
                Tile(name="HTTP 5xx", value=failed, metric="http_failed", counter=True,
                     note="nobody could answer", tone="bad" if failed else "plain"),
            ),
        )  # fmt: skip

    # Figures

    def _compared(self, known: Conditions) -> list[int]:
        """Return what is in force, the best with another cut, cloud and edge alone."""
        space, present = self.edge.controller.space, self.edge.controller.present
        latency = space.costs(known, "latency")
        groups = [space.positions == 0, space.local]
        if present is not None:
            groups.insert(0, space.positions != space.positions[present])
        best = [
            int(np.argmin(np.where(group, latency, np.inf)))
            for group in groups
            if bool(group.any())
        ]
        return list(dict.fromkeys([*([] if present is None else [present]), *best]))

    def _candidates(self, shown: Sequence[int], known: Conditions) -> Bars:
        space = self.edge.controller.space
        edge, link, cloud = space.parts(known)
        names = [space.choice(index, known).name for index in shown]
        return Bars(
            title="Predicted under what is assumed now",
            value_title="latency",
            value_unit="s",
            labels=tuple(
                name_of(name, space.codecs[index])
                for name, index in zip(names, shown, strict=True)
            ),
            parts=tuple(
                (place, tuple(float(part[index]) for index in shown))
                for place, part in (("edge", edge), ("link", link), ("cloud", cloud))
            ),
        )

    def _answers(self, known: Conditions, at_s: float) -> tuple[Trend, Trend]:
        space = self.edge.controller.space
        alone = None
        if bool(space.local.any()):
            costs = np.where(space.local, space.costs(known, "latency"), np.inf)
            alone = Target(name="edge alone, predicted", value=float(costs.min()))
        return (
            self._history.trend(
                "Latency", "s", {name: name for name, _ in _PERCENTILES},
                at_s=at_s, log=True, target=alone,
            ),
            self._history.trend(
                "Answers by who gave them", "req/s",
                {f"{name}/s": name.replace("_", " ") for name in _ENDS},
                at_s=at_s, stacked=True,
            ),
        )  # fmt: skip

    def _link(self, at_s: float) -> tuple[Trend, Trend]:
        return (
            self._history.trend(
                "Goodput to the cloud, estimated", "bytes/s", {"uplink": "goodput"},
                at_s=at_s, log=True,
            ),
            self._history.trend(
                "Round trip, estimated", "s", {"rtt": "round trip"}, at_s=at_s
            ),
        )  # fmt: skip

    def _strip(self, at_s: float) -> Strip:
        runs = self._digest.runs
        ends = [*(run.begin_s for run in runs), at_s][1:]
        oldest = at_s - _KEPT_S
        return Strip(
            title="Cut in force",
            spans=tuple(
                Span(name=run.name, begin_s=max(run.begin_s, oldest) - at_s,
                     end_s=end - at_s, colour=self._colour(run.name))
                for run, end in zip(runs, ends, strict=True)
                if end > oldest
            ),
        )  # fmt: skip

    def _colour(self, name: str) -> int:
        """Return that of the edge or the cloud in other figures, or one of its own."""
        if name not in self._colours:
            taken = set(self._colours.values())
            first = 0 if name == "edge only" else 2 if name[:5] == "cloud" else 1
            free = [each for each in (first, 1, 3, 4, 5, 6, 7) if each not in taken]
            self._colours[name] = free[0] if free else len(self._colours)
        return self._colours[name]

    def _table(self, at_s: float) -> Table:
        rows = [
            (
                f"{format_duration(max(0.0, at_s - run.begin_s))} ago",
                run.name,
                run.requests,
                run.predicted_s,
                run.actual_s,
                run.regret_s,
                run.last.runner_up or None,
                run.last.runner_up_s if run.last.runner_up else None,
                run.last.conditions.uplink_bytes_per_s,
                run.last.conditions.rtt_s,
            )
            for run in list(self._digest.runs)[: -_ROWS - 1 : -1]
        ]
        return Table(
            title="Last decisions, equal ones in one row",
            columns=("since", "cut", "requests", "predicted", "actual", "regret",
                     "runner-up", "it would take", "goodput", "round trip"),
            units=("", "", "count", "s", "s", "s", "", "s", "bytes/s", "s"),
            rows=tuple(rows),
        )  # fmt: skip
