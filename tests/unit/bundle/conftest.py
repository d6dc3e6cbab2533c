"""A small network as a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.bundle import store
from trimtab.bundle.manifest import FORMAT, Manifest
from trimtab.bundle.section import Section, Table
from trimtab.cost.verdict import Budget
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Graph


@dataclass(frozen=True)
class Network:
    module: nn.Module
    graph: Graph
    weights: dict[str, Tensor]
    x: Tensor


@pytest.fixture(scope="session")
def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()).eval()
        x = torch.randn(2, 3)
    graph = capture(module, (x,), name="small")
    return Network(module, graph, weights_of(module, graph), x)


@pytest.fixture
def manifest() -> Manifest:
    values = {"parameters": 24.0, "latency_s": 0.5}
    return Manifest(
        format=FORMAT,
        name="small",
        versions={"trimtab": "0.1.0"},
        seed=1,
        machine="round",
        threads=2,
        plan={"network": "zoo:small", "stages": {"inspect": {}}, "output": None},
        inputs={"graph": "0" * 64},
        stages=(("inspect", "It fits."),),
        values=values,
        verdicts=Budget(parameters=20, latency_s=1.0).judge(values),
        files={},
    )


@pytest.fixture
def sections() -> tuple[Section, ...]:
    table = Table(title="T", columns=("a",), units=("s",), rows=((1.5,),))
    return (
        Section(name="inspect", title="Inspect", text="It fits.", figures=(table,)),
    )


@pytest.fixture
def put(
    network: Network, manifest: Manifest, sections: tuple[Section, ...]
) -> Callable[..., store.Bundle]:
    """Return ``put(path, **changes)``: write the bundle there."""

    def write(path: Path, **changes: Any) -> store.Bundle:
        given: dict[str, Any] = {
            "graph": network.graph,
            "weights": network.weights,
            "sections": sections,
            **changes,
        }
        return store.write(path, given.pop("manifest", manifest), **given)

    return write
