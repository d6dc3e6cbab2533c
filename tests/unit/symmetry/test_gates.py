"""One run over a family."""

import pytest
import torch
from tests.unit.symmetry.nets import corners, small_cnn

from trimtab.errors import UsageError
from trimtab.symmetry.backbone import tied_mlp
from trimtab.symmetry.gates import _split, commuting, relax
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import flips, permutations, subgroups
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset


def test_parts_lie_in_their_eigenspaces_and_add_up():
    family = flips()
    net = small_cnn(family)
    generators = [family.group.index(each) for each in ("hflip", "vflip")]
    split = _split(net, (channel(2), space(3, 3)), generators)
    w = torch.randn(18, dtype=torch.float64)
    parts = split.parts(w)
    assert torch.allclose(torch.stack(parts).sum(0), w)
    for places, part in zip(split.places, parts, strict=True):
        for number, kept in enumerate(places):
            wanted = part if kept else torch.zeros_like(part)
            assert torch.allclose(split.mean(number, part), wanted)
    # Of 9 places both flips leave 4 orbits, one alone 6.
    assert split.dimensions() == pytest.approx([2 * 1, 2 * 2, 2 * 2, 2 * 4])


def test_quarter_turns_and_flips_commute_only_as_means():
    family = subgroups("D4")
    net = small_cnn(family)
    rot, h, d = (family.group.index(e) for e in ("rot90", "hflip", "diagonal"))
    assert commuting(net, [rot, h])
    assert not commuting(net, [h, d])


def test_gates_are_probabilities():
    net = small_cnn(flips(), classes=2)
    recipe = Recipe(steps=60, rounds=1, batch_size=20)
    one = relax(net, corners(), recipe, seed=1)
    assert one == relax(net, corners(), recipe, seed=1)
    assert set(one.gates) == {"rot180", "hflip", "vflip"}
    assert all(0 <= each <= 1 for each in one.gates.values())


def test_gates_say_which_of_the_pairs_matter():
    swaps = {"first": [1, 0, 2, 3], "second": [0, 1, 3, 2]}
    family = permutations(swaps)
    x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > x[:, 1]).long()
    data = Dataset(name="pairs", train=(x, y), test=(x, y), classes=2)
    net = tied_mlp(family, (4,), 2, channels=2)
    recipe = Recipe(steps=500, rounds=1, batch_size=20)
    shut = relax(net, data, recipe)
    assert shut.gates["first"] < 0.3
    assert shut.gates["second"] > 0.7


def test_gates_need_means_that_commute():
    family = subgroups("D4", include="all")
    some = [family.group.index(each) for each in ("hflip", "diagonal")]
    with pytest.raises(UsageError, match="their means over orbits commute"):
        relax(small_cnn(family), corners(), Recipe(steps=2), generators=some)
