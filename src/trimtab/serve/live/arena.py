"""Items of queries in shared memory: a ring that all workers see.

An item is a row of every input and of every output. A query takes the next free rows,
all in one place, so that a part of a query, or several queries one after the other, are
a range: what is split or put together is numbers, never data. Rows become free again in
the order they were taken, when their query was answered.

The memory has no name: it is handed to workers as a file descriptor, and is gone with
the last process that has it, however that ends.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import ExecutionError, UsageError

__all__ = ["Arena", "Field", "Rows", "check_rows"]

_ALIGNED: Final = 64  # bytes of a cache line
DTYPES: Final = (
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An input or an output.

    Attributes:
        name: of it.
        dtype: as numpy calls it.
        shape: of an item.
        bounds: that integers are below, one for all or one for each entry of the first
            axis of `shape`; None where they are not known.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bounds: tuple[int, ...] | None = None

    @property
    def item_bytes(self) -> int:
        """Of an item."""
        return int(np.dtype(self.dtype).itemsize) * math.prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Field:
        """Return what `to_dict` gave."""
        bounds = found.get("bounds")
        return cls(
            name=found["name"], dtype=found["dtype"], shape=tuple(found["shape"]),
            bounds=None if bounds is None else tuple(bounds),
        )  # fmt: skip


@final
class _Bounds:
    """What ids are below, looked at in one pass."""

    def __init__(self, bounds: tuple[int, ...], size: int) -> None:
        # Without a sign what was negative is large.
        self._unsigned = np.dtype(f"u{size}")
        self._below = np.asarray(bounds, np.uint64)
        self._least = min(bounds)

    @classmethod
    def of(cls, each: Field) -> _Bounds | None:
        """Return those of a field, or None."""
        if each.bounds is None or np.dtype(each.dtype).kind not in "iu":
            return None
        return cls(each.bounds, np.dtype(each.dtype).itemsize)

    def hold(self, value: NDArray[Any]) -> bool:
        """Return whether all ids are below."""
        ids = value.view(self._unsigned)
        if not ids.size or ids.max() < self._least:
            return True
        if self._below.size == 1:
            return False
        most = ids.max(axis=(0, *range(2, ids.ndim)))
        return bool((most < self._below).all())


class Arena:
    """Rows of inputs and outputs in shared memory.

    Args:
        inputs: of the network.
        outputs: of it.
        capacity: rows.
        descriptor: of memory that another process made; made here by default.

    Attributes:
        descriptor: to hand to another process.

    Raises:
        UsageError: a dtype that has no place here, or no rows.
    """

    def __init__(
        self,
        inputs: Sequence[Field],
        outputs: Sequence[Field],
        capacity: int,
        *,
        descriptor: int | None = None,
    ) -> None:
        for each in (*inputs, *outputs):
            if each.dtype not in DTYPES:
                raise UsageError(
                    f"{each.name!r} of {each.dtype}",
                    rule=f"served are {', '.join(DTYPES)}",
                    where="trimtab serve",
                    remedy="convert it in the network",
                )
        if capacity < 1:
            raise UsageError(
                f"an arena of {capacity} rows",
                rule="it has at least one",
                where="trimtab serve",
                remedy="give more",
            )
        self.inputs, self.outputs, self.capacity = (
            tuple(inputs),
            tuple(outputs),
            capacity,
        )
        places = []
        size = 0
        for each in (*inputs, *outputs):
            places.append(size)
            size += -(-each.item_bytes * capacity // _ALIGNED) * _ALIGNED
        size = max(size, mmap.PAGESIZE)
        if descriptor is None:
            descriptor = os.memfd_create("trimtab-arena")
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)
        self._rows = {
            each.name: np.frombuffer(
                self._memory, dtype=each.dtype, offset=place,
                count=capacity * math.prod(each.shape),
            ).reshape(capacity, *each.shape)
            for each, place in zip((*inputs, *outputs), places, strict=True)
        }  # fmt: skip

        self._expected = [
            (each.name, np.dtype(each.dtype), each.shape, _Bounds.of(each))
            for each in inputs
        ]

    def fits(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        """Return the items of a query; 0 where anything is not as it has to be.

        Every query passes here, so that why is found by `check_rows`, and only then.
        """
        if len(inputs) != len(self._expected):
            return 0
        count = -1
        for name, dtype, shape, bounds in self._expected:
            value = inputs.get(name)
            if value is None or value.dtype != dtype or value.ndim != 1 + len(shape):
                return 0
            items, *rest = value.shape
            if count < 0:
                count = items
            if items != count or tuple(rest) != shape or not 0 < items <= self.capacity:
                return 0
            if bounds is not None and not bounds.hold(value):
                return 0
        return max(count, 0)

    def rows(self, name: str) -> NDArray[Any]:
        """Return all rows of an input or an output, of shape (capacity, ...)."""
        return self._rows[name]

    def close(self) -> None:
        """Let go of the memory."""
        self._rows.clear()
        with contextlib.suppress(BufferError):  # of a row that somebody still looks at
            self._memory.close()
        os.close(self.descriptor)


@final
class Rows:
    """Which rows of a ring are taken.

    Args:
        capacity: rows.

    Example:
        >>> rows = Rows(10)
        >>> rows.take(6), rows.take(6), rows.taken
        (0, None, 6)
        >>> rows.free(0)
        >>> rows.take(6), rows.taken
        (0, 6)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._head = 0
        self.taken = 0
        # In the order they were taken: place, rows with what was skipped, if free.
        self._ranges: deque[list[int]] = deque()
        self._by_place: dict[int, list[int]] = {}

    def take(self, count: int) -> int | None:
        """Return the place of free rows one after the other; None if there are none."""
        if not self.taken:
            self._head = 0
        start, skipped = self._head, 0
        if start + count > self.capacity:  # not around the end
            skipped, start = self.capacity - start, 0
        if self.taken + skipped + count > self.capacity:
            return None
        self._head = start + count
        self.taken += skipped + count
        found = [start, skipped + count, 0]
        self._ranges.append(found)
        self._by_place[start] = found
        return start

    def free(self, place: int) -> None:
        """Give rows back; they are free when all that were taken before them are."""
        self._by_place.pop(place)[2] = 1
        while self._ranges and self._ranges[0][2]:
            self.taken -= self._ranges.popleft()[1]


def check_rows(arena: Arena, inputs: Mapping[str, NDArray[Any]]) -> int:
    """Return the items of a query whose inputs are as the arena has them.

    Raises:
        ExecutionError: an input is missing, is too many, or of another dtype or shape;
            an id is out of its bounds.
    """
    if (items := arena.fits(inputs)) > 0:
        return items
    known = {each.name: each for each in arena.inputs}
    if set(inputs) != set(known):
        raise ExecutionError(
            f"inputs {', '.join(sorted(inputs)) or 'none'}",
            rule=f"the network takes {', '.join(known)}",
            where="trimtab serve",
            remedy="give each once",
        )
    counts = {len(each) if each.ndim else 0 for each in inputs.values()}
    count = counts.pop()
    if counts or not 1 <= count <= arena.capacity:
        raise ExecutionError(
            "a query",
            rule=f"all inputs have as many rows, from 1 to {arena.capacity}",
            where="trimtab serve",
            remedy="give the rows of every item",
        )
    for name, value in inputs.items():
        each = known[name]
        if str(value.dtype) != each.dtype or value.shape[1:] != each.shape:
            raise ExecutionError(
                f"input {name!r} of {value.dtype}{list(value.shape)}",
                rule=f"it is {each.dtype}{['items', *each.shape]}",
                where="trimtab serve",
                remedy="convert it",
            )
        if each.bounds is not None:
            _check_ids(name, value, each.bounds)
    return count


def _check_ids(name: str, value: NDArray[Any], bounds: tuple[int, ...]) -> None:
    most = np.asarray(bounds)
    if len(bounds) > 1:
        most = most.reshape(-1, *[1] * (value.ndim - 2))
    wrong = (value < 0) | (value >= most)
    if wrong.any():
        at = np.argwhere(wrong)[0]
        raise ExecutionError(
            f"input {name!r} with {value[tuple(at)]} at {at.tolist()}",
            rule=f"ids are from 0 to below {', '.join(map(str, bounds[:4]))}",
            where="trimtab serve",
            remedy="give ids of the tables",
        )
