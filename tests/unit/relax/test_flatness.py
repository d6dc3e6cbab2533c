"""Flatness of losses whose curvature is known."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.relax.flatness import local_energy, local_entropy, top_eigenvalue, trace


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(20, 3, dtype=torch.float64, generator=drawn())
    y = (x[:, 0] > 0).long()
    return list(net.parameters()), lambda: F.cross_entropy(net(x), y)


def hessian(loss, parameters):
    rows = []
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    for each in torch.cat([one.reshape(-1) for one in gradients]):
        row = torch.autograd.grad(
            each, parameters, retain_graph=True, allow_unused=True
        )
        rows.append(torch.cat([
            (torch.zeros_like(p) if r is None else r).reshape(-1)
            for p, r in zip(parameters, row, strict=True)
        ]))  # fmt: skip
    return torch.stack(rows)


def test_curvature_is_that_of_the_whole_hessian():
    parameters, loss = network()
    values = torch.linalg.eigvalsh(hessian(loss, parameters))
    largest = values[values.abs().argmax()]
    found = top_eigenvalue(loss, parameters, iterations=200, generator=drawn())
    assert found == pytest.approx(float(largest), rel=1e-4)
    value, error = trace(loss, parameters, draws=400, generator=drawn())
    assert abs(value - float(values.sum())) < 4 * error
    assert error < 0.3 * abs(value)


def test_straight_losses_have_no_curvature():
    w = torch.ones(3, requires_grad=True)
    assert top_eigenvalue(lambda: w.sum(), [w]) == 0.0
    assert trace(lambda: (2 * w).sum(), [w])[0] == 0.0
    bent = torch.tensor([1.0, 1.0], requires_grad=True)
    assert top_eigenvalue(
        lambda: -2.0 * bent[0] ** 2 + bent[1] ** 2, [bent], iterations=60
    ) == pytest.approx(-4.0, rel=1e-3)


def test_local_energy_does_not_mind_scales_and_puts_weights_back():
    w = nn.Parameter(torch.tensor([2.0, -1.0]))

    def error():
        return float(((w.detach() / torch.tensor([2.0, -1.0]) - 1) ** 2).sum())

    found = local_energy(error, [w], sigma=0.5, draws=4000, generator=drawn())
    assert found == pytest.approx(2 * 0.5**2, rel=0.05)
    assert torch.equal(w.detach(), torch.tensor([2.0, -1.0]))
    with pytest.raises(ZeroDivisionError):
        local_energy(lambda: 1 / 0, [w])
    assert torch.equal(w.detach(), torch.tensor([2.0, -1.0]))


@pytest.mark.parametrize("curvature", [1.0, 30.0])
def test_local_entropy_of_a_parabola(curvature):
    t, beta, count = 0.2, 2.0, 5
    w = nn.Parameter(torch.full((count,), 0.3, dtype=torch.float64))
    found = local_entropy(
        lambda: 0.5 * curvature * (w**2).sum(), [w], t=t, beta=beta, nodes=8,
        steps=1500, generator=drawn(),
    )  # fmt: skip
    bend = curvature / (1 + t * curvature)
    each = bend * 0.3**2 / 2 + math.log(1 + t * curvature) / (2 * beta)
    assert found == pytest.approx(count * each, rel=0.05)
    assert torch.equal(w.detach(), torch.full((count,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize(
    "call",
    [
        lambda w: top_eigenvalue(lambda: w.sum(), []),
        lambda w: trace(lambda: w.sum(), [w], draws=1),
        lambda w: local_energy(lambda: 0.0, [w], draws=0),
        lambda w: local_entropy(lambda: w.sum(), [w], t=0.0, beta=1.0),
        lambda w: local_entropy(lambda: w.sum(), [w], t=1.0, beta=1.0, steps=4),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(UsageError):
        call(torch.ones(2, requires_grad=True))
