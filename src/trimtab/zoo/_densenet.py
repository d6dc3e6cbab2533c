"""DenseNet-121."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

import torch
from torch import Tensor, nn

from trimtab.zoo._layers import check_arguments, head, initialise

__all__ = ["DenseLayer", "densenet121"]

_GROWTH: Final = 32
_BOTTLENECK: Final = 4
_STEM: Final = 64
_DEPTHS_121: Final = (6, 12, 24, 16)


@final
class DenseLayer(nn.Sequential):
    """A layer that adds `growth` channels to those it is given.

    Normalisation, ReLU and a 1x1 convolution to ``4 * growth`` channels, then the same
    with a 3x3 convolution to `growth` channels; the result is joined to the input.

    References:
        Huang et al., Densely Connected Convolutional Networks, arXiv 1608.06993,
        section 3 (DenseNet-B).

    Example:
        >>> DenseLayer(8, growth=4).eval()(torch.zeros(1, 8, 5, 5)).shape
        torch.Size([1, 12, 5, 5])
    """

    def __init__(self, in_channels: int, *, growth: int = _GROWTH) -> None:
        hidden = _BOTTLENECK * growth
        super().__init__(
            OrderedDict(
                norm1=nn.BatchNorm2d(in_channels),
                relu1=nn.ReLU(),
                conv1=nn.Conv2d(in_channels, hidden, 1, bias=False),
                norm2=nn.BatchNorm2d(hidden),
                relu2=nn.ReLU(),
                conv2=nn.Conv2d(hidden, growth, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, in_channels + growth, h, w)."""
        new = x
        for layer in self:
            new = layer(new)
        return torch.cat([x, new], 1)


def _transition(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return the layers between two blocks, which halve channels, height and width."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(in_channels),
            relu=nn.ReLU(),
            conv=nn.Conv2d(in_channels, out_channels, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


def densenet121(*, num_classes: int = 1000, in_channels: int = 3) -> nn.Sequential:
    """Build DenseNet-121: 7,978,856 parameters.

    Growth 32, compression 0.5. The state dict has torchvision's names.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes from 29 pixels on work too.

    Raises:
        UsageError: a size below one.

    References:
        Huang et al., Densely Connected Convolutional Networks, arXiv 1608.06993,
        table 1.

    Example:
        >>> with torch.device("meta"):
        ...     network = densenet121()
        >>> sum(p.numel() for p in network.parameters())
        7978856
    """
    check_arguments(num_classes=num_classes, in_channels=in_channels)
    features: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(in_channels, _STEM, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(_STEM),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, stride=2, padding=1),
    )
    channels = _STEM
    for index, depth in enumerate(_DEPTHS_121, start=1):
        if index > 1:
            features[f"transition{index - 1}"] = _transition(channels, channels // 2)
            channels //= 2
        block: OrderedDict[str, nn.Module] = OrderedDict()
        for layer in range(1, depth + 1):
            block[f"denselayer{layer}"] = DenseLayer(channels)
            channels += _GROWTH
        features[f"denseblock{index}"] = nn.Sequential(block)
    features[f"norm{len(_DEPTHS_121) + 1}"] = nn.BatchNorm2d(channels)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        features=nn.Sequential(features), relu=nn.ReLU()
    )
    layers |= head("classifier", nn.Linear(channels, num_classes))
    network = nn.Sequential(layers)
    initialise(network)
    return network
