"""Whole modules through the planner and, where TVM is, through machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trimtab.compiler.build import known_values
from trimtab.compiler.groups import group
from trimtab.compiler.plan import plan
from trimtab.compiler.tasks import FallbackTask, Plan
from trimtab.graph.capture import capture, weights_of


def planned(module: nn.Module, *inputs: Any, lanes: int = 8) -> Plan:
    """Return the tasks of a module."""
    module.eval()
    graph = capture(module, inputs)
    known = known_values(graph, weights_of(module, graph))
    return plan(graph, group(graph, known), lanes=lanes)


def works(made: Plan) -> list[str]:
    """Return what computes each task."""
    return [
        each.node.op if isinstance(each, FallbackTask) else type(each.work).__name__
        for each in made.tasks
    ]


def same(module: nn.Module, *inputs: Any, limit: float = 1e-5) -> None:
    """Assert that a compiled module gives what it gives in double precision."""
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.compile import compile as compile_module

    module.eval()
    with torch.no_grad():
        fast = compile_module(module, inputs, machine="milan", cache=False)
        found = _flat(fast(*inputs))
        expected = _flat(
            module.double()(
                *(x.double() if x.dtype.is_floating_point else x for x in inputs)
            )
        )
    module.float()
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = max(other.abs().max().item(), 1e-30)
        assert (one.double() - other).abs().max().item() <= limit * scale


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for part in value for each in _flat(part)]


@pytest.fixture
def network() -> Callable[..., Any]:
    """Return ``network(module, *inputs, tasks=...)``: plan and results are right."""

    def check(module: nn.Module, *inputs: Any, tasks: list[str] | None = None) -> Plan:
        made = planned(module, *inputs)
        if tasks is not None:
            assert works(made) == tasks
        same(module, *inputs)
        return made

    torch.manual_seed(0)
    return check
