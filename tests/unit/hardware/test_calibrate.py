"""Calibration finds the rates of machines whose times are made up by formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trimtab.cost.latency import Roofline, efficiency_class
from trimtab.errors import MachineError
from trimtab.graph.execute import Executor
from trimtab.graph.types import Graph, Node
from trimtab.hardware import calibrate as module
from trimtab.hardware.calibrate import calibrate, with_numbers
from trimtab.hardware.detect import present
from trimtab.hardware.load import to_toml
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Machine,
    Origin,
    numbers_of,
)
from trimtab.hardware.schema import parse_machine

PEAK = 2 * 2 * 8 * 2e9  # of one core of `plain`: flops an fma, units, lanes, clock
LEVEL_2 = 2**20  # bytes of `plain`

DISPATCH, SETUP, REPACK, STREAM_2 = 4e-6, 9e-6, 3e9, 30e9
RATES = {
    "conv": 0.5 * PEAK, "depthwise": 0.0625 * PEAK, "pool": 0.03125 * PEAK,
    "norm": 0.0625 * PEAK, "vector": 0.125 * PEAK,
}  # fmt: skip


def made_up_time(graph: Graph, node: Node) -> float:
    """Return how long a node takes on a machine with exactly these rates."""
    op = node.op.split(".")[1]
    elements = node.output.elements if node.outputs[0] else 0
    if op == "conv2d":
        weight = graph.type_of(node.inputs[1])
        start = DISPATCH + SETUP
        if "tiny" in node.module:
            return start
        flops = 2 * elements * math.prod(weight.shape[1:])
        time_s = start + flops / RATES[efficiency_class(graph, node)]
        large = "packed" in node.module and weight.size_bytes > 2**20
        return time_s + (weight.size_bytes / REPACK if large else 0)
    if op in ("relu", "add") and "block" in node.module:
        moved = sum(graph.type_of(ref).size_bytes for ref in node.inputs)
        moved += node.output.size_bytes
        return DISPATCH + (moved / STREAM_2 if moved <= LEVEL_2 else 1.0)
    if op == "max_pool2d":
        kernel = node.arguments["kernel_size"]
        assert isinstance(kernel, tuple)
        side = kernel[0]
        assert isinstance(side, int)
        return DISPATCH + side * side * elements / RATES["pool"]
    if op == "batch_norm":
        return DISPATCH + 2 * elements / RATES["norm"]
    if op == "sigmoid":
        return DISPATCH + 10 * elements / RATES["vector"]
    return DISPATCH


@dataclass
class _Probe:
    numbers: dict[str, float]
    name: str = "generated code"
    seen: Machine | None = None

    def measure(self, machine: Machine) -> dict[str, float]:
        self.seen = machine
        return self.numbers


Simulate = Callable[..., Machine]


@pytest.fixture
def simulate(plain: Machine, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """Return ``run(product, alone, together, **options)``, on made-up times."""

    def run(
        product: float = 0.75 * PEAK,
        alone: float = 7e9,
        together: float = 21e9,
        **options: Any,
    ) -> Machine:
        def times(executor: Executor, inputs: object, **_: object) -> object:
            graph = executor.graph
            nodes = {node.name: made_up_time(graph, node) for node in graph.nodes}
            return SimpleNamespace(nodes_s=nodes)

        def stream(machine: Machine, threads: int) -> float:
            return {1: alone, machine.cores: together}[threads]

        monkeypatch.setattr(module, "profile", times)
        monkeypatch.setattr(module, "_product", lambda: product)
        monkeypatch.setattr(module, "_stream", stream)
        return calibrate(plain, **options)

    return run


def test_rates_are_recovered(plain: Machine, simulate: Simulate) -> None:
    found = simulate()
    assert found.dispatch_s == pytest.approx(DISPATCH)
    assert found.convolution_setup_s == pytest.approx(SETUP)
    assert found.repack_bytes_per_s == pytest.approx(REPACK)
    assert dict(found.efficiency_frac) == {
        "matmul": pytest.approx(0.75),
        **{name: pytest.approx(rate / PEAK) for name, rate in RATES.items()},
    }
    level_1, level_2 = found.caches
    assert level_2.bandwidth_bytes_per_s == pytest.approx(STREAM_2)
    assert level_1 == plain.caches[0]
    assert found.memory.core_bandwidth_bytes_per_s == 7e9
    assert found.memory.bandwidth_bytes_per_s == 21e9


def test_what_was_measured_says_so_and_nothing_else_does(
    plain: Machine, simulate: Simulate
) -> None:
    found = simulate()
    measured = {
        path
        for path, source in found.sources.items()
        if source.origin is Origin.MEASURED
    }
    assert measured == {
        "dispatch_s",
        "convolution_setup_s",
        "repack_bytes_per_s",
        "caches.2.bandwidth_bytes_per_s",
        "memory.bandwidth_bytes_per_s",
        "memory.core_bandwidth_bytes_per_s",
        *(f"efficiency_frac.{name}" for name in EFFICIENCY_CLASSES),
    }
    assert {found.sources[path].text for path in measured} == {
        "`trimtab machine calibrate`"
    }
    before, after = numbers_of(plain), numbers_of(found)
    for path in before.keys() - measured:
        assert after[path] == before[path], path
        assert found.sources[path] == plain.sources[path], path


def test_faster_than_the_peak_means_a_higher_clock(simulate: Simulate) -> None:
    found = simulate(product=1.5 * PEAK)
    assert found.core.frequency_hz == pytest.approx(1.5 * 2e9)
    assert found.efficiency_frac["matmul"] == 1.0
    assert found.efficiency_frac["conv"] == pytest.approx(0.5 / 1.5)
    assert found.sources["core.frequency_hz"].origin is Origin.MEASURED
    assert found.core.peak_flops_per_s == pytest.approx(1.5 * PEAK)


def test_all_cores_draw_no_less_than_one(simulate: Simulate) -> None:
    found = simulate(alone=9e9, together=8e9)
    assert found.memory.core_bandwidth_bytes_per_s == 9e9
    assert found.memory.bandwidth_bytes_per_s == 9e9


def test_probes_see_what_was_measured_and_replace_it(simulate: Simulate) -> None:
    first = _Probe({"caches.1.bandwidth_bytes_per_s": 200e9, "dispatch_s": 1e-6})
    second = _Probe({"core.frequency_hz": 2.5e9}, name="chain of products")
    told: list[tuple[float, str]] = []
    found = simulate(
        probes=[first, second], progress=lambda done, text: told.append((done, text))
    )
    assert first.seen is not None
    assert first.seen.dispatch_s == pytest.approx(DISPATCH)
    assert second.seen is not None
    assert second.seen.dispatch_s == 1e-6
    assert found.caches[0].bandwidth_bytes_per_s == 200e9
    assert found.core.frequency_hz == 2.5e9
    assert found.sources["dispatch_s"].text == "probe generated code"
    assert found.sources["core.frequency_hz"].text == "probe chain of products"
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert {"generated code", "chain of products"} <= {text for _, text in told}


# with_numbers


def test_numbers_are_replaced_by_their_path(plain: Machine) -> None:
    numbers = {
        path: 2 * value
        for path, value in numbers_of(plain).items()
        if path.endswith(("_bytes_per_s", "frequency_hz", "_s"))
    }
    numbers |= {f"efficiency_frac.{name}": 0.25 for name in EFFICIENCY_CLASSES}
    found = with_numbers(plain, numbers, "a stopwatch")
    after = numbers_of(found)
    assert {path: after[path] for path in numbers} == numbers
    for path in after.keys() - numbers.keys():
        assert after[path] == numbers_of(plain)[path], path
    more = {
        "caches.2.load_bytes_per_s": 70e9,
        "caches.2.store_bytes_per_s": 50e9,
        "memory.core_load_bytes_per_s": 12e9,
    }
    again = with_numbers(found, more, "a stopwatch")
    assert {path: numbers_of(again)[path] for path in more} == more
    assert parse_machine(to_toml(again), "again") == again
    for path, source in found.sources.items():
        expected = Origin.MEASURED if path in numbers else Origin.SOURCED
        assert source.origin is expected, path
    assert found.sources["dispatch_s"].text == "a stopwatch"


def test_no_number_changes_nothing(plain: Machine) -> None:
    assert with_numbers(plain, {}, "nothing") == plain


def test_an_efficiency_nobody_measured_stays_unknown(plain: Machine) -> None:
    known = {"matmul": 0.5}
    sources = {
        path: source
        for path, source in plain.sources.items()
        if not path.startswith("efficiency_frac.") or path.endswith(".matmul")
    }
    machine = replace(plain, efficiency_frac=known, sources=sources)
    found = with_numbers(machine, {"efficiency_frac.conv": 0.25}, "a stopwatch")
    assert dict(found.efficiency_frac) == {"matmul": 0.5, "conv": 0.25}
    assert found.sources.keys() == numbers_of(found).keys()


@pytest.mark.parametrize(
    "path",
    ["cores", "core.simd_bits", "core.vector_registers", "caches.2.size_bytes",
     "memory.size_bytes", "caches.3.bandwidth_bytes_per_s", "dispatch", "",
     "efficiency_frac.nonsense"],
)  # fmt: skip
def test_facts_and_unknown_paths_are_refused(plain: Machine, path: str) -> None:
    with pytest.raises(MachineError) as caught:
        with_numbers(plain, {path: 1.0}, "probe p")
    assert str(caught.value).startswith(
        f"measured number {path!r}: only rates, overheads and efficiencies that a "
        "machine has are replaced by measurements (machine 'plain', probe p). Use one "
        "of caches.1.bandwidth_bytes_per_s, caches.1.load_bytes_per_s, "
    )


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_measurement_is_positive(plain: Machine, value: float) -> None:
    with pytest.raises(
        MachineError, match="every number of a machine must be positive"
    ):
        with_numbers(plain, {"dispatch_s": value}, "a broken stopwatch")


# The present machine


@dataclass
class _Run:
    before: Machine
    after: Machine
    random_is_untouched: bool
    threads: tuple[int, int]
    told: list[float]


@pytest.fixture(scope="module")
def run() -> _Run:
    """One calibration of the machine that the tests run on."""
    before = present()
    told: list[float] = []
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    after = calibrate(before, progress=lambda done, text: told.append(done))
    return _Run(
        before=before,
        after=after,
        random_is_untouched=torch.equal(state, torch.get_rng_state()),
        threads=(threads, torch.get_num_threads()),
        told=told,
    )


@pytest.mark.integration
def test_every_class_reaches_a_share_of_the_peak(run: _Run) -> None:
    shares: Mapping[str, float] = run.after.efficiency_frac
    assert set(shares) == set(EFFICIENCY_CLASSES)
    assert all(0 < share <= 1 for share in shares.values()), shares


@pytest.mark.integration
def test_a_calibration_is_a_complete_machine(run: _Run) -> None:
    numbers = numbers_of(run.after)
    assert all(0 < value < math.inf for value in numbers.values()), numbers
    assert run.after.sources.keys() == numbers.keys()
    assert parse_machine(to_toml(run.after), "here") == run.after


@pytest.mark.integration
def test_rates_are_measured_and_facts_are_kept(run: _Run) -> None:
    sources = run.after.sources
    for path in (
        "dispatch_s",
        "convolution_setup_s",
        "repack_bytes_per_s",
        "memory.bandwidth_bytes_per_s",
        "memory.core_bandwidth_bytes_per_s",
        *(f"efficiency_frac.{name}" for name in EFFICIENCY_CLASSES),
    ):
        assert sources[path].origin is Origin.MEASURED, path
    before, after = numbers_of(run.before), numbers_of(run.after)
    for path, source in sources.items():
        if source.origin is not Origin.MEASURED:
            assert after[path] == before[path], path
    for path in ("cores", "core.simd_bits", "memory.size_bytes"):
        assert sources[path].origin is not Origin.MEASURED, path
    assert run.after.fingerprint == run.before.fingerprint
    memory = run.after.memory
    assert memory.bandwidth_bytes_per_s >= memory.core_bandwidth_bytes_per_s


@pytest.mark.integration
def test_calibration_leaves_no_trace_in_torch(run: _Run) -> None:
    assert run.random_is_untouched
    assert run.threads[0] == run.threads[1]
    assert run.told == sorted(run.told)
    assert (run.told[0], run.told[-1]) == (0.0, 1.0)


@pytest.mark.integration
def test_a_calibrated_machine_can_be_decided_for(run: _Run) -> None:
    from trimtab.graph.capture import capture

    layer = torch.nn.Conv2d(3, 8, 3).eval()
    graph = capture(layer, (torch.zeros(1, 3, 8, 8),))
    assert 0 < Roofline().estimate(graph, run.after).latency_s < math.inf
