"""The blocks of residual networks and their shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, final

from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.zoo._layers import conv_norm

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "PaddedShortcut",
    "PreactivationBottleneck",
    "Shortcut",
    "conv1x1",
    "conv3x3",
    "padding",
    "projection",
]

# From input channels, output channels and stride to the shortcut of a block.
Shortcut = Callable[[int, int, int], nn.Module]


@final
class PaddedShortcut(nn.Module):
    """A shortcut without weights: every `stride`-th pixel, channels filled with zeros.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, section 3.3, option A.

    Example:
        >>> import torch
        >>> PaddedShortcut(4, 8, stride=2)(torch.ones(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.extra_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, out_channels, h', w')."""
        picked = x[:, :, :: self.stride, :: self.stride]
        return F.pad(picked, (0, 0, 0, 0, 0, self.extra_channels))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return option B: a 1x1 convolution with normalisation."""
    return conv_norm(in_channels, out_channels, stride=stride, activation=None)


def padding(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return option A: no weights."""
    return PaddedShortcut(in_channels, out_channels, stride=stride)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


@final
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, figure 5, left.

    Example:
        >>> import torch
        >>> BasicBlock(4, 8, stride=2).eval()(torch.zeros(1, 4, 6, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: Shortcut = projection,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        same = stride == 1 and in_channels == channels
        self.downsample = None if same else shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, channels, h', w')."""
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        identity: Tensor = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(y + identity)
        return out


@final
class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the stride is in the 3x3.

    The paper has the stride in the first 1x1; Facebook's and torchvision's networks
    ("v1.5") have it here.

    References:
        He et al., Deep Residual Learning, arXiv 1512.03385, figure 5, right.

    Example:
        >>> import torch
        >>> Bottleneck(16, 4).eval()(torch.zeros(1, 16, 6, 6)).shape
        torch.Size([1, 16, 6, 6])
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: Shortcut = projection,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        same = stride == 1 and in_channels == out_channels
        self.downsample = None if same else shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, 4 * channels, h', w')."""
        y: Tensor = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        identity: Tensor = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(y + identity)
        return out


@final
class PreactivationBottleneck(nn.Module):
    """A bottleneck that normalises before each convolution; the sum stays untouched.

    Where the shape changes, the shortcut is a 1x1 convolution of the normalised input.

    References:
        He et al., Identity Mappings in Deep Residual Networks, arXiv 1603.05027,
        figure 1 (b) and appendix.

    Example:
        >>> import torch
        >>> block = PreactivationBottleneck(16, 4, stride=2).eval()
        >>> block(torch.zeros(1, 16, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int = 1,
        shortcut: Shortcut = conv1x1,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv1x1(in_channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn3 = nn.BatchNorm2d(channels)
        self.conv3 = conv1x1(channels, out_channels)
        self.relu = nn.ReLU()
        same = stride == 1 and in_channels == out_channels
        self.downsample = None if same else shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, h, w) to (batch, 4 * channels, h', w')."""
        activated: Tensor = self.relu(self.bn1(x))
        identity: Tensor = x if self.downsample is None else self.downsample(activated)
        y: Tensor = self.relu(self.bn2(self.conv1(activated)))
        y = self.relu(self.bn3(self.conv2(y)))
        y = self.conv3(y)
        return y + identity
