"""The maximum of the posterior."""

from typing import Any

import pytest
import torch
from tests.unit.symmetry.nets import corners, small_cnn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.symmetry.layers import TiedLinear
from trimtab.symmetry.network import Symmetric, retie, tied
from trimtab.symmetry.orbits import channel, permuted
from trimtab.symmetry.schemes import flips, shifts
from trimtab.symmetry.train import Recipe, first_precisions, map_fit, prepared
from trimtab.training.data import Dataset
from trimtab.training.settings import Settings


def test_the_gradient_of_the_posterior_vanishes_at_the_maximum():
    family = shifts(4)
    axes = (permuted("shift", 4),)
    net = Symmetric(TiedLinear(family, axes, (channel(2),), bias=False), family, axes)
    x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), None
    y = (x[:, 0] > 0.3).long()
    data = Dataset(name="half", train=(x, y), test=(x, y), classes=2)
    settings = Settings(epochs=600, batch_size=30, learning_rate=0.05)
    map_fit(net, data, {"body.weight": 2.0}, settings)
    body: Any = net.body
    values = body.weight.values
    loss = F.cross_entropy(net(x), y, reduction="sum") + (values**2).sum()
    (slope,) = torch.autograd.grad(loss, [values])
    assert float(slope.abs().max()) < 1e-2


def test_first_precisions_are_those_of_the_draws():
    net = small_cnn(flips())
    found = first_precisions(net)
    assert set(found) == {path for path, _ in tied(net)}
    assert found["body.0.weight"] == pytest.approx(9 / 2)  # He: variance 2 / fan-in
    assert found["body.1.weight"] == 1.0


def test_norms_are_settled_before_a_training():
    data = corners()
    net = retie(small_cnn(flips(), classes=2), flips().schemes[0], seed=0)
    precisions = prepared(net, data, Recipe(first=0.5))
    assert precisions["body.1.weight"] == 0.5
    body: Any = net.body
    assert float(body[1].deviation.min()) != 1.0


def test_steps_are_divided_over_rounds():
    recipe = Recipe(steps=1200, rounds=4, batch_size=50)
    assert recipe.settings(300, seed=0).epochs == 50
    with pytest.raises(UsageError, match=r"Recipe\(rounds=...\)` of 0"):
        Recipe(rounds=0)
    with pytest.raises(UsageError, match="learning_rate"):
        Recipe(learning_rate=-1.0)
