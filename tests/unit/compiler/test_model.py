from dataclasses import replace

import numpy as np
import pytest

from trimtab.compiler.model import cycles, predict, timing_of
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.errors import UnknownMachineError
from trimtab.hardware.load import machine

MILAN = machine("milan")
TIMING = timing_of(MILAN)


def test_timing_comes_from_the_table_of_the_core():
    assert (TIMING.lanes, TIMING.registers) == (8, 16)
    assert (TIMING.fmas, TIMING.loads, TIMING.fma_latency) == (2.0, 2.0, 4.0)
    arm = timing_of(machine("graviton3"))
    assert arm.lanes == 4, "code is made for NEON"
    core = replace(MILAN.core, llvm_cpu="nehalem", simd_bits=128, isa="x86-64-v2")
    old = timing_of(replace(MILAN, core=core))
    assert (old.lanes, old.fmas) == (4, 1.0), "a product and a sum, a port each"
    core = replace(MILAN.core, llvm_cpu="frobnicator")
    with pytest.raises(UnknownMachineError, match="frobnicator"):
        timing_of(replace(MILAN, core=core))


def test_each_limit_of_a_body():
    # Twelve sums: six cycles of products, two a cycle.
    full = Body(fmas=12.0, loads=2.0, broadcasts=6.0, chains=12.0, registers=15.0)
    assert cycles(full, TIMING) == 12 / 2
    # Two sums wait for each other's four cycles.
    assert cycles(Body(fmas=2.0, chains=2.0, registers=5.0), TIMING) == 4
    # Sixteen loads, two a cycle.
    assert cycles(Body(fmas=8.0, loads=16.0, chains=8.0), TIMING) == 8
    # One instruction more than the front end takes in a cycle.
    assert cycles(Body(scalars=7.0), TIMING) == 7 / 6
    spilled = replace(full, registers=17.0)
    assert cycles(spilled, TIMING) >= 2 * cycles(full, TIMING)


def _nest(bytes_read=1e6, weight=True):
    access = Access(
        name="w", axes=((1.0, {"i": 1.0}),), item_bytes=4.0, limit=(bytes_read / 4,),
        weight=weight,
    )  # fmt: skip
    return Nest(
        loops=(("i", bytes_read / 4),),
        parts=(
            Part(steps=1e5, body=Body(fmas=12.0, loads=8.0, chains=12.0, registers=15)),
        ),
        accesses=(access,),
        flops=2e7,
        first_pass=np.float64(0.5),
    )


def test_the_time_is_the_largest_limit_and_has_its_name():
    found = predict(_nest(), MILAN, TIMING)
    each = {name: float(value) for name, value in found.limits_s.items()}
    assert float(found.latency_s) == max(each.values())
    # 100,000 steps of six cycles.
    assert each["compute"] == pytest.approx(1e5 * 6 / TIMING.frequency_hz, rel=1e-3)
    # A megabyte of cold weights, and the half of the work that is after the first pass.
    stream = 1e6 / MILAN.memory_bandwidth(1)
    assert each["cold weights"] == pytest.approx(stream + each["compute"] / 2)
    hot = predict(_nest(), MILAN, TIMING, cold=False)
    assert "cold weights" not in hot.limits_s


@pytest.mark.parametrize(
    "faster",
    [
        lambda m: replace(
            m, core=replace(m.core, frequency_hz=m.core.frequency_hz * 2)
        ),
        lambda m: replace(
            m,
            caches=tuple(
                replace(c, bandwidth_bytes_per_s=c.bandwidth_bytes_per_s * 2)
                for c in m.caches
            ),
        ),
        lambda m: replace(
            m,
            memory=replace(
                m.memory,
                core_bandwidth_bytes_per_s=m.memory.core_bandwidth_bytes_per_s * 2,
            ),
        ),
    ],
)
def test_nothing_gets_slower_on_a_faster_machine(faster):
    for size in (1e4, 1e6, 1e8):
        for weight in (True, False):
            nest = _nest(size, weight)
            before = predict(nest, MILAN, TIMING).latency_s
            machine_ = faster(MILAN)
            after = predict(nest, machine_, timing_of(machine_)).latency_s
            assert after <= before


def test_threads_share_the_work_in_whole_chunks():
    nest = replace(_nest(weight=False), chunks=np.float64(3.0))
    one = predict(nest, MILAN, TIMING).limits_s["compute"]
    two = predict(nest, MILAN, TIMING, threads=2).limits_s["compute"]
    # Three chunks on two cores: one of them has two.
    assert two == pytest.approx(one * 2 / 3)
