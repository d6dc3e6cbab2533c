"""Where in the working memory each buffer stands: those alive together do not overlap.

Buffers with a halo share memory only with buffers of the same layout, since the zeros
of a halo are written once, before the first call. The others are placed largest first
in the lowest gap that is free while they live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["Arena", "Lifetime", "arrange"]

ALIGNMENT = 64
"""Bytes: a cache line, and the longest vector."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A buffer and when it is needed.

    Attributes:
        key: of the buffer.
        size_bytes: of it.
        first: step that writes it first.
        last: step that reads it last.
        kind: buffers of one kind may share memory; None shares with None.
    """

    key: int
    size_bytes: int
    first: int
    last: int
    kind: object = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Where buffers stand.

    Attributes:
        offsets: in bytes, by key.
        size_bytes: of the whole.
        zeroed: offset and size of what must be zero at first.
    """

    offsets: dict[int, int]
    size_bytes: int
    zeroed: tuple[tuple[int, int], ...]


def arrange(buffers: Sequence[Lifetime]) -> Arena:
    """Return a place for every buffer.

    Example:
        >>> a = Lifetime(key=1, size_bytes=100, first=0, last=1)
        >>> b = Lifetime(key=2, size_bytes=60, first=1, last=2)
        >>> c = Lifetime(key=3, size_bytes=90, first=2, last=3)
        >>> arrange([a, b, c]).offsets
        {1: 0, 3: 0, 2: 128}
    """
    offsets: dict[int, int] = {}
    end = 0
    zeroed: list[tuple[int, int]] = []
    kinds: dict[object, list[Lifetime]] = {}
    for each in buffers:
        kinds.setdefault(each.kind, []).append(each)
    for kind, members in sorted(kinds.items(), key=lambda item: item[0] is not None):
        start = end
        placed: list[Lifetime] = []
        slots: list[list[Lifetime]] = []
        for each in sorted(members, key=lambda one: (-one.size_bytes, one.first)):
            if kind is None:
                offsets[each.key] = _gap(each, placed, offsets)
                end = max(end, offsets[each.key] + _aligned(each.size_bytes))
                placed.append(each)
                continue
            index = next(
                (
                    index
                    for index, slot in enumerate(slots)
                    if not any(_together(each, other) for other in slot)
                ),
                len(slots),
            )
            if index == len(slots):
                slots.append([])
            slots[index].append(each)
            size = _aligned(each.size_bytes)
            offsets[each.key] = start + index * size
            end = max(end, offsets[each.key] + size)
        if kind is not None:
            zeroed.append((start, end - start))
    return Arena(offsets=offsets, size_bytes=end, zeroed=tuple(zeroed))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _together(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


def _gap(new: Lifetime, placed: Sequence[Lifetime], offsets: dict[int, int]) -> int:
    """Return the lowest offset that no buffer alive at the same time covers."""
    taken = sorted(
        (offsets[each.key], offsets[each.key] + _aligned(each.size_bytes))
        for each in placed
        if _together(new, each)
    )
    at = 0
    for start, stop in taken:
        if at + new.size_bytes <= start:
            break
        at = max(at, stop)
    return at
