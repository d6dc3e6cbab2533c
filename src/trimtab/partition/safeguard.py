"""Whether adapting pays, compared with each single cut, as requests come in.

Where conditions change faster than they can be seen, the best cut of a moment ago may
be a bad one now, and one cut for all is better. What each cut would have cost is known
from what requests and probes have shown. Once adapting has cost more than the best of
them over some requests, that cut is kept to for a while; each time adapting fails again
soon, for twice as long. A cut that turns out bad meanwhile is left at once.
"""

from __future__ import annotations

import math
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Safeguard"]

Floats = NDArray[np.float64]

_WORSE: Final = 0.03  # share by which adapting may cost more
_BAD: Final = 0.25  # share by which a cut that is kept to may
_REQUESTS: Final = 1_000  # that are remembered, newer ones more
_ENOUGH: Final = 100  # before adapting is left
_FEW: Final = 20  # before a cut that is kept to is
_LEAST_S: Final = 5.0  # that a cut is kept to
_MOST_S: Final = 80.0
_SOON: Final = 4.0  # times as long as that, in which adapting fails again


@final
class Safeguard:
    """Remembers what requests cost, and what each cut would have cost.

    Args:
        cuts: how many there are.

    Example:
        >>> guard = Safeguard(2)
        >>> for number in range(200):
        ...     guard.see(1.2, np.array([2.0, 1.0]))
        >>> guard.keeps(20.0), guard.keeps(24.0), guard.keeps(26.0)
        (1, 1, None)
    """

    def __init__(self, cuts: int) -> None:
        self._every = np.zeros(cuts)
        self._paid = self._seen = 0.0
        self._until = -math.inf
        self._for_s = _LEAST_S
        self._kept: int | None = None

    def see(self, paid: float, every: Floats) -> None:
        """Take a request's cost, and what each cut would have cost."""
        share = 1.0 - 1.0 / _REQUESTS
        self._paid = share * self._paid + paid
        self._every = share * self._every + every
        self._seen = share * self._seen + 1.0

    def keeps(self, at_s: float) -> int | None:
        """Return the cut that is to be kept to now, or None to adapt."""
        least = float(self._every.min())
        if self._kept is not None:
            bad = self._seen >= _FEW and self._paid > (1 + _BAD) * least
            if bad or at_s >= self._until:
                self._until = min(self._until, at_s)
                self._forget(None)
            return self._kept
        if self._seen < _ENOUGH or self._paid <= (1 + _WORSE) * least:
            return None
        soon = at_s - self._until < _SOON * self._for_s
        self._for_s = min(_MOST_S, 2 * self._for_s) if soon else _LEAST_S
        self._until = at_s + self._for_s
        self._forget(int(self._every.argmin()))
        return self._kept

    def _forget(self, kept: int | None) -> None:
        self._kept = kept
        self._every = np.zeros_like(self._every)
        self._paid = self._seen = 0.0
