"""The digits and the network of digits.toml: each digit turned by quarters at random.

Upright digits rightly reject that symmetry (turned_digits.py --upright shows it), so
they are turned here, each by 0 to 3 quarters, and the data are named so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from turned_digits import turned

from trimtab.training.data import Dataset, load


def data() -> Dataset:
    digits = load("digits", seed=0)
    (x, y), (test_x, test_y) = digits.train, digits.test
    return Dataset(
        name="digits, each turned by 0 to 3 quarters at random",
        train=(turned(x, 1), y),
        test=(turned(test_x, 2), test_y),
        classes=10,
    )


def network() -> nn.Module:
    """Return a network whose channels are multiples of the eight elements of D4."""
    return nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(1, 64, 5, padding=2, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def example_inputs() -> Tensor:
    return torch.zeros(1, 1, 28, 28)
