from pathlib import Path

import pytest
import torch
from torch import nn

from trimtab.bundle.stage import Context
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.hardware.load import machine


@pytest.fixture
def context():
    """Make a context around a tiny network; keywords replace its parts."""

    def make(**parts):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3)
        )
        defaults = {
            "name": "tiny",
            "network": network.eval(),
            "inputs": (torch.randn(1, 1, 8, 8),),
            "keywords": {},
            "data": None,
            "machine": machine("milan"),
            "threads": 1,
            "latency": Roofline(),
            "budget": Budget(),
            "seed": 5,
            "folder": Path(),
            "progress": lambda done, text: None,
        }
        return Context(**{**defaults, **parts})

    return make
