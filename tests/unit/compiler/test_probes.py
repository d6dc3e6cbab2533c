"""Loops are read here; that they run is `tests/unit/compiler/tvm/test_micro.py`."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

from trimtab.compiler import probes
from trimtab.compiler.probe_loops import loops
from trimtab.compiler.probes import CodeProbe, Comparison, bandwidths, compare, why_not
from trimtab.errors import MissingExtraError
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.load import machine

MILAN = machine("milan")
WAYS = ("load", "store")


@pytest.fixture
def without_tvm(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_tvm_the_reason_is_told(without_tvm):
    assert why_not() == "TVM is not installed: pip install 'trimtab[compile]'"


@pytest.mark.parametrize(
    "measure",
    [compare, bandwidths, CodeProbe().measure],
    ids=["compare", "bandwidths", "probe"],
)
def test_without_tvm_nothing_is_measured(without_tvm, measure):
    with pytest.raises(MissingExtraError) as caught:
        measure(MILAN)
    assert "loaded by TVM, which is not installed" in str(caught.value)
    assert "trimtab[compile]" in caught.value.remedy


def test_a_ratio_is_measured_over_predicted():
    found = Comparison(
        name="x",
        instructions=3,
        predicted_cycles=4.0,
        limit="chain",
        measured_cycles=5.0,
    )
    assert found.ratio == 5 / 4


@pytest.fixture
def pretended(monkeypatch):
    """Loops that take the time that a core of 3 GHz would, by a clock that is told."""
    spent = {"s": 0.0}

    def load_loops(bodies, llvm_cpu):
        def made(body):
            cycles = probes.predicted(body, microarchitecture(llvm_cpu)).cycles

            def run(times, pointer, step_bytes, span_bytes):
                spent["s"] += times * cycles / 3e9

            return run

        return {name: made(body) for name, body in bodies.items()}

    def least_times_s(calls, *, rounds):
        found = {}
        for name, call in calls.items():
            before = spent["s"]
            call()
            found[name] = spent["s"] - before
        return found

    monkeypatch.setattr(probes, "least_times_s", least_times_s)
    monkeypatch.setattr(probes, "why_not", lambda: "")
    monkeypatch.setitem(
        sys.modules,
        "trimtab.compiler.tvm.micro",
        SimpleNamespace(load_loops=load_loops),
    )


def test_cycles_are_counted_by_the_clock_loop(pretended):
    told = []
    found = compare(MILAN, lambda done, text: told.append(done))
    assert {each.name for each in found} == set(loops(MILAN))
    for each in found:
        assert each.ratio == pytest.approx(1)
    assert told == sorted(told)
    assert told[-1] == 1


def test_bandwidths_are_bytes_over_time(pretended):
    found = bandwidths(MILAN)
    # Two loads of 32 bytes a cycle and one store, at 3 GHz.
    assert found["caches.1.load_bytes_per_s"] == pytest.approx(2 * 32 * 3e9)
    assert found["caches.1.store_bytes_per_s"] == pytest.approx(32 * 3e9)
    assert found.keys() == {
        *(f"caches.{level}.{way}_bytes_per_s" for level in (1, 2, 3) for way in WAYS),
        "memory.core_load_bytes_per_s",
    }


def test_the_probe_finds_the_clock_and_keeps_measured_rates(pretended):
    found = CodeProbe().measure(MILAN)
    assert found["core.frequency_hz"] == pytest.approx(3e9)
    assert found["caches.1.bandwidth_bytes_per_s"] == pytest.approx(2 * 32 * 3e9)
    share = MILAN.efficiency_frac["conv"]
    rate = share * MILAN.core.frequency_hz
    assert found["efficiency_frac.conv"] * 3e9 == pytest.approx(rate)
    assert "caches.2.bandwidth_bytes_per_s" not in found
