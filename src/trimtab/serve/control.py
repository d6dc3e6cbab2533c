"""Which schedule holds from now on: a controller that is told what was seen.

It has no clock and no queue: live, an engine tells it each period's window; in a
simulation, the simulation does, and both are decided by the same code.

It is careful on purpose. It looks at several windows together; another batch size has
to promise something; it is changed by one step at a time; a change that does worse than
was promised, judged on the queries that it planned, is taken back. Only a queue that
grows old is answered at once, after any window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, final

import numpy as np

from trimtab.errors import UsageError
from trimtab.serve.capacity import Target
from trimtab.serve.forecast import Forecast
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.scheduler import BATCHES
from trimtab.serve.window import Window
from trimtab.units import format_duration, format_percent

__all__ = ["Action", "Controller", "Decision", "Settings"]

Action = Literal["keep", "step", "hurry", "revert"]

_KEPT: Final = 10_000  # decisions
_ROOM: Final = 0.6  # of the target that a chunk may take alone, so that some may wait
_WORSE: Final = 1.02  # times the present percentile that a step may lead through


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a controller decides.

    Attributes:
        windows: that are looked at together; a look is after as many.
        gain_frac: of the predicted percentile that another batch size must save.
        doubt: times its prediction from which a change is a bad one.
        bad_looks: in a row after which it is taken back.
        trial_looks: after a change in which it may be.
        banned_looks: that a batch size is not tried again for.
        hurry_frac: share of the target that the oldest chunk may wait for.
        calm_looks: after a hurry until batch sizes may fall again.
        shed: whether queries may be refused in a hurry.
        least_queries: of a version at a look, or it is not judged.
        drift_frac: by which sizes or service times may change until predictions are
            made anew.
        queries: that a prediction simulates.

    Raises:
        UsageError: a number outside of its limits.
    """

    windows: int = 4
    gain_frac: float = 0.05
    doubt: float = 1.5
    bad_looks: int = 2
    trial_looks: int = 5
    banned_looks: int = 30
    hurry_frac: float = 0.5
    calm_looks: int = 3
    shed: bool = False
    least_queries: int = 20
    drift_frac: float = 0.1
    queries: int = 2_000

    def __post_init__(self) -> None:
        counts = (
            self.windows, self.bad_looks, self.trial_looks, self.least_queries,
            self.queries - 99,
        )  # fmt: skip
        if (
            min(self.gain_frac, self.banned_looks, self.calm_looks) < 0
            or min(counts) < 1
            or self.doubt < 1
            or not 0 < self.hurry_frac < 1
            or self.drift_frac <= 0
        ):
            raise UsageError(
                f"a controller with {self}",
                rule="doubt is at least 1, hurry_frac within (0, 1), counts at least "
                "1, queries 100, the rest at least 0",
                where="trimtab.serve.Settings",
                remedy="leave out what need not differ",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided at the end of a window, from what.

    Attributes:
        at_s: time.
        action: what was done.
        schedule: from then on.
        rate_per_s: of queries, as estimated.
        cv2: of the gaps between them, as estimated.
        mean_items: of a query.
        slowdown: of batches against the curve that was given, at the median.
        oldest_s: that the oldest chunk had waited.
        seen_s: percentile of the queries that the schedule before had planned; None
            where they were too few.
        predicted_s: percentile that was predicted for the schedule before.
        best_batch: that has the least predicted percentile.
        best_s: its percentile.
        why: in words.
    """

    at_s: float
    action: Action
    schedule: Schedule
    rate_per_s: float
    cv2: float
    mean_items: float
    slowdown: float
    oldest_s: float
    seen_s: float | None
    predicted_s: float
    best_batch: int
    best_s: float
    why: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


@final
@dataclass(slots=True)
class _Held:
    """What the windows since the last look have shown."""

    windows: int = 0
    arrived: int = 0
    seconds: float = 0.0
    finished: list[tuple[int, float]] = field(default_factory=list)


@final
class Controller:
    """Decides window by window.

    Args:
        host: its curve is corrected by what batches took.
        target: to keep.
        first: schedule in force at the beginning; only its batch size is changed, and
            whether it sheds.
        sizes: of queries, as far as they are known before any was seen.
        batches: sizes to choose from.
        settings: how it decides.

    Attributes:
        schedule: in force.
        forecast: what is predicted, and from what.
        log: the last decisions.
    """

    def __init__(
        self,
        host: Host,
        target: Target,
        first: Schedule,
        *,
        sizes: Sequence[int],
        batches: Sequence[int] = BATCHES,
        settings: Settings | None = None,
    ) -> None:
        self.target, self.schedule = target, first
        self.settings = settings or Settings()
        self.batches = tuple(sorted({*batches, first.batch}))
        self.log: deque[Decision] = deque(maxlen=_KEPT)
        self.forecast = Forecast(
            host,
            first,
            sizes=sizes,
            batches=self.batches,
            share=target.share,
            queries=self.settings.queries,
            drift_frac=self.settings.drift_frac,
        )
        self._held = _Held()
        self._before: int | None = None  # batch size until the last step
        self._age = self._bad = 0  # looks since the last change, and bad ones in a row
        self._banned: dict[int, int] = {}  # looks that each is left out for
        self._calm = 0  # looks until the batch size may change after a hurry

    def observe(self, window: Window) -> Schedule:
        """Take what a period has shown; return the schedule from then on.

        Args:
            window: of a quarter of a second or so: an old queue is seen after any.
        """
        held = self._held
        held.windows += 1
        held.arrived += len(window.arrived_s)
        held.seconds += window.period_s
        held.finished += window.finished
        self.forecast.learn(window)
        look = held.windows >= self.settings.windows
        if look:
            self.forecast.rate.see(held.arrived / held.seconds)
        hurried = window.oldest_s > self.settings.hurry_frac * self.target.latency_s
        if look or hurried:
            self._decide(window, look=look, hurried=hurried)
        elif self.schedule.shed:
            self._change(self.schedule.batch, shed=False)
        if look:
            self._held = _Held()
        return self.schedule

    def _decide(self, window: Window, *, look: bool, hurried: bool) -> None:
        present = self.schedule.batch
        percentiles = self.forecast.percentiles()
        seen = self._seen()
        if look:
            self._age += 1
            self._calm = max(0, self._calm - 1)
            self._banned = {at: left - 1 for at, left in self._banned.items() if left}
        action: Action
        if hurried:
            action, batch, why = self._hurry(window.oldest_s)
        elif not self._held.arrived:
            action, batch, why = "keep", present, "no query came"
        elif self._failed(seen, percentiles[present]):
            action, batch = "revert", self._before or present
            self._banned[present] = self.settings.banned_looks
            why = f"batch {present} did worse than predicted, {self._bad} times"
        else:
            action, batch, why = self._step(percentiles)
        self._change(batch, shed=hurried and self.settings.shed)
        if batch != present:
            self._before = present if action == "step" else None
            self._age = self._bad = 0
        elif not look:
            return
        best = min(percentiles, key=lambda each: percentiles[each])
        self.log.append(
            Decision(
                at_s=window.at_s,
                action=action,
                schedule=self.schedule,
                rate_per_s=self.forecast.rate.value or 0.0,
                cv2=self.forecast.cv2,
                mean_items=self.forecast.mean_items,
                slowdown=self.forecast.slowdown,
                oldest_s=window.oldest_s,
                seen_s=seen,
                predicted_s=percentiles[present],
                best_batch=best,
                best_s=percentiles[best],
                why=why,
            )
        )

    def _change(self, batch: int, *, shed: bool) -> None:
        now = self.schedule
        if (batch, shed) != (now.batch, now.shed):
            self.schedule = replace(
                now, batch=batch, shed=shed, version=now.version + 1
            )

    def _seen(self) -> float | None:
        """Return the percentile of the queries that the present schedule planned."""
        version = self.schedule.version
        own = [took for each, took in self._held.finished if each == version]
        if len(own) < self.settings.least_queries:
            return None
        return float(np.quantile(own, self.target.share))

    def _failed(self, seen: float | None, predicted: float) -> bool:
        """Return whether the last step is to be taken back."""
        if self._before is None or self._age > self.settings.trial_looks:
            return False
        if seen is not None:
            limit = max(self.target.latency_s, self.settings.doubt * predicted)
            self._bad = self._bad + 1 if seen > limit else 0
        return self._bad >= self.settings.bad_looks

    def _hurry(self, oldest_s: float) -> tuple[Action, int, str]:
        self._calm = self.settings.calm_looks
        why = f"a chunk has waited {format_duration(oldest_s)}"
        present, rates = self.schedule.batch, self.forecast.rates
        room_s = _ROOM * self.target.latency_s
        inside = [at for at in rates if self.forecast.alone_s[at] <= room_s]
        most = max(rates[at] for at in inside or rates)
        # Of sizes that do about as much a second, the smallest answers soonest.
        batch = min(at for at in inside or rates if rates[at] * _WORSE >= most)
        if rates[present] * (1 + self.settings.gain_frac) >= most:
            return "keep", present, f"{why}; no batch size does more in time"
        return "hurry", batch, f"{why}; batch {batch} does most in time"

    def _step(self, percentiles: Mapping[int, float]) -> tuple[Action, int, str]:
        present = self.schedule.batch
        if self._calm:
            return "keep", present, "the queue was old a moment ago"
        allowed = [each for each in self.batches if each not in self._banned]
        best = min(allowed or [present], key=lambda each: percentiles[each])
        saved = 1 - percentiles[best] / percentiles[present]
        if best == present or saved <= self.settings.gain_frac:
            return (
                "keep",
                present,
                f"no other saves {format_percent(self.settings.gain_frac)}",
            )
        at = self.batches.index(present)
        following = self.batches[at + (1 if best > present else -1)]
        through = percentiles[following] > _WORSE * percentiles[present]
        if following in self._banned or through:
            return "keep", present, f"the way to batch {best} leads through worse"
        return (
            "step",
            following,
            f"towards batch {best}, which saves {format_percent(saved)}",
        )
