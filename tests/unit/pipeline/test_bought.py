"""What each stage bought."""

import torch
from torch import nn

from trimtab.bundle.section import Table, Waterfall
from trimtab.cost.verdict import Budget
from trimtab.pipeline.bought import (
    START,
    Stand,
    accuracy_of,
    columns_of,
    records,
    section,
)
from trimtab.training.data import Dataset

BUDGET = Budget(latency_s=0.5)


def stand(name, **values):
    return Stand(stage=name, values=values, verdicts=BUDGET.judge(values))


STANDS = (
    stand(START, latency_s=2.0, parameters=10),
    stand("train", latency_s=2.0, parameters=10, accuracy_frac=0.75),
    stand("compile", latency_s=0.25, parameters=10, accuracy_frac=0.75),
)


def test_a_row_has_what_is_known_and_its_verdict():
    (table, *falls) = section(STANDS).figures
    assert isinstance(table, Table)
    assert table.columns == ("stage", "accuracy", "parameters", "latency", "budget")
    assert table.rows[0] == (START, None, 10, 2.0, "over: latency_s")
    assert table.rows[2] == ("compile", 0.75, 10, 0.25, "fits")
    # Parameters never change and accuracy is known once: latency alone is drawn.
    (fall,) = falls
    assert isinstance(fall, Waterfall)
    assert (fall.steps, fall.values) == ((START, "compile"), (2.0, 0.25 - 2.0))


def test_accuracy_that_does_not_change_is_not_drawn():
    assert columns_of(STANDS) == ["accuracy_frac", "parameters", "latency_s"]
    titles = [each.title for each in section(STANDS).figures]
    assert titles == ["The network after each stage", "How latency came about"]


def test_records_say_what_is_over():
    assert records(STANDS)[0] == {
        "stage": START,
        "values": {"latency_s": 2.0, "parameters": 10},
        "found": [],
        "fits": False,
        "over": ["latency_s"],
    }
    assert Stand(stage="x", values={}).judged() == ""


def test_accuracy_is_that_of_examples_held_out_where_there_are_classes():
    x, y = torch.eye(4), torch.tensor([0, 1, 2, 0])
    data = Dataset(name="eye", train=(x, y), test=(x, y), classes=4)
    assert accuracy_of(nn.Identity(), data, (x[:1],)) == 3 / 4
    assert accuracy_of(nn.Identity(), None, (x[:1],)) is None
    assert accuracy_of(nn.Identity(), data, (torch.zeros(1, 5),)) is None
    assert accuracy_of(nn.Identity(), data, (x[:1], x[:1])) is None
    assert accuracy_of(nn.Unflatten(1, (2, 2)), data, (x[:1],)) is None
