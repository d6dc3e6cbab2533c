"""Rounds as long as the tether needs."""

import copy
import math

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.relax.relaxed import Relaxed
from trimtab.relax.rounds import (
    Equilibrated,
    Pace,
    equilibration,
    largest_gamma,
    paces,
)
from trimtab.relax.scopes import Exponential

PLAIN = Pace(1.0, 0.0, 0.0, False)
NESTEROV = Pace(0.1, 0.9, 0.0, True)


def simulated(pace, gamma, steps):
    """What a free tether comes to, by torch's own SGD."""
    y = nn.Parameter(torch.ones(1, dtype=torch.float64))
    opt = torch.optim.SGD(
        [y], lr=pace.lr, momentum=pace.momentum, dampening=pace.dampening,
        nesterov=pace.nesterov,
    )  # fmt: skip
    for _ in range(steps):
        y.grad = gamma * y.detach()
        opt.step()
    return y.item()


@pytest.mark.parametrize(
    "pace",
    [PLAIN._replace(lr=0.3), NESTEROV, Pace(0.1, 0.9, 0.0, False),
     Pace(0.2, 0.5, 0.3, False)],
)  # fmt: skip
@pytest.mark.parametrize(("gamma", "steps"), [(0.1, 20), (0.3, 5), (1.0, 20), (2.0, 3)])
def test_equilibration_is_that_of_a_simulated_tether(pace, gamma, steps):
    left = abs(simulated(pace, gamma, steps))
    assert equilibration([pace], gamma, steps) == pytest.approx(max(0.0, 1 - left))


@pytest.mark.parametrize(
    "pace", [PLAIN, NESTEROV, Pace(0.1, 0.5, 0.0, False), Pace(0.1, 0.5, 0.3, False)]
)
def test_beyond_the_largest_gamma_a_tether_flies_apart(pace):
    most = largest_gamma([pace])
    assert abs(simulated(pace, 0.97 * most, 500)) < 1e-3
    assert abs(simulated(pace, 1.03 * most, 500)) > 1e3


@pytest.mark.parametrize("pace", [PLAIN, NESTEROV])
@pytest.mark.parametrize("gamma", [0.003, 0.05, 0.7])
def test_a_round_takes_the_share_for_good_and_not_a_step_more(pace, gamma):
    length = Equilibrated(0.9, least=1, most=5_000)
    steps = length.of([pace], gamma)
    for more in range(30):
        assert abs(simulated(pace, gamma, steps + more)) <= 0.1
    assert abs(simulated(pace, gamma, steps - 1)) > 0.1 or steps == 1


@pytest.mark.parametrize(
    ("gamma", "steps"), [(0.0, 50), (1e-9, 50), (0.9, 5), (1.0, 5)]
)
def test_a_round_stays_within_its_limits(gamma, steps):
    assert Equilibrated(0.95, least=5, most=50).of([PLAIN], gamma) == steps


def test_rounds_become_shorter_as_gamma_grows():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed(
        [x], steps=Equilibrated(0.9, least=2, most=40),
        scope=Exponential(0.05, 2.0, 0.8), inner=lambda p: torch.optim.SGD(p, lr=1.0),
    )  # fmt: skip
    lengths, reached = [], []
    for _ in range(120):
        x.grad = 0.01 * x.detach()
        opt.step()
        if opt.position == 0:
            lengths.append(opt.steps)
            reached.append(opt.last_equilibration or 0.0)
    assert lengths == [40, 22, 11, 5, 2, *[2] * (len(lengths) - 5)]
    assert reached[0] == pytest.approx(1 - 0.95**40)
    assert min(reached[1:]) >= 0.9


def test_a_round_goes_on_where_it_was_after_loading():
    def made():
        x = nn.Parameter(torch.tensor([1.0]))
        return x, Relaxed(
            [x], steps=Equilibrated(0.9, least=2, most=40),
            scope=Exponential(0.05, 2.0, 0.8),
            inner=lambda p: torch.optim.SGD(p, lr=1.0),
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


def test_the_pace_of_every_group_is_known_of_sgd_alone():
    x, y = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    both = torch.optim.SGD(
        [{"params": [x], "lr": 0.5}, {"params": [y], "lr": 0.1, "momentum": 0.5}]
    )
    found = paces(both)
    assert found is not None
    assert [each.effective for each in found] == pytest.approx([0.5, 0.2])
    assert paces(None) is None
    for other in (torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad):
        assert paces(other([x])) is None
    slowest = min(equilibration([each], 0.5, 3) for each in found)
    assert equilibration(found, 0.5, 3) == slowest


def test_a_gamma_that_cannot_be_followed_is_held_and_told():
    x = nn.Parameter(torch.tensor([1.0]))
    opt = Relaxed([x], scope=1e3, steps=5)
    with pytest.warns(UserWarning, match="held at 6.79"):
        assert opt.gamma == pytest.approx(0.5 * largest_gamma([NESTEROV]))
    for _ in range(100):
        x.grad = x.detach().clone()
        opt.step()
    assert abs(x.item()) < 1
