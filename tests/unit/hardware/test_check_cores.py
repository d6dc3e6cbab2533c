from dataclasses import replace

import pytest

from trimtab.hardware.check import Severity
from trimtab.hardware.check_cores import (
    check_core,
    check_core_of,
    core_for,
    unsourced_rows,
)
from trimtab.hardware.cores import core_names, core_table
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import Kind, Origin

ZEN3 = core_table("znver3")


def changed(**fields):
    return replace(ZEN3, **fields)


def with_row(**fields):
    return changed(rows=(replace(ZEN3.rows[0], **fields), *ZEN3.rows[1:]))


@pytest.mark.parametrize("name", core_names())
def test_the_catalogue_is_plausible(name):
    errors = [f for f in check_core(core_table(name)) if f.severity is Severity.ERROR]
    assert errors == []


@pytest.mark.parametrize("name", machine_names())
def test_machines_agree_with_their_tables(name):
    found = machine(name)
    if found.kind is Kind.CPU:
        assert core_for(found) is not None
        assert check_core_of(found) == ()


@pytest.mark.parametrize(
    ("core", "path", "text"),
    [
        (changed(issue_width=60.0), "issue_width", "60 is not between 1 and 16"),
        (
            changed(store_forward_cycles=100.0),
            "store_forward_cycles",
            "100 is not between 0 and 30",
        ),
        (with_row(latency=400.0), "fma 32 64 128 256", "400 cycles are not between"),
        (
            with_row(accumulate_latency=5.0),
            "fma 32 64 128 256",
            "5 cycles from the addend are more than 4 from the factors",
        ),
        (changed(ports=(*ZEN3.ports, "Z9")), "ports", "no row uses port Z9"),
    ],
)
def test_what_cannot_be_is_found(core, path, text):
    (found,) = check_core(core)
    assert (found.machine, found.path) == ("core znver3", path)
    assert found.text.startswith(text)


def test_rows_that_are_no_evidence_are_listed():
    found = unsourced_rows(ZEN3)
    assert all(s.origin in (Origin.DERIVED, Origin.RECALLED) for s in found.values())
    assert "vector_registers" in found
    assert "fma 32 64 128 256" not in found


def test_a_contradiction_is_an_error():
    milan = machine("milan")
    core = replace(milan.core, fma_units=1.0, vector_registers=32)
    first, second = check_core_of(replace(milan, core=core))
    assert (first.path, first.text) == (
        "core.vector_registers",
        "32, the table znver3 has 16",
    )
    assert second.path == "core.fma_units"
    assert second.text == "1, by the table znver3 2 of that width start a cycle"


def test_a_gpu_has_no_table_to_agree_with():
    assert core_for(machine("h100")) is None
    assert check_core_of(machine("h100")) == ()


def test_a_processor_without_a_table_is_noted():
    milan = machine("milan")
    other = replace(milan, core=replace(milan.core, llvm_cpu="z80"))
    (found,) = check_core_of(other)
    assert found.severity is Severity.NOTE
    assert found.text.startswith("no table of ports and latencies names z80")
