from __future__ import annotations

from dataclasses import replace

import pytest

from trimtab.hardware.check import Severity, check
from trimtab.hardware.defaults import REASON, fma_units, unknown, vector_registers
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Kind,
    Origin,
    Source,
    numbers_of,
)


def test_defaults_are_plausible() -> None:
    found = unknown()
    source = Source(origin=Origin.DERIVED, text=REASON)
    described = replace(found, sources=dict.fromkeys(numbers_of(found), source))
    assert [item for item in check(described) if item.severity is Severity.ERROR] == []


@pytest.mark.parametrize("name", machine_names())
def test_defaults_are_below_every_machine(name: str) -> None:
    other = machine(name)
    if other.kind is Kind.GPU:
        return
    low = unknown()
    assert low.dispatch_s >= other.dispatch_s
    assert low.convolution_setup_s >= other.convolution_setup_s
    assert low.repack_bytes_per_s <= other.repack_bytes_per_s
    for key in EFFICIENCY_CLASSES:
        assert low.efficiency_frac[key] <= other.efficiency_frac[key]


def test_a_core_that_is_known_is_kept() -> None:
    core = replace(unknown().core, frequency_hz=3e9)
    assert unknown(core).core is core
    assert unknown(core).caches[0].bandwidth_bytes_per_s == 16 * 3e9


def test_units_and_registers() -> None:
    assert fma_units(256, {"avx"}) == 1.0  # one multiply and one add
    assert fma_units(128, {"asimd"}) == 1.0
    assert vector_registers(512, "x86-64-v4") == 32
    assert vector_registers(128, "armv7-a") == 16
