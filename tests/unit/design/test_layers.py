"""Layers, what they own, and what is dead."""

import pytest
import torch
from torch import nn

from trimtab.design.layers import analyse
from trimtab.errors import UsageError
from trimtab.graph.capture import capture


class Net(nn.Module):
    def __init__(self, call, **modules):
        super().__init__()
        self.call = call
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.call(self, x)


def analysed(module, *shape, **more):
    return analyse(capture(module.eval(), (torch.zeros(shape),)), **more)


def test_a_module_that_is_called_twice_owns_its_weights_once():
    net = Net(lambda m, x: m.a(m.a(x)), a=nn.Conv2d(4, 4, 3, padding=1))
    found = analysed(net, 1, 4, 8, 8)
    assert [each.parameters for each in found.layers] == [4 * 4 * 9 + 4, 0]
    assert found.parameters == 4 * 4 * 9 + 4
    assert found.multiply_adds == 2 * 4 * 4 * 9 * 64
    assert [each.field_out for each in found.layers] == [(3, 3), (5, 5)]


def test_what_is_multiplied_by_nothing_is_dead():
    net = Net(
        lambda m, x: m.b(x) + m.a(x) * 0.0,
        a=nn.Conv2d(4, 4, 3, padding=1), b=nn.Conv2d(4, 4, 1),
    )  # fmt: skip
    owned = {"a": 4 * 4 * 9 + 4, "b": 4 * 4 + 4}
    found = analysed(net, 1, 4, 8, 8, modules=owned)
    assert [each.module for each in found.layers] == ["b"]
    assert found.parameters == owned["b"]
    assert found.dead == ("a",)


def test_what_is_never_called_is_dead():
    net = Net(lambda m, x: m.b(x), a=nn.Conv2d(4, 4, 3), b=nn.Conv2d(4, 4, 1))
    found = analysed(net, 1, 4, 8, 8, modules={"a": 148, "b": 20})
    assert found.dead == ("a",)


def test_shortcuts_are_ways_around_layers():
    def conv(size=3):
        return nn.Conv2d(4, 4, size, padding=size // 2)

    def shortest(call, **modules):
        return analysed(Net(call, **modules), 1, 4, 8, 8).shortest

    assert shortest(lambda m, x: m.b(m.a(x)), a=conv(), b=conv()) == 2
    assert shortest(lambda m, x: m.b(m.a(x)), a=conv(), b=conv(1)) == 1
    assert shortest(lambda m, x: x + m.b(m.a(x)), a=conv(), b=conv()) == 0
    assert (
        shortest(lambda m, x: m.c(x) + m.b(m.a(x)), a=conv(), b=conv(), c=conv()) == 1
    )
    gate = shortest(lambda m, x: m.a(x) * torch.sigmoid(x), a=conv())
    assert gate == 1  # what it scales must be there
    nothing = shortest(lambda m, x: m.a(x) + x * 0.0, a=conv())
    assert nothing == 1  # a way that is multiplied by nothing is none


def test_groups_that_never_mix_are_apart():
    apart = nn.Sequential(nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1, groups=2))
    assert [each.apart for each in analysed(apart, 1, 8, 4, 4).layers] == [True, True]
    depthwise = nn.Conv2d(8, 8, 3, groups=8)
    assert [each.apart for each in analysed(depthwise, 1, 8, 4, 4).layers] == [False]


def test_the_entropy_is_that_of_what_is_summed():
    import math

    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8))
    found = analysed(net, 1, 4, 8, 8)
    assert found.entropy == pytest.approx(math.log(4 * 9) + math.log(9))


def test_windows_that_slide_count_what_is_in_them():
    net = nn.Conv2d(8, 8, 1, bias=False)
    windows = {"": tuple(((each, (each + 1) % 8)) for each in range(8))}
    found = analysed(net, 1, 8, 4, 4, windows=windows)
    assert found.multiply_adds == 8 * 2 * 16
    assert found.layers[0].channels_out == 2


@pytest.mark.parametrize("module", [nn.Flatten(), nn.AvgPool2d(2)])
def test_a_network_without_convolutions_is_refused(module):
    with pytest.raises(UsageError, match="no convolution of the image"):
        analysed(module, 1, 3, 8, 8)
