"""States of several optimizers in one, and out again."""

import torch
from torch import nn

from trimtab.relax.state import flattened, own, within


def two():
    x = nn.Parameter(torch.ones(3))
    x.grad = torch.ones(3)
    inner, outer = torch.optim.Adam([x]), torch.optim.SGD([x], lr=0.1, momentum=0.9)
    for each in (inner, outer):
        each.step()
    return x, {"inner": inner, "outer": outer}


def test_parts_come_out_as_they_went_in():
    x, parts = two()
    found = flattened(torch.optim.SGD([x], lr=1.0).state_dict(), parts)
    assert set(found) == {"state", "param_groups"}
    assert all(isinstance(key, str) for key in found["state"][0])
    for name, part in parts.items():
        mine, theirs = within(found, name), part.state_dict()
        assert mine["param_groups"] == theirs["param_groups"]
        assert set(mine["state"][0]) == set(theirs["state"][0])
        for key, value in theirs["state"][0].items():
            assert torch.equal(torch.as_tensor(mine["state"][0][key]),
                               torch.as_tensor(value))  # fmt: skip


def test_what_is_its_own_has_nothing_of_the_parts():
    x, parts = two()
    found = flattened(torch.optim.SGD([x], lr=1.0).state_dict(), parts)
    found["state"][0]["iterate"], found["state"][0]["point"] = x, x
    mine = own(found, parts, without={"point"})
    assert set(mine["state"][0]) == {"iterate"}
    assert mine["param_groups"][0]["lr"] == 1.0
    assert not any("." in key for key in mine["param_groups"][0])
