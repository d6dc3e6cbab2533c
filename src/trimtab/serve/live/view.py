"""What the live page of a server shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, final

from trimtab.runtime.dashboard.state import Group, State, Target, Tile, Tone, Trend
from trimtab.runtime.dashboard.watch import Watch
from trimtab.serve.control import Decision
from trimtab.serve.live.steering import Steering
from trimtab.units import format_duration

__all__ = ["View", "schedule_name"]

_COUNTED: Final = {
    "queries": "taken", "answers": "given", "shed": "refused: 429",
    "late": "deadline had passed", "failed": "by the network", "batches": "to workers",
    "joined": "of several queries", "again": "a worker was lost",
    "offloaded": "to the accelerator",
}  # fmt: skip
_EVENTS: Final[Mapping[str, tuple[str, str, Tone]]] = {
    "refused": (
        "refused",
        "There was no room, it would have been late, or its deadline passed while it "
        "waited: 429.",
        "warn",
    ),
    "failed": ("failed", "The network could not answer: see the log.", "bad"),
    "restarts": (
        "worker lost",
        "Its queries went to another; it was started anew.",
        "bad",
    ),
}


def schedule_name(schedule: Mapping[str, Any]) -> str:
    """Return what a schedule is called.

    Args:
        schedule: as JSON has it.

    Example:
        >>> schedule_name({"batch": 64}), schedule_name({"batch": 64, "threshold": 9})
        ('batch 64', 'batch 64, from 9 items on the accelerator')
    """
    said = f"batch {schedule['batch']}"
    if schedule.get("threshold") is not None:
        said += f", from {schedule['threshold']} items on the accelerator"
    return said


@final
class View:
    """What is seen of a server.

    Args:
        side: that answers.
        why: of its first schedule: a sentence.
    """

    def __init__(self, side: Steering, why: str) -> None:
        self.side = side
        target = side.target
        self.watch = Watch(tail=(target.name, target.share), limit_s=target.latency_s)
        self.answered = self.watch.answered
        self._decided_s = self.watch.at_s
        self.watch.force(schedule_name(side.engine.state()["schedule"]), why)
        self._steered = side.steered

    def state(self) -> State:
        """Return what there is to see now; called at a steady pace."""
        watch, known = self.watch, self.side.engine.state()
        watch.look({
            **{each: known[each] for each in (*_COUNTED, "restarts")},
            "refused": known["shed"] + known["late"],
        })  # fmt: skip
        watch.see({"oldest": known["oldest_s"], "open": float(known["open"])})
        self._happened(known)
        status, tone = self._status(known)
        return State(
            status=status,
            tone=tone,
            heading="In force",
            headline=schedule_name(known["schedule"]).capitalize(),
            reasons=self._reasons(known),
            blocks=(
                self._now(known),
                *self._trends(),
                watch.forces("Batch size in force"),
                watch.log(),
                self._counts(known),
            ),
        )

    def _happened(self, known: Mapping[str, Any]) -> None:
        """Take what changed since the last look."""
        watch, decided_s = self.watch, self._decided_s
        for each in tuple(self.side.log):
            if each.at_s > decided_s:
                self._decided_s = each.at_s
                if each.action != "keep":
                    name = schedule_name(asdict(each.schedule))
                    watch.force(name, self._why(each), at_s=each.at_s)
        # What a decision says holds a moment later; whoever else sets it has no reason.
        if not self.side.steered:
            watch.force(schedule_name(known["schedule"]), "It was set from outside.")
        for name, (what, why, tone) in _EVENTS.items():
            if watch.grown[name]:
                watch.note(what, why, times=watch.grown[name], tone=tone)
        if self._steered and not self.side.steered:
            watch.note("no more changes", "The controller failed: see the log.",
                       tone="bad")  # fmt: skip
        self._steered = self.side.steered

    def _why(self, each: Decision) -> str:
        name = self.side.target.name
        said = each.why[:1].upper() + each.why[1:]
        seen = "" if each.seen_s is None else f"{format_duration(each.seen_s)} seen, "
        return (
            f"{said}. {name} {seen}{format_duration(each.predicted_s)} predicted at "
            f"{each.rate_per_s:.3g} queries a second of {each.mean_items:.0f} items; "
            f"batch {each.best_batch} would have {format_duration(each.best_s)}."
        )

    def _status(self, known: Mapping[str, Any]) -> tuple[str, Tone]:
        if not known["workers"]:
            return "no worker is ready", "bad"
        target = self.side.target
        value = self.watch.latency_s[target.name]
        if value is None:
            return "ready, nobody asks", "plain"
        limit, tail = format_duration(target.latency_s), target.name
        if value <= target.latency_s:
            return f"{tail} {format_duration(value)}, within {limit}", "good"
        return f"{tail} {format_duration(value)}, misses {limit}", "bad"

    def _reasons(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        found = [self.watch.because]
        if not self.side.steered:
            found.append("It stays, whatever comes.")
        elif self.side.log and self.side.log[-1].action == "keep":
            found.append(f"Last look: {self._why(self.side.log[-1])}")
        if self.side.old or known["schedule"]["shed"]:
            found.append("The queue is old: what would be late is refused.")
        return tuple(found)

    def _now(self, known: Mapping[str, Any]) -> Group:
        target = self.side.target
        return Group(
            title="Now",
            tiles=(
                *self.watch.latency_tiles(),
                Tile(name="target", value=target.latency_s, unit="s", metric="target",
                     note=f"of {target.name}"),
                Tile(name="throughput", value=self.watch.rates["answers"],
                     unit="req/s", note="last 2 s"),
                Tile(name="open", value=known["open"], metric="open", note="queries"),
                Tile(name="backlog", value=known["backlog_s"], unit="s",
                     metric="backlog", note="of work, all workers"),
                Tile(name="oldest", value=known["oldest_s"], unit="s", metric="oldest",
                     note="in the queue", tone="warn" if self.side.old else "plain"),
                Tile(name="batch", value=known["schedule"]["batch"], metric="batch",
                     note="items at most"),
                Tile(name="workers", value=known["workers"], metric="workers",
                     note=f"{known['restarts']} restarts",
                     tone="plain" if known["workers"] else "bad"),
            ),
        )  # fmt: skip

    def _counts(self, known: Mapping[str, Any]) -> Group:
        tiles = [
            Tile(name=name, value=known[name], metric=name, counter=True, note=note,
                 tone="bad" if name == "failed" and known[name] else "plain")
            for name, note in _COUNTED.items()
        ]  # fmt: skip
        return Group(title="So far", tiles=(*tiles, *self.watch.status_tiles()))

    def _trends(self) -> tuple[Trend, ...]:
        target, trend = self.side.target, self.watch.trend
        line = Target(name=f"target of {target.name}", value=target.latency_s)
        ends = {"answers/s": "answers", "shed/s": "refused", "late/s": "late"}
        return (
            self.watch.latencies(line),
            trend("Queries by their end", "req/s", ends, stacked=True),
            trend("Queries that are open", "count", {"open": "open"}),
            trend("Oldest in the queue", "s", {"oldest": "oldest"}),
        )
