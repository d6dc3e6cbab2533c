"""Small networks for digits: LeNet-5 and the network of the demo."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trimtab.zoo._layers import check_arguments, conv_norm, initialise

__all__ = ["digits_cnn", "lenet5"]


def lenet5(*, num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """Build LeNet-5 for 32x32 images: 61,706 parameters.

    The layers of the paper with tanh and mean pooling. Three things are simpler, as in
    every present-day copy: the third layer sees all maps of the second (the paper's
    table I leaves some out), pooling has no weights, and the output is linear instead
    of radial basis functions. The weights start as torch sets them.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one.

    References:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition,
        Proceedings of the IEEE 86 (1998), section II-B.

    Example:
        >>> import torch
        >>> lenet5()(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels)
    features = nn.Sequential(
        nn.Conv2d(in_channels, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
    )
    classifier = nn.Sequential(
        nn.Linear(16 * 5 * 5, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, num_classes),
    )
    return nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
    )


def digits_cnn(*, num_classes: int = 10, in_channels: int = 1) -> nn.Sequential:
    """Build the digits network of the demo for 28x28 images: 60,986 parameters.

    Three convolutions, each with batch normalisation, ReLU and maximum pooling, and two
    linear layers: enough for more than 97 % on MNIST after a few passes over 4,000
    digits.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.

    Returns:
        A module in training mode: (batch, in_channels, 28, 28) to (batch, num_classes).

    Raises:
        UsageError: a size below one.

    Example:
        >>> import torch
        >>> digits_cnn().eval()(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels)
    layers: list[nn.Module] = []
    for channels in (16, 32, 64):
        layers.extend(conv_norm(in_channels, channels, 3, activation=nn.ReLU))
        layers.append(nn.MaxPool2d(2))
        in_channels = channels
    classifier = nn.Sequential(
        nn.Linear(64 * 3 * 3, 64), nn.ReLU(), nn.Linear(64, num_classes)
    )
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=classifier
        )
    )
    initialise(network, linear=False)
    return network
