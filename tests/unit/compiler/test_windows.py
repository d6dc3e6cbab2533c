import pytest
import torch
from torch import nn

from trimtab.compiler.windows import halo_of, window_of
from trimtab.graph.capture import capture


def _window(layer, size=9):
    graph = capture(layer.eval(), (torch.zeros(1, layer.in_channels, size, size),))
    return window_of(graph, graph.nodes[0])


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_halo_is_what_the_last_window_reads(kernel, stride, padding, dilation):
    size = 11
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    top, bottom, left, right = halo_of(
        (1, 1, size, size),
        (1, 1, out, out),
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
        (dilation, dilation),
    )
    read = [
        step * stride - padding + tap * dilation
        for step in range(out)
        for tap in range(kernel)
    ]
    assert (top, left) == (padding, padding)
    assert bottom == right == max(0, max(read) - (size - 1))


def test_kinds_of_convolutions():
    plain = _window(nn.Conv2d(4, 8, 3, padding=1))
    assert plain.winograd
    assert plain.halo == (1, 1, 1, 1)
    # Nine outputs are three tiles of four, three rows too many.
    assert plain.reach(4) == (1, 4, 1, 4)
    assert plain.reach(3) == (1, 1, 1, 1)
    assert _window(nn.Conv2d(4, 4, 3, groups=4)).depthwise
    assert not _window(nn.Conv2d(4, 4, 3, groups=2)).depthwise
    assert not _window(nn.Conv2d(4, 8, 3, stride=2)).winograd
    same = _window(nn.Conv2d(4, 8, 4, padding="same"))
    assert (same.padding, same.halo) == ((1, 1), (1, 2, 1, 2))
    assert _window(nn.Conv2d(4, 8, 3, padding="valid")).padding == (0, 0)


def test_what_has_no_plain_window():
    graph = capture(nn.ReLU().eval(), (torch.zeros(1, 2, 4, 4),))
    assert window_of(graph, graph.nodes[0]) is None
    graph = capture(nn.Conv2d(2, 2, 3).eval(), (torch.zeros(2, 4, 4),))
    assert window_of(graph, graph.nodes[0]) is None
