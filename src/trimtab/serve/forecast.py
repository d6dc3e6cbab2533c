"""Tails of latency that batch sizes would have now, from what windows have shown.

Rate, sizes and burstiness of the arrivals and what batches took are followed; a few
thousand queries of that kind are simulated for each batch size. Answers are kept until
what they rest on has changed.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

import numpy as np

from trimtab.runtime.estimators import LogMean
from trimtab.serve.arrivals import Gamma
from trimtab.serve.capacity import stable_rate
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule, split
from trimtab.serve.simulate import simulate
from trimtab.serve.sizes import Counted
from trimtab.serve.window import Window
from trimtab.serve.workload import Workload

__all__ = ["Forecast"]

_RECENT: Final = 2_000  # queries whose sizes and gaps are remembered
_RATE_STEP: Final = 1.1  # between rates that are told apart
_CV2: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # burstiness that is told apart


@final
@dataclass(slots=True)
class _Belief:
    """What predictions rest on, and those that were made so far."""

    host: Host
    items: tuple[int, ...]
    ratios: tuple[float, ...]
    rates: dict[int, float]
    alone_s: dict[int, float]
    percentiles: dict[tuple[int, float], dict[int, float]] = field(default_factory=dict)


@final
class Forecast:
    """Follows load and service times, and predicts.

    Args:
        host: its curve is corrected by what batches took.
        schedule: whose batch size is in question; the rest of it stays.
        sizes: of queries, as far as they are known before any was seen.
        batches: sizes to predict, ascending.
        share: of queries, whose latency is predicted: 0.95 for p95.
        queries: that are simulated for each.
        drift_frac: by which sizes or service times may change until predictions are
            made anew.

    Attributes:
        rate: queries a second.
    """

    def __init__(
        self,
        host: Host,
        schedule: Schedule,
        *,
        sizes: Sequence[int],
        batches: Sequence[int],
        share: float = 0.95,
        queries: int = 2_000,
        drift_frac: float = 0.1,
    ) -> None:
        self.host, self.schedule, self.batches = host, schedule, tuple(batches)
        self.share, self.queries, self.drift_frac = share, queries, drift_frac
        self.rate = LogMean(weight=0.5)
        self._items: deque[int] = deque(sizes, maxlen=_RECENT)
        self._gaps: deque[float] = deque(maxlen=_RECENT)
        self._last_s: float | None = None
        # Of what batches took to what the curve says, by the bits of their size.
        self._ratios: dict[int, LogMean] = {}
        self._belief = self._believe()

    def learn(self, window: Window) -> None:
        """Take sizes, gaps and service times of a window; its rate is told apart."""
        self._items.extend(window.items)
        times = list(window.arrived_s)
        if self._last_s is not None:
            times.insert(0, self._last_s)
        self._gaps.extend(b - a for a, b in itertools.pairwise(times))
        self._last_s = times[-1] if times else self._last_s
        taken: dict[int, list[float]] = {}
        most = max((items for items, _ in window.batches), default=0)
        table = self.host.curve.table(most)
        for items, seconds in window.batches:
            both = taken.setdefault(items.bit_length(), [0.0, 0.0])
            both[0] += seconds
            both[1] += table[items]
        for bits, (seconds, expected) in taken.items():
            self._ratios.setdefault(bits, LogMean()).see(seconds / expected)
        if self._drifted():
            self._belief = self._believe()

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation of recent gaps; 1 while they are few."""
        if len(self._gaps) < 100:
            return 1.0
        gaps = np.array(self._gaps)
        return float(gaps.var() / max(gaps.mean() ** 2, 1e-18))

    @property
    def mean_items(self) -> float:
        """Mean size of recent queries."""
        return float(np.mean(self._items))

    @property
    def slowdown(self) -> float:
        """What batches took over what the curve says, at the median batch size."""
        return float(np.median(self._belief.ratios))

    @property
    def rates(self) -> Mapping[int, float]:
        """Queries a second that keep workers busy all the time, by batch size."""
        return self._belief.rates

    @property
    def alone_s(self) -> Mapping[int, float]:
        """Time of the longest chunk of any query, by batch size."""
        return self._belief.alone_s

    def percentiles(self) -> Mapping[int, float]:
        """Return the predicted percentile of each batch size at the present load."""
        belief, cv2 = self._belief, max(self.cv2, 1e-3)
        burst = min(_CV2, key=lambda each: abs(math.log(each / cv2)))
        step = math.ceil(math.log(self.rate.value or 1e-3) / math.log(_RATE_STEP))
        key = (step, burst)
        if key not in belief.percentiles:
            trace = self._work(burst, belief.items).trace(
                rate_per_s=_RATE_STEP**step, count=self.queries, seed=0
            )
            belief.percentiles[key] = {
                each: simulate(
                    belief.host, replace(self.schedule, batch=each, shed=False), trace
                ).quantile(self.share, skip=self.queries // 10)
                for each in self.batches
            }
        return belief.percentiles[key]

    def _drifted(self) -> bool:
        """Return whether sizes or service times are others than was believed."""
        most = 1 + self.drift_frac
        sizes = [np.array(each) for each in (self._items, self._belief.items)]
        pairs = [
            tuple(float(each.mean()) for each in sizes),
            tuple(float(np.quantile(each, self.share)) for each in sizes),
            *zip(self._all_ratios(), self._belief.ratios, strict=True),
        ]
        return any(max(now / then, then / now) > most for now, then in pairs)

    def _all_ratios(self) -> tuple[float, ...]:
        """Return the ratio of each batch size; unseen ones have the nearest's."""
        seen = {bits: each.value or 1.0 for bits, each in self._ratios.items()}
        if not seen:
            return (1.0,) * len(self.batches)
        return tuple(
            seen[min(seen, key=lambda bits: (abs(bits - size.bit_length()), bits))]
            for size in self.batches
        )

    def _believe(self) -> _Belief:
        ratios = self._all_ratios()
        sizes = sorted({1, *self.batches})
        by_size = np.interp(np.log(sizes), np.log(self.batches), ratios)
        table = self.host.curve.table(sizes[-1])
        # What workers cost each other is in what batches took.
        seconds = [table[size] * by for size, by in zip(sizes, by_size, strict=True)]
        curve = ServiceCurve(
            network=self.host.curve.network,
            source="corrected by what was seen",
            sizes=tuple(sizes),
            seconds=tuple(seconds),
        )
        host, items = replace(self.host, curve=curve), tuple(self._items)
        work = self._work(1.0, items)
        rates = {
            each: stable_rate(host, replace(self.schedule, batch=each), work, seed=0)
            for each in self.batches
        }
        table, different = curve.table(self.batches[-1]), set(items)
        return _Belief(
            host=host,
            items=items,
            ratios=ratios,
            rates=rates,
            alone_s={
                batch: max(table[split(each, batch)[0]] for each in different)
                for batch in self.batches
            },
        )

    @staticmethod
    def _work(cv2: float, items: tuple[int, ...]) -> Workload:
        return Workload(arrivals=Gamma(cv2=cv2), sizes=Counted(sizes=items))
