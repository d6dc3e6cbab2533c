"""What stages that train ask of a plan."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trimtab.bundle.stage import Context
from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget
from trimtab.errors import PlanError
from trimtab.hardware.load import machine
from trimtab.training.data import Dataset
from trimtab.training.stage import data_of

X, Y = torch.zeros(4, 3), torch.arange(4)
CONTEXT = Context(
    name="net",
    network=nn.Linear(3, 4),
    inputs=(X[:1],),
    keywords={},
    data=Dataset(name="four", train=(X, Y), test=(X, Y), classes=4),
    machine=machine("milan"),
    threads=1,
    latency=Roofline(),
    budget=Budget(),
    seed=0,
    folder=Path(),
    progress=lambda done, text: None,
)


def test_data_that_fit_are_returned():
    assert data_of(CONTEXT, "train") is CONTEXT.data


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": None}, r"stage \[relax\]: it needs data"),
        ({"inputs": (torch.zeros(1, 5),)}, r"takes 1 input\(s\) of shape \(5,\)"),
        ({"inputs": ()}, r"takes 0 input\(s\)"),
        ({"keywords": {"mask": X}}, "takes 1 input"),
    ],
)
def test_data_that_do_not_fit_are_refused(changed, said):
    with pytest.raises(PlanError, match=said):
        data_of(replace(CONTEXT, **changed), "relax")
