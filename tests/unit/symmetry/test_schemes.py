"""Families: which subgroups, how probable."""

import math

import pytest

from trimtab.errors import UsageError
from trimtab.symmetry.actions import cyclic, dihedral
from trimtab.symmetry.schemes import (
    family_of,
    flips,
    permutations,
    product,
    rotations,
    shifts,
    subgroups,
)


def test_named_subgroups_of_d4_are_all_of_them():
    named = subgroups("D4", include="all")
    found = subgroups(dihedral())
    assert {each.elements for each in named.schemes} == {
        each.elements for each in found.schemes
    }
    assert [len(each) for each in named.schemes] == [1, 2, 2, 2, 2, 2, 4, 4, 4, 8]


def test_every_scheme_is_closed_and_the_first_shares_nothing():
    for family in (
        subgroups("D4"), flips(), rotations(12), shifts(6),
        product(flips(), shifts(3, axis="colour")),
        permutations({"a": [1, 0, 2, 3], "b": [0, 1, 3, 2]}, axis="sensor"),
    ):  # fmt: skip
        assert family.schemes[0].elements == {0}
        for each in family.schemes:
            assert family.group.closure(each.generators) == each.elements
        names = [each.name for each in family.schemes]
        assert len(set(names)) == len(names)
        assert math.isclose(sum(map(math.exp, family.log_prior())), 1.0)


def test_a_prior_of_generators_counts_their_sets():
    family = permutations(
        {"a": [1, 0, 2, 3], "b": [0, 1, 3, 2]}, axis="sensor"
    ).with_prior("generators")
    assert [math.exp(each) for each in family.log_prior()] == pytest.approx([0.25] * 4)
    # rot90 makes rot180 hold too: of 16 sets of 4 generators, C4 is that of two.
    d4 = subgroups("D4").with_prior("generators")
    chances = dict(
        zip([e.name for e in d4.schemes], map(math.exp, d4.log_prior()), strict=True)
    )
    assert chances["none"] == pytest.approx(1 / 16)
    assert chances["C4"] == pytest.approx(2 / 16)
    assert chances["V4"] == pytest.approx(4 / 16)
    assert chances["D4"] == pytest.approx(6 / 16)


def test_generators_are_those_that_tell_schemes_apart():
    family = subgroups("D4", include=["C4", "hflip"])
    names = [family.group.elements[each] for each in family.generators]
    assert names == ["rot90", "rot180", "hflip"]
    every = subgroups("D4", include="all")
    names = [every.group.elements[each] for each in every.generators]
    assert names[-2:] == ["diagonal", "antidiagonal"]
    assert min(every.with_prior("generators").log_prior()) > -math.inf


def test_neighbours_are_those_with_nothing_between():
    family = permutations({"a": [1, 0, 2, 3], "b": [0, 1, 3, 2]})
    assert [each.name for each in family.around(family["a"])] == ["none", "a, b"]
    some = family.with_prior("invariance", 2.0).some(["a, b"])
    assert [each.name for each in some.schemes] == ["none", "a, b"]
    assert [each.name for each in some.around(some["none"])] == ["a, b"]
    assert some.log_prior()[1] - some.log_prior()[0] == pytest.approx(4.0)


def test_families_of_texts_fit_the_shape():
    assert family_of("rotations:16", (1, 7, 16)).schemes[-1].name == "C16"
    assert family_of("shifts", (14, 14)).schemes[-1].name == "by 1"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: subgroups("D5"), "known by name is D4"),
        (lambda: subgroups("D4", include=["C3"]), "subgroup 'C3' of D4"),
        (lambda: rotations(1), "shifts need 2"),
        (lambda: flips()["C4"], "the family has none, C2"),
        (lambda: flips().some(["C4"]), "the family has none, C2"),
        (lambda: flips().with_prior("flat")  # type: ignore[arg-type]
        , "known are uniform"),
        (lambda: flips().with_prior("uniform", 1.0), "only `invariance` has one"),
        (lambda: family_of("D8", (1, 8, 8)), "known are D4"),
        (lambda: family_of("rotations:16", (1, 8, 8)), "an axis of angles"),
        (lambda: family_of("rotations", (1, 8, 8)), "known are D4"),
        (lambda: family_of("flips:hflip", (1, 8, 8)), "known are D4"),
        (lambda: shifts(24).with_prior("generators") and subgroups(
            cyclic(300, axis="a", name="Z", element="s")).with_prior("generators"),
         "their sets are counted"),
    ],
)  # fmt: skip
def test_what_is_no_family_is_refused(made, said):
    with pytest.raises(UsageError, match=said):
        made()
