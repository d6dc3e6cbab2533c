"""What the tests of the cost model share: graphs of one node, a round machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trimtab.cost.work import Work, work_of
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import (
    Constant,
    ConstantKind,
    Graph,
    Input,
    Node,
    Ref,
    TensorType,
)
from trimtab.hardware.machine import Cache, Core, Kind, Machine, Memory


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


@pytest.fixture
def captured() -> Callable[..., Graph]:
    """Return ``make(module or function, *inputs)``: its graph."""

    def make(network: Callable[..., Any], *inputs: Any) -> Graph:
        module = network if isinstance(network, nn.Module) else _Function(network)
        return capture(module.eval(), inputs)

    return make


@pytest.fixture
def work(captured: Callable[..., Graph]) -> Callable[..., Work]:
    """Return ``of(op, module or function, *inputs)``: work of the one node of `op`."""

    def of(op: str, network: Callable[..., Any], *inputs: Any) -> Work:
        graph = captured(network, *inputs)
        found = [node for node in graph.nodes if node.op == f"aten.{op}"]
        assert len(found) == 1, [node.op for node in graph.nodes]
        return work_of(graph, found[0])

    return of


@pytest.fixture
def single() -> Callable[..., Graph]:
    """Return ``make(op, *output types, constants=(), **arguments)``: a graph of a node.

    A `TensorType` among the arguments becomes an input, or a parameter where its
    argument is named in `constants`. Names are checked against PyTorch's schema.
    """

    def make(
        op: str, *outputs: TensorType, constants: tuple[str, ...] = (), **arguments: Any
    ) -> Graph:
        name, overload = op.split(".")
        schema = getattr(getattr(torch.ops.aten, name), overload)._schema
        known = {argument.name for argument in schema.arguments}
        assert set(arguments) <= known, f"{op} has the arguments {sorted(known)}"
        inputs: list[Input] = []
        owned: list[Constant] = []

        def value(key: str, argument: Any) -> Any:
            if isinstance(argument, tuple):
                return tuple(value(key, each) for each in argument)
            if not isinstance(argument, TensorType):
                return argument
            place = f"v{len(inputs) + len(owned)}"
            if key in constants:
                kind = ConstantKind.PARAMETER
                owned.append(
                    Constant(
                        name=place, target=key, kind=kind, type=argument, shares=key
                    )
                )
            else:
                inputs.append(Input(name=place, type=argument))
            return Ref(place)

        given = {key: value(key, each) for key, each in arguments.items()}
        node = Node(
            name="node", op=f"aten.{op}", arguments=FrozenDict(given), outputs=outputs
        )
        positional = Tree(kind="tuple", children=(LEAF,) * len(inputs))
        nothing = Tree(kind="dict")
        return Graph(
            name="single",
            inputs=tuple(inputs),
            constants=tuple(owned),
            nodes=(node,),
            outputs=(Ref("node"),),
            input_tree=Tree(kind="tuple", children=(positional, nothing)),
            output_tree=LEAF,
        )

    return make


@pytest.fixture
def machine() -> Machine:
    """Four cores with round numbers: 2 * 2 * 8 * 1e9 flops per second each."""
    return Machine(
        name="round",
        title="Round numbers",
        kind=Kind.CPU,
        cores=4,
        core=Core(
            isa="x86-64-v3",
            llvm_cpu="haswell",
            frequency_hz=1e9,
            simd_bits=256,
            fma_units=2.0,
            vector_registers=16,
        ),
        caches=(
            _cache(1, 2**15, 1, 100e9),
            _cache(2, 2**20, 1, 50e9),
            _cache(3, 2**24, 4, 20e9),
        ),
        memory=Memory(
            size_bytes=2**33,
            bandwidth_bytes_per_s=25e9,
            core_bandwidth_bytes_per_s=10e9,
        ),
        dispatch_s=1e-6,
        convolution_setup_s=5e-6,
        repack_bytes_per_s=2e9,
        efficiency_frac={
            "matmul": 0.8, "conv": 0.5, "depthwise": 0.1,
            "pool": 0.05, "norm": 0.2, "vector": 0.25,
        },
    )  # fmt: skip


def _cache(level: int, size_bytes: int, shared: int, bandwidth: float) -> Cache:
    return Cache(
        level=level,
        size_bytes=size_bytes,
        line_bytes=64,
        ways=8,
        shared_by_cores=shared,
        bandwidth_bytes_per_s=bandwidth,
    )
