"""What the live page of an edge shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import numpy as np

from trimtab.bundle.section import Bars, Table
from trimtab.partition.conditions import Conditions
from trimtab.partition.controller import Decision
from trimtab.partition.live.digest import JUDGED_S, Digest, name_of
from trimtab.partition.live.edge import Edge
from trimtab.runtime.dashboard.state import Group, State, Target, Tile, Tone, Trend
from trimtab.runtime.dashboard.watch import Watch
from trimtab.units import format_duration, format_percent, format_rate

__all__ = ["EdgeView"]

_ROWS: Final = 12
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
        self.watch = Watch()
        self.answered = self.watch.answered
        self._digest = Digest()
        self._reached = ""

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        watch = self.watch
        known, decisions = self.edge.decided(self._digest.since)
        watch.look(self.edge.counts)
        watch.see({"uplink": known.uplink_bytes_per_s, "rtt": known.rtt_s})
        status, tone = self._status()
        self._happened(decisions, status, tone)
        shown = self._compared(known)
        headline, reasons = self._in_force(shown, known)
        return State(
            status=status,
            tone=tone,
            heading="In force",
            headline=headline,
            reasons=reasons,
            blocks=(
                self._candidates(shown, known),
                self._now(known),
                *self._answers(known),
                watch.forces("Cut in force"),
                watch.log(),
                self._table(),
                *self._link(),
                self._ends(),
                self._assumed(known),
            ),
        )

    def _happened(self, decisions: Sequence[Decision], status: str, tone: Tone) -> None:
        """Take what changed since the last look."""
        watch = self.watch
        if status != self._reached:
            watch.note(status, tone=tone)
            self._reached = status
        for run in self._digest.take(decisions, at_s=watch.at_s):
            watch.force(run.name, _why(run.first), at_s=run.begin_s,
                        colour=_colour(run.name))  # fmt: skip
        if watch.grown["failed"]:
            watch.note("failed", "Neither the cloud nor the edge could answer.",
                       times=watch.grown["failed"], tone="bad")  # fmt: skip

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
        self, shown: Sequence[int], known: Conditions
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
            passed_s = max(0.0, self.watch.at_s - run.begin_s)
            lasted = f"For {format_duration(passed_s)} and {run.requests} requests"
        reasons.append(f"{lasted}; {controller.switches} changes of the cut so far.")
        return name, tuple(reasons)

    # Numbers

    def _now(self, known: Conditions) -> Group:
        at_s = self.watch.at_s
        return Group(
            title="Now",
            tiles=(
                *self.watch.latency_tiles(),
                Tile(name="throughput", value=self.watch.rates["answers"],
                     unit="req/s", note="last 2 s"),
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
                *self.watch.status_tiles(),
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

    def _answers(self, known: Conditions) -> tuple[Trend, Trend]:
        space = self.edge.controller.space
        alone = None
        if bool(space.local.any()):
            costs = np.where(space.local, space.costs(known, "latency"), np.inf)
            alone = Target(name="edge alone, predicted", value=float(costs.min()))
        names = {f"{name}/s": name.replace("_", " ") for name in _ENDS}
        return (
            self.watch.latencies(alone),
            self.watch.trend("Answers by who gave them", "req/s", names, stacked=True),
        )

    def _link(self) -> tuple[Trend, Trend]:
        trend = self.watch.trend
        uplink, rtt = {"uplink": "goodput"}, {"rtt": "round trip"}
        return (
            trend("Goodput to the cloud, estimated", "bytes/s", uplink, log=True),
            trend("Round trip, estimated", "s", rtt),
        )

    def _table(self) -> Table:
        at_s = self.watch.at_s
        rows = [
            (
                f"{format_duration(max(0.0, at_s - run.begin_s))} ago", run.name,
                run.requests, run.predicted_s, run.actual_s, run.regret_s,
            )
            for run in list(self._digest.runs)[: -_ROWS - 1 : -1]
        ]  # fmt: skip
        return Table(
            title="How decisions turned out, equal ones in one row",
            columns=("since", "cut", "requests", "predicted", "actual", "regret"),
            units=("", "", "count", "s", "s", "s"),
            rows=tuple(rows),
        )


def _colour(name: str) -> int:
    """Return that of the edge, the link or the cloud in other figures."""
    return 0 if name == "edge only" else 2 if name.startswith("cloud only") else 1


def _why(first: Decision) -> str:
    """Return why a cut was taken, from the first decision for it."""
    known = first.conditions
    said = f"Predicted {format_duration(first.predicted_s)}"
    if not first.runner_up:
        return f"{said}; there was no other choice."
    return (
        f"{said}, runner-up {first.runner_up} {format_duration(first.runner_up_s)}, "
        f"at a goodput of {format_rate(known.uplink_bytes_per_s)} and a round trip of "
        f"{format_duration(known.rtt_s)}."
    )
