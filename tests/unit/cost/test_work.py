"""Work adds up, and a call shows a rule what it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from trimtab.cost import rules as _rules  # fills the table of rules
from trimtab.cost.work import RULES, Call, Work, rule, total_work, work_of
from trimtab.errors import GraphError, UnknownWorkError
from trimtab.graph.types import Graph, TensorType

assert _rules

Captured = Callable[..., Graph]


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.act(x)
        return y


def test_work_adds_field_by_field() -> None:
    a = Work(multiply_adds=1, flops=2, read_bytes=3, weight_bytes=4, write_bytes=5)
    b = Work(multiply_adds=10, flops=20, read_bytes=30, weight_bytes=40, write_bytes=50)
    assert a + b == Work(
        multiply_adds=11, flops=22, read_bytes=33, weight_bytes=44, write_bytes=55
    )
    assert a + Work() == a


def test_traffic_is_everything_that_moves() -> None:
    work = Work(flops=100, read_bytes=3, weight_bytes=4, write_bytes=5)
    assert work.traffic_bytes == 3 + 4 + 5


def test_work_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Work().flops = 1  # type: ignore[misc]


def test_total_is_the_sum_over_nodes(captured: Captured) -> None:
    graph = captured(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(2, 3))
    total = total_work(graph)
    assert total.multiply_adds == 2 * 4 * 3
    assert total.flops == 2 * 2 * 4 * 3 + 2 * 4 + 2 * 4  # products, bias, ReLU
    assert total.read_bytes == 4 * (2 * 3 + 2 * 4)
    assert total.write_bytes == 4 * (2 * 4 + 2 * 4)


def test_a_graph_without_nodes_does_nothing(captured: Captured) -> None:
    assert total_work(captured(nn.Identity(), torch.zeros(2))) == Work()


def test_an_operator_without_a_rule_is_refused(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = captured(nn.Sequential(_Head()), torch.zeros(2))
    monkeypatch.delitem(RULES, "aten.relu.default")
    for refused in (total_work, lambda graph: work_of(graph, graph.nodes[0])):
        with pytest.raises(UnknownWorkError) as caught:
            refused(graph)
        assert str(caught.value) == (
            "work of operator 'aten.relu.default': it has no rule, and a total without "
            "it would be too low (node 'relu', module '0.act'). Add a rule with @rule "
            "in trimtab/cost/rules.py."
        )


def test_even_a_view_needs_a_rule(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = captured(lambda x: x.view(6), torch.zeros(2, 3))
    assert graph.nodes[0].view_of is not None
    monkeypatch.delitem(RULES, "aten.view.default")
    with pytest.raises(UnknownWorkError, match=r"operator 'aten\.view\.default'"):
        total_work(graph)


def test_a_new_rule_is_found_by_the_name_of_its_operator(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "aten.relu.default", RULES["aten.relu.default"])

    @rule("relu.default")
    def _twice(call: Call) -> Work:
        return call.moved(flops=2 * call.output.elements)

    graph = captured(nn.ReLU(), torch.zeros(2, 3))
    assert total_work(graph).flops == 2 * 2 * 3


def test_a_call_knows_its_arguments(captured: Captured) -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    graph = captured(layer, torch.zeros(1, 4, 5, 5))
    call = Call(graph, graph.nodes[0])
    assert call.has("weight")
    assert not call.has("bias")
    assert not call.has("nonsense")
    assert call.type("weight") == TensorType((6, 2, 3, 3), "float32")
    assert call.number("groups") == 2
    assert call.numbers("stride") == (1, 1)
    assert call.numbers("groups") == (2,)
    assert call.first == TensorType((1, 4, 5, 5), "float32")
    assert call.output == TensorType((1, 6, 3, 3), "float32")
    assert list(call.outputs()) == [call.output]
    assert call.types("input") == (call.first,)


def test_moved_counts_a_product_as_two_flops(captured: Captured) -> None:
    graph = captured(nn.Linear(3, 2), torch.zeros(1, 3))
    call = Call(graph, graph.nodes[0])
    assert call.moved(multiply_adds=5, flops=1) == Work(
        multiply_adds=5,
        flops=2 * 5 + 1,
        read_bytes=4 * 3,
        weight_bytes=4 * (2 * 3 + 2),
        write_bytes=4 * 2,
    )


@pytest.mark.parametrize(
    ("read", "name", "problem"),
    [
        (Call.argument, "nonsense", "it is absent"),
        (Call.type, "groups", "it is no tensor"),
        (Call.number, "stride", "it is no integer"),
        (Call.numbers, "weight", "it is no list of integers"),
    ],
)
def test_an_argument_of_another_kind_is_refused(
    captured: Captured, read: Callable[..., object], name: str, problem: str
) -> None:
    graph = captured(nn.Sequential(nn.Conv2d(1, 1, 1)), torch.zeros(1, 1, 2, 2))
    with pytest.raises(GraphError) as caught:
        read(Call(graph, graph.nodes[0]), name)
    assert str(caught.value) == (
        f"argument {name!r} of operator aten.conv2d.default: its work rule needs it, "
        f"and {problem} (node 'conv2d', module '0'). Capture the network again."
    )
