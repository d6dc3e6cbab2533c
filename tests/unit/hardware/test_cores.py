import re

import pytest

from trimtab.errors import MachineError, UnknownMachineError
from trimtab.hardware.cores import (
    core_names,
    core_table,
    microarchitecture,
    parse_core,
)
from trimtab.hardware.load import link_names, machine, machine_names
from trimtab.hardware.machine import Kind, Origin
from trimtab.hardware.operations import FREE, Operation

HEAD = """
name = "toy"
title = "Toy"
llvm_cpus = ["toy"]
ports = ["a", "b"]
fuses_branches = true
splits_indexed = false
in_order = false
issue_width = { value = 4.0, recalled = "x" }
store_forward_cycles = { value = 5.0, source = "x" }
mispredict_cycles = { value = 9.0, source = "x" }
vector_registers = { value = 16, source = "x" }
integer_registers = { value = 16, source = "x" }
"""
ROW = """
[[rows]]
operations = ["fma", "multiply"]
bits = [256]
uops = ["a|b", "2*b"]
latency = 4
accumulate_latency = 2
slots = 3
measured = "a bench"
"""


def row_of(core, operation, bits):
    return core.row(operation, bits)


def wrong(text):
    with pytest.raises(MachineError) as caught:
        parse_core(text, "toy.toml")
    return str(caught.value)


def test_a_table_is_read():
    toy = parse_core(HEAD + ROW, "toy.toml")
    row = row_of(toy, Operation.MULTIPLY, 256)
    assert [(uop.ports, uop.cycles) for uop in row.uops] == [
        (frozenset("ab"), 1),
        (frozenset("b"), 2),
    ]
    assert (row.latency, row.accumulate_latency, row.slots) == (4, 2, 3)
    assert row.source.origin is Origin.MEASURED
    assert toy.sources["issue_width"].origin is Origin.RECALLED
    assert toy.row(Operation.FMA, 128) is None
    assert toy.row(Operation.ADD, 256) is None


def test_throughput_is_the_busiest_port_or_the_front_end():
    toy = parse_core(HEAD + ROW, "toy.toml")
    # Port b does 2 alone, both do 3 together; three slots of four.
    assert toy.throughput(Operation.FMA, 256) == 1 / max(2 / 1, 3 / 2, 3 / 4)


def test_throughput_counts_work_that_several_sets_of_ports_share():
    uops = 'uops = ["a|b", "b|c", "a|c", "a|b"]'
    text = (HEAD + ROW).replace('ports = ["a", "b"]', 'ports = ["a", "b", "c"]')
    toy = parse_core(re.sub(r"uops = .*", uops, text), "toy.toml")
    # Four cycles on three ports; no one micro-operation's ports have more than 2 / 2.
    assert toy.throughput(Operation.FMA, 256) == pytest.approx(3 / 4)


def test_no_row_is_no_speed():
    toy = parse_core(HEAD + ROW, "toy.toml")
    with pytest.raises(UnknownMachineError, match=r"add of 256 bits on .*no row"):
        toy.throughput(Operation.ADD, 256)


@pytest.mark.parametrize("name", machine_names())
def test_every_core_has_the_rows_the_closed_form_asks_for(name):
    found = machine(name)
    if found.kind is not Kind.CPU:
        pytest.skip("a GPU has no table of ports")
    core = microarchitecture(found.core.llvm_cpu)
    bits = 128 if found.core.isa.startswith("arm") else found.core.simd_bits
    for operation in (Operation.LOAD, Operation.STORE, Operation.MINMAX):
        assert core.throughput(operation, bits) > 0


def test_a_table_extends_another():
    base = parse_core(HEAD + ROW, "toy.toml")
    text = """
name = "next"
title = "Next"
llvm_cpus = ["next"]
extends = "toy"
issue_width = { value = 6.0, source = "y" }

[[rows]]
operations = ["fma"]
bits = [256]
uops = ["a"]
latency = 3
source = "y"
"""
    found = parse_core(text, "next.toml", base)
    assert found.issue_width == 6
    assert found.sources["issue_width"].text == "y"
    assert found.mispredict_cycles == 9
    assert row_of(found, Operation.FMA, 256).latency == 3
    assert row_of(found, Operation.MULTIPLY, 256).latency == 4


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("latency = 4", "latncy = 4", "unknown key, did you mean 'latency'?"),
        ('"fma", ', '"fmaa", ', "rows[0].operations[0]: "),
        ('uops = ["a|b", "2*b"]', 'uops = ["a|c"]', "port 'c' is not in ports"),
        ('uops = ["a|b", "2*b"]', 'uops = ["a||b"]', "rows[0].uops[0]: "),
        ('measured = "a bench"', "", "rows[0] (fma, multiply): 0 origins"),
        ('"a bench"', '"a bench"\nsource = "b"', "rows[0] (fma, multiply): 2 origins"),
        ('name = "toy"', "", "name: missing"),
        ("slots = 3", "slots = 0", "rows[0].slots: "),
        ('{ value = 9.0, source = "x" }', "9.0", "mispredict_cycles: it must be"),
        ("in_order = false", "", "in_order: missing, and no table is extended"),
        ("[[rows]]", "[rows", "not TOML: "),
    ],
)
def test_a_wrong_table_is_refused_with_the_place(old, new, problem):
    text = (HEAD + ROW).replace(old, new, 1)
    assert text != HEAD + ROW
    message = wrong(text)
    assert message.startswith("core file 'toy.toml': ")
    assert problem in message
    assert message.endswith("Correct the file; the catalogue's cores show the schema.")


@pytest.mark.parametrize("name", core_names())
def test_every_table_of_the_catalogue_is_complete(name):
    """Each knows what every loop needs, and names what it is for."""
    found = core_table(name)
    assert found.name == name
    assert found.llvm_cpus
    for operation in (
        Operation.LOAD_INTEGER,
        Operation.STORE_INTEGER,
        Operation.INTEGER,
        Operation.MOVE,
        Operation.ADDRESS,
        Operation.BRANCH,
        Operation.CALL,
        Operation.PREFETCH,
        Operation.CONDITIONAL,
    ):
        assert found.row(operation, 64) is not None, operation
    for operation in (
        Operation.ADD,
        Operation.MULTIPLY,
        Operation.MINMAX,
        Operation.DIVIDE,
        Operation.SQRT,
        Operation.LOGIC,
        Operation.SHUFFLE,
        Operation.BROADCAST,
        Operation.VECTOR_ADD,
        Operation.VECTOR_MOVE,
        Operation.LOAD,
        Operation.STORE,
        Operation.CONVERT,
        Operation.COMPARE,
    ):
        assert found.row(operation, 128) is not None, operation


@pytest.mark.parametrize("name", core_names())
def test_no_row_describes_what_is_free(name):
    assert not any(FREE & set(row.operations) for row in core_table(name).rows)


def test_no_processor_is_in_two_tables():
    cpus = [cpu for name in core_names() for cpu in core_table(name).llvm_cpus]
    assert len(cpus) == len(set(cpus))


@pytest.mark.parametrize("name", machine_names())
def test_every_cpu_of_the_catalogue_has_a_table(name):
    found = machine(name)
    if found.kind is not Kind.CPU:
        pytest.skip("a GPU has no table of ports")
    core = microarchitecture(found.core.llvm_cpu)
    assert core.vector_registers == found.core.vector_registers
    if found.core.llvm_cpu == "neoverse-v1":
        # Its width is that of SVE, which tables write as 0.
        assert core.throughput(Operation.FMA, 0) == found.core.fma_units
    else:
        bits = found.core.simd_bits
        assert core.throughput(Operation.FMA, bits) == found.core.fma_units


def test_tables_are_no_machines():
    assert not set(core_names()) & (set(machine_names()) | set(link_names()))


def test_unknown_names_say_what_is_known():
    with pytest.raises(UnknownMachineError) as caught:
        microarchitecture("z80")
    assert "processor 'z80': no table of ports and latencies names it" in str(
        caught.value
    )
    assert "znver3" in caught.value.remedy
    with pytest.raises(UnknownMachineError) as caught:
        core_table("z80")
    assert "core table 'z80'" in str(caught.value)
