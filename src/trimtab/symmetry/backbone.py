"""Networks of tied layers that are strong enough to matter, ready to be fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn

from trimtab.errors import UsageError
from trimtab.symmetry.layers import (
    GroupConv2d,
    InvariantHead,
    LiftConv2d,
    TiedLinear,
    TiedNorm,
)
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.orbits import channel, regular
from trimtab.symmetry.schemes import Family
from trimtab.symmetry.tying import axes_of

__all__ = ["group_cnn", "tied_mlp"]

CHANNELS: Final = 16
"""Base channels: a head that is invariant to the whole group sees as many features."""


def group_cnn(
    family: Family,
    shape: Sequence[int],
    classes: int,
    *,
    channels: int = CHANNELS,
    kernel: int = 5,
) -> Symmetric:
    """Return a small group CNN for images.

    Lifting convolution, pool by 2, depthwise and pointwise group convolutions, and an
    invariant head; images of 24 pixels and more are first averaged by 2, those of 48
    and more have a second pair of convolutions behind one more pool. Of odd sizes pools
    take three places, two apart, centred. There is one norm
    alone, behind the first layer: with more, evidence ranks schemes worse, for it takes
    scores to be linear in the values.

    Args:
        family: that turns images.
        shape: (channels, rows, columns), rows and columns both even or both odd.
        classes: scores.
        channels: base channels of every layer.
        kernel: rows and columns of the first windows.

    Raises:
        UsageError: the family does not fit the shape, or one of rows and columns alone
            is odd.
    """
    axes = axes_of(family, shape)
    if family.group.turns is None or axes[0].kind != "channel":
        raise UsageError(
            f"a group CNN for family {family.group.name}",
            rule="its schemes do not only turn images",
            where="trimtab.symmetry.group_cnn",
            remedy="take `tied_mlp`, or build a network from the layers",
        )
    odd = shape[1] % 2
    if shape[2] % 2 != odd:
        raise UsageError(
            f"a group CNN for images of {shape[1]} x {shape[2]}",
            rule="pools by 2 would leave out a row or column on one side",
            where="trimtab.symmetry.group_cnn",
            remedy="pad or crop images to sizes that are both even or both odd",
        )
    # Of odd sizes one less has to be a multiple: pools then begin alike on all sides.
    places = [each - odd for each in shape[1:]]
    window = (3, 2, 1) if odd else (2,)
    halved = min(places) >= 24 and all(each % 4 == 0 for each in places)
    layers: list[nn.Module] = [nn.AvgPool2d(*window)] if halved else []
    layers += [
        # Pooled first: norm and rectifier then have a quarter of the places.
        LiftConv2d(family, shape[0], channels, kernel, bias=False),
        nn.MaxPool2d(*window),
        TiedNorm(family, channels),
        nn.ReLU(),
    ]
    deep = min(places) >= 48 and all(each % 8 == 0 for each in places)
    blocks = 2 if deep else 1
    for number in range(blocks):
        if number:
            layers.append(nn.MaxPool2d(*window))
        layers += [
            GroupConv2d(family, channels, channels, 3, depthwise=True, bias=False),
            GroupConv2d(family, channels, channels, 1),
            nn.ReLU(),
        ]
    layers.append(InvariantHead(family, channels, classes))
    return Symmetric(nn.Sequential(*layers), family, axes)


def tied_mlp(
    family: Family, shape: Sequence[int], classes: int, *, channels: int = CHANNELS
) -> Symmetric:
    """Return a dense network with one hidden layer, of any family.

    Features have a slot for each element of the group, or, for families that permute
    one axis by shifts, the places of that axis: tied to shifts by one it is a circular
    convolution with a window as long as the axis.

    Args:
        family: of schemes.
        shape: of one example.
        classes: scores.
        channels: base channels of the hidden layer.

    Raises:
        UsageError: the family does not fit the shape.

    Example:
        >>> from trimtab.symmetry.schemes import shifts
        >>> tied_mlp(shifts(12), (1, 12), 4).body[0].weight.shape
        (16, 12, 1, 12)
    """
    axes = axes_of(family, shape)
    hidden = (channel(channels), regular(family.group))
    return Symmetric(
        nn.Sequential(
            TiedLinear(family, axes, hidden),
            nn.ReLU(),
            TiedLinear(family, hidden, (channel(classes),)),
        ),
        family,
        axes,
    )
