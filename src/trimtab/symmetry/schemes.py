"""Schemes of weight sharing, families and priors; over 400 lines: all families."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, final

import numpy as np

from trimtab.errors import UsageError
from trimtab.symmetry.actions import Group, Integers, cyclic, dihedral, generated
from trimtab.symmetry.actions import product as product_group

__all__ = [
    "Family",
    "Prior",
    "Scheme",
    "family_of",
    "flips",
    "permutations",
    "product",
    "rotations",
    "shifts",
    "subgroups",
]

Prior = Literal["uniform", "generators", "invariance"]

_MOST_SUBGROUPS: Final = 512
_MOST_GENERATORS: Final = 12

_D4: Final[Mapping[str, tuple[str, ...]]] = {
    "none": (),
    "C2": ("rot180",),
    "hflip": ("hflip",),
    "vflip": ("vflip",),
    "C4": ("rot90",),
    "V4": ("hflip", "vflip"),
    "D4": ("rot90", "hflip"),
    "dflip": ("diagonal",),
    "aflip": ("antidiagonal",),
    "V4d": ("diagonal", "antidiagonal"),
}
_TOLD: Final = ("rot90", "rot180", "hflip", "vflip", "diagonal", "antidiagonal")
_OFTEN: Final = ("none", "C2", "hflip", "vflip", "C4", "V4", "D4")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A subgroup: weights are shared along its orbits.

    Attributes:
        name: such as ``C4``.
        generators: elements that make it.
        elements: all of it.
    """

    name: str
    generators: tuple[int, ...]
    elements: frozenset[int]

    def __len__(self) -> int:
        return len(self.elements)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """Schemes of one group, and how probable they are ahead of any data.

    Attributes:
        group: that acts.
        schemes: in the order of their size; the first shares nothing.
        generators: those that some schemes have and others have not: of each the data
            say whether it holds.
        prior: ``uniform`` over schemes; ``generators``: each of `generators` is put in
            with probability one half, and what they make counts, so that an element
            which others make is likelier than one half; ``invariance``: the larger the
            likelier.
        strength: of ``invariance``: nats for each doubling of the subgroup.
    """

    group: Group
    schemes: tuple[Scheme, ...]
    generators: tuple[int, ...]
    prior: Prior = "uniform"
    strength: float = 0.0

    def __getitem__(self, name: str) -> Scheme:
        for each in self.schemes:
            if each.name == name:
                return each
        raise UsageError(
            f"scheme {name!r}",
            rule=f"the family has {', '.join(each.name for each in self.schemes[:16])}",
            where=f"family of {self.group.name}",
            remedy="name one of these",
        )

    def with_prior(self, prior: Prior, strength: float = 0.0) -> Family:
        """Return the same schemes with another prior.

        Args:
            prior: as in `Family`.
            strength: nats for each doubling of the subgroup, of ``invariance`` only.

        Raises:
            UsageError: it is no prior, or a strength where there is none.

        Example:
            >>> family = flips().with_prior("invariance", 2.0)
            >>> none, whole = family.log_prior()[0], family.log_prior()[-1]
            >>> round(whole - none, 6)
            4.0
        """
        known = ("uniform", "generators", "invariance")
        if prior not in known:
            raise UsageError(
                f"prior {prior!r}",
                rule=f"known are {', '.join(known)}",
                where="trimtab.symmetry.Family",
                remedy="choose one of these",
            )
        if not math.isfinite(strength) or (strength and prior != "invariance"):
            raise UsageError(
                f"a strength of {strength} of prior {prior!r}",
                rule="only `invariance` has one, and it is finite",
                where="trimtab.symmetry.Family",
                remedy='give prior="invariance", or no strength',
            )
        made = replace(self, prior=prior, strength=strength)
        made.log_prior()
        return made

    def some(self, names: Collection[str]) -> Family:
        """Return the family with some of its schemes, and the one that shares nothing.

        Raises:
            UsageError: it has no scheme of that name.

        Example:
            >>> [each.name for each in flips().some(["V4"]).schemes]
            ['none', 'V4']
        """
        chosen = {self[name].name for name in names} | {self.schemes[0].name}
        schemes = [each for each in self.schemes if each.name in chosen]
        made = _family(self.group, schemes, self.generators)
        return replace(made, prior=self.prior, strength=self.strength)

    def around(self, scheme: Scheme) -> tuple[Scheme, ...]:
        """Return the next larger and smaller subgroups among the schemes.

        Example:
            >>> family = subgroups("D4")
            >>> [each.name for each in family.around(family["C2"])]
            ['none', 'C4', 'V4']
        """

        def between(one: Scheme, two: Scheme) -> bool:
            return one.elements < two.elements and not any(
                one.elements < each.elements < two.elements for each in self.schemes
            )

        return tuple(
            each
            for each in self.schemes
            if between(each, scheme) or between(scheme, each)
        )

    def log_prior(self) -> tuple[float, ...]:
        """Return the logarithm of the probability of each scheme."""
        if self.prior == "uniform":
            weights = [0.0] * len(self.schemes)
        elif self.prior == "invariance":
            weights = [self.strength * math.log2(len(each)) for each in self.schemes]
        else:
            weights = self._of_generators()
        top = max(weights)
        total = top + math.log(sum(math.exp(each - top) for each in weights))
        return tuple(each - total for each in weights)

    def _of_generators(self) -> list[float]:
        """Return the logarithm of how many sets of generators make each scheme."""
        if len(self.generators) > _MOST_GENERATORS:
            raise UsageError(
                f"a prior over {len(self.generators)} generators",
                rule=f"their sets are counted, which is done for {_MOST_GENERATORS} "
                "at most",
                where="trimtab.symmetry.Family",
                remedy="take the uniform prior",
            )
        counts = dict.fromkeys((each.elements for each in self.schemes), 0)
        for size in range(len(self.generators) + 1):
            for some in itertools.combinations(self.generators, size):
                made = self.group.closure(some)
                if made in counts:
                    counts[made] += 1
        return [
            math.log(counts[each.elements]) if counts[each.elements] else -math.inf
            for each in self.schemes
        ]


def subgroups(
    of: str | Group = "D4", *, include: Sequence[str] | Literal["all"] | None = None
) -> Family:
    """Return the subgroups of a group as schemes.

    Args:
        of: ``"D4"``, or a group with at most 512 subgroups.
        include: names of those to take; of D4 they are ``none``, ``C2``, ``hflip``
            (left and right exchanged), ``vflip``, ``C4``, ``V4`` (both flips), ``D4``,
            and, only with ``"all"`` or by their name, the mirrors at the diagonals
            ``dflip``, ``aflip`` and ``V4d``.

    Raises:
        UsageError: no such group or subgroup, or too many.

    Example:
        >>> [each.name for each in subgroups("D4").schemes]
        ['none', 'C2', 'hflip', 'vflip', 'C4', 'V4', 'D4']
        >>> len(subgroups("D4", include="all").schemes)
        10
    """
    if isinstance(of, Group):
        schemes = _lattice(of)
        chosen = [each.name for each in schemes]
    elif of == "D4":
        of = dihedral()
        schemes = [
            _scheme(of, name, [of.index(each) for each in generators])
            for name, generators in _D4.items()
        ]
        chosen = list(_OFTEN)
    else:
        raise UsageError(
            f"subgroups of {of!r}",
            rule="known by name is D4",
            where="trimtab.symmetry.subgroups",
            remedy="give D4, or a group that `trimtab.symmetry.actions` makes",
        )
    if include == "all":
        chosen = [each.name for each in schemes]
    elif include is not None:
        chosen = ["none", *include]
        known = [each.name for each in schemes]
        for name in include:
            if name not in known:
                raise UsageError(
                    f"subgroup {name!r} of {of.name}",
                    rule=f"there are {', '.join(known[:16])}",
                    where="trimtab.symmetry.subgroups",
                    remedy="name some of these",
                )
    # Of the diagonals the data say something where they are schemes of their own.
    generators = (
        [of.index(each) for each in (_TOLD if {*chosen} - {*_OFTEN} else _TOLD[:4])]
        if of.turns is not None and "rot90" in of.elements
        else list(range(1, len(of)))
    )
    return _family(of, [each for each in schemes if each.name in chosen], generators)


def flips() -> Family:
    """Return left and right exchanged, top and bottom, both, or neither.

    Half a turn is both at once; a family of its own leaves images of any shape.

    Example:
        >>> [each.name for each in flips().schemes]
        ['none', 'C2', 'hflip', 'vflip', 'V4']
    """
    whole = dihedral()
    keep = [whole.index(each) for each in ("e", "rot180", "hflip", "vflip")]
    assert whole.turns is not None
    place = {each: number for number, each in enumerate(keep)}
    group = Group(
        name="V4",
        elements=tuple(whole.elements[each] for each in keep),
        table=_small(whole, keep, place),
        turns=whole.turns[keep],
    )
    schemes = [
        _scheme(group, name, [group.index(each) for each in _D4[name]])
        for name in ("none", "C2", "hflip", "vflip", "V4")
    ]
    return _family(group, schemes, [1, 2, 3])


def rotations(order: int, *, axis: str = "angle") -> Family:
    """Return rotations by a full turn divided, on images in polar coordinates.

    `trimtab.symmetry.polar` resamples images so that turning them shifts the axis
    ``angle``; the schemes are C1, C2 ... for each divisor of the order.

    Args:
        order: places of the axis of angles.
        axis: its name.

    Raises:
        UsageError: fewer than two places, or more than 4,096.

    Example:
        >>> [each.name for each in rotations(8).schemes]
        ['none', 'C2', 'C4', 'C8']
    """
    group = cyclic(_order(order), axis=axis, name=f"C{order}", element="turn")
    schemes = [
        _scheme(group, f"C{size}" if size > 1 else "none", [order // size % order])
        for size in _divisors(order)
    ]
    return _family(group, schemes, [order // each for each in _divisors(order)[1:]])


def shifts(length: int, *, axis: str = "shift") -> Family:
    """Return cyclic shifts of an axis: by one place, by two ... or by none.

    A dense layer tied to shifts by one is a convolution.

    Args:
        length: places of the axis.
        axis: its name.

    Raises:
        UsageError: fewer than two places, or more than 4,096.

    Example:
        >>> [each.name for each in shifts(6).schemes]
        ['none', 'by 3', 'by 2', 'by 1']
    """
    group = cyclic(_order(length), axis=axis, name=f"Z{length}", element="shift")
    schemes = [
        _scheme(
            group, f"by {length // size}" if size > 1 else "none",
            [length // size % length],
        )
        for size in _divisors(length)
    ]  # fmt: skip
    return _family(group, schemes, [length // each for each in _divisors(length)[1:]])


def permutations(
    generators: Mapping[str, Sequence[int]], *, axis: str = "place"
) -> Family:
    """Return what sets of permutations generate.

    Args:
        generators: each says by place where it is moved.
        axis: its name.

    Raises:
        UsageError: one is no permutation, or there are too many.

    Example:
        >>> family = permutations({"swap": [1, 0, 2], "turn": [1, 2, 0]}, axis="sensor")
        >>> [(each.name, len(each)) for each in family.schemes]
        [('none', 1), ('swap', 2), ('turn', 3), ('swap, turn', 6)]
    """
    group = generated(generators, axis=axis)
    if len(generators) > _MOST_GENERATORS:
        raise UsageError(
            f"a family of {len(generators)} generators",
            rule=f"their sets are schemes, of {_MOST_GENERATORS} generators at most",
            where="trimtab.symmetry.permutations",
            remedy="give fewer",
        )
    names = {name: group.index(name) for name in generators if name in group.elements}
    schemes: dict[frozenset[int], Scheme] = {}
    for size in range(len(names) + 1):
        for some in itertools.combinations(names, size):
            made = _scheme(
                group, ", ".join(some) or "none", [names[each] for each in some]
            )
            schemes.setdefault(made.elements, made)
    return _family(group, list(schemes.values()), list(names.values()))


def product(one: Family, two: Family) -> Family:
    """Return all pairs of a scheme of one family and one of another.

    Raises:
        UsageError: both act on the same axis.

    Example:
        >>> both = product(flips(), shifts(3, axis="colour"))
        >>> len(both.schemes), both.schemes[-1].name
        (10, 'V4 x by 1')
    """
    group = product_group(one.group, two.group)
    size = len(two.group)
    schemes = [
        Scheme(
            name="none" if len(a) * len(b) == 1 else f"{a.name} x {b.name}",
            generators=(*(each * size for each in a.generators), *b.generators),
            elements=frozenset(x * size + y for x in a.elements for y in b.elements),
        )
        for a in one.schemes
        for b in two.schemes
    ]
    generators = [*(each * size for each in one.generators), *two.generators]
    return _family(group, schemes, generators)


def family_of(text: str, shape: Sequence[int]) -> Family:
    """Return the family that a text names, for examples of a shape.

    Args:
        text: ``D4``, ``D4:all``, ``D4:C4,hflip`` (some of its subgroups), ``flips``,
            ``shifts`` of the last axis, or ``rotations:16`` of images in polar
            coordinates, whose last axis has so many angles.
        shape: of one example.

    Raises:
        UsageError: no such family.

    Example:
        >>> [each.name for each in family_of("D4:C4", (1, 28, 28)).schemes]
        ['none', 'C4']
        >>> [each.name for each in family_of("shifts", (1, 40)).schemes][-1]
        'by 1'
    """
    name, _, rest = text.partition(":")
    if name == "D4":
        if rest == "all":
            return subgroups("D4", include="all")
        return subgroups("D4", include=rest.split(",") if rest else None)
    if name == "flips" and not rest:
        return flips()
    if name == "shifts" and not rest and shape:
        return shifts(shape[-1])
    if name == "rotations" and rest.isdecimal():
        if shape and shape[-1] == int(rest):
            return rotations(int(rest))
        raise UsageError(
            f"family {text!r} for examples of shape {tuple(shape)}",
            rule="it shifts an axis of angles, and the last axis has not so many",
            where="trimtab.symmetry",
            remedy="resample images with `trimtab.symmetry.polar`, as `trimtab "
            "symmetry fit` does, or take D4, which turns by quarters",
        )
    raise UsageError(
        f"family {text!r}",
        rule="known are D4, D4:all, D4:C4,hflip and the like, flips, shifts, "
        "rotations:16 and the like",
        where="trimtab.symmetry",
        remedy="name one of these; others are made in Python",
    )


def _family(
    group: Group, schemes: Sequence[Scheme], generators: Sequence[int]
) -> Family:
    ordered = sorted(schemes, key=len)
    telling = [
        each
        for each in dict.fromkeys(generators)
        if 0 < sum(each in scheme.elements for scheme in ordered) < len(ordered)
    ]
    return Family(group=group, schemes=tuple(ordered), generators=tuple(telling))


def _scheme(group: Group, name: str, generators: Sequence[int]) -> Scheme:
    return Scheme(
        name=name,
        generators=tuple(each for each in generators if each),
        elements=group.closure(generators),
    )


def _lattice(group: Group) -> list[Scheme]:
    """Return all subgroups, those of one generator first."""
    found: dict[frozenset[int], Scheme] = {}
    new = [_scheme(group, "none", [])]
    while new:
        for each in new:
            found[each.elements] = each
        if len(found) > _MOST_SUBGROUPS:
            raise UsageError(
                f"subgroups of {group.name}",
                rule=f"there are more than {_MOST_SUBGROUPS}",
                where="trimtab.symmetry.subgroups",
                remedy="give a family of permutations with the generators in question",
            )
        fresh: dict[frozenset[int], Scheme] = {}
        for scheme in new:
            for element in range(1, len(group)):
                if element in scheme.elements:
                    continue
                generators = (*scheme.generators, element)
                elements = group.closure(generators)
                if elements not in found and elements not in fresh:
                    name = ", ".join(group.elements[each] for each in generators)
                    fresh[elements] = Scheme(
                        name=f"<{name}>", generators=generators, elements=elements
                    )
        new = list(fresh.values())
    return list(found.values())


def _small(group: Group, keep: Sequence[int], place: Mapping[int, int]) -> Integers:
    return np.array(
        [[place[int(group.table[one, two])] for two in keep] for one in keep],
        dtype=np.int64,
    )


def _order(order: int) -> int:
    if not 2 <= order <= 4096:
        raise UsageError(
            f"an axis of {order} places",
            rule="shifts need 2 to 4096",
            where="trimtab.symmetry",
            remedy="give the places of the axis",
        )
    return order


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
