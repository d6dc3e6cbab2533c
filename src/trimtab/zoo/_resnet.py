"""Residual networks: v1 and v2 for ImageNet, and two for CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from torch import nn

from trimtab.zoo._layers import check_arguments, head, initialise, scaled
from trimtab.zoo._resnet_blocks import (
    BasicBlock,
    Bottleneck,
    PreactivationBottleneck,
    Shortcut,
    conv1x1,
    conv3x3,
    padding,
    projection,
)

__all__ = ["resnet18", "resnet18_cifar", "resnet20_cifar", "resnet50", "resnet50_v2"]

_STEM: Final = 64
_Stage = tuple[int, int]  # channels before the expansion, number of blocks
_STAGES_18: Final = ((64, 2), (128, 2), (256, 2), (512, 2))
_STAGES_50: Final = ((64, 3), (128, 4), (256, 6), (512, 3))
_STAGES_20: Final = ((16, 3), (32, 3), (64, 3))


_Block = type[BasicBlock] | type[Bottleneck] | type[PreactivationBottleneck]


def _stages(
    block: _Block,
    stages: Sequence[_Stage],
    *,
    in_channels: int,
    width: float,
    shortcut: Shortcut,
) -> tuple[OrderedDict[str, nn.Module], int]:
    """Return layer1, layer2 ... and the channels of the last one.

    The first block of each stage but the first halves height and width.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (stage_channels, depth) in enumerate(stages, start=1):
        channels = scaled(stage_channels, width)
        blocks: list[nn.Module] = []
        for position in range(depth):
            stride = 2 if index > 1 and position == 0 else 1
            blocks.append(
                block(in_channels, channels, stride=stride, shortcut=shortcut)
            )
            in_channels = channels * block.expansion
        layers[f"layer{index}"] = nn.Sequential(*blocks)
    return layers, in_channels


def _resnet(
    block: _Block,
    stages: Sequence[_Stage],
    *,
    num_classes: int,
    in_channels: int,
    width: float,
    small_images: bool,
    shortcut: Shortcut = projection,
) -> nn.Sequential:
    """Return the whole network; for small images the first convolution is 3x3."""
    check_arguments(num_classes=num_classes, in_channels=in_channels, width=width)
    stem = scaled(stages[0][0], width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if small_images:
        layers["conv1"] = conv3x3(in_channels, stem)
    else:
        layers["conv1"] = nn.Conv2d(in_channels, stem, 7, 2, padding=3, bias=False)
    layers["bn1"] = nn.BatchNorm2d(stem)
    layers["relu"] = nn.ReLU()
    if not small_images:
        layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)
    body, channels = _stages(
        block, stages, in_channels=stem, width=width, shortcut=shortcut
    )
    network = nn.Sequential(
        layers | body | head("fc", nn.Linear(channels, num_classes))
    )
    initialise(network, linear=False)
    return network


def resnet18(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build ResNet-18: 11,689,512 parameters.

    The state dict has torchvision's names.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes work too.

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, table 1.

    Example:
        >>> import torch
        >>> network = resnet18(width=0.125).eval()
        >>> network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return _resnet(
        BasicBlock,
        _STAGES_18,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        small_images=False,
    )


def resnet50(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build ResNet-50: 25,557,032 parameters.

    The state dict has torchvision's names; the stride is in the 3x3 convolutions.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes work too.

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, table 1.

    Example:
        >>> import torch
        >>> network = resnet50(width=0.125).eval()
        >>> network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return _resnet(
        Bottleneck,
        _STAGES_50,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        small_images=False,
    )


def resnet50_v2(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build ResNet-50 with pre-activation (ResNet50V2): 25,549,352 parameters.

    No convolution has a bias, and the stride is in the first block of a stage, as in
    the authors' code. Keras gives biases to the first convolution, the shortcuts and
    the last convolution of each block (19,008 in all), has the stride in the last block
    of a stage, and publishes 25,613,800 with 45,440 moving statistics.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes work too.

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        He et al., Identity Mappings in Deep Residual Networks, arXiv 1603.05027,
        section 4.1.

    Example:
        >>> import torch
        >>> network = resnet50_v2(width=0.125).eval()
        >>> network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels, width=width)
    stem = scaled(_STEM, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    body, channels = _stages(
        PreactivationBottleneck,
        _STAGES_50,
        in_channels=stem,
        width=width,
        shortcut=conv1x1,
    )
    layers |= body
    layers["bn"] = nn.BatchNorm2d(channels)
    layers["relu"] = nn.ReLU()
    network = nn.Sequential(layers | head("fc", nn.Linear(channels, num_classes)))
    initialise(network, linear=False)
    return network


def resnet18_cifar(
    *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build ResNet-18 for 32x32 images: 11,173,962 parameters.

    `resnet18` with a 3x3 first convolution of stride 1 and without its pooling.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        He et al., arXiv 1512.03385, table 1, here with the first layer of section 4.2.

    Example:
        >>> import torch
        >>> network = resnet18_cifar(width=0.125).eval()
        >>> network(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return _resnet(
        BasicBlock,
        _STAGES_18,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        small_images=True,
    )


def resnet20_cifar(
    *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build ResNet-20 for 32x32 images: 269,722 parameters.

    Three stages of 16, 32 and 64 channels; shortcuts of option A, without weights.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2 and table 6.

    Example:
        >>> network = resnet20_cifar().eval()
        >>> sum(p.numel() for p in network.parameters())
        269722
    """
    return _resnet(
        BasicBlock,
        _STAGES_20,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        small_images=True,
        shortcut=padding,
    )
