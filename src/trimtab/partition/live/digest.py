"""Decisions in short: equal ones in a row as one, and how the last ones turned out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from trimtab.partition.controller import Decision
from trimtab.runtime.estimators import Recent

__all__ = ["JUDGED_S", "Digest", "Run", "name_of"]

JUDGED_S: Final = 60.0
"""Over which errors and regret are told."""
_SETTLED_S: Final = 3.0  # after which a decision without an end has none
_RUNS: Final = 200


def name_of(name: str, codec: str) -> str:
    """Return what a cut and its codec are called; the edge alone has none.

    Example:
        >>> name_of("after conv", "int8"), name_of("edge only", "raw")
        ('after conv, int8', 'edge only')
    """
    return name if name == "edge only" else f"{name}, {codec}"


@final
@dataclass(slots=True, kw_only=True)
class Run:
    """Decisions in a row for the same cut and codec.

    Attributes:
        first: of them.
        last: of them.
        begin_s: time of the first.
        requests: how many.
    """

    first: Decision
    last: Decision
    begin_s: float
    requests: int = 0
    _done: int = 0
    _predicted_s: float = 0.0
    _actual_s: float = 0.0
    _regret_s: float = 0.0

    @property
    def name(self) -> str:
        """Of cut and codec."""
        return name_of(self.last.name, self.last.codec)

    @property
    def predicted_s(self) -> float | None:
        """Mean latency that was predicted; None before any request ended."""
        return self._predicted_s / self._done if self._done else None

    @property
    def actual_s(self) -> float | None:
        """Mean latency."""
        return self._actual_s / self._done if self._done else None

    @property
    def regret_s(self) -> float | None:
        """Mean of what decisions cost beyond the best."""
        return self._regret_s / self._done if self._done else None

    def add(self, decision: Decision) -> None:
        """Take another one."""
        self.last = decision
        self.requests += 1
        if decision.actual_s is not None:
            self._done += 1
            self._predicted_s += decision.predicted_s
            self._actual_s += decision.actual_s
            self._regret_s += decision.regret_s or 0.0


@final
class Digest:
    """What became of decisions.

    Attributes:
        runs: the last ones.
        since: number of the first decision that was not taken yet.
    """

    def __init__(self) -> None:
        self.runs: deque[Run] = deque(maxlen=_RUNS)
        self.since = 0
        self._errors = Recent(JUDGED_S, most=2_000)
        self._ended: deque[tuple[float, float, float]] = deque(maxlen=20_000)

    def take(self, decisions: Sequence[Decision], *, at_s: float) -> list[Run]:
        """Take decisions from number `since` on; return the runs that begin with them.

        One that is not settled makes later ones wait for some seconds, so that runs
        stay in order.
        """
        begun = []
        for each in decisions:
            if each.actual_s is None and each.at_s > at_s - _SETTLED_S:
                break
            self.since = each.number + 1
            name = name_of(each.name, each.codec)
            if not self.runs or self.runs[-1].name != name:
                self.runs.append(Run(first=each, last=each, begin_s=each.at_s))
                begun.append(self.runs[-1])
            self.runs[-1].add(each)
            if each.actual_s is not None:
                wrong = abs(each.predicted_s / max(each.actual_s, 1e-9) - 1)
                self._errors.see(wrong, at=each.at_s)
                self._ended.append((each.at_s, each.regret_s or 0.0, each.actual_s))
        return begun

    def error_frac(self, at_s: float) -> float | None:
        """Return the median error of predictions of late; None without any."""
        return self._errors.quantile(0.5, at=at_s)

    def regret_frac(self, at_s: float) -> float | None:
        """Return the share of the time that better decisions would have saved."""
        while self._ended and self._ended[0][0] < at_s - JUDGED_S:
            self._ended.popleft()
        actual = sum(each for _, _, each in self._ended)
        regret = sum(each for _, each, _ in self._ended)
        return regret / actual if actual else None
