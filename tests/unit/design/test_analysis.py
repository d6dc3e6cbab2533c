"""From a module to its fields."""

from tests.unit.design.nets import IMAGE
from torch import nn

from trimtab.design.analysis import analysis_of, analyze, windows_of
from trimtab.design.sliding import SlidingChannelConv2d


def test_sliding_convolutions_are_known_by_their_windows():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        SlidingChannelConv2d(8, 8, groups=2, overlap=0.5),
    ).eval()
    assert windows_of(net)["1"][1] == (2, 3, 4, 5)
    analysis, _ = analysis_of(net, (IMAGE,))
    assert analysis.layers[1].channels_out == 3  # those of the image
    assert analysis.layers[1].multiply_adds == 8 * 4 * 16 * 16


def test_parameters_that_nothing_reads_are_dead():
    net = nn.Sequential(nn.Conv2d(3, 8, 3))
    net.append(nn.Identity())
    net[1].add_module("spare", nn.Linear(4, 4))
    assert analyze(net.eval(), (IMAGE,)).dead == ("1.spare",)
