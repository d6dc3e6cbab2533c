"""What channels see of the channels of their stage: sets of bits, exactly.

A stage is a resolution. Where the resolution changes, the channels of the tensor that
begins the new one are its *entries*; from there on every channel sees a set of entries.
Many channels see the same set, all of a dense convolution for one, so sets are kept
once and channels say which is theirs.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Entries", "Rows"]

Integers = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Sets of entries, each a number whose bits say which.

    Attributes:
        bits: one number a set.
    """

    bits: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.bits)

    def counts(self) -> Integers:
        """Return how many entries each set has."""
        return np.array([each.bit_count() for each in self.bits], dtype=np.int64)

    def union(self, places: Integers, other: Rows, others: Integers) -> Rows:
        """Return the unions of pairs of sets, one of these and one of others."""
        return Rows(
            tuple(
                self.bits[one] | other.bits[two]
                for one, two in zip(places.tolist(), others.tolist(), strict=True)
            )
        )

    def together(self, groups: Integers, count: int) -> Rows:
        """Return the unions of groups of sets.

        Args:
            groups: of each set, from 0.
            count: of groups.
        """
        found = [0] * count
        for each, group in zip(self.bits, groups.tolist(), strict=True):
            found[group] |= each
        return Rows(tuple(found))

    def all_of(self, places: Iterable[int]) -> int:
        """Return the union of some of the sets."""
        return functools.reduce(operator.or_, (self.bits[each] for each in places), 0)


@final
class Entries:
    """Numbers the entries of stages, each tensor's in a row of bits of its own."""

    def __init__(self) -> None:
        self._next = 0
        self._starts: list[tuple[int, int]] = []

    def add(self, channels: int) -> Rows:
        """Return the sets of a tensor that begins a stage: each channel sees itself."""
        start = self._next
        self._starts.append((start, channels))
        self._next += channels
        return Rows(tuple(1 << (start + each) for each in range(channels)))

    def merge(self, rows: Sequence[Rows]) -> list[Rows]:
        """Return sets of tensors that are added up, by the entries of one of them.

        A stage often begins twice, in a branch and in the shortcut beside it. Where
        such tensors are added, their entries count once, the narrower's among the
        wider's.
        """
        used = [functools.reduce(operator.or_, each.bits, 0) for each in rows]
        homes = [self._homes(each) for each in used]
        if not rows or any(len(home) != 1 for home in homes):
            return list(rows)
        target, _ = min(home[0] for home in homes)
        return [
            Rows(tuple(bits >> (home[0][0] - target) for bits in each.bits))
            for each, home in zip(rows, homes, strict=True)
        ]

    def _homes(self, used: int) -> list[tuple[int, int]]:
        """Return the tensors whose entries are among the bits."""
        return [
            (start, channels)
            for start, channels in self._starts
            if (used >> start) & ((1 << channels) - 1)
        ]
