from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trimtab.zoo._densenet import DenseLayer, densenet121


def _expected_parameters(classes: int) -> int:
    total, channels = 64 * 3 * 49 + 2 * 64, 64
    for index, depth in enumerate((6, 12, 24, 16)):
        if index:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
        for _ in range(depth):
            total += 2 * channels + channels * 128 + 2 * 128 + 128 * 32 * 9
            channels += 32
    return total + 2 * channels + classes * (channels + 1)


@pytest.mark.usefixtures("on_meta")
def test_parameters_are_those_of_the_layers() -> None:
    network = densenet121()
    count = sum(p.numel() for p in network.parameters())
    assert count == _expected_parameters(1000) == 7_978_856


def test_outputs_are_torchvisions(
    same_as_torchvision: Callable[[str, nn.Module, int], None],
) -> None:
    with torch.device("meta"):
        network = densenet121()
    same_as_torchvision("densenet121", network, 32)


def test_a_layer_keeps_its_input_in_front() -> None:
    x = torch.randn(2, 8, 5, 5)
    out: torch.Tensor = DenseLayer(8, growth=4).eval()(x)
    assert torch.equal(out[:, :8], x)
    assert out.shape == (2, 12, 5, 5)


@pytest.mark.usefixtures("on_meta")
def test_the_smallest_image_has_29_pixels() -> None:
    network = densenet121(num_classes=2, in_channels=1).eval()
    out: torch.Tensor = network(torch.zeros(1, 1, 29, 29))
    assert out.shape == (1, 2)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, 28, 28))
