"""Measure what the present machine achieves, in the way eager PyTorch runs a network.

An operator timed alone finds its operands in the cache and its result in memory that
was just freed; in a network it does not, and takes up to three times as long. So the
rates come from a network made for the purpose, timed node by node. None of its layers
is a layer of a network that predictions are checked with.

Level 1 and the peak of the vector units need generated code: whoever has it measures
them through a `Probe`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from trimtab.errors import MachineError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import Graph, Node, Ref, TensorType
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Machine,
    Origin,
    Source,
    numbers_of,
)
from trimtab.hardware.measure import Progress, median_time_s, profile

__all__ = ["Probe", "calibrate", "with_numbers"]

_CALLS = 40
# Timed runs of the network: about a second, enough for a median.
_LARGE = 1 << 20
# Convolution weights of more bytes weigh more than the arithmetic on a 6 x 6 image.
_SIDE = 6


class Probe(Protocol):
    """A measurement that needs more than torch, such as generated code."""

    name: str

    def measure(self, machine: Machine) -> dict[str, float]:
        """Return numbers by their path (`hardware.machine.numbers_of`)."""
        ...


class _Block(nn.Module):
    """Convolutions of every kind with what stands between them in networks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv_widen = nn.Conv2d(channels, wide, 1, bias=False)
        self.norm_widen = nn.BatchNorm2d(wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.norm_depthwise = nn.BatchNorm2d(wide)
        self.conv_narrow = nn.Conv2d(wide, channels, 1, bias=False)
        self.conv_dense = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_dense = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.relu(self.norm_widen(self.conv_widen(x)))
        y = torch.relu(self.norm_depthwise(self.depthwise(y)))
        y = self.norm_dense(self.conv_dense(self.conv_narrow(y)))
        return torch.relu(y + x)


class _Tiny(nn.Module):
    """Layers so small that only their overhead is left."""

    def __init__(self) -> None:
        super().__init__()
        # PyTorch takes small images with filters up to 3 x 3 through one library and
        # larger filters through another: both kinds, no shape twice.
        shapes = ((4, 5, 5), (5, 9, 3), (9, 7, 5), (7, 12, 3), (12, 6, 5), (6, 4, 3))
        self.convs = nn.Sequential(
            *(nn.Conv2d(i, o, k, padding=k // 2) for i, o, k in shapes)
        )
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs(x)
        for _ in range(4):
            y = torch.relu(y) + y
        z: Tensor = self.fc(y.mean((2, 3)))
        return z


class _Network(nn.Module):
    """The network the rates are read from: about 0.5 G multiply-adds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 56, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(56)
        self.block_a = _Block(56)
        self.pool = nn.MaxPool2d(2)
        self.deepen = nn.Conv2d(56, 112, 3, padding=1, bias=False)
        self.block_b = _Block(112)
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.block_c = _Block(112)
        self.packed = nn.Sequential(
            nn.Conv2d(112, 320, 3, padding=1, bias=False),
            nn.Conv2d(320, 320, 3, padding=1, bias=False),
            nn.Conv2d(320, 896, 1, bias=False),
            nn.Conv2d(896, 320, 1, bias=False),
        )
        self.near_a = nn.Linear(320, 320)
        self.tiny = _Tiny()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.relu(self.norm(self.stem(x)))
        y = self.pool(self.block_a(y))
        y = self.shrink(self.block_b(self.deepen(y)))
        y = torch.sigmoid(self.block_c(y))
        y = self.packed(y[:, :, :_SIDE, :_SIDE])
        z: Tensor = self.near_a(y.mean((2, 3)))
        total: Tensor = z.sum() + self.tiny(y[:, :4]).sum()
        return total


def calibrate(
    machine: Machine,
    *,
    probes: Sequence[Probe] = (),
    progress: Progress = lambda done, text: None,
) -> Machine:
    """Return the present machine with what it achieves put in, in under ten seconds.

    Measured on one thread by its CPU time: the efficiency of every class of operators,
    bandwidths of level 2 and outward, the overhead of an operator and of a convolution,
    the repacking of weights. Measured on all cores by the wall: the memory's bandwidth.

    Args:
        machine: the present one, as detected.
        probes: further measurements; each may replace numbers of `machine`.
        progress: told the share that is done and what is measured next.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _Network().eval()
        inputs = (torch.randn(1, 3, 112, 112),)
    progress(0.0, "capturing the calibration network")
    graph = capture(network, inputs, name="calibration")
    executor = Executor(graph, weights_of(network, graph))
    progress(0.1, "operators")
    times = profile(
        executor,
        {Ref(graph.inputs[0].name): inputs[0]},
        calls=_CALLS,
        progress=lambda done, text: progress(0.1 + 0.4 * done, "operators"),
    ).nodes_s
    found = _rates(machine, graph, times)
    progress(0.5, "matrix product")
    found["matmul"] = _product()
    progress(0.6, "memory")
    one, all_cores = _stream(machine, 1), _stream(machine, machine.cores)
    numbers = _numbers(machine, found)
    numbers["memory.core_bandwidth_bytes_per_s"] = one
    numbers["memory.bandwidth_bytes_per_s"] = max(one, all_cores)
    measured = with_numbers(machine, numbers, "`trimtab machine calibrate`")
    for probe in probes:
        progress(0.9, probe.name)
        numbers = probe.measure(measured)
        measured = with_numbers(measured, numbers, f"probe {probe.name}")
    progress(1.0, "done")
    return measured


def _rates(
    machine: Machine, graph: Graph, times: Mapping[str, float]
) -> dict[str, float]:
    """Return rates in flops or bytes per second, and overheads in seconds."""

    def chosen(part: str, op: str) -> list[Node]:
        return [
            node for node in graph.nodes if part in node.module and f".{op}." in node.op
        ]

    def mean(nodes: Sequence[Node]) -> float:
        return sum(times[node.name] for node in nodes) / len(nodes)

    def rate(nodes: Sequence[Node], amount: float, overhead_s: float) -> float:
        spent = sum(times[node.name] for node in nodes)
        # What is left can vanish in noise; a tenth always remains.
        return amount / max(spent - overhead_s * len(nodes), 0.1 * spent)

    tiny = [node for op in ("relu", "add") for node in chosen("tiny", op)]
    dispatch = mean(tiny)
    setup = max(mean(chosen("tiny.convs", "conv2d")) - dispatch, 0.0)
    start = dispatch + setup

    def products(node: Node) -> int:
        weight = _weight(graph, node)
        return node.output.elements * math.prod(weight.shape[1:])

    def conv_rate(nodes: Sequence[Node]) -> float:
        return rate(nodes, 2 * sum(map(products, nodes)), start)

    convs = [
        node
        for node in chosen("", "conv2d")
        if "packed" not in node.module and "tiny" not in node.module
    ]
    deep = [node for node in convs if "depthwise" in node.module]
    conv = conv_rate([node for node in convs if node not in deep])
    packed = [
        node
        for node in chosen("packed", "conv2d")
        if _weight(graph, node).size_bytes > _LARGE
    ]
    weights = sum(_weight(graph, node).size_bytes for node in packed)
    arithmetic = 2 * sum(map(products, packed)) / conv / len(packed)
    pools = chosen("", "max_pool2d")
    windows = (2 * 2, 3 * 3)
    norms = chosen("", "batch_norm")
    levels = _by_level(machine, graph, chosen("block", "relu") + chosen("block", "add"))
    sigmoid = next(node for node in graph.nodes if "sigmoid" in node.op)
    bandwidths = {
        f"caches.{level}.bandwidth_bytes_per_s": rate(
            nodes, sum(_traffic(graph, node) for node in nodes), dispatch
        )
        for level, nodes in levels.items()
    }
    return {
        **bandwidths,
        "dispatch_s": dispatch,
        "convolution_setup_s": max(setup, 1e-9),
        "conv": conv,
        "depthwise": conv_rate(deep),
        "repack_bytes_per_s": rate(packed, weights, start + arithmetic),
        "pool": rate(
            pools,
            sum(
                size * node.output.elements
                for size, node in zip(windows, pools, strict=True)
            ),
            dispatch,
        ),
        "norm": rate(norms, 2 * sum(node.output.elements for node in norms), dispatch),
        "vector": rate([sigmoid], 10 * sigmoid.output.elements, dispatch),
    }


def _weight(graph: Graph, node: Node) -> TensorType:
    return graph.type_of(node.inputs[1])


def _traffic(graph: Graph, node: Node) -> int:
    """Return what an elementwise node reads and writes."""
    read = sum(graph.type_of(ref).size_bytes for ref in node.inputs)
    return read + node.output.size_bytes


def _by_level(
    machine: Machine, graph: Graph, nodes: Sequence[Node]
) -> dict[int, list[Node]]:
    """Return elementwise nodes by the level of cache that holds their operands."""
    found: dict[int, list[Node]] = {}
    for node in nodes:
        for cache in machine.caches:
            if cache.level >= 2 and _traffic(graph, node) <= cache.size_bytes:
                found.setdefault(cache.level, []).append(node)
                break
    return found


def _product() -> float:
    """Return flops per second of a matrix product that no cache limits."""
    side = 640
    a, b = torch.ones(side, side), torch.ones(side, side)
    with torch.no_grad():
        return 2 * side**3 / median_time_s(lambda: a @ b)


def _stream(machine: Machine, threads: int) -> float:
    """Return the bandwidth of weights that are read once: a matrix times a vector."""
    largest = max((cache.size_bytes for cache in machine.caches), default=1 << 25)
    size = min(max(4 * largest, 1 << 26), 1 << 28)  # no cache holds it, any memory does
    columns = 4096
    matrix, vector = torch.ones(size // 4 // columns, columns), torch.ones(columns)
    with torch.no_grad():
        time_s = median_time_s(lambda: torch.mv(matrix, vector), threads=threads)
    return matrix.numel() * 4 / time_s


def _numbers(machine: Machine, found: dict[str, float]) -> dict[str, float]:
    """Return what was found by the paths of a machine."""
    rates = {name: found[name] for name in EFFICIENCY_CLASSES}
    # Faster than the peak: then the clock is higher than the catalogue says.
    peak = max(machine.core.peak_flops_per_s, *rates.values())
    scale = peak / machine.core.peak_flops_per_s
    clock = {"core.frequency_hz": machine.core.frequency_hz * scale}
    return {
        **{path: value for path, value in found.items() if path not in rates},
        **{f"efficiency_frac.{name}": rate / peak for name, rate in rates.items()},
        **(clock if scale > 1 else {}),
    }


def _measurable(path: str) -> bool:
    return path.startswith("efficiency_frac.") or path.endswith(
        ("frequency_hz", "_bytes_per_s", "dispatch_s", "setup_s")
    )


def with_numbers(
    machine: Machine, numbers: Mapping[str, float], benchmark: str
) -> Machine:
    """Return the machine with numbers replaced, marked as measured.

    Args:
        machine: to start from.
        numbers: by their path (`hardware.machine.numbers_of`).
        benchmark: what measured them.

    Raises:
        MachineError: a path is none of a rate, an overhead or an efficiency: sizes and
            counts are facts and not replaced.
    """
    classes = {f"efficiency_frac.{name}" for name in EFFICIENCY_CLASSES}
    replaceable = classes | {path for path in numbers_of(machine) if _measurable(path)}
    replaceable |= {
        f"caches.{each.level}.{way}_bytes_per_s"
        for each in machine.caches
        for way in ("load", "store")
    }
    replaceable |= {"memory.core_load_bytes_per_s", "core.fma_units"}
    for path in numbers:
        if path not in replaceable:
            raise MachineError(
                f"measured number {path!r}",
                rule="only rates, overheads and efficiencies that a machine has are "
                "replaced by measurements",
                where=f"machine {machine.name!r}, {benchmark}",
                remedy=f"use one of {', '.join(sorted(replaceable))}",
            )

    def number(path: str, default: float) -> float:
        return numbers.get(path, default)

    source = Source(origin=Origin.MEASURED, text=benchmark)
    memory, name = machine.memory, "bandwidth_bytes_per_s"
    return replace(
        machine,
        core=replace(
            machine.core,
            frequency_hz=number("core.frequency_hz", machine.core.frequency_hz),
            fma_units=number("core.fma_units", machine.core.fma_units),
        ),
        caches=tuple(
            replace(
                cache,
                bandwidth_bytes_per_s=number(
                    f"caches.{cache.level}.{name}", cache.bandwidth_bytes_per_s
                ),
                load_bytes_per_s=numbers.get(
                    f"caches.{cache.level}.load_bytes_per_s", cache.load_bytes_per_s
                ),
                store_bytes_per_s=numbers.get(
                    f"caches.{cache.level}.store_bytes_per_s", cache.store_bytes_per_s
                ),
            )
            for cache in machine.caches
        ),
        memory=replace(
            memory,
            bandwidth_bytes_per_s=number(
                f"memory.{name}", memory.bandwidth_bytes_per_s
            ),
            core_bandwidth_bytes_per_s=number(
                f"memory.core_{name}", memory.core_bandwidth_bytes_per_s
            ),
            core_load_bytes_per_s=numbers.get(
                "memory.core_load_bytes_per_s", memory.core_load_bytes_per_s
            ),
        ),
        dispatch_s=number("dispatch_s", machine.dispatch_s),
        convolution_setup_s=number("convolution_setup_s", machine.convolution_setup_s),
        repack_bytes_per_s=number("repack_bytes_per_s", machine.repack_bytes_per_s),
        efficiency_frac={
            **machine.efficiency_frac,
            **{
                path.partition(".")[2]: value
                for path, value in numbers.items()
                if path.startswith("efficiency_frac.")
            },
        },
        sources={**machine.sources, **dict.fromkeys(numbers, source)},
    )
