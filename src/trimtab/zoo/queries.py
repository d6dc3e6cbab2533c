"""Random inputs for recommendation networks: popular ids often, as in production.

Free of torch. Nothing is as long as a table: ranks come from the Zipf distribution by
rejection-inversion, and a permutation that needs no memory says which row has the rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, final

import numpy as np
import numpy.typing as npt

from trimtab.errors import UsageError
from trimtab.zoo.preset import Input

__all__ = ["Queries", "check_inputs"]

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

_MAX_ALPHA: Final = 4.0


@final
class Queries:
    """Draws the inputs of queries.

    Features are normal. Every table has its own permutation from popularity to row; the
    k-th most popular row is drawn with a chance proportional to k**-alpha. Histories
    are full.

    Args:
        inputs: of the network.
        seed: decides everything.
        alpha: 0 for uniform ids; 0.8 to 1.1 is typical.

    Raises:
        UsageError: an `alpha` outside of 0 to 4.

    References:
        Hörmann and Derflinger, Rejection-inversion to generate variates from monotone
        discrete distributions, ACM TOMACS 6 (1996).

    Example:
        >>> from trimtab.zoo.preset import sizes
        >>> draws = Queries(sizes("rmc1", "small").inputs, seed=1)
        >>> [(part.shape, str(part.dtype)) for part in draws.draw(3)]
        [((3, 128), 'float32'), ((3, 8, 80), 'int64')]
    """

    def __init__(
        self, inputs: Sequence[Input], *, seed: int, alpha: float = 1.0
    ) -> None:
        if not 0 <= alpha <= _MAX_ALPHA:
            raise UsageError(
                f"alpha of {alpha}",
                rule=f"the exponent lies between 0 and {_MAX_ALPHA:.0f}",
                remedy="give 1.0, or 0 for uniform ids",
            )
        self._inputs = tuple(inputs)
        self._seed = seed
        random = np.random.default_rng(seed)
        self._ids = [
            _Ids(each, alpha, random) if each.rows else None for each in inputs
        ]

    def draw(self, items: int, query: int = 0) -> tuple[Array, ...]:
        """Return the inputs of one query.

        Args:
            items: length of the batch.
            query: which one; the same number gives the same inputs, in any order.

        Raises:
            UsageError: less than one item.
        """
        if items < 1:
            raise UsageError(
                f"a query of {items} items",
                rule="it has at least one",
                remedy="give 1 or more",
            )
        random = np.random.default_rng((self._seed, query))
        return tuple(
            random.standard_normal((items, *each.shape), dtype=np.float32)
            if ids is None
            else ids.draw(random, items)
            for each, ids in zip(self._inputs, self._ids, strict=True)
        )


@final
class _Ids:
    """Draws the ids of one input."""

    def __init__(self, each: Input, alpha: float, random: np.random.Generator) -> None:
        self._shape = each.shape
        self._least = int(each.padded)
        # Rows to choose from, in a shape that broadcasts over (items, *shape).
        rows = [max(1, count - self._least) for count in each.rows]
        across = (-1, *(1 for _ in each.shape[1:]))
        self._rows: Ints = np.array(rows, np.int64).reshape(across)
        self._zipf = _Zipf(self._rows, alpha) if alpha else None
        steps, starts = zip(*(_bijection(count, random) for count in rows), strict=True)
        self._steps = np.array(steps, np.int64).reshape(across)
        self._starts = np.array(starts, np.int64).reshape(across)

    def draw(self, random: np.random.Generator, items: int) -> Ints:
        shape = (items, *self._shape)
        if self._zipf is None:
            drawn: Ints = random.integers(0, self._rows, shape)
            return drawn + self._least
        ranks = self._zipf.ranks(random, shape)
        places: Ints = (ranks * self._steps + self._starts) % self._rows
        return places + self._least


def _bijection(count: int, random: np.random.Generator) -> tuple[int, int]:
    """Return step and start of k -> (step k + start) mod count, a permutation.

    The step has no factor in common with the count; products stay below 2**62.
    """
    step = int(random.integers(1, count + 1))
    while math.gcd(step, count) != 1:
        step = step % count + 1
    return step, int(random.integers(count))


@final
class _Zipf:
    """Ranks from 0, rank k - 1 with a chance proportional to k**-alpha.

    H is the integral of x**-alpha from 1. A point drawn uniformly below its graph gives
    x by the inverse, the nearest k is taken where the point lies below the step of k.

    Args:
        rows: how many ranks, any shape.
        alpha: exponent, above 0.
    """

    def __init__(self, rows: Ints, alpha: float) -> None:
        self._alpha = alpha
        self._rows = rows
        self._low = self._h(np.array(1.5)) - 1
        self._high = self._h(rows.astype(np.float64) + 0.5)
        # Whoever is this near to k is accepted without looking further.
        self._near = 2 - self._inverse(self._h(np.array(2.5)) - 2**-alpha)

    def _h(self, x: Floats) -> Floats:
        log = np.log(x)
        return log * _share(np.expm1, (1 - self._alpha) * log)

    def _inverse(self, y: Floats) -> Floats:
        return np.exp(y * _share(np.log1p, (1 - self._alpha) * y))

    def ranks(self, random: np.random.Generator, shape: tuple[int, ...]) -> Ints:
        """Return ranks of a shape that `rows` broadcasts to."""
        rows = np.broadcast_to(self._rows, shape).ravel()
        high = np.broadcast_to(self._high, shape).ravel()
        found = np.zeros(rows.shape, np.int64)
        left = np.arange(rows.size)
        while left.size:
            point = high[left] + random.random(left.size) * (self._low - high[left])
            x = self._inverse(point)
            k = np.clip(np.rint(x), 1, rows[left])
            good = (k - x <= self._near) | (point >= self._h(k + 0.5) - k**-self._alpha)
            found[left[good]] = k[good].astype(np.int64) - 1
            left = left[~good]
        return found.reshape(shape)


def _share(function: np.ufunc, x: Floats) -> Floats:
    """Return function(x) / x, and its limit 1 at 0."""
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, function(safe) / safe)


def check_inputs(inputs: Sequence[Input], values: Sequence[Array]) -> None:
    """Refuse inputs that a network cannot take, or would take for others.

    Args:
        inputs: of the network.
        values: arrays, batch on axis 0.

    Raises:
        UsageError: their number, a shape, a type, batches of different length, or an id
            outside of its table, with its place.

    Example:
        >>> ids = Input(name="ids", shape=(1, 1), rows=(9,))
        >>> check_inputs([ids], [np.array([[[9]]])])
        Traceback (most recent call last):
            ...
        trimtab.errors.UsageError: ids[0, 0, 0] = 9: its table has rows 0 to 8. Give ...
    """
    names = [each.name for each in inputs]
    if len(values) != len(names):
        raise UsageError(
            f"{len(values)} inputs",
            rule=f"the network takes {len(names)}",
            remedy=f"give {', '.join(names)}",
        )
    items = len(values[0]) if values[0].ndim else 0
    for each, value in zip(inputs, values, strict=True):
        if value.dtype != each.dtype or value.shape != (items, *each.shape):
            raise UsageError(
                f"{each.name} of shape {value.shape} and type {value.dtype}",
                rule=f"it is {('n', *each.shape)} of {each.dtype}",
                remedy="give all inputs the same n",
            )
        if not each.rows:
            continue
        rows = np.array(each.rows, np.int64)
        rows = rows.reshape(-1, *(1 for _ in each.shape[1:]))
        wrong = (value < 0) | (value >= rows)
        if wrong.any():
            place = np.unravel_index(int(wrong.argmax()), wrong.shape)
            last = int(np.broadcast_to(rows, value.shape)[place]) - 1
            raise UsageError(
                f"{each.name}[{', '.join(str(int(axis)) for axis in place)}] = "
                f"{int(value[place])}",
                rule=f"its table has rows 0 to {last}",
                remedy="give an id of that table",
            )
