import math

import pytest
import torch
from torch import nn

from trimtab.cost.latency import Roofline
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine
from trimtab.hardware.measure import Profile
from trimtab.pipeline.inspection import cost_section, measured_section, rows, totals


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.again = nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x):
        y = self.conv(x)
        return torch.relu(self.again(self.again(y)) + y)


@pytest.fixture(scope="module")
def traced():
    graph = capture(Block().eval(), (torch.zeros(1, 3, 6, 6),), name="block")
    target = machine("milan")
    return graph, Roofline().estimate(graph, target), target


def test_rows_add_up_to_the_totals(traced):
    graph, estimate, _ = traced
    layers = rows(graph, estimate)
    whole = totals(graph, estimate)
    assert math.isclose(sum(row.latency_s for row in layers), whole["latency_s"])
    assert math.isclose(sum(row.share_frac for row in layers), 1.0)
    assert sum(row.parameters for row in layers) == 3 * 8 * 9 + 8 + 8 * 8
    assert sum(row.multiply_adds for row in layers) == whole["multiply_adds"]
    assert whole["multiply_adds"] == 36 * (8 * 27 + 2 * 8 * 8)


def test_a_layer_used_twice_has_its_parameters_once(traced):
    graph, estimate, _ = traced
    again = [row for row in rows(graph, estimate) if row.layer == "again"]
    assert sum(row.parameters for row in again) == 8 * 8


def test_calls_of_the_network_itself_carry_the_operator(traced):
    graph, estimate, _ = traced
    names = [row.layer for row in rows(graph, estimate)]
    assert names[-2:] == ["add", "relu"]


def test_sections_have_what_the_report_draws(traced):
    graph, estimate, target = traced
    section = cost_section(graph, estimate, target)
    assert [figure.kind for figure in section.figures] == [
        "bars",
        "series",
        "series",
        "table",
    ]
    assert "nothing was run" in section.text
    seen = Profile(
        latency_s=2 * estimate.latency_s,
        interval_s=(0.0, 1.0),
        nodes_s={node.name: 1e-6 for node in graph.nodes},
        slow_nodes_s={node.name: 2e-6 for node in graph.nodes},
        calls=3,
        threads=1,
        clock="thread CPU time",
    )
    assert "-50 % off" in measured_section(graph, estimate, seen, target).text
