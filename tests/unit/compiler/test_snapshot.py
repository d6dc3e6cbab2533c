"""Writes to weights are noticed, however they are done."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks

from trimtab.compiler.snapshot import Snapshot, watch_optimizers


def _nothing() -> None:
    """Nobody needs to know."""


def _layer() -> nn.Linear:
    return nn.Linear(6, 4)


def _numpy(layer: nn.Linear) -> None:
    layer.weight.detach().numpy()[:] = 0.0


def _other_memory(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data.clone()


def _in_place(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.bias.add_(1.0)


def _loaded(layer: nn.Linear) -> None:
    layer.load_state_dict(layer.state_dict())


@pytest.mark.parametrize(
    "write",
    [
        _in_place,
        _loaded,
        _other_memory,
        _numpy,
        lambda layer: layer.weight.data.mul_(0.5),
        lambda layer: layer.weight.detach().mul_(0.5),
    ],
)
def test_a_write_is_noticed(write: Callable[[nn.Linear], Any]) -> None:
    layer = _layer()
    tensors = [layer.weight, layer.bias]
    snapshot = Snapshot(tensors, _nothing)
    assert snapshot.holds(tensors)
    layer(torch.ones(2, 6)).sum().backward()  # reads only
    assert snapshot.holds(tensors)
    write(layer)
    assert not snapshot.holds(tensors)
    assert Snapshot(tensors, _nothing).holds(tensors)


@pytest.mark.parametrize("keywords", [{}, {"foreach": True}, {"fused": True}])
def test_a_step_of_an_optimiser_outdates_what_it_steps(keywords: Any) -> None:
    watch_optimizers()
    mine, other = _layer(), _layer()
    snapshots = [Snapshot([each.weight], _nothing) for each in (mine, other)]
    optimiser = torch.optim.Adam(mine.parameters(), **keywords)
    # A gradient of zero moves nothing, and fused steps count nothing.
    mine(torch.zeros(1, 6)).sum().backward()
    optimiser.step()
    assert not snapshots[0].holds([mine.weight])
    assert snapshots[1].holds([other.weight])


def test_watching_twice_is_watching_once() -> None:
    hooks = _global_optimizer_post_hooks
    watch_optimizers()
    before = len(hooks)
    watch_optimizers()
    assert len(hooks) == before


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(0),
        torch.zeros(()),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(3, dtype=torch.bool),
        torch.zeros(5, dtype=torch.bfloat16),
        torch.zeros(4, 3).t(),
        torch.zeros(1).expand(4),
        torch.zeros(2, dtype=torch.complex128).view(2, 1).expand(2, 2),
    ],
    ids=lambda each: f"{each.dtype}{list(each.shape)}",
)
def test_any_dtype_and_layout(tensor: Tensor) -> None:
    snapshot = Snapshot([tensor], _nothing)
    assert snapshot.holds([tensor])
    if tensor.numel() and tensor.element_size() <= 8:
        whole = tensor.untyped_storage()
        torch.empty(0, dtype=torch.uint8).set_(whole).fill_(1)  # by another's counter
        assert not snapshot.holds([tensor])


def test_who_waits_for_a_tensor_is_told_when_it_is_gone() -> None:
    told: list[str] = []
    weight, other = torch.zeros(3), torch.zeros(3)
    snapshot = Snapshot([weight, other], lambda: told.append("gone"))
    assert not told
    del weight
    gc.collect()
    assert told == ["gone"]
    del snapshot, other
    gc.collect()
    assert told == ["gone"]
