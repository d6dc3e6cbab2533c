"""A family searched whole."""

import contextlib
from dataclasses import replace

import pytest
import torch
from tests.unit.symmetry.nets import corners, small_cnn

from trimtab.errors import DataError, UsageError
from trimtab.symmetry.backbone import tied_mlp
from trimtab.symmetry.fitting import Search, fit
from trimtab.symmetry.layers import TiedLinear
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import flips, permutations, subgroups
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset

SEARCH = Search(recipe=Recipe(steps=60, rounds=2, batch_size=20), folds=3)


def quarters(count):
    """A bar at the top or at the bottom, left to right or right to left."""
    drawn = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    x = 0.2 * torch.randn(count, 1, 8, 8, generator=drawn)
    for number, label in enumerate(y.tolist()):
        x[number, 0, 7 * label, :] += 1.5
        x[number, 0, 7 - 7 * label, :4] += 0.5
    half = count // 2
    return Dataset(
        name="bars", train=(x[:half], y[:half]), test=(x[half:], y[half:]), classes=2
    )


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
    told = pytest.warns(UserWarning, match="with 60 steps ranks schemes by how fast")
    with told if evidence == "elbo" else contextlib.nullcontext():
        found = fit(
            small_cnn(flips(), classes=2), corners(), evidence=evidence, search=SEARCH
        )
    assert found.way == evidence
    assert sum(found.probabilities) == pytest.approx(1.0)
    assert all(each.members[0].error > 0 for each in found.judged)


def test_what_is_far_behind_is_given_up_and_the_truth_is_kept():
    data = quarters(count=160)
    family = subgroups("D4", include=["C2", "hflip", "C4", "D4"])
    search = Search(recipe=Recipe(steps=450, rounds=3, batch_size=20), restarts=1)
    found = fit(small_cnn(family, classes=2, channels=4), data, search=search)
    given_up = {each.scheme.name for each in found.judged if each.given_up}
    assert given_up
    assert given_up <= {"C2", "C4", "D4"}  # turning by 180 swaps the classes
    assert all(each.heldout is None for each in found.judged if each.given_up)
    assert found.best.scheme.name in ("none", "hflip")
    assert found.probability("rot180") < 0.05


def test_nothing_is_given_up_before_something_was_learned():
    data = quarters(count=160)
    noise = torch.randn(
        *data.train[0].shape, generator=torch.Generator().manual_seed(0)
    )
    lost = Dataset(
        name="noise", train=(noise, data.train[1]), test=data.test, classes=2
    )
    family = subgroups("D4", include=["C2", "hflip", "C4", "D4"])
    search = Search(recipe=Recipe(steps=30, rounds=3, batch_size=20), restarts=1)
    found = fit(small_cnn(family, classes=2, channels=4), lost, search=search)
    values = [each.value for each in found.judged]
    assert max(values) - min(values) > 30.0  # behind they are
    assert not any(each.given_up for each in found.judged)


def test_rungs_go_on_where_they_stood():
    data = corners(count=60)
    family = flips()
    recipe = Recipe(steps=60, rounds=3, batch_size=20)
    halved = Search(recipe=recipe, restarts=1)
    whole = Search(recipe=recipe, restarts=1, halving=False)
    one, two = (
        fit(small_cnn(family, classes=2), data, search=each) for each in (halved, whole)
    )
    for left, right in zip(one.judged, two.judged, strict=True):
        if not left.given_up:
            assert left.value == right.value


def test_one_rule_says_whether_determinants_are_exact():
    data = corners()
    net = small_cnn(flips(), classes=2)  # 30 rows; 9*4*2 + ... values
    exact = Search(most_rows=30)
    assert exact.block(net, data) is None
    assert Search(most_rows=10).block(net, data) == 10
    search = Search(
        recipe=Recipe(steps=20, rounds=2, batch_size=20), most_rows=10,
        halving=False, restarts=1, folds=2,
    )  # fmt: skip
    found = fit(net, data, search=search)
    assert not any(row["exact"] for row in found.table())
    search = replace(search, most_rows=30)
    assert all(row["exact"] for row in fit(net, data, search=search).table())


def test_large_families_are_cut_to_a_shortlist():
    swaps = {f"swap{k}": [*range(2 * k), 2 * k + 1, 2 * k, *range(2 * k + 2, 8)]
             for k in range(4)}  # fmt: skip
    family = permutations(swaps)
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(80, 8, generator=drawn)
    y = (x[:, 0] > x[:, 1]).long()  # the first pair matters, others do not
    data = Dataset(name="pairs", train=(x, y), test=(x, y), classes=2)
    search = Search(
        recipe=Recipe(steps=300, rounds=3, batch_size=20), enumerated=7, restarts=1
    )
    assert len(family.schemes) == 16
    told = []
    found = fit(
        tied_mlp(family, (8,), 2, channels=2), data, search=search,
        progress=lambda done, text: told.append((done, text)),
    )  # fmt: skip
    assert found.gates is not None
    assert found.gates.gates["swap0"] < min(
        found.gates.gates[f"swap{k}"] for k in (1, 2, 3)
    )
    assert found.probability("swap0") < 0.05
    assert len(found.judged) <= 7
    assert found.judged[0].scheme.name == "none"
    assert told[0][1] == "gates"
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_bad_input_is_refused_before_training():
    net = small_cnn(flips(), classes=2)
    x, y = torch.randn(8, 1, 8, 8), torch.ones(8, dtype=torch.int64)
    alone = Dataset(name="ones", train=(x, y), test=(x, y), classes=2)
    with pytest.raises(DataError, match="8 examples of class 1 alone"):
        fit(net, alone)
    with pytest.raises(UsageError, match="known are laplace, elbo, heldout"):
        fit(net, corners(), evidence="bayes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 0 and below"):
        fit(net, corners(), seed=2**63 - 500)
    bare = subgroups("D4", include=[])
    with pytest.raises(UsageError, match="nothing that some of them have"):
        fit(small_cnn(bare, classes=2), corners())
    with pytest.raises(UsageError, match=r"Search\(folds=...\)` of 1"):
        Search(folds=1)
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
