"""What a live page remembers from look to look, whatever it is of.

A capability says what its counters are, what is in force and what happened; its page
has rates, figures over the last minutes, and a log of changes from here.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, final

from trimtab.runtime.dashboard.history import History, Rates
from trimtab.runtime.dashboard.state import (
    COLOURS,
    Entry,
    Log,
    Span,
    Strip,
    Target,
    Tile,
    Tone,
    Trend,
)
from trimtab.runtime.estimators import Recent
from trimtab.units import format_duration

__all__ = ["PERCENTILES", "Watch"]

PERCENTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_RECENT_S: Final = 10.0  # of percentiles
_AGAIN_S: Final = 60.0  # within which an event that comes again is told with the last
_KEPT_S: Final = 180.0  # that figures show
_LATENCIES: Final = 20_000
_REMEMBERED: Final = 200  # changes of what is in force, and events
_TOLD: Final = 20  # of the log
_STATUSES: Final[Mapping[str, tuple[str, Tone]]] = {
    "4": ("bad, or too many", "warn"),
    "5": ("nobody could answer", "bad"),
}


@final
class Watch:
    """Numbers, what was in force, and events; all of it bounded.

    Args:
        tail: name and share of the percentile of latencies that has a limit.
        limit_s: of it.
        clock: says the time, seconds.

    Attributes:
        at_s: time of the last look.
        rates: how fast each counter grows then, a second.
        grown: by how much each has since the look before.
        latency_s: percentiles of requests of late, by name; None without any.
        because: why what is in force is.

    Example:
        >>> times = iter([0.0, 5.0, 6.0])
        >>> watch = Watch(clock=lambda: next(times))
        >>> watch.force("batch 64", "First.", at_s=1.0)
        >>> watch.look({"answers": 10})
        >>> watch.force("batch 96", "More comes.")
        >>> watch.log().entries[0].what
        'batch 64 → batch 96'
        >>> watch.look({"answers": 40})
        >>> watch.grown["answers"], watch.rates["answers"]
        (30, 30.0)
    """

    def __init__(
        self,
        *,
        tail: tuple[str, float] | None = None,
        limit_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._tail, self._limit_s = tail, limit_s
        self._shares = dict((*PERCENTILES.items(), *([tail] if tail else ())))
        self._latencies = Recent(_RECENT_S, most=_LATENCIES)
        self._statuses = {"2": 0, **dict.fromkeys(_STATUSES, 0)}
        self._history = History(_KEPT_S)
        self._rates = Rates()
        self._before: Mapping[str, int] = {}
        self._forces: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._colours: dict[str, int] = {}
        self._events: deque[tuple[float, Entry]] = deque(maxlen=_REMEMBERED)
        self.at_s = clock()
        self.because = ""
        self.rates: Mapping[str, float] = {}
        self.grown: Mapping[str, int] = {}
        self.latency_s: Mapping[str, float | None] = dict.fromkeys(self._shares)

    # What is told

    def answered(self, took_s: float, status: int) -> None:
        """Take how long a request took, and the status of HTTP it ended with."""
        self._statuses[str(status)[0]] += 1
        if status == 200:
            self._latencies.see(took_s, at=self._clock())

    def look(self, counts: Mapping[str, int]) -> None:
        """Begin a look: counters now, which only grow."""
        self.at_s = self._clock()
        self.rates = self._rates.see(counts, at_s=self.at_s)
        self.grown = {
            name: value - self._before.get(name, value)
            for name, value in counts.items()
        }
        self._before = dict(counts)
        found = self._latencies.quantiles(tuple(self._shares.values()), at=self.at_s)
        self.latency_s = dict(zip(self._shares, found, strict=True))

    def see(self, values: Mapping[str, float | None]) -> None:
        """Keep values of this look for figures, beside rates and percentiles."""
        rates = {f"{name}/s": value for name, value in self.rates.items()}
        self._history.see({**self.latency_s, **rates, **values}, at_s=self.at_s)

    def force(
        self,
        what: str,
        why: str,
        *,
        at_s: float | None = None,
        colour: int | None = None,
    ) -> None:
        """Take what is in force; where it is another than before, that is an event.

        Args:
            what: in a few words.
            why: a sentence.
            at_s: since when; the time of this look if it is not said.
            colour: that it is to have, if none has it yet.
        """
        if self._forces and self._forces[-1][1] == what:
            return
        since_s, said = self.at_s if at_s is None else at_s, what
        if self._forces:
            last_s, last = self._forces[-1]
            since_s, said = max(since_s, last_s), f"{last} → {what}"
        self.note(said, why, at_s=since_s)
        self._forces.append((since_s, what))
        self.because = why
        if what not in self._colours:
            self._colours[what] = self._colour(colour)
        if len(self._colours) > 2 * _REMEMBERED:
            names = {name for _, name in self._forces}
            self._colours = {name: self._colours[name] for name in names}

    def note(
        self,
        what: str,
        why: str = "",
        *,
        at_s: float | None = None,
        times: int = 1,
        tone: Tone = "plain",
    ) -> None:
        """Take an event; the same one soon after is told as one that came again.

        Args:
            what: in a few words.
            why: a sentence.
            at_s: when; the time of this look if it is not said.
            times: how often.
            tone: of it.
        """
        when_s = self.at_s if at_s is None else at_s
        if self._events:
            last_s, last = self._events[-1]
            if last.what == what and when_s - last_s < _AGAIN_S:
                times += last.times
                self._events.pop()
        entry = Entry(when_s=0.0, what=what, why=why, times=times, tone=tone)
        self._events.append((when_s, entry))

    def _colour(self, wanted: int | None) -> int:
        taken = set(self._colours.values())
        # The first ones are those that others may want.
        order = range(COLOURS) if wanted is None else range(COLOURS - 1, -1, -1)
        free = [each for each in order if each not in taken]
        if wanted is not None and wanted in free:
            return wanted
        return free[0] if free else len(self._colours) % COLOURS

    # What is shown

    def latency_tiles(self) -> tuple[Tile, ...]:
        """Return percentiles; the one that has a target says how it stands."""
        return tuple(
            Tile(name=f"{name} latency", value=value, unit="s",
                 metric=f"latency_{name.replace('.', '_')}",
                 note=self._note(name), tone=self._tone(name))
            for name, value in self.latency_s.items()
        )  # fmt: skip

    def _note(self, name: str) -> str:
        said = f"HTTP, last {_RECENT_S:.0f} s"
        if self._tail is None or name != self._tail[0]:
            return said
        return f"target {format_duration(self._limit_s)}; {said}"

    def _tone(self, name: str) -> Tone:
        value = self.latency_s[name]
        if self._tail is None or name != self._tail[0] or value is None:
            return "plain"
        return "good" if value <= self._limit_s else "bad"

    def status_tiles(self) -> tuple[Tile, ...]:
        """Return how many requests were refused, and failed, by HTTP's status."""
        return tuple(
            Tile(name=f"HTTP {digit}xx", value=self._statuses[digit], note=note,
                 metric=f"http_{digit}xx", counter=True,
                 tone=tone if self._statuses[digit] else "plain")
            for digit, (note, tone) in _STATUSES.items()
        )  # fmt: skip

    def latencies(self, line: Target | None = None) -> Trend:
        """Return percentiles over the last minutes, beside a line if there is one."""
        names = {name: name for name in self._shares}
        return self.trend("Latency", "s", names, log=True, target=line)

    def trend(
        self,
        title: str,
        unit: str,
        names: Mapping[str, str],
        *,
        stacked: bool = False,
        log: bool = False,
        target: Target | None = None,
    ) -> Trend:
        """Return quantities over the last minutes, see `History.trend`."""
        return self._history.trend(
            title, unit, names, at_s=self.at_s, stacked=stacked, log=log, target=target
        )

    def forces(self, title: str) -> Strip:
        """Return what was in force over the last minutes."""
        oldest = self.at_s - _KEPT_S
        ends = [*(since for since, _ in self._forces), self.at_s][1:]
        return Strip(
            title=title,
            spans=tuple(
                Span(name=name, begin_s=max(since, oldest) - self.at_s,
                     end_s=min(0.0, end - self.at_s), colour=self._colours[name])
                for (since, name), end in zip(self._forces, ends, strict=True)
                if end > oldest
            ),
        )  # fmt: skip

    def log(self, title: str = "What changed, and why") -> Log:
        """Return the last events, the newest first."""
        last = sorted(self._events, key=lambda event: event[0])[: -_TOLD - 1 : -1]
        return Log(
            title=title,
            entries=tuple(
                replace(entry, when_s=min(0.0, at_s - self.at_s))
                for at_s, entry in last
            ),
        )
