"""Convolutions and pools, with every stride, padding, dilation and group."""

from __future__ import annotations

import pytest
import torch
from torch import randn

pytest.importorskip("tvm", reason="needs the extra `compile`")

IMAGE = randn(2, 4, 9, 10, generator=torch.Generator().manual_seed(2))
NAN = IMAGE.clone()
NAN[0, 1, 3, 4] = float("nan")


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("conv1d.default", (randn(2, 4, 20), randn(6, 4, 3), randn(6), [1], [1])),
        ("conv1d.default", (randn(2, 4, 20), randn(6, 2, 3), None, [2], [2], [2], 2)),
        ("conv1d.padding", (randn(2, 4, 20), randn(6, 4, 3), None, [1], "same")),
        (
            "conv2d.default",
            (IMAGE, randn(6, 4, 3, 3), randn(6), [2, 1], [1, 0], [1, 2]),
        ),
        ("conv2d.default", (IMAGE, randn(4, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], 4)),
        ("conv2d.default", (IMAGE[0], randn(6, 4, 3, 3))),
        (
            "conv3d.default",
            (
                randn(1, 4, 6, 7, 8),
                randn(6, 2, 3, 3, 3),
                None,
                [2, 1, 1],
                [1, 0, 1],
                [1, 2, 1],
                2,
            ),
        ),
        (
            "conv_transpose1d.default",
            (randn(2, 4, 8), randn(4, 3, 3), None, [2], [1], [1]),
        ),
        (
            "conv_transpose2d.input",
            (IMAGE, randn(4, 6, 3, 3), randn(6), [2, 2], [1, 1], [1, 1]),
        ),
        (
            "conv_transpose2d.input",
            (IMAGE, randn(4, 3, 3, 3), None, [2, 1], [1, 0], [0, 0], 2),
        ),
        (
            "conv_transpose2d.input",
            (IMAGE, randn(4, 6, 3, 3), None, [1, 2], [0, 1], [0, 0], 1, [2, 2]),
        ),
        (
            "conv_transpose3d.input",
            (randn(1, 2, 3, 4, 3), randn(2, 3, 2, 3, 2), None, [2, 1, 2]),
        ),
    ],
)
def test_convolutions(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments, limit=2e-5)


@pytest.mark.parametrize("image", [IMAGE, NAN], ids=["numbers", "nan"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "ceil"),
    [
        ([3, 3], [2, 2], [1, 1], [1, 1], False),
        ([2, 3], [2, 2], [0, 1], [2, 1], True),
        ([2, 2], [], [0], [1], False),
    ],
)
def test_maxima_of_windows(defaults, image, kernel, stride, padding, dilation, ceil):
    arguments = (kernel, stride, padding, dilation, ceil)
    defaults.agrees("max_pool2d.default", image, *arguments)
    defaults.agrees("max_pool2d_with_indices.default", image, *arguments)


def test_maxima_along_one_and_three_axes(defaults) -> None:
    defaults.agrees("max_pool1d.default", randn(2, 4, 20), [3], [2], [1])
    defaults.agrees("max_pool3d.default", randn(1, 2, 4, 5, 6), [2, 2, 2])


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("divisor", [None, 5])
def test_means_of_windows(defaults, ceil, counted, divisor) -> None:
    """At the border the padding counts or not, what lies beyond it never."""
    defaults.agrees(
        "avg_pool2d.default", IMAGE, [3, 4], [2, 3], [1, 2], ceil, counted, divisor
    )


def test_means_along_one_and_three_axes(defaults) -> None:
    defaults.agrees("avg_pool1d.default", randn(2, 4, 20), [3], [2], [1], True, False)
    defaults.agrees(
        "avg_pool3d.default", randn(1, 2, 6, 7, 8), [3, 3, 3], [2, 2, 2], [1, 1, 1]
    )
