"""AlexNet, in one tower."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trimtab.zoo._layers import check_arguments

__all__ = ["alexnet"]


def alexnet(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5
) -> nn.Sequential:
    """Build AlexNet in one tower: 61,100,840 parameters.

    The variant of the second paper (one tower, other channel numbers, no local response
    normalisation), which torchvision offers; the state dict has its names. The weights
    start as torch sets them.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        dropout: probability, from 0 to 1, of both dropout layers.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes from 63 pixels on work too.

    Raises:
        UsageError: a size below one, or a dropout outside of 0 to 1.

    References:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural
        Networks, NIPS 2012; Krizhevsky, One weird trick for parallelizing convolutional
        neural networks, arXiv 1404.5997, section 5.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     network = alexnet()
        >>> sum(p.numel() for p in network.parameters())
        61100840
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels, dropout=dropout)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
    )
    classifier = nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(256 * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, num_classes),
    )
    return nn.Sequential(
        OrderedDict(
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(6),
            flatten=nn.Flatten(),
            classifier=classifier,
        )
    )
