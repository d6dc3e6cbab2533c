import json

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import prepare
from trimtab.compiler.report import limits_in, others_in


def test_every_task_is_in_it_with_limits_and_reasons():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 6)

        def forward(self, x):
            return torch.sort(self.linear(x))[0]

    made = prepare(Sorted().eval(), (torch.zeros(3, 4),), machine="milan", cache=False)
    report = made.report
    assert json.loads(json.dumps(report)) == report
    linear, *others = report["tasks"]
    assert linear["module"] == "linear"
    assert linear["family"] == "contraction"
    assert linear["latency_s"] == max(linear["limits_s"].values())
    assert linear["limits_s"][linear["bottleneck"]] == linear["latency_s"]
    assert linear["judged"] >= 1
    assert set(linear["schedule"]) >= {"rows", "columns", "vectors", "order"}
    assert "aten.sort.default" in {task["op"] for task in others}
    total = sum(task["latency_s"] or 0.0 for task in report["tasks"])
    assert report["latency_s"] == pytest.approx(total)


def test_every_batch_size_has_its_tasks():
    made = prepare(
        torch.nn.Sequential(nn.Linear(8, 8), nn.Softmax(-1)).eval(),
        (torch.zeros(1, 8),), machine="milan", batch_sizes=[4, 1], cache=False,
    )  # fmt: skip
    report = made.report
    assert [each["batch"] for each in report["batches"]] == [1, 4]
    small, large = report["batches"]
    assert report["tasks"] == small["tasks"]
    assert report["latency_s"] == small["latency_s"] < large["latency_s"]
    assert report["winograd"] is True


def test_limits_are_told_by_name_the_largest_first():
    limits = {"L2": 2e-6, "compute": 3e-6, "L3": 1e-6, "memory": 0.0}
    task = {"limits_s": limits}
    assert limits_in(task, 2) == "compute 3.00 µs, L2 2.00 µs"
    assert limits_in(task) == "compute 3.00 µs, L2 2.00 µs, L3 1.00 µs"


def test_an_operator_that_nobody_knows_is_told():
    class Counted(nn.Module):
        def forward(self, x):
            return torch.histc(torch.relu(x), 8, 0.0, 2.0)

    x = torch.rand(64, 64)
    made = prepare(Counted().eval(), (x,), machine="milan", cache=False)
    assert torch.equal(made.network()(x), Counted()(x))
    *_, histogram = made.report["tasks"]
    assert histogram["op"] == "opaque.histc.default"
    assert histogram["latency_s"] > 0
    (sentence,) = others_in(made.report)
    assert "opaque.histc.default (cost unknown: counted as its traffic)" in sentence
