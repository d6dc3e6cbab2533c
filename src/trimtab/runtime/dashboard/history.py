"""Numbers over the last minutes, at a steady pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import final

from trimtab.runtime.dashboard.state import Target, Trend

__all__ = ["History", "Rates"]


@final
class History:
    """The last values of some quantities.

    Args:
        window_s: that is kept.
        most: points of it that are kept at most.

    Example:
        >>> history = History(10.0)
        >>> history.see({"a": 1.0}, at_s=5.0)
        >>> history.see({"a": 2.0}, at_s=7.0)
        >>> history.trend("A", "s", {"a": "first"}, at_s=8.0).times_s
        (-3.0, -1.0)
    """

    def __init__(self, window_s: float = 180.0, *, most: int = 400) -> None:
        self.window_s = window_s
        self._points: deque[tuple[float, Mapping[str, float | None]]] = deque(
            maxlen=most
        )

    def see(self, values: Mapping[str, float | None], *, at_s: float) -> None:
        """Take values at a time; what is older than the window goes."""
        self._points.append((at_s, values))
        while self._points[0][0] < at_s - self.window_s:
            self._points.popleft()

    def trend(
        self,
        title: str,
        unit: str,
        names: Mapping[str, str],
        *,
        at_s: float,
        stacked: bool = False,
        log: bool = False,
        target: Target | None = None,
    ) -> Trend:
        """Return some quantities until a time.

        Args:
            title: of the figure.
            unit: of the quantities.
            names: what each quantity is called there.
            at_s: now.
            stacked: whether they add up.
            log: whether the axis is logarithmic.
            target: to compare with.
        """
        return Trend(
            title=title,
            unit=unit,
            times_s=tuple(when - at_s for when, _ in self._points),
            lines=tuple(
                (name, tuple(values.get(key) for _, values in self._points))
                for key, name in names.items()
            ),
            stacked=stacked,
            log=log,
            target=target,
        )


@final
class Rates:
    """Counters as rates over the last seconds.

    Args:
        window_s: that rates are over.

    Example:
        >>> rates = Rates(2.0)
        >>> rates.see({"answers": 10}, at_s=1.0)
        {'answers': 0.0}
        >>> rates.see({"answers": 16}, at_s=3.0)
        {'answers': 3.0}
    """

    def __init__(self, window_s: float = 2.0) -> None:
        self.window_s = window_s
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def see(self, counts: Mapping[str, int], *, at_s: float) -> dict[str, float]:
        """Take counters; return how fast each grows, a second."""
        self._seen.append((at_s, dict(counts)))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - self.window_s:
            self._seen.popleft()
        begun, before = self._seen[0]
        passed = at_s - begun
        if passed <= 0:
            return dict.fromkeys(counts, 0.0)
        return {
            name: (value - before.get(name, 0)) / passed
            for name, value in counts.items()
        }
