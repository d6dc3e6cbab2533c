"""Laws of the predicted time, and cycles by hand."""

import random
from dataclasses import replace

import numpy as np
import pytest

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed
from trimtab.compiler.model import Timing, cycles, predict, timing_of
from trimtab.compiler.nest import Access, Body, Nest, Part
from trimtab.compiler.spaces.contraction import Contraction, Point
from trimtab.compiler.spaces.contraction_model import nests, points
from trimtab.hardware.load import machine as find_machine

MACHINE = find_machine("milan")
TIMING = Timing(
    frequency_hz=2e9,
    lanes=8,
    registers=16,
    fmas=2.0,
    loads=3.0,
    stores=1.0,
    arithmetic=4.0,
    issue=6.0,
    product_registers=0,
    per_fma=1,
    fma_latency=4.0,
    forward_latency=7.0,
    restart=15.0,
)


def layer(channels=64, size=28, window=3):
    shape = (1, channels, size, size)
    halo = (window // 2,) * 4
    return Contraction(
        input=packed(shape, block=8, halo=halo),
        output=packed(shape, block=8),
        kernel=(window, window),
        padding=(window // 2, window // 2),
        formula=IDENTITY,
        bias=True,
    )


WORKS = [layer(), layer(512, 7), layer(256, 14, 1), layer(512, 7, 1)]


def judged(machine=MACHINE, timing=TIMING, *, threads=1, cold=True):
    """Return the predicted times of the same schedules of several layers."""
    found = []
    for seed, work in enumerate(WORKS):
        legal = points(work, lanes=8, threads=threads)
        some = random.Random(seed).sample(legal, 60)
        for _, nest in nests(work, some, lanes=8, threads=threads):
            made = predict(nest, machine, timing, threads=threads, cold=cold)
            found.append(made.latency_s)
    return np.concatenate(found)


def faster(**numbers):
    return judged(timing=replace(TIMING, **numbers))


@pytest.mark.parametrize(
    "name",
    ["frequency_hz", "registers", "fmas", "loads", "stores", "arithmetic", "issue"],
)
def test_no_time_rises_with_what_a_core_can_do(name) -> None:
    before, more = judged(), 2 * getattr(TIMING, name)
    after = faster(**{name: more})
    assert (after <= before * (1 + 1e-12)).all()
    if name in ("frequency_hz", "fmas", "registers"):
        assert (after < before).any()


@pytest.mark.parametrize("name", ["fma_latency", "forward_latency", "restart"])
def test_no_time_falls_with_what_a_core_waits_for(name) -> None:
    after = faster(**{name: 3 * getattr(TIMING, name)})
    assert (after >= judged()).all()
    assert (after > judged()).any()


@pytest.mark.parametrize("threads", [1, 4])
def test_no_time_rises_with_a_bandwidth(threads) -> None:
    before = judged(threads=threads)
    memory = MACHINE.memory
    memories = [
        replace(memory, bandwidth_bytes_per_s=3 * memory.bandwidth_bytes_per_s),
        replace(
            memory, core_bandwidth_bytes_per_s=3 * memory.core_bandwidth_bytes_per_s
        ),
    ]
    machines = [replace(MACHINE, memory=each) for each in memories]
    for index, cache in enumerate(MACHINE.caches):
        caches = list(MACHINE.caches)
        rate = 3 * cache.bandwidth_bytes_per_s
        caches[index] = replace(cache, bandwidth_bytes_per_s=rate)
        machines.append(replace(MACHINE, caches=tuple(caches)))
    for machine in machines:
        assert (judged(machine, threads=threads) <= before).all()


def test_no_time_rises_with_a_cache() -> None:
    before = judged()
    for index, cache in enumerate(MACHINE.caches):
        caches = list(MACHINE.caches)
        caches[index] = replace(cache, size_bytes=16 * cache.size_bytes)
        assert (judged(replace(MACHINE, caches=tuple(caches))) <= before).all()


def test_cold_weights_take_longer() -> None:
    assert (judged(cold=True) >= judged(cold=False)).all()
    assert (judged(cold=True) > judged(cold=False)).any()


def test_the_time_is_the_largest_limit() -> None:
    work = WORKS[1]
    some = points(work, lanes=8, threads=1)[:200]
    for places, nest in nests(work, some, lanes=8, threads=1):
        found = predict(nest, MACHINE, TIMING)
        assert {"compute", "L2", "L3", "memory", "cold weights"} == set(found.limits_s)
        for index in range(len(places)):
            limits = {name: each[index] for name, each in found.limits_s.items()}
            assert found.latency_s[index] == max(limits.values())
            # Ordered by no less, and by no more than if all limits were equal.
            joined = found.together_s[index] / found.latency_s[index]
            assert 1.0 <= joined <= (6 * len(limits)) ** (1 / 5)


def test_more_sums_than_registers_are_slower() -> None:
    work = WORKS[0]
    fits = Point(1, 6, 2, 8, "nghw")  # 12 sums, 2 weights, 1 pixel: 15 of 16
    spilled = Point(1, 7, 2, 8, "nghw")  # 14 + 2 + 1 = 17
    ((_, nest),) = nests(work, [fits, spilled], lanes=8, threads=1)
    good, bad = predict(nest, MACHINE, TIMING).latency_s
    assert bad > 1.5 * good


def test_cycles_by_hand() -> None:
    # Six sums: 6 / 2 multiplying, (2 + 3) / 3 loading, (6 + 5 + 1) / 6 issuing, and
    # each sum waits for itself and its port: (4 + 0.4) * 6 / 6.
    body = Body(fmas=6, loads=2, broadcasts=3, scalars=1, chains=6, registers=9)
    assert cycles(body, TIMING) == 4.4
    assert cycles(body, TIMING, chained=False) == 3.0
    # Twelve: 12 / 2 = 6 hides the wait.
    many = replace(body, fmas=12, chains=12, registers=15)
    assert cycles(many, TIMING) == 12 / 2
    # Loads bind: 13 / 3.
    assert cycles(replace(many, loads=10), TIMING, chained=False) == max(6, 13 / 3)
    more = replace(many, loads=20)
    assert cycles(more, TIMING) == (20 + 3) / 3
    # Seventeen registers of sixteen: every sum is stored, and read again, each step.
    spilled = replace(many, registers=17)
    assert cycles(spilled, TIMING) == max(2.0 * 12 / 1, (4 + 7) * 12 / 12)


def test_limits_by_hand() -> None:
    """One part: a million steps of two multiply-adds, 8 MB of weights read once."""
    weights = 8e6
    nest = Nest(
        loops=(("i", 1e6),),
        parts=(
            Part(
                body=Body(fmas=2, chains=100),
                steps=1e6,
                around=Body(stores=10),
                runs=1000,
                exits=500,
            ),
        ),
        accesses=(
            Access(
                name="weight",
                axes=((1.0, {"i": 1.0}),),
                item_bytes=8.0,
                limit=(1e6,),
                weight=True,
            ),
        ),
        flops=32e6,
        first_pass=0.25,
    )
    found = predict(nest, MACHINE, TIMING)
    compute = (1e6 * (2 / 2) + 1000 * (10 / 1 + 4) + 500 * 15) / 2e9
    assert float(found.limits_s["compute"].item()) == pytest.approx(compute)
    stream = weights / MACHINE.memory_bandwidth(1)
    cold = stream + compute * 0.75
    assert float(found.limits_s["cold weights"].item()) == pytest.approx(cold)
    second = next(each for each in MACHINE.caches if each.level == 2)
    assert float(found.limits_s["L2"].item()) == pytest.approx(
        weights / second.kernel_bytes_per_s
    )
    # Five pieces on two cores: three rounds, where two and a half would do.
    shared = predict(replace(nest, chunks=5.0), MACHINE, TIMING, threads=2)
    assert float(shared.limits_s["compute"].item()) == pytest.approx(compute * 3 / 5)


@pytest.mark.parametrize(
    ("name", "lanes", "registers"),
    [("milan", 8, 16), ("skylake-sp", 16, 32), ("graviton2", 4, 32)],
)
def test_timing_of_machines(name, lanes, registers) -> None:
    machine = find_machine(name)
    timing = timing_of(machine)
    assert timing.lanes == lanes
    assert timing.registers == registers
    assert timing.fmas == machine.core.fma_units == 2
    assert timing.frequency_hz == machine.core.frequency_hz
    assert timing.fma_latency >= 2  # of a sum that waits for itself
    assert timing.issue >= timing.loads


def test_of_what_waits_for_cold_weights_the_faster_with_warm_ones_comes_first():
    sums = Nest(
        loops=(("k", 512.0),),
        parts=(
            Part(
                body=Body(fmas=1.0, loads=1.0, chains=np.array([1.0, 8.0])),
                steps=512.0,
            ),
        ),
        accesses=(
            Access(
                name="weight",
                axes=((8.0, {"k": 8.0}),),
                item_bytes=4.0,
                limit=(4096.0,),
                weight=True,
            ),
        ),
        flops=1.0,
    )
    slow = replace(MACHINE.memory, core_bandwidth_bytes_per_s=1e8)
    found = predict(sums, replace(MACHINE, memory=slow), timing_of(MACHINE))
    assert found.latency_s[0] == found.latency_s[1]
    assert found.together_s[0] > found.together_s[1]


def test_of_loops_alike_the_longer_comes_behind():
    made = {}
    for unrolled in (4.0, 16.0):
        body = Body(
            fmas=12.0, loads=2.0, broadcasts=6.0, chains=12.0, unrolled=unrolled
        )
        nest = Nest(
            loops=(("k", 64.0),),
            parts=(Part(body=body, steps=64.0),),
            accesses=(),
            flops=1.0,
        )
        made[unrolled] = predict(nest, MACHINE, TIMING, cold=False)
    assert float(made[4.0].latency_s) == float(made[16.0].latency_s)
    assert float(made[16.0].together_s) == pytest.approx(
        1.05 * float(made[4.0].together_s)
    )


def test_what_is_outside_the_loops_is_told_apart():
    """One tile of two steps, twice; its loop ends unforeseen each time."""
    tile = Part(
        body=Body(fmas=8.0, loads=1.0, chains=8.0),
        steps=4.0,
        runs=2.0,
        exits=2.0,
        around=Body(stores=3.0),
    )
    nest = Nest(loops=(("k", 2.0),), parts=(tile,), accesses=(), flops=1.0)
    found = predict(nest, MACHINE, TIMING, cold=False)
    clock = TIMING.frequency_hz
    stores = 3.0 / TIMING.stores
    outside = 2 * (stores + TIMING.fma_latency) + 2 * TIMING.restart
    assert float(found.outside_s) * clock == pytest.approx(outside)
    assert float(found.exits_s) * clock == pytest.approx(2 * TIMING.restart)
    inside = 4 * max(8 / TIMING.fmas, (TIMING.fma_latency + 0.4) * 8 / 8)
    assert float(found.latency_s) * clock == pytest.approx(inside + outside)


def test_data_that_lie_scattered_take_longer_from_far_away_only():
    image = Access(
        name="image", axes=((1.0, {"h": 1.0}),), item_bytes=2.0**20, limit=(64.0,)
    )
    nest = Nest(loops=(("h", 64.0),), parts=(), accesses=(image,), flops=1.0)
    plain = predict(nest, MACHINE, TIMING, cold=False).limits_s
    apart = predict(replace(nest, scatter=1.5), MACHINE, TIMING, cold=False).limits_s
    assert set(plain) == {"compute", "L2", "L3", "memory"}
    for name, limit in plain.items():
        far = 1.5 if name in ("L3", "memory") else 1.0
        assert float(apart[name]) == pytest.approx(far * float(limit))
    assert float(plain["L3"]) > 0


def test_cold_weights_and_level_two_come_through_the_same_buffers():
    checked = 0
    for seed, work in enumerate(WORKS):
        some = random.Random(seed).sample(points(work, lanes=8, threads=1), 60)
        for _, nest in nests(work, some, lanes=8, threads=1):
            found = predict(nest, MACHINE, TIMING)
            least = found.stream_s + found.limits_s["L2"]
            assert np.all(found.limits_s["cold weights"] >= least * (1 - 1e-12))
            checked += int(np.sum(least > found.stream_s))
    assert checked > 20


def test_without_multiply_adds_a_product_needs_a_register():
    core = replace(find_machine("milan").core, isa="x86-64-v2", simd_bits=128)
    plain = timing_of(replace(find_machine("milan"), core=core))
    assert (plain.product_registers, plain.per_fma) == (2, 2)
    assert timing_of(find_machine("milan")).product_registers == 0
    assert timing_of(find_machine("graviton2")).product_registers == 0
    # Of as many registers as there are, one too many.
    body = Body(fmas=12.0, loads=3.0, broadcasts=4.0, chains=12.0, registers=16.0)
    fused = replace(plain, product_registers=0)
    assert cycles(body, plain) > cycles(body, fused)
