"""VGG: configurations D (16 layers) and E (19 layers), and D for CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from torch import nn

from trimtab.zoo._layers import check_arguments, initialise, scaled

__all__ = ["vgg16", "vgg16_cifar", "vgg19"]

# Channels and number of convolutions of each stage; a maximum pooling ends it.
_Stages = Sequence[tuple[int, int]]
_D: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_E: Final = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))


def _features(
    stages: _Stages, *, in_channels: int, width: float, norm: bool = False
) -> nn.Sequential:
    """Return the convolutional part; strides multiply to 32."""
    layers: list[nn.Module] = []
    for channels, convolutions in stages:
        out_channels = scaled(channels, width)
        for _ in range(convolutions):
            layers.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
            if norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU())
            in_channels = out_channels
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _vgg(
    stages: _Stages, *, num_classes: int, in_channels: int, width: float, dropout: float
) -> nn.Sequential:
    """Return a network with the three linear layers of the paper."""
    check_arguments(
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
    )
    hidden = scaled(4096, width)
    classifier = nn.Sequential(
        nn.Linear(scaled(stages[-1][0], width) * 7 * 7, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, num_classes),
    )
    network = nn.Sequential(
        OrderedDict(
            features=_features(stages, in_channels=in_channels, width=width),
            avgpool=nn.AdaptiveAvgPool2d(7),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
    initialise(network)
    return network


def vgg16(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build VGG with 16 layers (configuration D): 138,357,544 parameters.

    The state dict has torchvision's names.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels and on the hidden linear layers.
        dropout: probability, from 0 to 1, of both dropout layers.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes from 32 pixels on work too.

    Raises:
        UsageError: a size below one, a width that is not positive, or a dropout outside
            of 0 to 1.

    References:
        Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image
        Recognition, arXiv 1409.1556, table 1.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     network = vgg16()
        >>> sum(p.numel() for p in network.parameters())
        138357544
    """
    return _vgg(
        _D,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
    )


def vgg19(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.5,
) -> nn.Sequential:
    """Build VGG with 19 layers (configuration E): 143,667,240 parameters.

    The state dict has torchvision's names.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels and on the hidden linear layers.
        dropout: probability, from 0 to 1, of both dropout layers.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes from 32 pixels on work too.

    Raises:
        UsageError: a size below one, a width that is not positive, or a dropout outside
            of 0 to 1.

    References:
        Simonyan and Zisserman, arXiv 1409.1556, table 1.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     network = vgg19()
        >>> sum(p.numel() for p in network.parameters())
        143667240
    """
    return _vgg(
        _E,
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
    )


def vgg16_cifar(
    *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build VGG-16 for 32x32 images, with batch normalisation: 14,728,266 parameters.

    The convolutions of configuration D (with biases, as torchvision's
    ``vgg16_bn`` keeps them), each followed by a batch normalisation, and one linear
    layer.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        Simonyan and Zisserman, arXiv 1409.1556, table 1; Ioffe and Szegedy, Batch
        Normalization, arXiv 1502.03167, section 3.2.

    Example:
        >>> import torch
        >>> network = vgg16_cifar(width=0.125).eval()
        >>> network(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels, width=width)
    network = nn.Sequential(
        OrderedDict(
            features=_features(_D, in_channels=in_channels, width=width, norm=True),
            flatten=nn.Flatten(),
            classifier=nn.Linear(scaled(_D[-1][0], width), num_classes),
        )
    )
    initialise(network)
    return network
