"""Windows against what PyTorch pads and reads."""

import itertools

import pytest
import torch
from torch import nn

from trimtab.compiler.windows import halo_of, pair, window_of
from trimtab.graph.capture import capture
from trimtab.graph.types import Ref


def found(module, shape):
    graph = capture(module.eval(), (torch.zeros(shape),))
    return [window_of(graph, node) for node in graph.nodes]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [
        case
        for case in itertools.product(
            (7, 8, 9), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)
        )
        if case[0] + 2 * case[3] > case[4] * (case[1] - 1)
    ],
)  # fmt: skip
def test_a_halo_is_what_is_read_beyond_the_image(
    size, kernel, stride, padding, dilation
) -> None:
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    read = [
        index * stride + k * dilation - padding
        for index in range(outputs)
        for k in range(kernel)
    ]
    top, bottom, left, right = halo_of(
        (1, 3, size, size), (1, 4, outputs, outputs), (kernel, kernel),
        (stride, stride), (padding, padding), (dilation, dilation),
    )  # fmt: skip
    assert (top, bottom) == (left, right)
    assert bottom == max(0, max(read) - (size - 1))
    # What is padded above is kept, even where no window of the first row reads it all.
    assert top == padding >= max(0, -min(read))


def test_a_convolution() -> None:
    (window,) = found(
        nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), groups=2),
        (2, 4, 8, 9),
    )  # fmt: skip
    assert window.source == Ref("input")
    assert (window.kernel, window.stride) == ((3, 5), (2, 1))
    assert (window.padding, window.dilation, window.groups) == ((1, 2), (1, 1), 2)
    assert not window.depthwise
    assert not window.winograd
    # (8 + 2 - 3) // 2 + 1 = 4 rows; the last reads 3 * 2 - 1 ... 3 * 2 + 1, inside.
    assert window.output == (4, 9)
    assert window.halo == (1, 0, 2, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"padding": 1}, True),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
        ({"groups": 2}, False),
        ({"groups": 4}, False),
    ],
)
def test_minimal_filtering_takes_dense_windows_of_three(settings, expected) -> None:
    (window,) = found(nn.Conv2d(4, 4, 3, **settings), (1, 4, 9, 9))
    assert window.winograd is expected
    assert window.depthwise is (settings.get("groups") == 4)


def test_tiles_reach_beyond_the_image() -> None:
    (window,) = found(nn.Conv2d(4, 4, 3, padding=1), (1, 4, 9, 10))
    assert window.halo == (1, 1, 1, 1)
    # 9 rows are three tiles of four: three rows too many; 10 columns: two too many.
    assert window.reach(4) == (1, 1 + 3, 1, 1 + 2)
    assert window.reach(2) == (1, 1 + 1, 1, 1)


@pytest.mark.parametrize(
    ("kernel", "dilation", "before", "halo"),
    [
        (3, 1, (1, 1), (1, 1, 1, 1)),
        (2, 1, (0, 0), (0, 1, 0, 1)),  # the odd zero stands behind
        ((4, 1), 1, (1, 0), (1, 2, 0, 0)),
        (3, 2, (2, 2), (2, 2, 2, 2)),
        (4, 3, (4, 4), (4, 5, 4, 5)),
    ],
)
def test_padding_that_keeps_the_size(kernel, dilation, before, halo) -> None:
    layer = nn.Conv2d(4, 4, kernel, padding="same", dilation=dilation)
    (window,) = found(layer, (1, 4, 12, 12))
    assert (window.padding, window.halo) == (before, halo)
    assert window.output == (12, 12)


def test_no_padding_by_name() -> None:
    (window,) = found(nn.Conv2d(4, 4, 3, padding="valid"), (1, 4, 6, 6))
    assert (window.padding, window.halo) == ((0, 0), (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("layer", "shape", "added", "output"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), (4, 5, 6), (0,), (5, 6)),
        (nn.Conv1d(4, 4, 3, padding=1), (2, 4, 9), (2,), (1, 9)),
        (nn.Conv1d(4, 4, 3, padding=1), (4, 9), (0, 2), (1, 9)),
        (nn.Conv1d(4, 4, 3, padding="same"), (4, 9), (0, 2), (1, 9)),
    ],
)
def test_what_becomes_an_image(layer, shape, added, output) -> None:
    (window,) = found(layer, shape)
    assert (window.added, window.channels, window.output) == (added, 4, output)
    line = isinstance(layer, nn.Conv1d)
    assert window.kernel == ((1, 3) if line else (3, 3))
    assert window.padding == ((0, 1) if line else (1, 1))
    assert window.halo == ((0, 0, 1, 1) if line else (1, 1, 1, 1))
    assert window.winograd == (not line)


def test_what_is_no_plain_window() -> None:
    assert found(nn.ConvTranspose1d(4, 4, 3), (1, 4, 9)) == [None]
    assert found(nn.Conv3d(4, 4, 1), (1, 4, 2, 2, 2)) == [None]
    assert found(nn.ConvTranspose2d(4, 4, 2), (1, 4, 5, 5)) == [None]
    assert found(nn.MaxPool2d(2), (1, 4, 4, 4)) == [None]


def test_a_window_over_a_constant_is_one_too(networks) -> None:
    net = networks.Network(
        lambda m, w: torch.conv2d(m.x, w, padding=1), x=torch.ones(1, 2, 4, 4)
    )
    (window,) = found(net, (3, 2, 3, 3))
    assert window.source.name.endswith("x")


def test_pairs() -> None:
    assert pair(2) == pair((2,)) == pair((2, 2)) == (2, 2)
    assert pair((1, 3)) == (1, 3)
