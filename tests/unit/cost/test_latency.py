"""The roofline against its closed form, on a machine with round numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from trimtab.cost.estimate import Estimate, Limit
from trimtab.cost.latency import (
    Corrected,
    LatencyModel,
    Roofline,
    efficiency_class,
)
from trimtab.cost.work import RULES
from trimtab.errors import MachineError, UnknownWorkError, UsageError
from trimtab.graph.capture import capture
from trimtab.graph.types import Graph, TensorType
from trimtab.hardware import load
from trimtab.hardware.machine import Kind, Machine

Captured = Callable[..., Graph]
Single = Callable[..., Graph]

PEAK = 2 * 2 * 8 * 1e9  # of one core: flops an fma, units, lanes, clock


def relu_of(single: Single, elements: int) -> Graph:
    kind = TensorType((elements,), "float32")
    return single("relu.default", kind, self=kind)


def only(graph: Graph, machine: Machine, threads: int = 1) -> Estimate:
    return Roofline().estimate(graph, machine, threads).nodes[0].estimate


def test_it_is_a_latency_model() -> None:
    model: LatencyModel = Roofline()
    assert model


# Classes


@pytest.mark.parametrize(
    ("layer", "shape", "name"),
    [
        (nn.Conv2d(8, 8, 3), (1, 8, 4, 4), "conv"),
        (nn.Conv2d(2, 8, 3), (1, 2, 4, 4), "conv"),  # few channels, but one group
        (nn.Conv2d(8, 8, 3, groups=8), (1, 8, 4, 4), "depthwise"),
        (nn.Conv2d(14, 14, 3, groups=2), (1, 14, 4, 4), "depthwise"),
        (nn.Conv2d(16, 16, 3, groups=2), (1, 16, 4, 4), "conv"),
        (nn.ConvTranspose2d(16, 2, 3, groups=2), (1, 16, 4, 4), "conv"),
        (nn.ConvTranspose2d(2, 16, 3, groups=2), (1, 2, 4, 4), "depthwise"),
        (nn.Linear(3, 4), (1, 3), "matmul"),
        (nn.LSTM(3, 4), (2, 1, 3), "matmul"),
        (nn.MaxPool2d(2), (1, 3, 4, 4), "pool"),
        (nn.BatchNorm2d(3), (1, 3, 4, 4), "norm"),
        (nn.LayerNorm(3), (1, 3), "norm"),
        (nn.Softmax(1), (1, 3), "vector"),
        (nn.ReLU(), (1, 3), "vector"),
        (nn.Upsample(scale_factor=2), (1, 3, 4, 4), "vector"),
    ],
)
def test_classes(
    captured: Captured, layer: nn.Module, shape: tuple[int, ...], name: str
) -> None:
    graph = captured(layer, torch.zeros(shape))
    heavy = max(graph.nodes, key=lambda node: len(node.inputs))
    assert efficiency_class(graph, heavy) == name


def test_the_general_convolution_has_the_class_of_its_kind(single: Single) -> None:
    def graph(transposed: bool) -> Graph:
        return single(
            "convolution.default", TensorType((1, 2, 2, 2), "float32"),
            input=TensorType((1, 16, 4, 4), "float32"),
            weight=TensorType((16, 1, 3, 3) if transposed else (2, 8, 3, 3), "float32"),
            transposed=transposed, groups=2,
        )  # fmt: skip

    for transposed in (False, True):  # eight input channels a group in both
        made = graph(transposed)
        assert efficiency_class(made, made.nodes[0]) == "conv"


def test_attention_is_a_product(single: Single) -> None:
    kind = TensorType((1, 2, 3, 4), "float32")
    graph = single(
        "scaled_dot_product_attention.default", kind, query=kind, key=kind, value=kind
    )
    assert efficiency_class(graph, graph.nodes[0]) == "matmul"


# Levels


@pytest.mark.parametrize(
    ("threads", "elements", "level", "bandwidth"),
    [
        # Read and written: 8 bytes an element. Level 2 has 2**20 bytes a core.
        (1, 2**17, Limit.L2, 50e9),
        (1, 2**17 + 1, Limit.L3, 20e9),
        (1, 2**21, Limit.L3, 20e9),
        (1, 2**21 + 1, Limit.MEMORY, 10e9),
        (2, 2**18, Limit.L2, 2 * 50e9),
        (2, 2**18 + 1, Limit.L3, 2 * 20e9),
        # One instance of level 3 serves all four cores.
        (4, 2**21 + 1, Limit.MEMORY, 25e9),
        (2, 2**21 + 1, Limit.MEMORY, 2 * 10e9),
    ],
)
def test_activations_come_from_the_smallest_level_that_holds_them(
    single: Single,
    machine: Machine,
    threads: int,
    elements: int,
    level: Limit,
    bandwidth: float,
) -> None:
    found = only(relu_of(single, elements), machine, threads)
    assert found.limits_s == {
        Limit.COMPUTE: pytest.approx(elements / (threads * PEAK * 0.25)),
        level: pytest.approx(8 * elements / bandwidth),
    }
    assert found.overhead_s == 1e-6


def test_a_cache_slower_than_the_memory_is_passed_over(
    single: Single, machine: Machine
) -> None:
    slow = tuple(
        replace(cache, bandwidth_bytes_per_s=1e9) if cache.level == 3 else cache
        for cache in machine.caches
    )
    found = only(relu_of(single, 2**18), replace(machine, caches=slow))
    assert Limit.L3 not in found.limits_s
    assert found.limits_s[Limit.MEMORY] == pytest.approx(8 * 2**18 / 10e9)


def test_a_machine_without_caches_reads_from_memory(
    single: Single, machine: Machine
) -> None:
    found = only(relu_of(single, 16), replace(machine, caches=()))
    assert found.limits_s[Limit.MEMORY] == pytest.approx(8 * 16 / 10e9)


def test_level_one_holds_nothing(single: Single, machine: Machine) -> None:
    found = only(relu_of(single, 1), machine)
    assert found.limits_s[Limit.L2] == pytest.approx(8 / 50e9)


# Weights


def test_every_weight_comes_from_where_all_weights_fit(
    captured: Captured, machine: Machine
) -> None:
    # 4 * 512 * 512 bytes are 1 MiB and fit level 2; two such layers do not.
    one = captured(nn.Linear(512, 512, bias=False), torch.zeros(1, 512))
    two = captured(
        nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(2))),
        torch.zeros(1, 512),
    )
    size = 4 * 512 * 512
    assert only(one, machine).limits_s[Limit.COLD_WEIGHTS] == pytest.approx(size / 50e9)
    for node in Roofline().estimate(two, machine).nodes:
        cold = node.estimate.limits_s[Limit.COLD_WEIGHTS]
        assert cold == pytest.approx(size / 20e9)


def test_tied_weights_take_their_place_once(
    captured: Captured, machine: Machine
) -> None:
    layer = nn.Linear(512, 512, bias=False)
    graph = captured(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 512))
    cold = only(graph, machine).limits_s[Limit.COLD_WEIGHTS]
    assert cold == pytest.approx(4 * 512 * 512 / 50e9)


def test_linear_in_closed_form(captured: Captured, machine: Machine) -> None:
    graph = captured(nn.Linear(256, 64), torch.zeros(8, 256))
    found = Roofline().estimate(graph, machine, threads=2)
    flops = 2 * 8 * 64 * 256 + 8 * 64
    assert found.nodes[0].estimate.limits_s == {
        Limit.COMPUTE: pytest.approx(flops / (2 * PEAK * 0.8)),
        Limit.L2: pytest.approx(4 * 8 * (256 + 64) / (2 * 50e9)),
        Limit.COLD_WEIGHTS: pytest.approx(4 * (64 * 256 + 64) / (2 * 50e9)),
    }
    largest = max(found.nodes[0].estimate.limits_s.values())
    assert found.latency_s == pytest.approx(largest + 1e-6)
    assert (found.machine, found.threads) == ("round", 2)


def test_a_convolution_is_set_up_and_its_weights_are_repacked(
    captured: Captured, machine: Machine
) -> None:
    graph = captured(nn.Conv2d(8, 16, 3), torch.zeros(1, 8, 10, 10))
    found = only(graph, machine)
    flops = 2 * 16 * 8 * 8 * 8 * 3 * 3 + 16 * 8 * 8
    assert found.limits_s[Limit.COMPUTE] == pytest.approx(flops / (PEAK * 0.5))
    weight_bytes = 4 * (16 * 8 * 3 * 3 + 16)
    assert found.overhead_s == pytest.approx(1e-6 + 5e-6 + weight_bytes / 2e9)


def test_a_view_costs_its_dispatch_only(captured: Captured, machine: Machine) -> None:
    found = only(captured(lambda x: x.view(6), torch.zeros(2, 3)), machine)
    assert (dict(found.limits_s), found.overhead_s) == ({}, 1e-6)
    assert found.bottleneck is Limit.OVERHEAD


# Cores


def test_more_threads_than_cores_bring_nothing(
    captured: Captured, machine: Machine
) -> None:
    graph = captured(nn.Linear(64, 64), torch.zeros(8, 64))
    four, nine = (Roofline().estimate(graph, machine, n) for n in (4, 9))
    assert four.nodes == nine.nodes
    assert nine.threads == 9


def test_all_cores_of_a_gpu_work_on_one_call(
    captured: Captured, machine: Machine
) -> None:
    graph = captured(nn.Linear(64, 64), torch.zeros(8, 64))
    gpu = replace(machine, kind=Kind.GPU)
    all_cores = Roofline().estimate(graph, machine, threads=4).nodes
    assert Roofline().estimate(graph, gpu, threads=1).nodes == all_cores
    assert Roofline().estimate(graph, machine, threads=1).nodes != all_cores


# Refusals


@pytest.mark.parametrize("threads", [0, -1])
def test_a_call_needs_a_thread(
    captured: Captured, machine: Machine, threads: int
) -> None:
    graph = captured(nn.ReLU(), torch.zeros(2))
    with pytest.raises(UsageError) as caught:
        Roofline().estimate(graph, machine, threads)
    assert str(caught.value) == (
        f"{threads} threads: a call needs at least one. Give 1 or more."
    )


def test_an_efficiency_that_is_not_stated_is_refused(
    captured: Captured, machine: Machine
) -> None:
    known = {
        name: value
        for name, value in machine.efficiency_frac.items()
        if name != "depthwise"
    }
    layer = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    graph = captured(layer, torch.zeros(1, 8, 4, 4))
    with pytest.raises(MachineError) as caught:
        Roofline().estimate(graph, replace(machine, efficiency_frac=known))
    assert str(caught.value) == (
        "efficiency of class 'depthwise': machine 'round' does not state it (node "
        "'conv2d', operator aten.conv2d.default). Add efficiency_frac.depthwise to the "
        "machine's file, or calibrate it."
    )


def test_an_operator_without_a_rule_is_refused(
    captured: Captured, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = captured(nn.ReLU(), torch.zeros(2))
    monkeypatch.delitem(RULES, "aten.relu.default")
    with pytest.raises(UnknownWorkError, match="Add a rule with @rule"):
        Roofline().estimate(graph, machine)


def test_a_correction_scales_times_of_its_own_machine_alone() -> None:
    graph = capture(nn.Linear(8, 8).eval(), (torch.zeros(1, 8),))
    other = load.machine("milan")
    mine = replace(other, fingerprint="f")
    model = Corrected(Roofline(), 2.0, "f")
    plain = Roofline().estimate(graph, mine)
    found = model.estimate(graph, mine)
    assert found.latency_s == pytest.approx(2 * plain.latency_s)
    assert found.work == plain.work
    assert [each.estimate.bottleneck for each in found.nodes] == [
        each.estimate.bottleneck for each in plain.nodes
    ]
    assert model.estimate(graph, other) == Roofline().estimate(graph, other)
    with pytest.raises(UsageError, match="a correction by 0"):
        Corrected(Roofline(), 0.0, "f")
