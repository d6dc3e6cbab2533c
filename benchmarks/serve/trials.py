"""Trials of a live engine: one rate, one sequence of queries; and rates step by step.

A server that is near its limit answers late in stretches, so that a short trial says
little by itself: schedules are compared on the same gaps and sizes, one after the other
at each step, so that whatever the machine does meets all of them.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.pipeline.serving import OPENER
from trimtab.serve.arrivals import parse_arrivals
from trimtab.serve.capacity import Target
from trimtab.serve.live.engine import Engine, Settings
from trimtab.serve.live.load import InProcess, run
from trimtab.serve.schedule import Schedule
from trimtab.serve.sizes import parse_sizes
from trimtab.serve.verdict import Ran
from trimtab.serve.workload import Trace, Workload

__all__ = ["DELAY_FRAC", "WARM_FRAC", "Bracket", "settings_of", "tail", "trial", "work"]

DELAY_FRAC: Final = 0.05
"""Of the target: where p99 of how late queries were sent is above, the load was."""

WARM_FRAC: Final = 0.1
"""Of a trial's queries, at its beginning, that are left out."""

_STEP: Final = 1.15  # the first, where it is not known on which side the limit is
_LEAST: Final = 1 / 32  # of the first rate, below which nothing is tried
_DRAIN_S: Final = 20.0
_ARENA_BYTES: Final = 512 * 2**20  # RMC2 has 31,744 bytes an item


def work() -> Workload:
    """Return the laws of all trials."""
    return Workload(arrivals=parse_arrivals("poisson"), sizes=parse_sizes("mlperf"))


def settings_of(network: str, workers: int | None) -> Settings:
    """Return an engine's settings for a network of the zoo, its tables small."""
    return Settings(
        spec=f"zoo:{network}-small", opener=OPENER, workers=workers,
        arena_bytes=_ARENA_BYTES,
    )  # fmt: skip


def trial(
    engine: Engine,
    subject: InProcess,
    schedule: Schedule,
    trace: Trace,
    target: Target,
) -> dict[str, Any]:
    """Return what a schedule does with a trace."""
    engine.schedule = schedule
    gc.collect()
    gc.disable()
    try:
        ran = run(subject, trace)
    finally:
        gc.enable()
    until = time.monotonic() + _DRAIN_S
    while engine.state()["open"] and time.monotonic() < until:
        time.sleep(0.01)
    return _told(ran, trace, target)


def _told(ran: Ran, trace: Trace, target: Target) -> dict[str, Any]:
    if len(ran.latency_s) < ran.planned:  # stopped: far too many were open
        found = math.inf
    else:
        found = tail(ran.latency_s, target)
    delay_s = float(np.quantile(ran.delay_s, 0.99))
    return {
        "rate_per_s": trace.rate_per_s,
        "tail_s": found if math.isfinite(found) else None,
        "delay_p99_s": delay_s,
        "timely": delay_s <= DELAY_FRAC * target.latency_s,
    }


def tail(latency_s: NDArray[np.float64], target: Target) -> float:
    """Return the percentile of a target, without the beginning of a trial."""
    kept = latency_s[int(WARM_FRAC * len(latency_s)) :]
    return float(np.quantile(kept, target.share, method="higher"))


@final
@dataclass(slots=True)
class Bracket:
    """The largest rate at which a tail is within its limit, closed in step by step.

    Between the largest rate that held and the smallest that did not, the tail is taken
    to grow evenly in its logarithm.

    Attributes:
        guess: the first rate.
        limit_s: of the tail.
    """

    guess: float
    limit_s: float
    seen: list[tuple[float, float]] = field(default_factory=list)

    @property
    def low(self) -> tuple[float, float]:
        """The largest rate that held, and its tail; 0 where none did."""
        # Noise may have a larger rate hold where a smaller did not: the smaller counts.
        below = [each for each in self.seen if each[1] <= self.limit_s]
        return max((each for each in below if each[0] < self.high[0]), default=(0, 0))

    @property
    def high(self) -> tuple[float, float]:
        """The smallest rate that did not hold, and its tail."""
        over = [each for each in self.seen if each[1] > self.limit_s]
        return min(over, default=(math.inf, math.inf))

    def next(self) -> float | None:
        """Return the rate to try; None where none will hold."""
        (low, _), (high, _) = self.low, self.high
        if not self.seen:
            return self.guess
        if not math.isfinite(high):
            return low * _STEP
        if low:
            return math.sqrt(low * high)
        rate = high / _STEP ** (2 ** len(self.seen))
        return rate if rate > _LEAST * self.guess else None

    def see(self, rate: float, tail_s: float | None) -> None:
        """Take what a trial has shown."""
        self.seen.append((rate, math.inf if tail_s is None else tail_s))

    def rate(self) -> float:
        """Return the largest rate, as far as is known; 0 for none."""
        (low, below), (high, over) = self.low, self.high
        if not low or not math.isfinite(high):
            return low
        if not math.isfinite(over):
            return math.sqrt(low * high)
        share = math.log(self.limit_s / below) / math.log(over / below)
        return low * float((high / low) ** share)
