"""The networks that the headline starts from: a ResNet and a MobileNet for 32 x 32.

Widths are a quarter or an eighth of what is usual, so that two cores can train them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BASES", "example_inputs", "mobilenet", "resnet"]


class _Basic(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class _Separable(nn.Sequential):
    """Depthwise, then pointwise (Howard et al., arXiv 1704.04861)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


def _stem(width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    ]  # fmt: skip


def _head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]


def resnet() -> nn.Module:
    """Return a ResNet-18 of width 8: two blocks at each of 32, 16, 8 and 4 pixels."""
    stages: list[nn.Module] = []
    inputs = 8
    for number in range(4):
        outputs = 8 * 2**number
        stages.append(
            nn.Sequential(
                _Basic(inputs, outputs, 1 if number == 0 else 2),
                _Basic(outputs, outputs),
            )
        )
        inputs = outputs
    return nn.Sequential(*_stem(8), *stages, *_head(64))


def mobilenet() -> nn.Module:
    """Return a MobileNet of a quarter of the width, for images of 32 pixels."""
    layers: list[nn.Module] = [_Separable(8, 16)]
    inputs = 16
    for outputs, repeats in ((32, 1), (64, 1), (128, 5), (256, 1)):
        blocks = [_Separable(outputs, outputs) for _ in range(repeats)]
        layers.append(nn.Sequential(_Separable(inputs, outputs, 2), *blocks))
        inputs = outputs
    return nn.Sequential(*_stem(8), *layers, *_head(256))


def example_inputs() -> tuple[Tensor, ...]:
    """Return one image."""
    return (torch.zeros(1, 3, 32, 32),)


BASES = {"resnet": resnet, "mobilenet": mobilenet}
"""By name."""
