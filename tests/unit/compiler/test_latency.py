"""The compiler's model of latency against what it compiles."""

import pytest

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

import torch
from torch import nn

import trimtab
from trimtab.compiler.latency import ClosedForm
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine

MILAN = machine("milan")
IMAGE = torch.zeros(1, 16, 28, 28)


def net():
    return nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 14 * 14, 10),
    ).eval()  # fmt: skip


def test_it_predicts_what_a_compilation_predicts():
    """Spills and the like apart, which only machine code tells."""
    module = net()
    found = ClosedForm().estimate(capture(module, (IMAGE,)), MILAN)
    compiled = trimtab.compile(module, (IMAGE,), machine="milan", cache=False)
    assert found.latency_s == pytest.approx(compiled.report["latency_s"], rel=0.15)


def test_what_is_fused_costs_nothing_more():
    graph = capture(net(), (IMAGE,))
    found = {each.name: each for each in ClosedForm().estimate(graph, MILAN).nodes}
    times = [
        found[node.name].estimate.latency_s
        for node in graph.nodes
        if node.op in ("aten.relu.default", "aten.batch_norm.default")
    ]
    assert times
    assert not any(times)
    assert all(
        found[node.name].estimate.latency_s > 0
        for node in graph.nodes
        if node.op.startswith(("aten.conv2d", "aten.linear"))
    )


def test_works_are_ranked_once():
    model = ClosedForm()
    graph = capture(net(), (IMAGE,))
    one = model.estimate(graph, MILAN)
    known = len(model._known)
    assert model.estimate(graph, MILAN) == one
    assert len(model._known) == known
    assert model.estimate(graph, MILAN, 2).latency_s < one.latency_s


def test_what_has_no_kernel_counts_as_pytorchs():
    class Sorts(nn.Module):
        def forward(self, x):
            return torch.sort(x.flatten(1) * 2)[0]

    graph = capture(Sorts().eval(), (IMAGE,))
    found = ClosedForm().estimate(graph, MILAN)
    assert found.latency_s > 0
    assert found.nodes[-1].estimate.latency_s > 0
