"""What workers on a cluster build and load; in a module that they can import."""

import os

import torch
from torch import nn

from trimtab.training.data import Dataset


def net():
    return nn.Sequential(
        nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3)
    )


def data():
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=drawn)
    y = (x @ torch.randn(6, 3, generator=drawn)).argmax(1)
    return Dataset(
        name="made", train=(x[:201], y[:201]), test=(x[201:], y[201:]), classes=3
    )


class Broken(nn.Module):
    """A network that fails after 25 batches."""

    def __init__(self):
        super().__init__()
        self.body, self.calls = net(), 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 25:
            raise RuntimeError("a wire has come loose")
        return self.body(x)


def net_of_which_one_breaks():
    if os.environ.get("RANK") == "1":
        return Broken()
    made = Broken()
    made.calls = -(10**9)
    return made
