"""How long batches take, as they were seen lately."""

from __future__ import annotations

from typing import Final, final

__all__ = ["Pace"]

_FIRST_S: Final = 1e-3  # of a batch, before any was seen
_WEIGHT: Final = 0.2  # of the last batch
_BITS: Final = 33  # of a number of rows


@final
class Pace:
    """A running mean of the time of a row, by the bits of the size of its batch.

    It is asked for every chunk of every query, so that an answer is two look-ups.

    Example:
        >>> pace = Pace()
        >>> pace(100)
        0.001
        >>> pace.see(100, 0.5)
        >>> pace(100), pace(10)  # the nearest size that was seen
        (0.5, 0.05)
    """

    def __init__(self) -> None:
        self._row_s: list[float] = [0.0] * _BITS
        self._seen: set[int] = set()
        self._nearest: list[int] = []

    def see(self, rows: int, seconds: float) -> None:
        """Take what a batch took."""
        bits, row_s = rows.bit_length(), seconds / rows
        if bits in self._seen:
            row_s = (1 - _WEIGHT) * self._row_s[bits] + _WEIGHT * row_s
        else:
            self._seen.add(bits)
            self._nearest = [
                min(self._seen, key=lambda known: (abs(known - each), known))
                for each in range(_BITS)
            ]
        self._row_s[bits] = row_s

    def __call__(self, rows: int) -> float:
        """Return the seconds of a batch of so many rows."""
        if not self._nearest:
            return _FIRST_S
        return self._row_s[self._nearest[rows.bit_length()]] * rows
