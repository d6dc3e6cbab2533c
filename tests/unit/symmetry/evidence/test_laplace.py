"""Laplace's evidence against integrals that are known."""

import math

import pytest
import torch
from tests.unit.symmetry.nets import corners, small_cnn
from torch.nn import functional as F

from trimtab.symmetry.evidence.derivatives import rows_of
from trimtab.symmetry.evidence.laplace import (
    Training,
    _gram,
    evidence_fit,
    laplace,
    last_layer,
    updated,
)
from trimtab.symmetry.layers import TiedLinear
from trimtab.symmetry.network import Symmetric, retie, tied
from trimtab.symmetry.orbits import channel, permuted
from trimtab.symmetry.schemes import flips, shifts
from trimtab.symmetry.train import Recipe, map_fit
from trimtab.training.data import Dataset
from trimtab.training.settings import Settings

FAMILY = shifts(2)
SETTINGS = Settings(epochs=200, batch_size=20, learning_rate=0.1)
AXES = (permuted("shift", 2),)


def logistic(scheme, seed=0):
    layer = TiedLinear(FAMILY, AXES, (channel(2),), bias=False)
    return retie(Symmetric(layer, FAMILY, AXES), FAMILY[scheme], seed=seed)


def data(count=12, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=drawn)
    y = (x.sum(1) + 0.5 * torch.randn(count, generator=drawn) > 0).long()
    return Dataset(name="sum", train=(x, y), test=(x, y), classes=2)


def integral(found, scheme, precision, points=41, reach=4.0):
    """log p(D | scheme) of a logistic network, summed over a grid of its values."""
    net = logistic(scheme)
    count = net.body.weight.values.numel()
    std = precision**-0.5
    one = torch.linspace(-reach * std, reach * std, points, dtype=torch.float64)
    grid = torch.cartesian_prod(*[one] * count).reshape(-1, count)
    x, y = found.train[0].double(), found.train[1]
    weights = grid[:, net.body.weight.orbit].view(-1, 2, 2)
    scores = torch.einsum("goi,ni->gno", weights, x)
    picked = F.log_softmax(scores, 2)[:, torch.arange(len(y)), y].sum(1)
    prior = -0.5 * precision * (grid**2).sum(1)
    prior = prior - 0.5 * count * math.log(2 * math.pi / precision)
    step = float(one[1] - one[0])
    return float(torch.logsumexp(picked + prior, 0)) + count * math.log(step)


@pytest.mark.parametrize("scheme", ["none", "by 1"])
def test_it_is_near_the_integral_where_that_can_be_summed(scheme):
    found = data()
    net = logistic(scheme)
    precisions = {"body.weight": 1.0}
    map_fit(net, found, precisions, SETTINGS)
    evidence = laplace(net, found.train[0], found.train[1], precisions)
    exact = integral(found, scheme, 1.0, points=25 if scheme == "none" else 201)
    assert evidence.value == pytest.approx(exact, abs=0.35)
    assert evidence.exact


def test_it_ranks_as_the_integral_does():
    found = data(count=16, seed=3)
    precisions = {"body.weight": 1.0}
    values, exact = [], []
    for scheme in ("none", "by 1"):
        net = logistic(scheme)
        map_fit(net, found, precisions, SETTINGS)
        values.append(laplace(net, found.train[0], found.train[1], precisions).value)
        points = 25 if scheme == "none" else 201
        exact.append(integral(found, scheme, 1.0, points=points))
    assert (values[0] > values[1]) is (exact[0] > exact[1])


@pytest.mark.parametrize("count", [20, 400])  # fewer rows than values, and more
def test_effective_values_of_large_matrices_are_estimated(monkeypatch, count):
    found = corners(count=2 * count)
    x, y = found.train
    net = small_cnn(flips())
    settings = Settings(epochs=2, batch_size=20)
    precisions = dict.fromkeys((path for path, _ in tied(net)), 1.0)
    map_fit(net, found, precisions, settings)
    exact = laplace(net, x, y, precisions)
    monkeypatch.setattr("trimtab.symmetry.evidence.laplace._LARGE", 0)
    estimated = laplace(net, x, y, precisions)
    assert estimated.value == exact.value
    for path, value in exact.effective.items():
        error = 4.0 * math.sqrt(2.0 * value / 64)  # four deviations at most
        assert estimated.effective[path] == pytest.approx(value, abs=error + 1e-3)
    assert estimated.effective != exact.effective


def test_rows_or_values_give_the_same_determinant():
    net = logistic("none").eval()
    found = data(count=3)  # 3 rows, 4 values; then 12 rows
    for count in (3, 12):
        x, y = data(count=count).train
        evidence = laplace(net, x, y, {"body.weight": 2.0})
        rows = rows_of(net, x) / math.sqrt(2.0)
        size = rows.shape[1]
        whole = torch.eye(size, dtype=torch.float64) + rows.T.double() @ rows.double()
        assert evidence.log_volume == pytest.approx(
            -0.5 * float(torch.logdet(whole)), abs=1e-4
        )
        determined = size - float(torch.linalg.inv(whole).trace())
        assert evidence.effective["body.weight"] == pytest.approx(determined, abs=1e-3)
    assert len(found.train[0]) == 3


def test_blocks_bound_the_evidence_from_below():
    net = retie(small_cnn(flips(), classes=2), flips()["none"], seed=0).eval()
    x, y = corners().train
    precisions = dict.fromkeys((path for path, _ in tied(net)), 5.0)
    exact = laplace(net, x, y, precisions)
    blocks = laplace(net, x, y, precisions, block=10)
    assert not blocks.exact
    assert blocks.value < exact.value
    whole = laplace(net, x, y, precisions, block=30)
    assert whole.exact
    assert whole.value == pytest.approx(exact.value)


def test_some_examples_stand_for_all():
    net = logistic("none").eval()
    x, y = data(count=10).train
    many = torch.cat([x, x, x]), torch.cat([y, y, y])
    some = laplace(net, x, y, {"body.weight": 1.0}, share=1 / 3)
    every = laplace(net, *many, {"body.weight": 1.0})
    assert some.value == pytest.approx(every.value, abs=1e-4)


def test_some_examples_are_too_kind_to_many_values():
    family = flips()
    x, y = corners(count=160).train
    errors = {}
    for name in ("none", "V4"):
        net = retie(small_cnn(family, classes=2), family[name], seed=0).eval()
        precisions = dict.fromkeys((path for path, _ in tied(net)), 0.1)
        every = laplace(net, x, y, precisions)
        some = laplace(net, x[:10], y[:10], precisions, share=1 / 8)
        errors[name] = some.log_volume - every.log_volume
        assert sum(some.effective.values()) < sum(every.effective.values())
    assert errors["none"] > errors["V4"] > 0


def test_the_last_precisions_are_those_of_all_examples():
    family = flips()
    found = corners(count=600)  # 300 to learn from, more than some
    net = retie(small_cnn(family, classes=2), family["none"], seed=0)
    recipe = Recipe(steps=60, rounds=3, batch_size=20)
    training = Training(net, found, recipe, seed=0)
    training.advance(2)
    x, y = found.train
    before = training.precisions
    wanted = updated(net, laplace(net.eval(), x, y, before), before)
    training.advance(3)
    assert training.precisions == pytest.approx(wanted, rel=1e-4)


def test_precisions_go_to_what_is_determined_over_its_length():
    net = logistic("none").eval()
    x, y = data().train
    evidence = laplace(net, x, y, {"body.weight": 1.0})
    length = float((net.body.weight.values.detach() ** 2).sum())
    wanted = evidence.effective["body.weight"] / length
    now = updated(net, evidence, {"body.weight": 1.0})
    assert now["body.weight"] == pytest.approx(min(max(wanted, 0.1), 10.0))


def test_a_fit_prefers_the_scheme_of_its_data():
    values = {}
    found = corners(count=80, turned=False)
    family = flips()
    net = small_cnn(family, classes=2)
    recipe = Recipe(steps=100, rounds=2, batch_size=20)
    for scheme in ("none", "V4"):
        made = retie(net, family[scheme], seed=0)
        values[scheme], precisions = evidence_fit(made, found, recipe, seed=0)
        assert set(precisions) == {path for path, _ in tied(made)}
    # A corner and a bar both stand at the top left: flips lose nothing here.
    assert values["V4"].value > values["none"].value


def test_a_training_goes_on_where_it_stood():
    found = data(count=40)
    recipe = Recipe(steps=60, rounds=3, batch_size=20)
    one, two = logistic("none"), logistic("none")
    whole = Training(one, found, recipe, seed=0)
    whole.advance(3)
    parts = Training(two, found, recipe, seed=0)
    told: list[float] = []
    parts.advance(1)
    assert parts.rounds == 1
    parts.advance(3, progress=told.append)
    assert torch.equal(one.body.weight.values, two.body.weight.values)
    assert whole.precisions == parts.precisions
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert whole.evidence().effective == {}
    assert whole.evidence(block=20).value < whole.evidence().value


def test_half_of_a_gram_matrix_is_enough_for_its_factor():
    rows = torch.randn(13, 5, generator=torch.Generator().manual_seed(0))
    found, wanted = _gram(rows), rows @ rows.T
    assert torch.allclose(found.tril(), wanted.tril(), atol=1e-5)
    eye = torch.eye(13)
    assert torch.allclose(
        torch.linalg.cholesky(found + eye), torch.linalg.cholesky(wanted + eye),
        atol=1e-5,
    )  # fmt: skip


def test_the_last_layer_is_drawn_from_its_posterior():
    net = retie(small_cnn(flips(), classes=2), flips()["hflip"], seed=0).eval()
    x = corners().train[0]
    precisions = dict.fromkeys((path for path, _ in tied(net)), 3.0)
    last = last_layer(net, x, precisions)
    assert last is not None
    assert last.paths == ("body.6.weight", "body.6.bias")
    rows = rows_of(net, x, last.paths).double()
    whole = rows.T @ rows + 3.0 * torch.eye(rows.shape[1], dtype=torch.float64)
    drawn = torch.Generator().manual_seed(0)
    means = torch.cat([dict(tied(net))[path].values.detach() for path in last.paths])
    some = torch.stack(
        [torch.cat(list(last.draw(net, drawn).values())) for _ in range(4000)]
    )
    spread = ((some - means).T @ (some - means) / len(some)).double()
    wanted = torch.linalg.inv(whole)
    assert float((spread - wanted).abs().max()) < 0.1 * float(wanted.abs().max())
