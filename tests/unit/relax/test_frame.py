"""Where parameters are, what a state keeps, groups that join."""

import copy
import warnings

import pytest
import torch
from tests.unit.relax.test_relaxed import MODES, batches, made, net, same, trained
from torch import nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.relax.relaxed import Relaxed


def test_the_state_is_flat():
    model = net()
    opt = made(model, "local-entropy")
    trained(model, opt, batches(6))
    for state in opt.state_dict()["state"].values():
        assert {"iterate", "average", "inner.momentum_buffer"} <= set(state)
        assert not any(isinstance(each, dict | list) for each in state.values())
    (group,) = opt.state_dict()["param_groups"]
    assert group["inner.lr"] == 0.1
    assert group["outer.lr"] == 1.0


def test_the_iterate_is_shown_and_taken_away_again():
    model = net()
    opt = made(model, "local-entropy")
    opt.watch(model)
    trained(model, opt, batches(6))
    points = [each.detach().clone() for each in model.parameters()]
    with pytest.warns(UserWarning, match="2 steps into a round of 4"):
        model.state_dict()
    with opt.at_iterate(), warnings.catch_warnings():
        warnings.simplefilter("error")
        iterate = [each.detach().clone() for each in model.parameters()]
        model.state_dict()
        with opt.at_iterate():
            assert same(iterate, list(model.parameters()))
        with pytest.raises(UsageError, match="within `at_iterate`"):
            opt.step()
    assert same(points, list(model.parameters()))
    assert not same(points, iterate)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_taken_at_the_iterate_knows_the_point(mode):
    def go(model, opt, some):
        for x, y in some:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()

    def fresh():
        model = net()
        drawn = torch.Generator().manual_seed(3)
        return model, Relaxed(
            model.parameters(), relaxation=mode, steps=5, generator=drawn, **MODES[mode]
        )

    model, opt = fresh()
    every = list(batches(12))
    go(model, opt, every[:7])
    with opt.at_iterate():
        kept = opt.state_dict()
    other, again = fresh()
    again.load_state_dict(kept)
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    kept = copy.deepcopy(kept)  # as from a file
    go(model, opt, every[7:])
    again.load_state_dict(kept)
    go(other, again, every[7:])
    assert opt.rounds == again.rounds == 2
    assert all(map(torch.equal, model.parameters(), other.parameters()))


@pytest.mark.parametrize("mode", MODES)
def test_what_would_be_lost_at_the_iterate_is_refused_there(mode):
    model = net()
    opt = Relaxed(model.parameters(), relaxation=mode, steps=5, **MODES[mode])
    for x, y in batches(2):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    state = opt.state_dict()
    with opt.at_iterate():
        for call in (opt.step, opt.settle, lambda: opt.load_state_dict(state)):
            with pytest.raises(UsageError, match="at_iterate"):
                call()
        with opt.at_iterate():
            assert not opt.away
    assert opt.position == 2


@pytest.mark.parametrize("mode", MODES)
def test_a_group_that_is_added_is_trained(mode):
    model, late = net(), nn.Parameter(torch.ones(3))
    opt = Relaxed(model.parameters(), relaxation=mode, steps=3, **MODES[mode])
    every = list(batches(9))
    for number, (x, y) in enumerate(every):
        if number == 4:
            opt.add_param_group({"params": [late], "lr": 0.05})
        opt.zero_grad()
        F.cross_entropy(model(x) * late, y).backward()
        opt.step()
    assert not torch.equal(late.detach(), torch.ones(3))
    assert opt.outer.param_groups[1]["lr"] == 0.05
    assert opt.rounds == 3


@pytest.mark.parametrize("mode", MODES)
def test_an_optimizer_can_be_copied_with_its_parameters(mode):
    import copy

    model = net()
    opt = Relaxed(model.parameters(), relaxation=mode, steps=4, **MODES[mode])
    every = list(batches(8))

    def go(model, opt, some):
        for x, y in some:
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            opt.step()

    go(model, opt, every[:3])
    other, again = copy.deepcopy((model, opt))
    torch.manual_seed(5)
    go(model, opt, every[3:])
    torch.manual_seed(5)
    go(other, again, every[3:])
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert again.rounds == 2


def test_a_fresh_optimizer_and_a_settled_one_are_at_the_iterate():
    model = net()
    opt = Relaxed(model.parameters(), relaxation="heat", steps=4, **MODES["heat"])
    opt.watch(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.state_dict()
    for x, y in batches(6):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()
    with pytest.warns(UserWarning, match="at_iterate"):
        model.state_dict()
    opt.settle(finish=False)
    assert opt.rounds == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.state_dict()
