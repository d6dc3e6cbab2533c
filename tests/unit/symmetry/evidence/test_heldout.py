"""What is held out is predicted by networks that have not seen it."""

import math

import pytest
import torch
from tests.unit.symmetry.evidence.test_laplace import data, logistic

from trimtab.errors import UsageError
from trimtab.symmetry.evidence.heldout import Heldout, heldout
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset

RECIPE = Recipe(steps=60, rounds=2, batch_size=10, learning_rate=0.05)


def test_every_example_is_held_out_once():
    found = data(count=23)
    net = logistic("none")
    held = heldout(net, net.family["by 1"], found, RECIPE, seed=0, folds=5)
    assert sorted(held.rows.tolist()) == list(range(23))
    assert held.each.shape == (23,)
    assert bool((held.each <= 0).all())
    assert held.accuracy_frac > 0.6
    assert held.error == pytest.approx(float(held.each.std()) / 23**0.5)


def test_schemes_are_held_out_the_same_examples():
    found = data(count=20)
    net = logistic("none")
    rows = [
        heldout(net, net.family[name], found, RECIPE, seed=4, some=1).rows
        for name in ("none", "by 1")
    ]
    assert torch.equal(*rows)
    assert len(rows[0]) == 4


def test_precisions_are_fitted_without_what_is_held_out():
    found, net = data(count=20), logistic("none")
    held = heldout(net, net.family["none"], found, RECIPE, seed=0, some=1)
    x, y = (each.clone() for each in found.train)
    y[held.rows] = 1 - y[held.rows]
    other = Dataset(name="other", train=(x, y), test=(x, y), classes=2)
    again = heldout(net, net.family["none"], other, RECIPE, seed=0, some=1)
    # The same predictions of other classes: probabilities add up to one.
    assert torch.allclose(held.each.exp() + again.each.exp(), torch.ones(4), atol=1e-5)


def test_one_example_alone_has_no_error():
    held = Heldout(each=torch.tensor([-1.0]), rows=torch.arange(1), accuracy_frac=0.0)
    assert held.error == math.inf


def test_parts_are_at_least_two():
    net = logistic("none")
    with pytest.raises(UsageError, match="1 parts of 12 examples"):
        heldout(
            net, net.family["none"], data(), RECIPE, seed=0,
            folds=1,
        )  # fmt: skip
