"""What a server is asked: when queries arrive and how many items each has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import UsageError
from trimtab.serve.arrivals import Arrivals
from trimtab.serve.sizes import Sizes

__all__ = ["Trace", "Workload"]

_MOST_QUERIES: Final = 20_000_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """An absolute schedule of queries.

    Attributes:
        at_s: when each arrives, ascending, float64.
        items: of each, int64.

    Raises:
        UsageError: lengths that differ, times that do not ascend, or sizes below 1.
    """

    at_s: NDArray[np.float64]
    items: NDArray[np.int64]

    def __post_init__(self) -> None:
        if (
            self.at_s.shape != self.items.shape
            or self.at_s.ndim != 1
            or self.at_s.size == 0
            or not np.isfinite(self.at_s).all()
            or self.at_s[0] < 0
            or (np.diff(self.at_s) < 0).any()
            or self.items.min() < 1
        ):
            raise UsageError(
                f"a trace of {self.at_s.size} times and {self.items.size} sizes",
                rule="each of its queries, one or more, has a time, not below 0 or "
                "before the one ahead, and at least one item",
                where="trimtab.serve.Trace",
                remedy="make it by Workload.trace",
            )

    def __len__(self) -> int:
        return int(self.at_s.size)

    @property
    def rate_per_s(self) -> float:
        """Queries a second, on average."""
        return len(self) / float(self.at_s[-1])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Laws that traces are drawn from.

    Attributes:
        arrivals: of the times.
        sizes: of the queries.

    Example:
        >>> from trimtab.serve.arrivals import parse_arrivals
        >>> from trimtab.serve.sizes import parse_sizes
        >>> work = Workload(
        ...     arrivals=parse_arrivals("constant"), sizes=parse_sizes("fixed:100")
        ... )
        >>> trace = work.trace(rate_per_s=2.0, count=3, seed=0)
        >>> trace.at_s.tolist(), trace.items.tolist()
        ([0.5, 1.0, 1.5], [100, 100, 100])
    """

    arrivals: Arrivals
    sizes: Sizes

    def trace(
        self,
        *,
        rate_per_s: float,
        seed: int,
        count: int | None = None,
        duration_s: float | None = None,
    ) -> Trace:
        """Return a trace; the same for the same arguments.

        Sizes are drawn apart from times: at another rate query n is as large.

        Args:
            rate_per_s: mean rate of queries.
            seed: of both laws.
            count: of queries; or
            duration_s: that they arrive within.

        Raises:
            UsageError: not one of count and duration, or one out of bounds.
        """
        if count is None and duration_s is not None and rate_per_s > 0:
            if not 0 < duration_s < math.inf:
                raise _out_of_bounds(rate_per_s, duration_s)
            return self._within(rate_per_s, duration_s, seed)
        if (
            not 0 < rate_per_s < math.inf
            or duration_s is not None
            or count is None
            or not 1 <= count <= _MOST_QUERIES
        ):
            raise _out_of_bounds(rate_per_s, duration_s if count is None else count)
        at = self.arrivals.times(
            count, rate_per_s=rate_per_s, rng=np.random.default_rng([seed, 0])
        )
        return Trace(at_s=at, items=self.items(count, seed=seed))

    def items(self, count: int, *, seed: int) -> NDArray[np.int64]:
        """Return the sizes that a trace of that seed has."""
        return self.sizes.draw(count, np.random.default_rng([seed, 1]))

    def _within(self, rate_per_s: float, duration_s: float, seed: int) -> Trace:
        count = max(16, math.ceil(1.2 * rate_per_s * duration_s))
        while True:
            found = self.trace(rate_per_s=rate_per_s, seed=seed, count=count)
            if found.at_s[-1] >= duration_s:
                break
            count *= 2
        kept = max(1, int(np.searchsorted(found.at_s, duration_s)))
        return Trace(at_s=found.at_s[:kept], items=found.items[:kept])


def _out_of_bounds(rate_per_s: float, length: float | None) -> UsageError:
    return UsageError(
        f"a trace of {rate_per_s:g} queries a second, {length} long",
        rule="it has a rate above 0, and a duration in seconds or a count of at most "
        f"{_MOST_QUERIES} queries",
        where="trimtab.serve.Workload",
        remedy="give one of duration_s and count",
    )
