"""Which weights are one: orbits of a subgroup on the entries of a tensor.

A tensor whose axes are acted on is equivariant to a subgroup if and only if its entries
are constant along the orbits, W = v[orbit]: the Reynolds operator, the mean over the
group, projects on these (arXiv 2107.09301; Kondor & Trivedi, arXiv 1802.03690).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from trimtab.symmetry.actions import Group, Integers

__all__ = ["Axis", "channel", "moved", "orbits", "permuted", "regular", "space"]


@final
@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor, or two for rows and columns, as a group acts on it.

    Attributes:
        kind: ``channel`` stays, ``space`` is turned, ``regular`` has a slot for each
            element of the group, ``permuted`` is an axis with a name.
        sizes: places, two numbers for ``space``.
        name: of a ``permuted`` axis.
    """

    kind: Literal["channel", "regular", "space", "permuted"]
    sizes: tuple[int, ...]
    name: str = ""

    @property
    def places(self) -> int:
        """How many there are."""
        return math.prod(self.sizes)

    def moves(self, group: Group, element: int) -> Integers:
        """Return where an element moves each place.

        Raises:
            UsageError: the group cannot act on an axis of this size.
        """
        if self.kind == "space":
            rows, columns = self.sizes
            return group.space(rows, columns, element)
        if self.kind == "permuted":
            return group.along(self.name, self.sizes[0], element)
        if self.kind == "regular":
            found: Integers = group.table[element]
            return found
        return np.arange(self.places, dtype=np.int64)


def channel(size: int) -> Axis:
    """Return an axis that no element moves."""
    return Axis("channel", (size,))


def regular(group: Group) -> Axis:
    """Return an axis with a slot for each element of a group."""
    return Axis("regular", (len(group),))


def space(rows: int, columns: int) -> Axis:
    """Return rows and columns, of an image or of a kernel."""
    return Axis("space", (rows, columns))


def permuted(name: str, size: int) -> Axis:
    """Return an axis that a family permutes."""
    return Axis("permuted", (size,), name)


def moved(group: Group, element: int, axes: Sequence[Axis]) -> Integers:
    """Return where an element moves each entry of a tensor, in row-major order.

    Args:
        group: that acts.
        element: its number.
        axes: of the tensor.

    Raises:
        UsageError: the group cannot act on an axis of this size.
    """
    found = np.zeros(1, dtype=np.int64)
    for axis in axes:
        found = (found[:, None] * axis.places + axis.moves(group, element)).reshape(-1)
    return found


def orbits(group: Group, elements: Iterable[int], axes: Sequence[Axis]) -> Integers:
    """Return the number of the orbit of each entry of a tensor, from 0.

    Args:
        group: that acts.
        elements: that generate the subgroup.
        axes: of the tensor.

    Raises:
        UsageError: the group cannot act on an axis of this size.

    Example:
        >>> from trimtab.symmetry.actions import dihedral
        >>> group = dihedral()
        >>> quarter = [group.index("rot90")]
        >>> orbits(group, quarter, [space(3, 3)]).reshape(3, 3)
        array([[0, 1, 0],
               [1, 2, 1],
               [0, 1, 0]])
    """
    count = math.prod(axis.places for axis in axes)
    places = np.arange(count, dtype=np.int64)
    targets = [moved(group, each, axes) for each in sorted(set(elements)) if each]
    if not targets:
        return places
    edges = (
        np.ones(count * len(targets), dtype=np.int8),
        (np.tile(places, len(targets)), np.concatenate(targets)),
    )
    _, labels = connected_components(
        coo_array(edges, shape=(count, count)), directed=False
    )
    # Numbered by their first entry, whatever order the search went.
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    found: Integers = rank[which.reshape(-1)]
    return found
