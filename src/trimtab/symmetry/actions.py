"""Finite groups that act on the axes of images, features and weights.

An action is a permutation: element g moves what stands at place i to place ``pi[i]``.
A network is invariant to g if moving its input so changes nothing (trimtab.symmetry,
after arXiv 2107.09301; that an invariant linear map is one whose weights are shared
along orbits follows Kondor & Trivedi, arXiv 1802.03690).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import numpy.typing as npt

from trimtab.errors import UsageError

__all__ = ["Group", "cyclic", "dihedral", "generated", "product"]

Integers = npt.NDArray[np.int64]

_MOST_ELEMENTS: Final = 4096


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """A finite group and how it acts.

    Attributes:
        name: for people, such as ``D4``.
        elements: their names; the first is the identity, ``e``.
        table: of products (n, n): ``table[a, b]`` is b, then a.
        turns: on rows and columns: a signed permutation matrix (n, 2, 2) for each
            element, or None where images stay as they are.
        moves: on axes with names: a permutation (n, length) for each element.
    """

    name: str
    elements: tuple[str, ...]
    table: Integers
    turns: Integers | None = None
    moves: Mapping[str, Integers] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.elements)

    def index(self, name: str) -> int:
        """Return the number of an element.

        Raises:
            UsageError: there is none of this name.
        """
        if name in self.elements:
            return self.elements.index(name)
        raise UsageError(
            f"element {name!r}",
            rule=f"group {self.name} has {', '.join(self.elements[:12])}"
            + (" ..." if len(self) > 12 else ""),
            where="trimtab.symmetry",
            remedy="name one of these",
        )

    def closure(self, elements: Sequence[int]) -> frozenset[int]:
        """Return the smallest subgroup with these elements.

        Example:
            >>> group = dihedral()
            >>> quarter = group.index("rot90")
            >>> sorted(group.elements[each] for each in group.closure([quarter]))
            ['e', 'rot180', 'rot270', 'rot90']
        """
        inside = np.zeros(len(self), dtype=np.bool_)
        inside[0] = True
        generators = np.array(sorted(set(elements)), dtype=np.int64)
        new = np.zeros(1, dtype=np.int64)
        while len(new) and len(generators):
            made = np.unique(self.table[np.ix_(generators, new)])
            new = made[~inside[made]]
            inside[new] = True
        return frozenset(np.flatnonzero(inside).tolist())

    def space(self, rows: int, columns: int, element: int) -> Integers:
        """Return where an element moves each place of a grid, row by row.

        Raises:
            UsageError: rows and columns are exchanged and differ in number.

        Example:
            >>> group = dihedral()
            >>> group.space(2, 2, group.index("hflip"))
            array([1, 0, 3, 2])
        """
        places = np.arange(rows * columns, dtype=np.int64)
        if self.turns is None:
            return places
        turn = self.turns[element]
        if turn[0, 0] == 0 and rows != columns:
            raise UsageError(
                f"{self.elements[element]} of {rows} x {columns} places",
                rule="it exchanges rows and columns, so there must be as many of both",
                where=f"group {self.name}",
                remedy="crop or pad images to squares, or take a family of flips",
            )
        # From the centre, in half steps, so that grids of even size stay whole.
        centred = np.stack(
            [2 * (places // columns) - (rows - 1), 2 * (places % columns)
             - (columns - 1)]
        )  # fmt: skip
        row, column = turn @ centred
        moved: Integers = (row + rows - 1) // 2 * columns + (column + columns - 1) // 2
        return moved

    def along(self, axis: str, length: int, element: int) -> Integers:
        """Return where an element moves the places of a named axis.

        Raises:
            UsageError: the group does not act on it, or it has another length.
        """
        moves = self.moves.get(axis)
        if moves is None:
            raise UsageError(
                f"axis {axis!r}",
                rule=f"group {self.name} acts on {', '.join(self.moves) or 'no axis'}",
                where="trimtab.symmetry",
                remedy="name the axis that the family was made for",
            )
        if moves.shape[1] != length:
            raise UsageError(
                f"axis {axis!r} of {length} places",
                rule=f"group {self.name} permutes {moves.shape[1]}",
                where="trimtab.symmetry",
                remedy="make the family for this length",
            )
        found: Integers = moves[element]
        return found


# Rows grow downwards: a quarter turn to the left moves (row, column) to (-column, row).
_QUARTER: Final = np.array([[0, -1], [1, 0]], dtype=np.int64)
_MIRROR: Final = np.array([[1, 0], [0, -1]], dtype=np.int64)
_NAMES: Final = (
    "e", "rot90", "rot180", "rot270", "hflip", "diagonal", "vflip", "antidiagonal",
)  # fmt: skip


def dihedral() -> Group:
    """Return D4: the eight ways to lay a square on itself.

    Example:
        >>> group = dihedral()
        >>> group.elements[group.table[group.index("rot90"), group.index("rot90")]]
        'rot180'
    """
    turns = [
        np.linalg.matrix_power(_QUARTER, quarters) @ mirror
        for mirror in (np.eye(2, dtype=np.int64), _MIRROR)
        for quarters in range(4)
    ]
    keys = {each.tobytes(): number for number, each in enumerate(turns)}
    table = np.array(
        [[keys[(one @ two).tobytes()] for two in turns] for one in turns],
        dtype=np.int64,
    )
    return Group(name="D4", elements=_NAMES, table=table, turns=np.stack(turns))


def cyclic(order: int, *, axis: str, name: str, element: str) -> Group:
    """Return the cyclic shifts of an axis.

    Args:
        order: places of the axis.
        axis: its name.
        name: of the group.
        element: what a shift by one place is called; others have their number behind.
    """
    places = np.arange(order, dtype=np.int64)
    shifts = (places[:, None] + places[None]) % order
    return Group(
        name=name,
        elements=("e", *(f"{element}{each}" for each in range(1, order))),
        table=shifts,
        moves={axis: shifts},
    )


def generated(generators: Mapping[str, Sequence[int]], *, axis: str) -> Group:
    """Return the group that permutations of an axis generate.

    Args:
        generators: each says by place where it is moved.
        axis: its name.

    Raises:
        UsageError: one is no permutation, moves nothing or what another moves, they
            differ in length, or the group has more than 4,096 elements.

    Example:
        >>> len(generated({"swap": [1, 0, 2], "turn": [1, 2, 0]}, axis="sensor"))
        6
    """
    if not generators:
        raise _wrong(axis, "there is no generator", "give at least one permutation")
    length = len(next(iter(generators.values())))
    given: dict[tuple[int, ...], str] = {}
    for name, places in generators.items():
        if sorted(places) != list(range(length)):
            raise _wrong(
                axis,
                f"generator {name!r} is no permutation of 0 to {length - 1}: "
                f"{str(list(places))[:60]}",
                "let each place be the target of one place, in all generators",
            )
        given.setdefault(tuple(map(int, places)), name)
    identity = tuple(range(length))
    lost = [each for each in generators if each not in given.values() or each == "e"]
    if lost or identity in given:
        raise _wrong(
            axis,
            f"generator {(lost or [given[identity]])[0]!r} moves nothing, moves "
            "what another moves, or has the name of what moves nothing, 'e'",
            "leave it out, or give it another name",
        )
    found: dict[tuple[int, ...], str] = {identity: "e"}
    new = [identity]
    while new:
        fresh = []
        for one in new:
            for places, name in given.items():
                made = tuple(places[each] for each in one)
                if made not in found:
                    before = found[one]
                    found[made] = name if before == "e" else f"{name}*{before}"
                    fresh.append(made)
        if len(found) > _MOST_ELEMENTS:
            raise _wrong(
                axis,
                f"the generators make more than {_MOST_ELEMENTS} permutations",
                "give fewer generators, or a group of the same effect that is smaller",
            )
        new = fresh
    every = list(found)
    number = {each: place for place, each in enumerate(every)}
    moves = np.array(every, dtype=np.int64)
    table = np.array(
        [[number[tuple(one[two].tolist())] for two in moves] for one in moves],
        dtype=np.int64,
    )
    return Group(
        name=f"<{', '.join(generators)}>",
        elements=tuple(found.values()),
        table=table,
        moves={axis: moves},
    )


def product(one: Group, two: Group) -> Group:
    """Return the direct product: both act, each on its own axes.

    Raises:
        UsageError: both act on the same axis.
    """
    both = set(one.moves) & set(two.moves)
    if both or (one.turns is not None and two.turns is not None):
        what = ", ".join(sorted(both)) or "rows and columns"
        raise UsageError(
            f"the product of {one.name} and {two.name}",
            rule=f"both act on {what}",
            where="trimtab.symmetry.product",
            remedy="give the generators of both to one family",
        )
    pairs = list(itertools.product(range(len(one)), range(len(two))))
    if len(pairs) > _MOST_ELEMENTS:
        raise _wrong("product", f"it has {len(pairs)} elements", "take smaller groups")
    first = np.array([a for a, _ in pairs], dtype=np.int64)
    second = np.array([b for _, b in pairs], dtype=np.int64)
    table = (
        one.table[first[:, None], first[None]] * len(two)
        + two.table[second[:, None], second[None]]
    )
    turns = one.turns if one.turns is not None else two.turns
    which = first if one.turns is not None else second
    return Group(
        name=f"{one.name} x {two.name}",
        elements=tuple(_joined(one.elements[a], two.elements[b]) for a, b in pairs),
        table=table,
        turns=None if turns is None else turns[which],
        moves={
            **{axis: moves[first] for axis, moves in one.moves.items()},
            **{axis: moves[second] for axis, moves in two.moves.items()},
        },
    )


def _joined(one: str, two: str) -> str:
    names = [each for each in (one, two) if each != "e"]
    return "+".join(names) or "e"


def _wrong(axis: str, rule: str, remedy: str) -> UsageError:
    return UsageError(
        f"permutations of axis {axis!r}",
        rule=rule,
        where="trimtab.symmetry",
        remedy=remedy,
    )
