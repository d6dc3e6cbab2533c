"""When queries arrive: processes with a known law, and traces that were recorded.

Every process gives an absolute schedule. A load generator that works it off never
asks whether the server keeps up, so that no delay is hidden (coordinated omission).
Processes whose law does not change with time only stretch when their rate changes:
with the same seed, two rates see the same sequence of gaps.

References:
    Lewis, Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", Naval
    Research Logistics Quarterly 26, 1979.
    Fischer, Meier-Hellstern, "The Markov-modulated Poisson process cookbook",
    Performance Evaluation 18, 1993.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError, UsageError
from trimtab.serve.recorded import read_times
from trimtab.units import parse_duration

__all__ = [
    "ARRIVALS",
    "Arrivals",
    "Bursts",
    "Constant",
    "Gamma",
    "IntegerGaps",
    "Poisson",
    "Recorded",
    "Varying",
    "parse_arrivals",
]

Floats = NDArray[np.float64]

_GAP_UNIT_S: Final = 1e-3  # in which the reference counts gaps


class Arrivals(Protocol):
    """A process that queries arrive by."""

    @property
    def stretches(self) -> bool:
        """Whether another rate only stretches the times."""
        ...

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds, ascending, at a mean rate."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One query after the other, at equal gaps."""

    stretches: bool = True

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        del rng
        return np.arange(1, count + 1) / rate_per_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Many independent users: gaps are exponential."""

    stretches: bool = True

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        return np.cumsum(rng.exponential(size=count)) / rate_per_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Independent gaps, burstier or more regular than Poisson's.

    Attributes:
        cv2: squared coefficient of variation of gaps; 1 is Poisson's.

    Raises:
        UsageError: it is not above 0.
    """

    cv2: float
    stretches: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.cv2 < 1e4:
            raise _wrong(f"gamma arrivals with CV^2 {self.cv2:g}", "it is above 0")

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        gaps = rng.gamma(1.0 / self.cv2, self.cv2, size=count)
        return np.cumsum(gaps) / rate_per_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """A Poisson process of two rates that takes turns (MMPP): quiet and busy.

    Both states last as long on average; their rates have the asked mean.

    Attributes:
        ratio: busy rate over quiet rate.
        stay_s: mean time in a state, which is exponential.

    Raises:
        UsageError: a ratio below 1 or a time that is not above 0.
    """

    ratio: float
    stay_s: float
    stretches: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.ratio < 1e6 or not 0 < self.stay_s < math.inf:
            raise _wrong(
                f"bursts of {self.ratio:g} times the rate for {self.stay_s:g} s",
                "the ratio is at least 1, the time above 0",
            )

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        quiet = 2.0 * rate_per_s / (1.0 + self.ratio)
        rates = np.array([quiet, self.ratio * quiet])
        first = int(rng.integers(2))
        # Arrivals of rate one, put onto the clock that runs at the rate of the state.
        passed = np.cumsum(rng.exponential(size=count))
        stays: list[Floats] = []
        states: list[NDArray[np.intp]] = []
        total = 0.0
        while total < passed[-1]:
            size = max(64, int(2 * passed[-1] / (rate_per_s * self.stay_s)))
            stay = rng.exponential(self.stay_s, size=size)
            state = (first + np.arange(size)) % 2
            first = int((state[-1] + 1) % 2)
            total += float((stay * rates[state]).sum())
            stays.append(stay)
            states.append(state)
        stay, state = np.concatenate(stays), np.concatenate(states)
        seconds = np.concatenate([[0.0], np.cumsum(stay)])
        arrived = np.concatenate([[0.0], np.cumsum(stay * rates[state])])
        return np.asarray(np.interp(passed, arrived, seconds), dtype=np.float64)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Varying:
    """A Poisson process whose rate changes as planned, by thinning.

    ``diurnal`` swings along a sine around the mean, from its mean upwards; ``step``
    begins at the rate and has `ratio` times it from `time_s` on; ``ramp`` gets there
    in a straight line.

    Attributes:
        shape: of the rate.
        ratio: peak over low of ``diurnal``, last over first of the others.
        time_s: period of ``diurnal``, time of the step, end of the ramp.

    Raises:
        UsageError: a ratio or a time that is not above 0, a peak below its low.
    """

    shape: Literal["diurnal", "step", "ramp"]
    ratio: float
    time_s: float
    stretches: bool = False

    def __post_init__(self) -> None:
        least = 1.0 if self.shape == "diurnal" else 0.0
        if not max(least, 1e-6) <= self.ratio < 1e6 or not 0 < self.time_s < math.inf:
            raise _wrong(
                f"arrivals {self.shape} of ratio {self.ratio:g} and {self.time_s:g} s",
                "the time is above 0, the ratio too, and at least 1 of diurnal",
            )

    def rate(self, at_s: Floats) -> Floats:
        """Return the rate at times, over the rate that was asked for."""
        if self.shape == "step":
            return np.where(at_s < self.time_s, 1.0, self.ratio)
        if self.shape == "ramp":
            done = np.clip(at_s / self.time_s, 0.0, 1.0)
            return 1.0 + (self.ratio - 1.0) * done
        swing = (self.ratio - 1.0) / (self.ratio + 1.0)
        return 1.0 + swing * np.sin(2 * math.pi * at_s / self.time_s)

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        if self.shape == "diurnal":
            peak = 2.0 * self.ratio / (self.ratio + 1.0)
        else:
            peak = max(1.0, self.ratio)
        kept: list[Floats] = []
        have, now = 0, 0.0
        while have < count:
            size = max(1024, count - have)
            at = now + np.cumsum(rng.exponential(size=size)) / (peak * rate_per_s)
            now = float(at[-1])
            at = at[rng.random(size) * peak < self.rate(at)]
            kept.append(at)
            have += at.size
        return np.concatenate(kept)[:count]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Times that were recorded, stretched to a rate; begun again where they end.

    Attributes:
        at_s: of the arrivals, ascending, from the first gap's end on.
    """

    at_s: Floats
    stretches: bool = True

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        del rng
        span = float(self.at_s[-1])
        unit = self.at_s * (self.at_s.size / span)
        rounds = -(-count // unit.size)
        begun = np.repeat(np.arange(rounds) * float(self.at_s.size), unit.size)
        return (np.tile(unit, rounds) + begun)[:count] / rate_per_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerGaps:
    """What DeepRecSys' public code draws: gaps of whole milliseconds, Poisson ones.

    Its arrivals are no Poisson process: gaps of mean m ms have a coefficient of
    variation of 1/sqrt(m) instead of 1. Here to be compared with, not to be used.
    """

    stretches: bool = False

    def times(
        self, count: int, *, rate_per_s: float, rng: np.random.Generator
    ) -> Floats:
        """Return so many times in seconds."""
        mean = 1.0 / (rate_per_s * _GAP_UNIT_S)
        gaps = _GAP_UNIT_S * rng.poisson(mean, size=count)
        return np.cumsum(gaps, dtype=np.float64)


def parse_arrivals(spec: str) -> Arrivals:
    """Return the process of a text: see `ARRIVALS` for all forms.

    Raises:
        UsageError: no such form.
        DataError: a trace that is absent or wrong.

    Example:
        >>> parse_arrivals("gamma:4")
        Gamma(cv2=4.0, stretches=True)
        >>> parse_arrivals("step:2,30s").ratio
        2.0
    """
    kind, _, rest = spec.partition(":")
    given = rest.split(",") if rest else []
    try:
        if kind in _PLAIN and not given:
            return _PLAIN[kind]()
        if kind == "gamma" and len(given) == 1:
            return Gamma(cv2=float(given[0]))
        if kind == "mmpp" and len(given) == 2:
            return Bursts(ratio=float(given[0]), stay_s=parse_duration(given[1]))
        if kind in ("diurnal", "step", "ramp") and len(given) == 2:
            return Varying(
                shape=kind,  # type: ignore[arg-type]
                ratio=float(given[0]),
                time_s=parse_duration(given[1]),
            )
        if kind == "trace" and rest:
            return Recorded(at_s=read_times(Path(rest)))
    except ValueError as error:
        if isinstance(error, UsageError | DataError):
            raise
    raise _wrong(f"arrivals {spec!r}", "they are one of " + ", ".join(ARRIVALS))


_PLAIN: Final[dict[str, Callable[[], Arrivals]]] = {
    "poisson": Poisson,
    "constant": Constant,
    "integer-gaps": IntegerGaps,
}

ARRIVALS: Final = (
    "poisson", "constant", "gamma:CV2", "mmpp:RATIO,STAY", "diurnal:RATIO,PERIOD",
    "step:RATIO,TIME", "ramp:RATIO,TIME", "trace:FILE", "integer-gaps",
)  # fmt: skip
"""Forms that `parse_arrivals` takes; times have a unit, such as 30s."""


def _wrong(asked: str, rule: str) -> UsageError:
    return UsageError(
        asked, rule=rule, where="trimtab.serve.arrivals", remedy="give poisson"
    )
