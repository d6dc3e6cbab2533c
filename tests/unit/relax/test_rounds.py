"""Rounds as long as the tether needs."""

import copy
import math

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.rounds import Equilibrated, rate_of
from trimtab.relax.scopes import Exponential


def test_a_round_takes_the_share_and_not_a_step_more():
    length = Equilibrated(0.9, least=1, most=10_000)
    for gamma in (0.003, 0.05, 0.7):
        steps = length.of(rate=1.0, gamma=gamma)
        assert 1 - (1 - gamma) ** steps >= 0.9 > 1 - (1 - gamma) ** (steps - 1)


@pytest.mark.parametrize(("gamma", "steps"), [(0.0, 50), (1e-9, 50), (0.9, 5), (3, 5)])
def test_a_round_stays_within_its_limits(gamma, steps):
    assert Equilibrated(0.95, least=5, most=50).of(rate=1.0, gamma=gamma) == steps


def test_rounds_become_shorter_as_gamma_grows():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed(
        [x], steps=Equilibrated(0.9, least=2, most=40), scope=Exponential(0.05, 2.0),
        inner=lambda p: torch.optim.SGD(p, lr=1.0),
    )  # fmt: skip
    lengths, reached = [], []
    for _ in range(120):
        x.grad = 0.01 * x.detach()
        opt.step()
        if opt.position == 0:
            lengths.append(opt.steps)
            reached.append(opt.reached or 0.0)
    assert lengths == [40, 22, 11, 5, 2, *[2] * (len(lengths) - 5)]
    assert reached[0] == pytest.approx(1 - 0.95**40)
    assert min(reached[1:]) >= 0.9


def test_a_round_goes_on_where_it_was_after_loading():
    def made():
        x = nn.Parameter(torch.tensor([1.0]))
        return x, Relaxed(
            [x], steps=Equilibrated(0.9, least=2, most=40),
            scope=Exponential(0.05, 2.0), inner=lambda p: torch.optim.SGD(p, lr=1.0),
        )  # fmt: skip

    def go(x, opt, steps):
        for _ in range(steps):
            x.grad = 0.01 * x.detach()
            opt.step()

    x, opt = made()
    go(x, opt, 55)
    y, other = made()
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert (other.position, other.steps) == (15, 22)
    go(x, opt, 30)
    go(y, other, 30)
    assert torch.equal(x, y)


def test_adaptive_rates_have_no_such_length():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed([x], steps=Equilibrated(), inner=lambda p: torch.optim.Adam(p))
    x.grad = torch.ones(1)
    with pytest.raises(UsageError, match="equilibrated rounds of Adam"):
        opt.step()
    assert opt.evaluations == 0


def test_what_has_no_tether_has_no_such_length():
    x = nn.Parameter(torch.tensor([1.0]))
    with pytest.raises(UsageError, match="Equilibrated"):
        Relaxed([x], relaxation="heat", temperature=1.0, steps=Equilibrated())


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0, 1, 2), (1, 1, 2), (math.nan, 1, 2), (0.5, 0, 2),
                                 (0.5, 3, 2)],
)  # fmt: skip
def test_limits_of_lengths_are_limited(share, least, most):
    with pytest.raises(UsageError, match="rounds of"):
        Equilibrated(share, least=least, most=most)


def test_the_rate_is_that_of_the_slowest_group():
    x, y = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    both = torch.optim.SGD(
        [{"params": [x], "lr": 0.5}, {"params": [y], "lr": 0.1, "momentum": 0.5}]
    )
    assert rate_of(both) == pytest.approx(0.2)
    assert rate_of(None) is None
    assert rate_of(torch.optim.Adam([x])) is None
