"""Running estimates of what changes while a program works: rates, delays, loads.

All take the time of an observation from whoever has a clock, so that the same code
decides in a simulation and at work.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from trimtab.errors import UsageError

__all__ = ["LogMean", "Recent"]


@final
@dataclass(slots=True, kw_only=True)
class LogMean:
    """An exponentially weighted mean of logarithms, that notices a change.

    Rates and delays change by factors: a link that is ten times slower is as far away
    as one that is ten times faster. An observation more than `surprise` deviations off
    is held back; if the next one is off on the same side it was a change, and the mean
    begins again from both, else it was an accident.

    Attributes:
        weight: of a new observation, within (0, 1].
        surprise: deviations that are no accident.
        floor: least deviation of a logarithm, so that constant observations do not make
            every other one a change.
        value: the estimate, or None before any observation.
        changes: that were noticed.

    Raises:
        UsageError: a weight outside of (0, 1].

    Example:
        >>> rate = LogMean()
        >>> for seen in (100.0, 100.0, 100.0, 10.0, 10.0):
        ...     rate.see(seen)
        >>> round(rate.value), rate.changes
        (10, 1)
    """

    weight: float = 0.3
    surprise: float = 3.0
    floor: float = 0.2
    value: float | None = None
    changes: int = 0
    _variance: float = field(default=0.0, repr=False)
    _off: list[float] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UsageError(
                f"an estimate with weight {self.weight} of the newest",
                rule="it is above 0 and at most 1",
                where="trimtab.runtime.estimators",
                remedy="give 0.3",
            )

    def see(self, observed: float, *, share: float = 1.0) -> None:
        """Take an observation, which is above 0; others are left out.

        Args:
            observed: what was seen.
            share: of the weight of a full observation, for small samples.
        """
        if not (math.isfinite(observed) and observed > 0):
            return
        now = math.log(observed)
        if self.value is None:
            self.value = observed
            return
        before = math.log(self.value)
        apart = now - before
        deviation = max(self.floor, math.sqrt(self._variance))
        if abs(apart) > self.surprise * deviation and share > 0.5:
            same = self._off and (self._off[-1] > 0) == (apart > 0)
            self._off = [*self._off, apart] if same else [apart]
            if len(self._off) >= 2:
                self.value = math.exp(before + sum(self._off[-2:]) / 2)
                self._variance, self._off = 0.0, []
                self.changes += 1
            return
        self._off = []
        weight = self.weight * share
        self.value = math.exp(before + weight * apart)
        self._variance = (1 - weight) * (self._variance + weight * apart**2)

    @property
    def unsure(self) -> bool:
        """Whether the last observation is held back: another one would tell."""
        return bool(self._off)

    @property
    def deviation(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(self._variance)


@final
class Recent:
    """Quantiles of what was seen within a window of time.

    Args:
        window_s: that observations count for.
        most: observations that are kept.

    Example:
        >>> recent = Recent(10.0)
        >>> for second in range(20):
        ...     recent.see(float(second), at=float(second))
        >>> recent.quantile(0.5, at=19.0)
        14.0
    """

    def __init__(self, window_s: float, *, most: int = 1_000) -> None:
        self.window_s = window_s
        self._seen: deque[tuple[float, float]] = deque(maxlen=most)

    def see(self, observed: float, *, at: float) -> None:
        """Take an observation made at a time, in seconds."""
        self._seen.append((at, observed))

    def quantile(self, share: float, *, at: float) -> float | None:
        """Return a quantile of the window that ends at a time; None if it is empty."""
        return self.quantiles((share,), at=at)[0]

    def quantiles(
        self, shares: Sequence[float], *, at: float
    ) -> tuple[float | None, ...]:
        """Return some quantiles, as `quantile` does, with one sort for all of them."""
        while self._seen and self._seen[0][0] < at - self.window_s:
            self._seen.popleft()
        if not self._seen:
            return (None,) * len(shares)
        # As numpy.quantile, which takes ten times as long for so few.
        values = sorted(each for _, each in self._seen)
        found = []
        for share in shares:
            place = share * (len(values) - 1)
            below = int(place)
            above = min(below + 1, len(values) - 1)
            part = (place - below) * (values[above] - values[below])
            found.append(values[below] + part)
        return tuple(found)
