"""Small networks and data of the tests of `trimtab.symmetry`."""

import torch
from torch import nn

from trimtab.symmetry.layers import GroupConv2d, InvariantHead, LiftConv2d, TiedNorm
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.orbits import channel, space
from trimtab.training.data import Dataset


def small_cnn(family, size=8, channels=2, classes=3):
    body = nn.Sequential(
        LiftConv2d(family, 1, channels, 3, bias=False),
        TiedNorm(family, channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        GroupConv2d(family, channels, channels, 3),
        nn.ReLU(),
        InvariantHead(family, channels, classes),
    )
    return Symmetric(body, family, (channel(1), space(size, size)))


def corners(count=60, size=8, seed=0, turned=False):
    """A bright bar or a bright corner on noise, in one place or turned."""
    drawn = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    x = 0.3 * torch.randn(count, 1, size, size, generator=drawn)
    for number, label in enumerate(y.tolist()):
        if label:
            x[number, 0, 0, :4] += 2.0
        else:
            x[number, 0, :2, :2] += 2.0
    if turned:
        quarters = torch.randint(0, 4, (count,), generator=drawn).tolist()
        x = torch.stack(
            [torch.rot90(one, k, (1, 2)) for one, k in zip(x, quarters, strict=True)]
        )
    half = count // 2
    return Dataset(
        name="corners", train=(x[:half], y[:half]), test=(x[half:], y[half:]), classes=2
    )
