"""The score by arithmetic, and its laws."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from trimtab.design.analysis import analysis_of
from trimtab.design.layers import analyse
from trimtab.design.score import Score, field_volume, productive, score
from trimtab.design.sliding import SlidingChannelConv2d
from trimtab.graph.capture import capture


def analysed(module, *shape):
    return analyse(capture(module.eval(), (torch.zeros(shape),)))


def test_two_stages_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1, bias=False),
    )
    found = score(analysed(net, 1, 3, 8, 8))
    # First: 9 of 64 pixels, all 3 channels, 4 outputs at every place.
    one = 9 / 64 * 3 * 4
    # Second: a field of 5 x 5, the three channels of the old stage; 8 at a quarter.
    two = 25 / 64 * 3 * 8 / 4
    # Third: the same field, the 8 channels that begin the stage.
    three = 25 / 64 * 8 * 8 / 4
    assert found.masses == {(8, 8): one, (4, 4): two + three}
    assert found.depth == 2.0  # both windows still fit the image
    mean = ((one**0.3 + (two + three) ** 0.3) / 2) ** (1 / 0.3)
    assert found.value == pytest.approx(math.log(mean) + math.log(3))


def test_exponents_are_means():
    made = Score(value=0.0, masses={(4, 4): 1.0, (2, 2): 4.0}, depth=0.0)
    assert made.with_exponent(1.0) == pytest.approx(math.log(2.5))
    assert made.with_exponent(0.0) == pytest.approx(math.log(2.0))
    assert made.with_exponent(0.0) < made.with_exponent(0.3) < made.with_exponent(1.0)
    assert made.with_exponent(1e-9) == pytest.approx(made.with_exponent(0.0), abs=1e-6)


def test_a_window_beyond_the_image_counts_less():
    layers = [[nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()] for _ in range(6)]
    net = nn.Sequential(*[each for pair in layers for each in pair])
    analysis = analysed(net, 1, 2, 8, 8)
    shares = [
        productive(each.field_in, each.field_out, analysis.image)
        for each in analysis.layers
    ]
    # Fields of 3, 5, 7, 9 ... of 8 pixels: half of the fourth is within.
    assert shares == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert score(analysis).depth == pytest.approx(3 + 0.3 + 0.35 + 2 * 0.3)


def test_more_that_is_seen_is_never_worth_less():
    layer = analysed(nn.Conv2d(4, 4, 3, padding=1), 1, 4, 16, 16).layers[0]
    small = field_volume(layer, (16, 16))
    wider = replace(layer, field_out=(5, 5))
    deeper = replace(layer, channels_out=2.0)
    assert field_volume(wider, (16, 16)) > small > field_volume(deeper, (16, 16))
    beyond = replace(layer, field_out=(99, 99))
    assert field_volume(beyond, (16, 16)) == layer.channels_out


def test_what_no_activation_parts_is_one_convolution():
    """A depthwise and a pointwise one are worth the dense one that they make."""
    dense = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
    parts = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1),
        nn.ReLU(), nn.Conv2d(8, 8, 1),
    )  # fmt: skip
    one, two = (score(analysed(each, 1, 4, 8, 8)) for each in (dense, parts))
    assert one == two
    # An activation between makes them two.
    parts[1] = nn.ReLU()
    assert score(analysed(parts, 1, 4, 8, 8)).value > one.value
    # So does somebody else who reads the first.

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(4, 4, 3, padding=1)
            self.b = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = self.a(x)
            return self.b(x) + x

    assert analysed(Both(), 1, 4, 8, 8).layers[0].into == ""


def test_an_output_that_sums_less_of_what_it_could_tells_less():
    def net(groups):
        conv = nn.Conv2d(16, 16, 3, padding=1, groups=groups)
        return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), conv)

    dense, grouped = (
        score(analysed(net(groups), 1, 3, 8, 8)).masses[8, 8] for groups in (1, 4)
    )
    one = 9 / 64 * 3 * 16
    share = math.log(9 * 4) / math.log(9 * 16)
    assert grouped - one == pytest.approx(share * (dense - one))
    # Sliding channels are those that are summed, though a dense product does it.
    layer = SlidingChannelConv2d(16, 16, groups=4, overlap=0.5)
    slides = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), layer).eval()
    found, _ = analysis_of(slides, (torch.zeros(1, 3, 8, 8),))
    assert found.layers[1].summed == 4
    assert found.entropy == pytest.approx(math.log(27) + math.log(4))


def test_pools_see_more_and_tell_less_apart():
    def net(*between):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *between, nn.Conv2d(4, 4, 1)
        )

    plain, pooled = (
        score(analysed(each, 1, 3, 12, 12))
        for each in (net(), net(nn.AvgPool2d(3, 1, 1)))
    )
    assert analysed(net(nn.AvgPool2d(3, 1, 1)), 1, 3, 12, 12).layers[1].grain == (
        pytest.approx((3.0, 3.0))
    )
    assert pooled.value < plain.value
    # A pool that halves leaves what is left as far apart as it tells apart.
    halved = analysed(net(nn.AvgPool2d(2)), 1, 3, 12, 12)
    assert halved.layers[1].grain == pytest.approx((2.0, 2.0))
    mass = 4 * 4 * (4 / 12) ** 2 / 4
    assert score(halved).masses[(6, 6)] == pytest.approx(mass)


def test_paths_that_meet_are_averaged():
    class Cell(nn.Module):
        def __init__(self, pooled):
            super().__init__()
            self.a = nn.Conv2d(3, 4, 3, padding=1)
            self.pool = nn.AvgPool2d(3, 1, 1) if pooled else nn.Identity()
            self.b = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = torch.relu(self.a(x))
            return self.b(torch.relu(self.pool(x)) + torch.tanh(x))

    last = analysed(Cell(pooled=True), 1, 3, 16, 16).layers[1]
    # One path in two is blurred: half of the variance of three places, 8/12.
    assert last.grain == pytest.approx((math.sqrt(12 * 4 / 12 + 1),) * 2)
    assert last.mean_in == pytest.approx((4.0, 4.0))
    assert last.field_in == (5, 5)


def test_what_was_squeezed_counts_nothing():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            self.squeeze = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            return x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))

    analysis = analysed(Gate(), 1, 4, 8, 8)
    assert [each.local for each in analysis.layers] == [True, False]
    assert list(score(analysis).masses) == [(8, 8)]


def test_a_network_that_sees_nothing_of_a_place_has_no_score():
    assert Score(value=0.0, masses={}, depth=0.0).with_exponent(0.3) == -math.inf
