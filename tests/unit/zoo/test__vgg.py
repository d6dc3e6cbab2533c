from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

from trimtab.zoo._vgg import vgg16, vgg16_cifar, vgg19


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _convolutions(depths: tuple[int, ...]) -> int:
    total, before = 0, 3
    for channels, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        total += channels * (9 * before + 1)
        total += (depth - 1) * channels * (9 * channels + 1)
        before = channels
    return total


_CLASSIFIER = 4096 * (512 * 49 + 1) + 4096 * (4096 + 1) + 1000 * (4096 + 1)


@pytest.mark.usefixtures("on_meta")
def test_parameters_are_those_of_the_layers() -> None:
    assert _count(vgg16()) == _convolutions((2, 2, 3, 3, 3)) + _CLASSIFIER
    assert _count(vgg16()) == 138_357_544
    assert _count(vgg19()) == _convolutions((2, 2, 4, 4, 4)) + _CLASSIFIER
    assert _count(vgg19()) == 143_667_240
    norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    expected = _convolutions((2, 2, 3, 3, 3)) + norms + 10 * (512 + 1)
    assert _count(vgg16_cifar()) == expected == 14_728_266


def test_outputs_are_torchvisions(
    same_as_torchvision: Callable[[str, nn.Module, int], None],
) -> None:
    with torch.device("meta"):
        network = vgg16()
    same_as_torchvision("vgg16", network, 32)


@pytest.mark.usefixtures("on_meta")
def test_vgg19_has_torchvisions_state_dict(torchvision_models: ModuleType) -> None:
    ours = {name: value.shape for name, value in vgg19().state_dict().items()}
    theirs = torchvision_models.vgg19().state_dict()
    assert ours == {name: value.shape for name, value in theirs.items()}


def test_width_scales_channels_and_hidden_layers() -> None:
    network = vgg16(width=1 / 32, num_classes=5, in_channels=1)
    widths = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
    assert widths == [4096 // 32, 4096 // 32, 5]
    channels = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert channels == [2] * 2 + [4] * 2 + [8] * 3 + [16] * 6
    out: torch.Tensor = network.eval()(torch.zeros(1, 1, 64, 64))
    assert out.shape == (1, 5)
