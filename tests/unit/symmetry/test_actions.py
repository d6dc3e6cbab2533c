"""Groups: their tables are those of what they do."""

import itertools

import numpy as np
import pytest
import torch

from trimtab.errors import UsageError
from trimtab.symmetry.actions import cyclic, dihedral, generated, product

GROUPS = [
    dihedral(),
    cyclic(6, axis="angle", name="C6", element="turn"),
    generated({"swap": [1, 0, 2, 3], "turn": [1, 2, 3, 0]}, axis="sensor"),
    product(dihedral(), cyclic(3, axis="colour", name="C3", element="next")),
]


@pytest.mark.parametrize("group", GROUPS, ids=lambda each: each.name)
def test_the_table_is_that_of_a_group(group):
    count = len(group)
    assert sorted(set(group.elements)) == sorted(group.elements)
    assert np.array_equal(group.table[0], np.arange(count))
    assert np.array_equal(group.table[:, 0], np.arange(count))
    for row in (*group.table, *group.table.T):
        assert sorted(row.tolist()) == list(range(count))
    some = range(0, count, max(1, count // 8))
    for a, b, c in itertools.product(some, some, some):
        t = group.table
        assert t[t[a, b], c] == t[a, t[b, c]]


@pytest.mark.parametrize("group", GROUPS, ids=lambda each: each.name)
def test_what_it_does_follows_the_table(group):
    for a, b in itertools.product(range(len(group)), repeat=2):
        both = group.table[a, b]
        first, second = group.space(4, 4, b), group.space(4, 4, a)
        assert np.array_equal(second[first], group.space(4, 4, both))
        for moves in group.moves.values():
            assert np.array_equal(moves[a][moves[b]], moves[both])


@pytest.mark.parametrize(
    ("name", "done"),
    [
        ("rot90", lambda x: torch.rot90(x, 1, (0, 1))),
        ("rot180", lambda x: torch.rot90(x, 2, (0, 1))),
        ("rot270", lambda x: torch.rot90(x, 3, (0, 1))),
        ("hflip", lambda x: x.flip(1)),
        ("vflip", lambda x: x.flip(0)),
        ("diagonal", lambda x: x.T),
        ("antidiagonal", lambda x: x.flip(0, 1).T),
    ],
)
def test_elements_are_what_they_are_called(name, done):
    group = dihedral()
    x = torch.arange(9.0).view(3, 3)
    made = torch.empty(9)
    made[torch.from_numpy(group.space(3, 3, group.index(name)))] = x.reshape(-1)
    assert torch.equal(made.view(3, 3), done(x))


def test_a_generated_group_is_that_of_all_permutations():
    group = generated({"swap": [1, 0, 2], "turn": [1, 2, 0]}, axis="sensor")
    moves = {tuple(each.tolist()) for each in group.moves["sensor"]}
    assert moves == set(itertools.permutations(range(3)))


@pytest.mark.parametrize(
    ("generators", "said"),
    [
        ({}, "there is no generator"),
        ({"a": [0, 0, 1]}, "generator 'a' is no permutation of 0 to 2"),
        ({"a": [1, 0], "b": [1, 0, 2]}, "generator 'b' is no permutation of 0 to 1"),
        ({"a": [0, 1, 2]}, "generator 'a' moves nothing"),
        ({"a": [1, 0], "b": [1, 0]}, "generator 'b' moves nothing, moves what another"),
        ({"e": [1, 0]}, "has the name of what moves nothing"),
        ({"a": [1, 0, *range(2, 9)], "b": [*range(1, 9), 0]}, "more than 4096"),
    ],
)
def test_what_is_no_permutation_is_refused(generators, said):
    with pytest.raises(UsageError, match=said):
        generated(generators, axis="sensor")


def test_what_a_group_cannot_act_on_is_refused():
    group = dihedral()
    with pytest.raises(UsageError, match="exchanges rows and columns"):
        group.space(3, 4, group.index("rot90"))
    assert len(group.space(3, 4, group.index("hflip"))) == 12
    with pytest.raises(UsageError, match="acts on no axis"):
        group.along("colour", 3, 1)
    colours = cyclic(3, axis="colour", name="C3", element="next")
    with pytest.raises(UsageError, match="permutes 3"):
        colours.along("colour", 4, 1)
    with pytest.raises(UsageError, match="both act on colour"):
        product(colours, colours)
    with pytest.raises(UsageError, match="group D4 has e, rot90"):
        group.index("rot45")
