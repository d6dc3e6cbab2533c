"""What the families share: argument checks, channel widths, initialisation, blocks."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

from torch import nn

from trimtab.errors import UsageError

__all__ = [
    "check_arguments",
    "conv_norm",
    "head",
    "initialise",
    "round_to_eight",
    "scaled",
]

_LINEAR_STD: Final = 0.01


def check_arguments(
    *,
    num_classes: int = 1,
    in_channels: int = 1,
    width: float = 1.0,
    dropout: float = 0.0,
) -> None:
    """Refuse sizes that no network can have.

    Args:
        num_classes: number of logits.
        in_channels: channels of the input.
        width: factor on the hidden channels.
        dropout: probability, from 0 to 1.

    Raises:
        UsageError: a number below one, a width that is not positive and finite, or a
            dropout outside of 0 to 1.

    Example:
        >>> check_arguments(num_classes=10, in_channels=3, width=0.5)
        >>> check_arguments(num_classes=0)
        Traceback (most recent call last):
            ...
        trimtab.errors.UsageError: num_classes=0: it must be at least 1. Give 1 or more.
    """
    for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
        if value < 1:
            raise UsageError(
                f"{name}={value}", rule="it must be at least 1", remedy="give 1 or more"
            )
    if not (math.isfinite(width) and width > 0):
        raise UsageError(
            f"width={width}",
            rule="the factor on the channels must be positive and finite",
            remedy="give a width such as 0.5 or 1.0",
        )
    if not 0 <= dropout <= 1:
        raise UsageError(
            f"dropout={dropout}",
            rule="a probability lies between 0 and 1",
            remedy="give a dropout such as 0.5",
        )


def scaled(channels: int, width: float) -> int:
    """Return `channels` times `width`, rounded, and at least 1.

    Example:
        >>> scaled(64, 0.25), scaled(1, 0.1)
        (16, 1)
    """
    return max(1, round(channels * width))


def round_to_eight(channels: float) -> int:
    """Return the nearest multiple of 8 that keeps at least 90 % of `channels`.

    References:
        Sandler et al., MobileNetV2, CVPR 2018: the rule of the authors' code, which
        the published parameter counts for other widths than 1 depend on.

    Example:
        >>> round_to_eight(32 * 0.75), round_to_eight(3), round_to_eight(11)
        (24, 8, 16)
    """
    multiple = max(8, int(channels + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * channels else multiple


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Return convolution, batch normalisation, activation: children 0, 1 and 2.

    The convolution has no bias (the normalisation has one) and pads so that a stride
    of 1 keeps height and width.

    Example:
        >>> [type(layer).__name__ for layer in conv_norm(3, 8, 3)]
        ['Conv2d', 'BatchNorm2d', 'ReLU6']
    """
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def head(name: str, classifier: nn.Module) -> OrderedDict[str, nn.Module]:
    """Return the end of a network: global mean, flatten, then `classifier` as `name`.

    Example:
        >>> list(head("fc", nn.Linear(8, 2)))
        ['avgpool', 'flatten', 'fc']
    """
    return OrderedDict(
        [
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            (name, classifier),
        ]
    )


def initialise(module: nn.Module, *, linear: bool = True) -> None:
    """Set the standard initial weights, in place; nothing happens on meta.

    Convolutions: normal, He fan-out for ReLU, zero bias. Batch normalisations: weight 1
    and bias 0, as torch makes them. Linear layers: normal with standard deviation 0.01,
    zero bias.

    Args:
        module: the network.
        linear: also set linear layers; otherwise they keep torch's initial weights.

    References:
        He et al., Delving Deep into Rectifiers, ICCV 2015, section 2.2.

    Example:
        >>> layer = nn.Conv2d(1, 4, 3)
        >>> initialise(layer)
        >>> bool(layer.bias.any())
        False
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif linear and isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=_LINEAR_STD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
