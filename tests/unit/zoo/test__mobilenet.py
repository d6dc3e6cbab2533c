from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.zoo._mobilenet import (
    InvertedResidual,
    mobilenet_v1,
    mobilenet_v1_cifar,
    mobilenet_v2,
    mobilenet_v2_cifar,
)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _features_v1() -> int:
    channels = (32, 64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
    total = 9 * 3 * 32 + 2 * 32
    for before, after in pairwise(channels):
        total += 9 * before + 2 * before + before * after + 2 * after
    return total


@pytest.mark.usefixtures("on_meta")
def test_v1_is_keras_without_its_moving_statistics() -> None:
    network = mobilenet_v1()
    assert _count(network) == _features_v1() + 1000 * (1024 + 1) == 4_231_976
    norms = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    statistics = 2 * sum(norms)
    assert statistics == 21_888
    assert _count(network) + statistics == 4_253_864


@pytest.mark.usefixtures("on_meta")
def test_small_image_variants_differ_in_classes_and_strides_only() -> None:
    assert _count(mobilenet_v1_cifar()) == _features_v1() + 10 * 1025 == 3_217_226
    expected = _count(mobilenet_v2()) - 1000 * 1281 + 10 * 1281
    assert _count(mobilenet_v2_cifar()) == expected == 2_236_682
    x = torch.zeros(1, 3, 32, 32)
    maps = mobilenet_v1_cifar().get_submodule("features")
    first: torch.Tensor = maps(x)
    assert first.shape == (1, 1024, 2, 2)
    maps = mobilenet_v2_cifar().get_submodule("features")
    second: torch.Tensor = maps(x)
    assert second.shape == (1, 1280, 4, 4)


def test_v2_outputs_are_torchvisions(
    same_as_torchvision: Callable[[str, nn.Module, int], None],
) -> None:
    with torch.device("meta"):
        network = mobilenet_v2()
    assert _count(network) == 3_504_872
    same_as_torchvision("mobilenet_v2", network, 64)


@pytest.mark.usefixtures("on_meta")
@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.4])
def test_v2_widths_are_torchvisions(
    torchvision_models: ModuleType, width: float
) -> None:
    reference = torchvision_models.mobilenet_v2(width_mult=width)
    ours = {k: v.shape for k, v in mobilenet_v2(width=width).state_dict().items()}
    assert ours == {k: v.shape for k, v in reference.state_dict().items()}


def test_inverted_residual_adds_only_where_shapes_agree() -> None:
    assert InvertedResidual(8, 8, stride=1, expansion=6).has_shortcut
    assert not InvertedResidual(8, 8, stride=2, expansion=6).has_shortcut
    assert not InvertedResidual(8, 16, stride=1, expansion=6).has_shortcut


@pytest.mark.parametrize("factory", [mobilenet_v1, mobilenet_v2_cifar])
def test_wrong_width_is_refused(factory: Callable[..., nn.Module]) -> None:
    with pytest.raises(UsageError, match=r"^width=0: the factor"):
        factory(width=0)
