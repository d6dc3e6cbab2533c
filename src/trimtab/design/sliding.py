"""Sliding-channel convolution: pointwise, over windows of channels that overlap.

Output channel o sums the u = C / groups input channels from ``floor(o (1 - overlap)
u)`` on, around the end, so that neighbours see neighbouring windows that share
`overlap` of their channels. A grouped convolution has as few weights, but its groups
never mix, however many follow each other; of these a few in a row see every channel:
two where windows are wide, about ``C / (overlap u)`` where they are narrow.

After DSXplore (arXiv 2101.00745), whose rolling pointwise kernel the 3D receptive field
paper (arXiv 2009.05236) builds on. The forward pass is theirs. Their CUDA backward pass
takes the step between windows rounded down before it is multiplied, which is another
window than the forward pass had wherever ``(1 - overlap) u`` is no whole number, as
with overlaps of 0.33 and 0.75; here PyTorch differentiates the forward pass itself.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.errors import UsageError

__all__ = ["DepthwiseSliding", "SlidingChannelConv2d", "window_starts"]


def window_starts(inputs: int, outputs: int, groups: int, overlap: float) -> list[int]:
    """Return the first input channel of each output's window.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        groups: a window has ``inputs / groups`` channels.
        overlap: share of a window's channels that the next one has, too.

    Raises:
        UsageError: the groups do not divide the channels, or the overlap is not from 0
            up to 1.

    Example:
        >>> window_starts(8, 6, groups=2, overlap=0.5)
        [0, 2, 4, 6, 0, 2]
    """
    if groups < 1 or inputs % groups:
        raise UsageError(
            f"{groups} groups of {inputs} channels",
            rule="every window has equally many channels",
            where="sliding-channel convolution",
            remedy="give a divisor of the input channels",
        )
    if not 0 <= overlap < 1:
        raise UsageError(
            f"an overlap of {overlap}",
            rule="it is a share of a window, from 0 up to but not 1",
            where="sliding-channel convolution",
            remedy="give 0.25, 0.33, 0.5 or 0.75",
        )
    # As a fraction of what was written: 0.33 of 100 channels is 33, not 32.999.
    step = (1 - Fraction(str(overlap))) * (inputs // groups)
    return [math.floor(each * step) % inputs for each in range(outputs)]


@final
class SlidingChannelConv2d(nn.Module):
    """A 1 x 1 convolution whose outputs see windows of channels that slide.

    Args:
        in_channels: channels of the input, C.
        out_channels: channels of the output.
        groups: each output sums C / groups channels.
        overlap: share of a window that the next one has, too.
        bias: whether a bias is added.

    Raises:
        UsageError: the groups do not divide the channels, or the overlap is not from 0
            up to 1.

    Shapes: input (N, C, H, W), output (N, out_channels, H, W), weight
    (out_channels, C / groups).

    Example:
        >>> layer = SlidingChannelConv2d(8, 4, groups=2, overlap=0.5)
        >>> layer(torch.zeros(1, 8, 5, 5)).shape, layer.weight.shape
        (torch.Size([1, 4, 5, 5]), torch.Size([4, 4]))
    """

    channels: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        groups: int,
        overlap: float,
        bias: bool = False,
    ) -> None:
        super().__init__()
        starts = window_starts(in_channels, out_channels, groups, overlap)
        width = in_channels // groups
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.overlap = groups, overlap
        self.weight = nn.Parameter(torch.empty(out_channels, width))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        window = torch.tensor(starts)[:, None] + torch.arange(width)
        # Derived from the arguments: it is not in the state that is saved.
        self.register_buffer("channels", window % in_channels, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as PyTorch's convolutions draw theirs."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def dense_weight(self) -> Tensor:
        """Return the weight of the dense convolution that this is, (out, C, 1, 1)."""
        dense = self.weight.new_zeros(self.out_channels, self.in_channels)
        return dense.scatter(1, self.channels, self.weight)[..., None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of a batch of images."""
        result: Tensor = F.conv2d(x, self.dense_weight(), self.bias)
        return result

    def extra_repr(self) -> str:
        """Return the arguments, for the text form of a module."""
        return (
            f"{self.in_channels}, {self.out_channels}, groups={self.groups}, "
            f"overlap={self.overlap}"
        )


@final
class DepthwiseSliding(nn.Sequential):
    """A depthwise convolution and a sliding-channel one: in place of a dense window.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: of the depthwise window.
        stride: of it.
        padding: of it.
        dilation: of it.
        groups: of the sliding-channel convolution.
        overlap: of its windows.
        bias: whether the second adds one.

    Example:
        >>> DepthwiseSliding(8, 16, 3, padding=1, groups=2, overlap=0.5)(
        ...     torch.zeros(1, 8, 5, 5)
        ... ).shape
        torch.Size([1, 16, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int,
        overlap: float,
        bias: bool = False,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                in_channels,
                kernel_size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=in_channels,
                bias=False,
            ),
            SlidingChannelConv2d(
                in_channels, out_channels, groups=groups, overlap=overlap, bias=bias
            ),
        )
