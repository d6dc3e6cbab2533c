"""Networks with what they take and give, and weights that processes share."""

import os
from typing import Any

import pytest
import torch
from tests.unit.serve.live import nets
from torch import nn

from trimtab.errors import DataError, UsageError
from trimtab.pipeline.serving import open_model
from trimtab.serve.live.arena import Field
from trimtab.serve.live.models import attach, share

SPEC = "tests.unit.serve.live.nets:tables"


def test_a_module_says_what_it_takes_and_gives():
    model = open_model(SPEC)
    assert model.inputs == (
        Field(name="numbers", dtype="float32", shape=(4,)),
        Field(name="ids", dtype="int64", shape=(3,), bounds=(50,)),
    )
    assert model.outputs == (
        Field(name="score", dtype="float32", shape=()),
        Field(name="x", dtype="float32", shape=(8,)),
    )
    inputs = model.drawn(7, seed=3)
    assert inputs[1].min() >= 0
    assert inputs[1].max() < 50
    found = model.call(inputs)
    single = [model.call([each[row : row + 1] for each in inputs]) for row in range(7)]
    for at in (0, 1):
        alone = torch.cat([each[at] for each in single])
        assert torch.allclose(found[at], alone, atol=1e-6)


class Fixed(nn.Module):
    """Takes one row alone."""

    def forward(self, x):
        return x.reshape(4)


def fixed():
    """Return it."""
    return Fixed()


def example_inputs():
    """Return its input."""
    return (torch.zeros(1, 4),)


def test_what_has_no_batch_axis_is_refused():
    with pytest.raises(UsageError, match="no batch axis"):
        open_model("tests.unit.serve.live.test_models:fixed")


def test_weights_stand_in_memory_once():
    first: Any = nets.Tables()
    second: Any = nets.Tables()
    with torch.no_grad():
        for each in first.parameters():
            each.add_(1.0)
    for net in (first, second):
        net.twin = nn.Embedding(50, 4)
        net.twin.weight = net.table.weight  # tied
    descriptor = os.memfd_create("test")
    table = share(first, descriptor)
    places = {each["name"]: each["at"] for each in table}
    assert places["twin.weight"] == places["table.weight"]
    attach(second, descriptor, table)
    inputs = (torch.ones(2, 4), torch.ones(2, 3, dtype=torch.int64))
    assert torch.equal(first(*inputs)["score"], second(*inputs)["score"])
    # Whoever writes to one has a page of his own.
    third: Any = nets.Tables()
    third.twin = nn.Embedding(50, 4)
    attach(third, descriptor, table)
    with torch.no_grad():
        second.table.weight.zero_()
    assert torch.equal(first(*inputs)["score"], third(*inputs)["score"])
    with pytest.raises(DataError, match="its source has changed"):
        attach(nn.Linear(2, 2), descriptor, table)
    os.close(descriptor)
