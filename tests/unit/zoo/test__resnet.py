from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from trimtab.zoo._resnet import (
    resnet18,
    resnet18_cifar,
    resnet20_cifar,
    resnet50,
    resnet50_v2,
)

_DEPTHS_50 = (3, 4, 6, 3)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("factory", [resnet18, resnet50])
def test_outputs_are_torchvisions(
    same_as_torchvision: Callable[[str, nn.Module, int], None],
    factory: Callable[[], nn.Module],
) -> None:
    with torch.device("meta"):
        network = factory()
    same_as_torchvision(factory.__name__, network, 64)


@pytest.mark.usefixtures("on_meta")
def test_parameters_of_v1() -> None:
    assert _count(resnet18()) == 11_689_512
    assert _count(resnet50()) == 25_557_032


@pytest.mark.usefixtures("on_meta")
def test_v2_is_keras_without_statistics_and_redundant_biases() -> None:
    network = resnet50_v2()
    norms = [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    statistics = 2 * sum(norms)
    widths = (256, 512, 1024, 2048)
    # Keras has biases in the stem, in the last convolution of each block and in the
    # shortcut at the head of each stage.
    last = sum(depth * width for depth, width in zip(_DEPTHS_50, widths, strict=True))
    biases = 64 + last + sum(widths)
    assert (statistics, biases) == (45_440, 19_008)
    assert _count(network) + biases == 25_568_360  # what Keras calls trainable
    assert _count(network) + biases + statistics == 25_613_800


@pytest.mark.usefixtures("on_meta")
def test_v2_differs_from_v1_in_the_normalisations_only() -> None:
    # v1: a shortcut's normalisation a stage and three in a block, the last of them wide
    v1 = 64
    v2 = 2048
    before = 64
    for depth, width in zip(_DEPTHS_50, (64, 128, 256, 512), strict=True):
        v1 += 4 * width + depth * (width + width + 4 * width)
        v2 += before + (depth - 1) * 4 * width + depth * 2 * width
        before = 4 * width
    assert _count(resnet50()) - 2 * v1 == _count(resnet50_v2()) - 2 * v2


@pytest.mark.usefixtures("on_meta")
def test_resnet18_for_cifar_differs_in_stem_and_classes() -> None:
    stem = 3 * 64 * (49 - 9)
    classes = (1000 - 10) * (512 + 1)
    expected = _count(resnet18()) - stem - classes
    assert _count(resnet18_cifar()) == expected == 11_173_962
    x = torch.zeros(1, 3, 32, 32)
    layer4: torch.Tensor = resnet18_cifar()[:-3](x)  # without the head
    assert layer4.shape == (1, 512, 4, 4)


@pytest.mark.usefixtures("on_meta")
def test_resnet20_has_weights_in_convolutions_norms_and_one_linear_layer() -> None:
    weights = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (7 * 16 + 6 * 32 + 6 * 64)
    expected = weights + norms + 10 * (64 + 1)
    assert _count(resnet20_cifar()) == expected == 269_722
    layers = [
        m for m in resnet20_cifar().modules() if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert len(layers) == 20


@pytest.mark.parametrize("factory", [resnet18_cifar, resnet20_cifar])
def test_training_reaches_every_weight(factory: Callable[..., nn.Module]) -> None:
    network = factory(width=0.125, num_classes=3, in_channels=1)
    out: torch.Tensor = network(torch.randn(2, 1, 16, 16))
    assert out.shape == (2, 3)
    out.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in network.parameters()
    )
