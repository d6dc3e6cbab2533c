"""The sliding-channel convolution against its definition, and its gradients."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from trimtab.design.sliding import (
    DepthwiseSliding,
    SlidingChannelConv2d,
    window_starts,
)
from trimtab.errors import UsageError

GROUPS, OVERLAPS = (1, 2, 4, 8), (0.25, 0.33, 0.5, 0.75)


def by_definition(layer, x):
    """Sum each output's window, one channel at a time."""
    width = layer.in_channels // layer.groups
    found = []
    for output in range(layer.out_channels):
        start = math.floor(output * (1 - Fraction(str(layer.overlap))) * width)
        total = torch.zeros_like(x[:, 0])
        for place in range(width):
            channel = (start + place) % layer.in_channels
            total = total + layer.weight[output, place] * x[:, channel]
        found.append(total)
    return torch.stack(found, 1)


@pytest.mark.parametrize(("groups", "overlap"), [*itertools.product(GROUPS, OVERLAPS)])
def test_it_is_what_it_is_defined_as_and_so_are_its_gradients(groups, overlap):
    torch.manual_seed(0)
    layer = SlidingChannelConv2d(16, 24, groups=groups, overlap=overlap).double()
    x = torch.randn(2, 16, 3, 2, dtype=torch.float64, requires_grad=True)
    expected = by_definition(layer, x)
    assert torch.allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
    seed = torch.randn_like(expected)
    inputs = (x, layer.weight)
    for one, other in zip(
        torch.autograd.grad(layer(x), inputs, seed),
        torch.autograd.grad(expected, inputs, seed),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("groups", "overlap"), [*itertools.product(GROUPS, OVERLAPS)])
def test_gradients_are_those_of_differences(groups, overlap):
    torch.manual_seed(0)
    layer = SlidingChannelConv2d(8, 6, groups=groups, overlap=overlap, bias=True)
    layer = layer.double()
    x = torch.randn(1, 8, 2, 2, dtype=torch.float64, requires_grad=True)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    assert layer.bias is not None
    assert torch.autograd.gradcheck(call, (x, layer.weight, layer.bias))


def test_one_group_is_a_pointwise_convolution():
    layer = SlidingChannelConv2d(6, 5, groups=1, overlap=0.5)
    dense = nn.Conv2d(6, 5, 1, bias=False)
    rolled = [
        torch.roll(row, start)
        for row, start in zip(
            layer.weight, window_starts(6, 5, groups=1, overlap=0.5), strict=True
        )
    ]
    with torch.no_grad():
        dense.weight.copy_(torch.stack(rolled)[..., None, None])
    x = torch.randn(2, 6, 4, 4)
    assert torch.allclose(layer(x), dense(x), atol=1e-6)


@pytest.mark.parametrize(
    ("groups", "overlap"), [*itertools.product(GROUPS[1:], OVERLAPS)]
)
def test_a_few_see_every_channel_and_grouped_ones_never_do(groups, overlap):
    def seen(layers):
        reach = torch.eye(32)
        for layer in layers:
            reach = (layer @ reach > 0).float()
        return reach.sum(1).min()

    sliding = SlidingChannelConv2d(32, 32, groups=groups, overlap=overlap)
    mask = torch.zeros(32, 32).scatter(1, sliding.channels, 1.0)
    width = 32 // groups
    grouped = torch.block_diag(*[torch.ones(width, width)] * groups)
    assert seen([mask] * 2 * groups) == 32
    if width >= 8 and overlap < 0.75:
        assert seen([mask] * 2) == 32
    assert seen([grouped] * 10) == width


def test_a_share_is_taken_as_it_is_written():
    # floor(100 * 0.67) by binary fractions would be one channel short.
    assert window_starts(100, 2, groups=1, overlap=0.33) == [0, 67]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"groups": 3, "overlap": 0.5}, "3 groups of 8 channels"),
        ({"groups": 0, "overlap": 0.5}, "0 groups of 8 channels"),
        ({"groups": 2, "overlap": 1.0}, "an overlap of 1.0"),
        ({"groups": 2, "overlap": -0.1}, "an overlap of -0.1"),
    ],
)
def test_what_is_refused(arguments, text):
    with pytest.raises(UsageError, match=text):
        SlidingChannelConv2d(8, 8, **arguments)


def test_the_block_has_the_weights_of_both():
    block = DepthwiseSliding(8, 16, 3, padding=1, stride=2, groups=2, overlap=0.5)
    assert sum(each.numel() for each in block.parameters()) == 8 * 9 + 16 * 4
    assert block(torch.zeros(1, 8, 6, 6)).shape == (1, 16, 3, 3)


def test_windows_are_not_saved():
    layer = SlidingChannelConv2d(8, 8, groups=2, overlap=0.5)
    assert list(layer.state_dict()) == ["weight"]
