"""MobileNet v1 and v2, for ImageNet and for CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

from torch import Tensor, nn

from trimtab.zoo._layers import (
    check_arguments,
    conv_norm,
    head,
    initialise,
    round_to_eight,
)

__all__ = [
    "InvertedResidual",
    "mobilenet_v1",
    "mobilenet_v1_cifar",
    "mobilenet_v2",
    "mobilenet_v2_cifar",
]

# v1, table 1: channels and stride of each depthwise separable convolution.
_V1: Final = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
# v2, table 2: expansion, channels, repetitions and stride of each stage.
_V2: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_V2_LAST: Final = 1280


def _mobilenet_v1(
    *,
    num_classes: int,
    in_channels: int,
    width: float,
    stem_stride: int,
    dropout: float = 0.001,
) -> nn.Sequential:
    """Return the network with the given stride of the first convolution."""
    check_arguments(num_classes=num_classes, in_channels=in_channels, width=width)
    channels = round_to_eight(32 * width)
    layers: list[nn.Module] = [conv_norm(in_channels, channels, 3, stride=stem_stride)]
    for stage_channels, stride in _V1:
        out_channels = round_to_eight(stage_channels * width)
        separable: OrderedDict[str, nn.Module] = OrderedDict(
            depthwise=conv_norm(channels, channels, 3, stride=stride, groups=channels),
            pointwise=conv_norm(channels, out_channels),
        )
        layers.append(nn.Sequential(separable))
        channels = out_channels
    classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
    parts: OrderedDict[str, nn.Module] = OrderedDict(features=nn.Sequential(*layers))
    network = nn.Sequential(parts | head("classifier", classifier))
    initialise(network)
    return network


def mobilenet_v1(
    *, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build MobileNet: 4,231,976 parameters.

    The activation is ReLU6, as in the authors' code and in Keras; the paper says ReLU.
    Keras publishes 4,253,864, the moving statistics included.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels, the paper's alpha; channels become multiples
            of 8.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes work too.

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        Howard et al., MobileNets, arXiv 1704.04861, table 1 and section 3.3.

    Example:
        >>> import torch
        >>> network = mobilenet_v1(width=0.25).eval()
        >>> network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return _mobilenet_v1(
        num_classes=num_classes, in_channels=in_channels, width=width, stem_stride=2
    )


def mobilenet_v1_cifar(
    *, num_classes: int = 10, in_channels: int = 3, width: float = 1.0
) -> nn.Sequential:
    """Build MobileNet for 32x32 images: 3,217,226 parameters.

    `mobilenet_v1` whose first convolution has stride 1; the last maps are 2x2.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels; channels become multiples of 8.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one, or a width that is not positive.

    References:
        Howard et al., arXiv 1704.04861, table 1, here with strides for small images.

    Example:
        >>> import torch
        >>> network = mobilenet_v1_cifar(width=0.25).eval()
        >>> network(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return _mobilenet_v1(
        num_classes=num_classes, in_channels=in_channels, width=width, stem_stride=1
    )


@final
class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; a sum where shapes allow.

    References:
        Sandler et al., MobileNetV2, arXiv 1801.04381, section 3.3.

    Example:
        >>> import torch
        >>> block = InvertedResidual(8, 8, stride=1, expansion=6).eval()
        >>> block(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_norm(in_channels, hidden))
        layers.append(conv_norm(hidden, hidden, 3, stride=stride, groups=hidden))
        layers.extend(conv_norm(hidden, out_channels, activation=None))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h', w')."""
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


def _mobilenet_v2(
    *,
    num_classes: int,
    in_channels: int,
    width: float,
    dropout: float,
    small_images: bool,
) -> nn.Sequential:
    """Return the network; for small images with two strides of 1 more."""
    check_arguments(
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
    )
    channels = round_to_eight(32 * width)
    stem_stride = 1 if small_images else 2
    layers: list[nn.Module] = [conv_norm(in_channels, channels, 3, stride=stem_stride)]
    for stage, (expansion, stage_channels, repetitions, stage_stride) in enumerate(_V2):
        out_channels = round_to_eight(stage_channels * width)
        for index in range(repetitions):
            keep_size = index > 0 or (small_images and stage == 1)
            block = InvertedResidual(
                channels,
                out_channels,
                stride=1 if keep_size else stage_stride,
                expansion=expansion,
            )
            layers.append(block)
            channels = out_channels
    last = round_to_eight(_V2_LAST * max(1.0, width))
    layers.append(conv_norm(channels, last))
    classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
    parts: OrderedDict[str, nn.Module] = OrderedDict(features=nn.Sequential(*layers))
    network = nn.Sequential(parts | head("classifier", classifier))
    initialise(network)
    return network


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.2,
) -> nn.Sequential:
    """Build MobileNetV2: 3,504,872 parameters.

    The state dict has torchvision's names.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels; they become multiples of 8, and the last
            convolution keeps at least 1280.
        dropout: probability, from 0 to 1, before the linear layer.

    Returns:
        A module in training mode: (batch, in_channels, 224, 224) to
        (batch, num_classes); other sizes work too.

    Raises:
        UsageError: a size below one, a width that is not positive, or a dropout outside
            of 0 to 1.

    References:
        Sandler et al., MobileNetV2, arXiv 1801.04381, table 2.

    Example:
        >>> import torch
        >>> network = mobilenet_v2(width=0.25).eval()
        >>> network(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return _mobilenet_v2(
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
        small_images=False,
    )


def mobilenet_v2_cifar(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.2,
) -> nn.Sequential:
    """Build MobileNetV2 for 32x32 images: 2,236,682 parameters.

    `mobilenet_v2` with stride 1 in the first convolution and in the second stage; the
    last maps are 4x4.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the channels; channels become multiples of 8.
        dropout: probability, from 0 to 1, before the linear layer.

    Returns:
        A module in training mode: (batch, in_channels, 32, 32) to (batch, num_classes).

    Raises:
        UsageError: a size below one, a width that is not positive, or a dropout outside
            of 0 to 1.

    References:
        Sandler et al., arXiv 1801.04381, table 2, here with strides for small images.

    Example:
        >>> import torch
        >>> network = mobilenet_v2_cifar(width=0.25).eval()
        >>> network(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return _mobilenet_v2(
        num_classes=num_classes,
        in_channels=in_channels,
        width=width,
        dropout=dropout,
        small_images=True,
    )
