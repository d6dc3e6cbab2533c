"""A family searched whole."""

import pytest
import torch
from tests.unit.symmetry.nets import corners, small_cnn

from trimtab.errors import DataError, UsageError
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.layers import TiedLinear
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import flips, subgroups
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset

SEARCH = Search(recipe=Recipe(steps=60, rounds=2, batch_size=20), folds=3)


def test_equal_seeds_give_equal_posteriors_and_leave_the_random_state():
    data = corners()
    net = small_cnn(flips(), classes=2)
    state = torch.random.get_rng_state()
    told = []
    one = fit(net, data, search=SEARCH, seed=3, progress=lambda *now: told.append(now))
    assert torch.equal(state, torch.random.get_rng_state())
    two = fit(net, data, search=SEARCH, seed=3)
    assert one.table() == two.table()
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (1.0, "done")
    assert {text.split(",")[0] for _, text in told} >= {"none", "hflip", "V4"}
    best = [each for each in one.judged if len(each.members) == 2]
    assert len(best) == 2
    assert all(each.heldout is not None for each in one.judged if not each.given_up)
    plain = one.collapse(data.test[0])
    assert plain(data.test[0]).shape == (30, 2)


@pytest.mark.parametrize("evidence", ["elbo", "heldout"])
def test_other_ways_to_compare(evidence):
    found = fit(
        small_cnn(flips(), classes=2), corners(), evidence=evidence, search=SEARCH
    )
    assert found.way == evidence
    assert sum(found.probabilities) == pytest.approx(1.0)
    assert all(each.members[0].error > 0 for each in found.judged)


def test_what_is_far_behind_is_given_up():
    data = corners(count=200, turned=True)
    family = subgroups("D4")
    search = Search(recipe=Recipe(steps=200, rounds=2, batch_size=20), restarts=1)
    found = fit(small_cnn(family, classes=2, channels=2), data, search=search)
    kept = [each for each in found.judged if not each.given_up]
    assert len(kept) >= 3
    assert all(each.heldout is None for each in found.judged if each.given_up)
    assert found.best in kept


def test_blocks_bound_what_is_too_large():
    search = Search(
        recipe=Recipe(steps=20, rounds=2, batch_size=20), most_rows=20, block_rows=10,
        halving=False, restarts=1, folds=2,
    )  # fmt: skip
    found = fit(small_cnn(flips(), classes=2), corners(), search=search)
    assert len(found.judged) == 5


def test_bad_input_is_refused_before_training():
    net = small_cnn(flips(), classes=2)
    x, y = torch.randn(8, 1, 8, 8), torch.ones(8, dtype=torch.int64)
    alone = Dataset(name="ones", train=(x, y), test=(x, y), classes=2)
    with pytest.raises(DataError, match="8 examples of class 1 alone"):
        fit(net, alone)
    with pytest.raises(UsageError, match="known are laplace, elbo, heldout"):
        fit(net, corners(), evidence="bayes")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"the network takes \(1, 8, 8\)"):
        fit(net, corners(size=6))
    family = flips()
    body = TiedLinear(family, (channel(1), space(8, 8)), (channel(2),))
    broken = torch.nn.Sequential(torch.nn.ZeroPad2d((0, 1, 0, 0)), body)
    wrong = Symmetric(broken, family, (channel(1), space(8, 7)))
    x, y = torch.randn(8, 1, 8, 7), torch.arange(8) % 2
    data = Dataset(name="odd", train=(x, y), test=(x, y), classes=2)
    with pytest.raises(UsageError, match="of its input changes its scores"):
        fit(wrong, data)
