"""What a run under load shows, and whether it may be believed.

A query that was refused, failed or never answered is a late one, and its latency is
without end: a server cannot gain by refusing. What is judged is the whole run without
its beginning, by blocks of neighbours: near saturation a query is late where the ones
beside it are. After MLPerf Inference, whose Server scenario is valid only where the
tail is within the target with confidence (arXiv 1911.02549).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.serve.capacity import Target, late_share
from trimtab.stats import Interval, bootstrap_interval
from trimtab.units import format_duration, format_percent

__all__ = ["ENDS", "Ran", "Report", "judge", "least_queries"]

ENDS: Final = ("answered", "shed", "failed", "open")
"""How a query ends; the last one: not at all, as long as was waited."""

_SHARES: Final = (0.5, 0.95, 0.99)
_BLOCKS: Final = 20
_LEAST: Final = 10 * _BLOCKS  # queries, and
_LATE: Final = 10  # that may be late, or a share of them says little
_WARM_FRAC: Final = 0.1
_DELAY_FRAC: Final = 0.05  # of the target that the load itself may come late by
_RESAMPLES: Final = 1_000


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """What became of each query of a trace.

    Attributes:
        latency_s: from when it was to come; infinite where it was not answered.
        delay_s: from when it was to come to when it was sent.
        ends: index in `ENDS` of each.
        planned: queries of the trace, sent or not.
        seconds: from the first to the last that was to come.
        error: of one that failed, for people; "" for none.

    Raises:
        UsageError: lengths that differ, or no query.
    """

    latency_s: NDArray[np.float64]
    delay_s: NDArray[np.float64]
    ends: NDArray[np.int8]
    planned: int
    seconds: float
    error: str = ""

    def __post_init__(self) -> None:
        sizes = {self.latency_s.size, self.delay_s.size, self.ends.size}
        if len(sizes) > 1 or not 1 <= self.latency_s.size <= self.planned:
            raise UsageError(
                f"a run of {self.latency_s.size} queries of {self.planned}",
                rule="it has one or more, each with a latency, a delay and an end",
                where="trimtab.serve.Ran",
                remedy="make it by trimtab.serve.live.load",
            )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run under load has shown.

    Attributes:
        valid: whether nothing is wrong.
        reasons: what is wrong.
        planned: queries of the trace.
        issued: that were sent.
        ends: how many ended which way.
        rate_per_s: that were sent.
        answered_per_s: that were answered.
        judged: queries without the first ones, on which all below is.
        latency_s: percentile and interval, by name; infinite where so many queries
            were not answered.
        late_frac: share over the target; None without one.
        delay_p99_s: by which queries were sent late.
        target: or None.
    """

    valid: bool
    reasons: tuple[str, ...]
    planned: int
    issued: int
    ends: dict[str, int]
    rate_per_s: float
    answered_per_s: float
    judged: int
    latency_s: dict[str, Interval]
    late_frac: Interval | None
    delay_p99_s: float
    target: Target | None

    @property
    def punctual(self) -> bool:
        """Whether the load came in time: if not, the run says nothing of the server."""
        if self.target is None:
            return True
        return self.delay_p99_s <= _DELAY_FRAC * self.target.latency_s

    def record(self) -> dict[str, Any]:
        """Return it as JSON takes it: what is infinite is null there."""
        return {"verdict": "VALID" if self.valid else "INVALID", **_plain(asdict(self))}


def judge(ran: Ran, target: Target | None = None, *, seed: int = 0) -> Report:
    """Return what a run shows.

    Args:
        ran: what became of each query.
        target: that its tail is held against.
        seed: of the intervals.

    Example:
        >>> times = np.full(1_000, 0.01)
        >>> ran = Ran(latency_s=times, delay_s=0 * times, planned=1_000, seconds=5.0,
        ...           ends=np.zeros(1_000, dtype=np.int8))
        >>> judge(ran, Target(latency_s=0.1)).valid
        True
        >>> judge(ran, Target(latency_s=0.001)).reasons[0]
        '100.0 % of queries are over 1.00 ms, at most 5.0 % may be'
    """
    issued = int(ran.latency_s.size)
    ends = {name: int((ran.ends == at).sum()) for at, name in enumerate(ENDS)}
    warm = int(_WARM_FRAC * issued)
    latency = ran.latency_s[warm:]
    delay_s = float(np.quantile(ran.delay_s, 0.99))
    late = None if target is None else late_share(latency > target.latency_s)
    shares = sorted({*_SHARES, *([] if target is None else [target.share])})
    reasons = _wrong(ran, ends, latency.size, late, delay_s, target)
    return Report(
        valid=not reasons,
        reasons=tuple(reasons),
        planned=ran.planned,
        issued=issued,
        ends=ends,
        rate_per_s=issued / max(ran.seconds, 1e-9),
        answered_per_s=ends["answered"] / max(ran.seconds, 1e-9),
        judged=int(latency.size),
        latency_s={f"p{100 * each:g}": _percentile(latency, each, seed)
                   for each in shares},
        late_frac=late,
        delay_p99_s=delay_s,
        target=target,
    )  # fmt: skip


def least_queries(target: Target | None) -> int:
    """Return how many queries a run has at least, its beginning included.

    Example:
        >>> least_queries(Target(latency_s=0.1)), least_queries(
        ...     Target(latency_s=0.1, share=0.99))
        (223, 1112)
    """
    return math.ceil(_least(target) / (1 - _WARM_FRAC))


def _least(target: Target | None) -> int:
    if target is None:
        return _LEAST
    return max(_LEAST, math.ceil(round(_LATE / (1 - target.share), 6)))


def _wrong(
    ran: Ran,
    ends: dict[str, int],
    judged: int,
    late: Interval | None,
    delay_s: float,
    target: Target | None,
) -> list[str]:
    found = []
    if late is not None and target is not None:
        allowed, limit = 1 - target.share, format_duration(target.latency_s)
        if late.value > allowed:
            found.append(
                f"{format_percent(late.value)} of queries are over {limit}, at most "
                f"{format_percent(allowed)} may be"
            )
        elif late.high > allowed:
            found.append(
                f"up to {format_percent(late.high)} of queries may be over {limit}, "
                f"with {format_percent(late.confidence)} confidence, at most "
                f"{format_percent(allowed)} may be"
            )
        most_s = _DELAY_FRAC * target.latency_s
        if delay_s > most_s:
            found.append(
                f"the load itself came late: p99 {format_duration(delay_s)}, at most "
                f"{format_duration(most_s)}; it needs more of the processor"
            )
    if judged < _least(target):
        found.append(f"{judged} queries are judged, {_least(target)} are needed")
    if len(ran.latency_s) < ran.planned:
        found.append(
            f"overloaded: it was stopped after {len(ran.latency_s)} of {ran.planned} "
            "queries, as too many were open"
        )
    if ends["failed"]:
        said = f": {ran.error}" if ran.error else ""
        found.append(f"{ends['failed']} queries failed{said}")
    if ends["open"]:
        found.append(f"{ends['open']} queries were never answered")
    return found


def _percentile(latency: NDArray[np.float64], share: float, seed: int) -> Interval:
    """Return a percentile with an interval by a bootstrap over blocks."""
    # Of the nearest rank: between a number and infinity there is nothing.
    value = float(np.quantile(latency, share, method="higher"))
    if latency.size < _LEAST:
        return Interval(value=value, low=math.nan, high=math.nan, confidence=0.95)
    longest = 2 * float(latency[np.isfinite(latency)].max(initial=1.0))
    blocks = np.array_split(np.where(np.isfinite(latency), latency, longest), _BLOCKS)

    def of(chosen: NDArray[np.float64]) -> float:
        rows = np.concatenate([blocks[int(each)] for each in chosen])
        return float(np.quantile(rows, share, method="higher"))

    found = bootstrap_interval(
        np.arange(_BLOCKS, dtype=np.float64),
        of,
        resamples=_RESAMPLES,
        seed=seed,
        method="percentile",
    )
    low, high = (math.inf if each >= longest else each
                 for each in (found.low, found.high))  # fmt: skip
    return Interval(value=value, low=low, high=high, confidence=found.confidence)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
