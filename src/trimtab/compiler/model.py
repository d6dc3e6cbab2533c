"""The time of a schedule: the largest of named limits, for any machine.

In cycles of one core: arithmetic, loads and stores by their ports, instructions by the
width of the front end, sums by the latency of their chain, and the bytes that must come
from each level of cache. The numbers are the machine's, but for those below. Four shape
the limits: the share of a cache that serves, what a spilled sum costs, how long a sum
waits for a port, and what a write to memory costs. Three only order schedules whose
limits are alike: the norm, what warm weights count, and what a long loop costs. A
family may add how much longer its data take than a plain stream (`Nest.scatter`). They
are rounded from measurements of tiles, among them products of a network of the
end-to-end benchmark; of the shapes of the rank benchmark none.

After Tuna (arXiv 2104.14641), which scores a schedule by a linear model of such
features with coefficients fixed once a machine. Here the features are times, so that
the largest has a name, and none is fitted to a machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from trimtab.compiler.assembly.ports import busiest, work_of
from trimtab.compiler.nest import Body, Nest, ceil_div
from trimtab.compiler.residence import Room
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.machine import Cache, Machine
from trimtab.hardware.operations import Operation

__all__ = ["START_S", "Prediction", "Timing", "predict"]

START_S = 1e-6
"""Seconds to start a parallel loop and to wait for its last thread.

0.6 us for one that does nothing, with TVM's pool on Zen 5; then lines of the other core
are fetched.
"""

_WITHOUT_FMA = ("x86-64", "x86-64-v2")
_NEON_BITS = 128
_PRODUCTS = 2
# Registers for products on their way to a sum, where one instruction does not do both:
# with one, LLVM's code for SSE4.2 spills sums.
_SPILL = 2.0
# Stores that a spilled sum costs a step: it waits for the one before.
_WAIT = 0.4
# Cycles a sum waits beyond the latency of its addition, for a port that is taken: tiles
# whose sums just cover the latency stay a tenth below those with a few more.
_POWER = 5.0
# Of the norm of limits by which schedules are ordered: limits that are near each other
# do not overlap wholly, two equal ones add 15 %. Lower powers rank worse.
_MEMORY_STORE = 2.0
# Bytes read from memory in the time that one takes to be written: its line comes first.
_FIT = 0.75
# Share of a cache that a working set may fill before lines are lost to conflicts.
_WARM = 0.1
# Weight of the time with warm weights: of schedules that all wait for cold ones that is
# best which is fastest without, as in a small network, whose weights stay.
_LONG = 256.0
# Instructions from which a loop is long.
_LONG_COST = 0.05
# What a long loop takes more, for the order of schedules: on Zen 5 products unrolled to
# 600 instructions are up to a tenth slower than to 150, whose code is the same else.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What one core does in a cycle, as far as the closed form asks.

    Attributes:
        frequency_hz: of the clock.
        lanes: float32 elements of a vector.
        registers: vector registers.
        fmas: multiply-adds a cycle.
        loads: vector loads a cycle.
        stores: vector stores a cycle.
        arithmetic: other vector instructions a cycle.
        issue: instructions a cycle.
        product_registers: that hold a product until it is added; none where one
            instruction does both.
        per_fma: instructions that a multiply-add is.
        fma_latency: cycles until a result can be added to again.
        forward_latency: cycles from a store to a load of the same place.
        restart: cycles lost when a loop ends unforeseen.
    """

    frequency_hz: float
    lanes: int
    registers: int
    fmas: float
    loads: float
    stores: float
    arithmetic: float
    issue: float
    product_registers: int
    per_fma: int
    fma_latency: float
    forward_latency: float
    restart: float


def timing_of(machine: Machine) -> Timing:
    """Return the timing of a machine's core, from the table of its ports.

    Raises:
        UnknownMachineError: there is no table for its core.
    """
    core = microarchitecture(machine.core.llvm_cpu)
    bits = machine.core.simd_bits
    if machine.core.isa.startswith("arm"):
        bits = min(bits, _NEON_BITS)  # code is made for NEON, whatever SVE has
    fma = core.row(Operation.FMA, bits)
    if machine.core.isa in _WITHOUT_FMA:
        fma = None  # whatever the core could do
    if fma is not None:
        fmas, latency = core.throughput(Operation.FMA, bits), fma.accumulate_latency
    else:  # a product and a sum
        both = [core.row(each, bits) for each in (Operation.MULTIPLY, Operation.ADD)]
        work = work_of(uop for row in both if row is not None for uop in row.uops)
        fmas = 1.0 / max(busiest(work).values())
        add = both[1]
        latency = add.latency if add is not None else 4.0
    per_fma = 1 if fma is not None else 2
    return Timing(
        frequency_hz=machine.core.frequency_hz,
        lanes=bits // 32,
        registers=min(machine.core.vector_registers, core.vector_registers),
        fmas=fmas,
        loads=core.throughput(Operation.LOAD, bits),
        stores=core.throughput(Operation.STORE, bits),
        arithmetic=max(core.throughput(Operation.MINMAX, bits), per_fma * fmas),
        issue=core.issue_width,
        product_registers=0 if fma is not None else _PRODUCTS,
        per_fma=per_fma,
        fma_latency=latency,
        forward_latency=core.store_forward_cycles,
        restart=core.mispredict_cycles,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Times of schedules, one entry a schedule.

    Attributes:
        limits_s: by name: ``compute``, ``L2``, ``L3``, ``memory``, ``cold weights``.
        latency_s: the largest of them, and what it takes to start other threads.
        together_s: what schedules are ordered by: their limits, near ones not quite
            hidden behind the largest.
        products: vector multiply-adds of the busiest core.
        around_s: the part of ``compute`` that is not the innermost loops'.
        outside_s: the part of it that is in no innermost loop of the nest.
        exits_s: the part of that which loops take that end unforeseen.
        stream_s: what cold weights take to arrive.
        exposed: share of ``compute`` that this cannot hide behind.
    """

    limits_s: Mapping[str, NDArray[np.float64]]
    latency_s: NDArray[np.float64]
    together_s: NDArray[np.float64]
    products: NDArray[np.float64]
    around_s: NDArray[np.float64]
    outside_s: NDArray[np.float64]
    exits_s: NDArray[np.float64]
    stream_s: NDArray[np.float64]
    exposed: NDArray[np.float64]


def predict(
    nest: Nest,
    machine: Machine,
    timing: Timing,
    *,
    threads: int = 1,
    cold: bool = True,
) -> Prediction:
    """Return the times of schedules.

    Args:
        nest: of the schedules.
        machine: that runs them.
        timing: of its core.
        threads: that run a call.
        cold: whether the weights have left the caches since the last call.
    """
    cores = machine.cores_for(threads)
    balance = ceil_div(nest.chunks, float(cores)) / np.maximum(nest.chunks, 1.0)
    clock = timing.frequency_hz
    inside: NDArray[np.float64] = np.asarray(0.0)
    around: NDArray[np.float64] = np.asarray(0.0)
    outside: NDArray[np.float64] = np.asarray(0.0)
    exits: NDArray[np.float64] = np.asarray(0.0)
    products: NDArray[np.float64] = np.asarray(0.0)
    mixed: NDArray[np.float64] = np.asarray(0.0)
    for part in nest.parts:
        taken = part.steps * cycles(part.body, timing)
        mixed = mixed + part.steps * cycles(part.body, timing, power=_POWER) * _long(
            part.body, timing
        )
        multiplies = np.asarray(part.body.fmas) > 0
        inside = inside + np.where(multiplies, taken, 0.0)
        products = products + part.steps * np.asarray(part.body.fmas)
        once = cycles(part.around, timing, chained=False) + timing.fma_latency
        around = around + np.where(multiplies, 0.0, taken)
        exits = exits + part.exits * timing.restart
        outside = outside + part.runs * once + part.exits * timing.restart
    around, mixed = around + outside, mixed + outside
    compute = (inside + around) * balance / clock
    limits: dict[str, NDArray[np.float64]] = {"compute": np.asarray(compute)}
    caches = sorted(machine.caches, key=lambda cache: cache.level)
    levels = list(_levels(machine, caches, cores))
    traffic = nest.traffic([room for room, _, _ in levels])
    for moved, (_, name, rate) in zip(traffic, levels, strict=True):
        far = 1.0 if name == "L2" else nest.scatter
        limits[name] = moved * balance / rate * far
    stream = nest.weight_bytes() / machine.kernel_memory_bandwidth(cores)
    exposed = 1.0 - np.asarray(nest.first_pass, dtype=np.float64)
    own = np.asarray(mixed * balance / clock)
    if cold:
        # Lines from memory and from level 2 come through the same few buffers.
        filled = limits.get("L2", np.asarray(0.0))
        limits["cold weights"] = stream + np.maximum(compute * exposed, filled)
        # They hold the arithmetic that waits for them, so the two count once.
        late = np.maximum(own, stream + np.maximum(own * exposed, filled))
        own = (1.0 - _WARM) * late + _WARM * own
    together = _norm([own, *(limits[name] for _, name, _ in levels)], _POWER)
    started = (np.asarray(nest.chunks) > 1) & (cores > 1)
    start = np.where(started, START_S, 0.0)
    shape = np.broadcast_shapes(start.shape, *(each.shape for each in limits.values()))

    def full(each: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.broadcast_to(each, shape)

    limits = {name: full(each) for name, each in limits.items()}
    return Prediction(
        limits_s=limits,
        latency_s=np.maximum.reduce(list(limits.values())) + start,
        together_s=full(together + start),
        products=full(products * balance),
        around_s=full(around * balance / clock),
        outside_s=full(outside * balance / clock),
        exits_s=full(exits * balance / clock),
        stream_s=full(stream),
        exposed=full(exposed),
    )


def cycles(
    body: Body, timing: Timing, *, chained: bool = True, power: float = np.inf
) -> NDArray[np.float64]:
    """Return the cycles of one run of a body: the largest of its limits.

    Args:
        body: what is run.
        timing: of the core.
        chained: whether a run waits for the sums of the one before.
        power: of the norm that joins the limits, their maximum if infinite.
    """
    needed = body.registers + timing.product_registers * (np.asarray(body.fmas) > 0)
    over = np.maximum(np.asarray(needed, dtype=np.float64) - timing.registers, 0)
    # One register too few, and LLVM's scheduler leaves no sum in a register: seen on
    # AVX2 and AVX-512, and the assembly of the chosen few is read for it.
    spilled = np.where(over > 0, body.chains, 0.0)
    loads = np.asarray(body.loads) + body.broadcasts + spilled
    stores = np.asarray(body.stores) + _SPILL * spilled
    vector = timing.per_fma * np.asarray(body.fmas) + body.others
    issued = vector + loads + stores + body.scalars
    limits = [
        np.asarray(body.fmas, dtype=np.float64) / timing.fmas,
        vector / timing.arithmetic,
        loads / timing.loads,
        stores / timing.stores,
        issued / timing.issue,
    ]
    if chained:
        latency = timing.fma_latency + np.where(over > 0, timing.forward_latency, _WAIT)
        limits.append(latency * np.asarray(body.fmas) / np.maximum(body.chains, 1.0))
    return _norm(limits, power)


def _long(body: Body, timing: Timing) -> NDArray[np.float64]:
    """Return by how much a body takes longer for its length."""
    once = (
        timing.per_fma * np.asarray(body.fmas)
        + body.others
        + body.loads
        + body.broadcasts
    )
    long = (once + body.stores) * body.unrolled > _LONG
    return np.where(long, 1.0 + _LONG_COST, 1.0)


def _norm(limits: Sequence[NDArray[np.float64]], power: float) -> NDArray[np.float64]:
    every = np.broadcast_arrays(*limits)
    largest: NDArray[np.float64] = np.maximum.reduce(every)
    if power == np.inf:
        return largest
    scale = np.maximum(largest, 1e-30)
    powers = np.asarray(sum((each / scale) ** power for each in every))
    return np.asarray(scale * powers ** (1.0 / power))


def _levels(
    machine: Machine, caches: Sequence[Cache], cores: int
) -> Iterator[tuple[Room, str, float]]:
    """Yield a core's share of a cache, the limit's name and the rate from behind it."""
    for index, cache in enumerate(caches):
        sharers = max(1, min(cores, cache.shared_by_cores))
        behind = caches[index + 1] if index + 1 < len(caches) else None
        room = Room(
            size_bytes=float(cache.size_bytes) / sharers * _FIT,
            line_bytes=float(cache.line_bytes),
            way_bytes=cache.size_bytes / cache.ways,
            ways=cache.ways / sharers,
            store_loads=behind.store_loads if behind else _MEMORY_STORE,
        )
        if behind:
            yield room, f"L{behind.level}", behind.kernel_bytes_per_s
        else:
            yield room, "memory", machine.kernel_memory_bandwidth(cores) / cores
