from dataclasses import replace

import pytest

from trimtab.compiler.probe_loops import CLOCK_STEPS, clock, loops, streams
from trimtab.compiler.probes import predicted
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import Kind

CPUS = [name for name in machine_names() if machine(name).kind is Kind.CPU]
OLD = replace(
    machine("milan"),
    core=replace(
        machine("milan").core, isa="x86-64-v2", llvm_cpu="nehalem", simd_bits=128
    ),
)


@pytest.mark.parametrize("name", CPUS)
def test_every_instruction_is_in_the_table_of_the_core(name):
    found = machine(name)
    core = microarchitecture(found.core.llvm_cpu)
    ways, _ = streams(found)
    for body in (*loops(found).values(), clock(found), *ways.values()):
        assert predicted(body, core).unknown == ()


def test_old_processors_have_loops_without_multiply_adds():
    core = microarchitecture("nehalem")
    bodies = loops(OLD)
    assert all(predicted(body, core).unknown == () for body in bodies.values())
    assert not any("fma" in line for body in bodies.values() for line in body)
    assert predicted(bodies["add, independent"], core).cycles == 12 * 8


def test_loops_show_the_numbers_of_the_table():
    milan = machine("milan")
    core = microarchitecture("znver3")
    bodies = loops(milan)

    def cycles(name):
        return predicted(bodies[name], core).cycles

    assert cycles("multiply-add, independent") == 12 * 8 / 2
    assert cycles("multiply-add, one chain") == 64 * 4
    assert cycles("load") == 64 / 2
    assert cycles("store") == 64
    assert cycles("two loads and a store") == 2 * 16
    # Two third operands by two ports, and both of them for the store.
    assert cycles("two multiply-adds and a store") == 24 * (2 * 1 + 2) / 2
    assert cycles("store and load of one place") == 8 * 10
    assert cycles("sum in memory") == 8 * (10 + 4)
    assert cycles("register tile 6 x 2") == 8 * 12 / 2


@pytest.mark.parametrize("name", CPUS)
def test_the_clock_goes_one_step_a_cycle(name):
    found = machine(name)
    core = microarchitecture(found.core.llvm_cpu)
    assert predicted(clock(found), core).cycles == CLOCK_STEPS


@pytest.mark.parametrize(
    ("name", "size"), [("milan", 32), ("genoa", 64), ("graviton2", 16)]
)
def test_a_stream_covers_what_it_says(name, size):
    ways, covered = streams(machine(name))
    halves = {"load 256", "store 256"} if size == 64 else set()
    assert set(ways) == {"load", "store"} | halves
    core = microarchitecture(machine(name).core.llvm_cpu)
    for way, body in ways.items():
        width = 32 if way.endswith("256") else size
        assert covered == len(body) * width
        offsets = [
            line for line in body if f"{covered - width}(" in line.replace("]", "(")
        ]
        assert len(offsets) == 1
        report = predicted(body, core)
        assert (report.loads, report.stores) == (
            (len(body), 0) if way.startswith("load") else (0, len(body))
        )
