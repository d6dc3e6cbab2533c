"""The laws of the cost model, for machines nobody has built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trimtab.cost.estimate import Limit, NetworkEstimate
from trimtab.cost.latency import Roofline
from trimtab.cost.work import Work, total_work, work_of
from trimtab.graph.capture import capture
from trimtab.graph.types import Graph
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Cache,
    Core,
    Kind,
    Machine,
    Memory,
    numbers_of,
)

# Numbers of a machine that help, by their path; caches go by their level.
HELPS = {
    "cores",
    "core.frequency_hz",
    "core.simd_bits",
    "core.fma_units",
    "memory.bandwidth_bytes_per_s",
    "memory.core_bandwidth_bytes_per_s",
    "repack_bytes_per_s",
    *(
        f"caches.{level}.{name}"
        for level in (1, 2, 3)
        for name in ("size_bytes", "bandwidth_bytes_per_s")
    ),
}
SHARES = {f"efficiency_frac.{name}" for name in EFFICIENCY_CLASSES}
HURTS = {
    "dispatch_s",
    "convolution_setup_s",
    *(f"caches.{level}.shared_by_cores" for level in (1, 2, 3)),
}
NEUTRAL = {
    "core.vector_registers",
    "memory.size_bytes",
    *(
        f"caches.{level}.{name}"
        for level in (1, 2, 3)
        for name in ("line_bytes", "ways")
    ),
}


def _rates(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw evenly in orders of magnitude."""
    return st.floats(math.log10(low), math.log10(high)).map(lambda x: 10.0**x)


@st.composite
def _machines(draw: st.DrawFn) -> Machine:
    levels = draw(st.sampled_from([(), (1, 2), (2, 3), (1, 2, 3)]))
    return Machine(
        name="drawn",
        title="Drawn",
        kind=draw(st.sampled_from(Kind)),
        cores=draw(st.integers(1, 128)),
        core=Core(
            isa="x86-64-v3",
            llvm_cpu="haswell",
            frequency_hz=draw(_rates(1e8, 1e10)),
            simd_bits=draw(st.sampled_from([32, 128, 256, 512])),
            fma_units=draw(st.sampled_from([0.5, 1.0, 2.0])),
            vector_registers=draw(st.sampled_from([16, 32])),
        ),
        caches=tuple(
            Cache(
                level=level,
                size_bytes=int(draw(_rates(1e2, 1e6))),  # as the networks below need
                line_bytes=64,
                ways=8,
                shared_by_cores=draw(st.integers(1, 64)),
                bandwidth_bytes_per_s=draw(_rates(1e8, 1e13)),
            )
            for level in levels
        ),
        memory=Memory(
            size_bytes=2**33,
            bandwidth_bytes_per_s=draw(_rates(1e8, 1e13)),
            core_bandwidth_bytes_per_s=draw(_rates(1e8, 1e13)),
        ),
        dispatch_s=draw(_rates(1e-8, 1e-3)),
        convolution_setup_s=draw(_rates(1e-8, 1e-3)),
        repack_bytes_per_s=draw(_rates(1e8, 1e13)),
        efficiency_frac={name: draw(_rates(1e-4, 1)) for name in EFFICIENCY_CLASSES},
    )


def _changed(machine: Machine, path: str, factor: int) -> Machine:
    """Return the machine with one number times `factor`; a share is at most 1."""
    room, _, rest = path.partition(".")
    if room == "core":
        core: Any = {rest: getattr(machine.core, rest) * factor}
        return replace(machine, core=replace(machine.core, **core))
    if room == "memory":
        memory: Any = {rest: getattr(machine.memory, rest) * factor}
        return replace(machine, memory=replace(machine.memory, **memory))
    if room == "caches":
        level, _, name = rest.partition(".")

        def grown(cache: Cache) -> Cache:
            change: Any = {name: getattr(cache, name) * factor}
            return replace(cache, **change) if cache.level == int(level) else cache

        return replace(machine, caches=tuple(map(grown, machine.caches)))
    if room == "efficiency_frac":
        shares = dict(machine.efficiency_frac)
        shares[rest] = min(1.0, shares[rest] * factor)
        return replace(machine, efficiency_frac=shares)
    top: Any = {path: getattr(machine, path) * factor}
    return replace(machine, **top)


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, 4)

    def forward(self, words: Tensor) -> Tensor:
        states, _ = self.lstm(self.table(words))
        scores: Tensor = self.out(states.mean(1))
        return scores


@pytest.fixture(scope="session")
def networks() -> dict[str, Graph]:
    """A network of every kind, small."""
    convolutional = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.Flatten(),
        nn.LazyLinear(10),
        nn.Softmax(1),
    )
    convolutional(torch.zeros(2, 3, 24, 24))
    attention = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    words = torch.zeros(1, 12, dtype=torch.int64)
    return {
        "convolutional": capture(convolutional.eval(), (torch.zeros(1, 3, 24, 24),)),
        "attention": capture(attention.eval(), (torch.zeros(1, 20, 32),)),
        "recurrent": capture(_Recurrent().eval(), (words,)),
    }


NETWORKS = st.sampled_from(["convolutional", "attention", "recurrent"])


def _estimate(graph: Graph, machine: Machine, threads: int = 1) -> NetworkEstimate:
    return Roofline().estimate(graph, machine, threads)


def _no_slower(fast: NetworkEstimate, slow: NetworkEstimate) -> None:
    """Node by node: a sum may hide one that became slower."""
    for a, b in zip(fast.nodes, slow.nodes, strict=True):
        assert a.estimate.latency_s <= b.estimate.latency_s * (1 + 1e-12), a.name


def _paths(machine: Machine, among: set[str]) -> list[str]:
    return sorted(among & numbers_of(machine).keys())


def test_the_lists_above_name_every_number_of_a_machine(
    plain_numbers: set[str],
) -> None:
    assert plain_numbers == HELPS | SHARES | HURTS | NEUTRAL


@pytest.fixture
def plain_numbers() -> set[str]:
    cache = Cache(
        level=1, size_bytes=1, line_bytes=1, ways=1, shared_by_cores=1,
        bandwidth_bytes_per_s=1.0,
    )  # fmt: skip
    machine = Machine(
        name="plain",
        title="Plain",
        kind=Kind.CPU,
        cores=1,
        core=Core(
            isa="x", llvm_cpu="x", frequency_hz=1.0, simd_bits=32, fma_units=1.0,
            vector_registers=1,
        ),
        caches=tuple(replace(cache, level=level) for level in (1, 2, 3)),
        memory=Memory(
            size_bytes=1, bandwidth_bytes_per_s=1.0, core_bandwidth_bytes_per_s=1.0
        ),
        dispatch_s=1.0,
        convolution_setup_s=1.0,
        repack_bytes_per_s=1.0,
        efficiency_frac=dict.fromkeys(EFFICIENCY_CLASSES, 1.0),
    )  # fmt: skip
    return set(numbers_of(machine))


@settings(max_examples=300, deadline=None)
@given(
    machine=_machines(),
    name=NETWORKS,
    threads=st.integers(1, 200),
    factor=st.integers(2, 1000),
    data=st.data(),
)
def test_a_better_machine_is_never_slower(
    networks: dict[str, Graph],
    machine: Machine,
    name: str,
    threads: int,
    factor: int,
    data: st.DataObject,
) -> None:
    path = data.draw(st.sampled_from(_paths(machine, HELPS | SHARES)))
    better = _changed(machine, path, factor)
    before = _estimate(networks[name], machine, threads)
    _no_slower(_estimate(networks[name], better, threads), before)


@settings(deadline=None)
@given(
    machine=_machines(),
    name=NETWORKS,
    threads=st.integers(1, 200),
    factor=st.integers(2, 1000),
    data=st.data(),
)
def test_a_worse_machine_is_never_faster(
    networks: dict[str, Graph],
    machine: Machine,
    name: str,
    threads: int,
    factor: int,
    data: st.DataObject,
) -> None:
    path = data.draw(st.sampled_from(_paths(machine, HURTS)))
    worse = _changed(machine, path, factor)
    after = _estimate(networks[name], worse, threads)
    before = _estimate(networks[name], machine, threads)
    _no_slower(before, after)
    if path == "dispatch_s":
        assert after.latency_s > before.latency_s


@settings(max_examples=30, deadline=None)
@given(machine=_machines(), name=NETWORKS, data=st.data())
def test_what_the_model_does_not_look_at_changes_nothing(
    networks: dict[str, Graph], machine: Machine, name: str, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(_paths(machine, NEUTRAL)))
    other = _changed(machine, path, 2)
    assert _estimate(networks[name], other) == _estimate(networks[name], machine)


@settings(deadline=None)
@given(
    machine=_machines(),
    name=NETWORKS,
    threads=st.integers(1, 200),
    more=st.integers(1, 200),
)
def test_more_threads_are_never_slower(
    networks: dict[str, Graph], machine: Machine, name: str, threads: int, more: int
) -> None:
    few = _estimate(networks[name], machine, threads)
    many = _estimate(networks[name], machine, threads + more)
    _no_slower(many, few)
    if threads >= machine.cores or machine.kind is Kind.GPU:
        assert many.nodes == few.nodes


@settings(deadline=None)
@given(machine=_machines(), name=NETWORKS, threads=st.integers(1, 200))
def test_time_is_at_least_every_limit(
    networks: dict[str, Graph], machine: Machine, name: str, threads: int
) -> None:
    for node in _estimate(networks[name], machine, threads).nodes:
        found = node.estimate
        limits = {**found.limits_s, Limit.OVERHEAD: found.overhead_s}
        assert all(found.latency_s >= limit >= 0 for limit in limits.values())
        assert limits[found.bottleneck] == max(limits.values())
        assert found.overhead_s >= machine.dispatch_s


@settings(deadline=None)
@given(machine=_machines(), name=NETWORKS, threads=st.integers(1, 200))
def test_a_network_is_the_sum_of_its_nodes(
    networks: dict[str, Graph], machine: Machine, name: str, threads: int
) -> None:
    graph = networks[name]
    found = _estimate(graph, machine, threads)
    assert [each.name for each in found.nodes] == [each.name for each in graph.nodes]
    latencies = [each.estimate.latency_s for each in found.nodes]
    assert math.isclose(found.latency_s, math.fsum(latencies), rel_tol=1e-12)
    parts = found.by_bottleneck().values()
    assert math.isclose(found.latency_s, math.fsum(parts), rel_tol=1e-12)
    assert list(parts) == sorted(parts, reverse=True)
    assert found.work == total_work(graph)


@settings(max_examples=30, deadline=None)
@given(machine=_machines(), name=NETWORKS, threads=st.integers(1, 64))
def test_the_same_question_has_the_same_answer(
    networks: dict[str, Graph], machine: Machine, name: str, threads: int
) -> None:
    first = _estimate(networks[name], machine, threads)
    assert _estimate(networks[name], machine, threads) == first


@settings(deadline=None)
@given(name=NETWORKS, data=st.data())
def test_cut_anywhere_the_work_of_the_parts_is_that_of_the_whole(
    networks: dict[str, Graph], name: str, data: st.DataObject
) -> None:
    graph = networks[name]
    cut = data.draw(st.integers(0, len(graph.nodes)))
    works = [work_of(graph, node) for node in graph.nodes]
    front, back = sum(works[:cut], Work()), sum(works[cut:], Work())
    assert front + back == total_work(graph)


# Each keeps the shape (1, 8, 6, 6).
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "grouped": lambda: nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
    "norm": lambda: nn.BatchNorm2d(8),
    "relu": lambda: nn.ReLU(),
    "gelu": lambda: nn.GELU(),
    "pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "linear": lambda: nn.Linear(6, 6),
}


@settings(max_examples=12, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=5))
def test_work_of_a_sequence_is_the_sum(names: list[str]) -> None:
    x = torch.zeros(1, 8, 6, 6)
    layers = [LAYERS[name]().eval() for name in names]
    whole = total_work(capture(nn.Sequential(*layers).eval(), (x,)))
    parts = (total_work(capture(layer, (x,))) for layer in layers)
    assert whole == sum(parts, Work())
    assert whole.traffic_bytes > 0
