"""Two networks trained alike, and what their difference is."""

import pytest
import torch
from torch import nn

from trimtab.design.check import Extent, check, extent, maker
from trimtab.errors import DataError, NetworkNotFoundError, UsageError
from trimtab.training.data import Dataset
from trimtab.training.settings import Settings

FAST = Settings(epochs=2, batch_size=16, learning_rate=0.2)


def images(count=64, classes=4):
    """Images whose class is the brightest of four quarters."""
    drawn = torch.Generator().manual_seed(0)
    y = torch.arange(count) % classes
    x = torch.rand(count, 1, 4, 4, generator=drawn) * 0.5
    for row, label in enumerate(y.tolist()):
        x[row, 0, 2 * (label // 2) : 2 * (label // 2) + 2, 2 * (label % 2)] += 1.0
    return Dataset(name="quarters", train=(x, y), test=(x, y), classes=classes)


def small(seed=0):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def blind(seed=0):
    """Returns a network that cannot tell anything apart."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 4))


WHOLE = Extent(train=64, test=64, epochs=4, seconds=1.0)


def test_what_learns_better_is_ahead():
    found = check(blind, small, images(), FAST, extent=WHOLE, seeds=(0, 1, 2))
    assert found.difference.pairs == 3
    assert found.difference.mean.low > 0.2
    assert min(found.second) > max(found.first)
    assert min(found.wall_s) > 0


def test_a_network_does_not_differ_from_itself():
    """Seeds are paired: weights, examples and their order are the same."""
    part = Extent(train=48, test=64, epochs=1, seconds=1.0)
    found = check(small, small, images(), FAST, extent=part, seeds=(3, 4))
    assert found.first == found.second
    assert found.difference.mean.value == 0
    again = check(small, small, images(), FAST, extent=part, seeds=(3, 4))
    assert again == found


def test_seeds_see_other_examples_and_the_same_test():
    part = Extent(train=16, test=32, epochs=1, seconds=1.0)
    found = check(small, small, images(), FAST, extent=part, seeds=(0, 1, 2, 3))
    assert len(set(found.first)) > 1
    # Of 32 tests every share right is a multiple of a 32nd.
    assert all((each * 32).is_integer() for each in found.first)


def test_the_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    check(small, small, images(), FAST, extent=WHOLE, seeds=(0, 1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_seed_makes_no_interval():
    with pytest.raises(UsageError, match="at least two pairs"):
        check(small, small, images(), FAST, extent=WHOLE, seeds=(0,))


def test_the_extent_grows_with_the_time_up_to_all_examples():
    much = extent((small, small), images(640), FAST, seconds=1e6, seeds=2)
    assert (much.train, much.test, much.epochs) == (640, 640, 2)
    assert 0 < much.seconds < 1e6


def test_too_short_a_time_says_what_is_needed():
    with pytest.raises(UsageError, match="is the least") as caught:
        extent((small, small), images(), FAST, seconds=1e-7, seeds=2)
    assert "fewer seeds" in str(caught.value)


def test_a_network_for_other_images_is_refused():
    other = nn.Sequential(nn.Flatten(), nn.Linear(99, 4))
    with pytest.raises(DataError, match="does not take them"):
        extent((small, lambda seed: other), images(), FAST, seconds=10, seeds=2)


def test_a_maker_draws_weights_anew():
    make = maker("zoo:lenet5")
    one, two, again = make(0), make(1), make(0)
    for name, each in one.named_parameters():
        assert not torch.equal(each, two.get_parameter(name)), name
        assert torch.equal(each, again.get_parameter(name)), name


def test_a_design_is_drawn_anew_with_all_that_edits_made(tmp_path):
    from tests.unit.design.test_written import NETWORK, WRITTEN

    from trimtab.design.search import replay
    from trimtab.design.written import Written, write
    from trimtab.zoo.resolve import resolve

    model = resolve(NETWORK).module
    made = replay(model, WRITTEN.rounds)
    inputs = (("float32", (1, 1, 32, 32)),)
    written = Written(network=NETWORK, rounds=WRITTEN.rounds, seed=0, inputs=inputs)
    folder = write(tmp_path / "design", made, written)
    for spec in (str(folder), str(folder / "network.py")):
        one, two = (maker(spec)(seed) for seed in (0, 1))
        for name, each in one.named_parameters():
            if each.ndim > 1:
                assert not torch.equal(each, two.get_parameter(name)), name


def test_fixed_weights_are_refused(tmp_path):
    (tmp_path / "fixed.py").write_text(
        "import torch\n\n\ndef build():\n    made = torch.nn.Linear(2, 2)\n"
        "    for each in made.parameters():\n        each.data.fill_(1)\n"
        "    return made\n"
    )
    with pytest.raises(UsageError, match="it has fixed ones"):
        maker(str(tmp_path / "fixed.py"))


def test_fewer_scores_than_classes_are_refused():
    few = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(DataError, match="with 4 classes"):
        extent((small, lambda seed: few), images(), FAST, seconds=10, seeds=2)


def test_a_bundle_and_nothing_are_refused(tmp_path):
    with pytest.raises(UsageError, match="start from fresh weights"):
        maker(str(tmp_path))
    with pytest.raises(NetworkNotFoundError):
        maker("zoo:nosuch")(0)
