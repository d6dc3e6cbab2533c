from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.zoo._alexnet import alexnet

# kernel size, input and output channels
_CONVOLUTIONS = ((11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256))
_LINEAR = ((256 * 6 * 6, 4096), (4096, 4096), (4096, 1000))


@pytest.mark.usefixtures("on_meta")
def test_parameters_are_those_of_the_layers() -> None:
    convolutions = sum(b * (k * k * a + 1) for k, a, b in _CONVOLUTIONS)
    linear = sum(b * (a + 1) for a, b in _LINEAR)
    count = sum(p.numel() for p in alexnet().parameters())
    assert count == convolutions + linear == 61_100_840


def test_outputs_are_torchvisions(
    same_as_torchvision: Callable[[str, nn.Module, int], None],
) -> None:
    with torch.device("meta"):
        network = alexnet()
    same_as_torchvision("alexnet", network, 64)


@pytest.mark.usefixtures("on_meta")
def test_arguments() -> None:
    out: torch.Tensor = alexnet(num_classes=7, in_channels=1)(torch.zeros(1, 1, 63, 63))
    assert out.shape == (1, 7)
    with pytest.raises(UsageError, match=r"^dropout=2: a probability lies between"):
        alexnet(dropout=2)
