"""Machines as data: what a decision may know of the hardware it decides for.

All numbers are in SI base units and carry the unit in their name. Records are frozen;
where a number comes from stands in `Machine.sources`, keyed by its dotted path.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.errors import MachineError
from trimtab.frozen import FrozenDict

__all__ = [
    "EFFICIENCY_CLASSES",
    "Cache",
    "Core",
    "Kind",
    "Link",
    "Machine",
    "Memory",
    "Origin",
    "Source",
]


EFFICIENCY_CLASSES = ("matmul", "conv", "depthwise", "pool", "norm", "vector")
"""Classes of operators that reach like shares of the peak.

Dense products, convolutions, convolutions with few channels a group, windows without
products, normalisation, and everything that goes element by element.
"""


class Kind(enum.StrEnum):
    """What a machine computes with."""

    CPU = "cpu"
    GPU = "gpu"


class Origin(enum.StrEnum):
    """How a number came to be known; only `SOURCED` and `MEASURED` are evidence."""

    SOURCED = "sourced"
    DERIVED = "derived"
    RECALLED = "recalled"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one number of a machine comes from.

    Attributes:
        origin: how it is known.
        text: the document and page, the arithmetic of a derived number, or the name of
            the benchmark that measured it.
    """

    origin: Origin
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One core of a CPU, or one streaming multiprocessor of a GPU.

    Attributes:
        isa: instruction set, ``x86-64-v3``, ``armv8.2-a``, ``sm_80``.
        llvm_cpu: the name LLVM knows the core by (``-mcpu``), for code generation.
        frequency_hz: sustained clock while all vector units are busy.
        simd_bits: width of the widest vector unit that is used.
        fma_units: vector fused multiply-adds that can start per cycle.
        vector_registers: architectural vector registers.
    """

    isa: str
    llvm_cpu: str
    frequency_hz: float
    simd_bits: int
    fma_units: float
    vector_registers: int

    @property
    def peak_flops_per_s(self) -> float:
        """float32 peak: two flops a lane and fused multiply-add."""
        return 2.0 * self.fma_units * (self.simd_bits / 32) * self.frequency_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One level of cache.

    Attributes:
        level: 1 (data), 2, 3.
        size_bytes: of one instance.
        line_bytes: of one cache line.
        ways: associativity.
        shared_by_cores: cores that share one instance.
        bandwidth_bytes_per_s: what one core streams from it; calibrated, what the
            operators of a framework reach.
        load_bytes_per_s: what one core loads from it with vectors, where that was
            measured by itself.
        store_bytes_per_s: what one core stores to it likewise.
    """

    level: int
    size_bytes: int
    line_bytes: int
    ways: int
    shared_by_cores: int
    bandwidth_bytes_per_s: float
    load_bytes_per_s: float | None = None
    store_bytes_per_s: float | None = None

    @property
    def kernel_bytes_per_s(self) -> float:
        """What the vector code of a compiler can load from it."""
        return self.load_bytes_per_s or self.bandwidth_bytes_per_s

    @property
    def store_loads(self) -> float:
        """How many bytes could be loaded in the time that one takes to be stored.

        Unknown, it is two: a line that is written is fetched first and then goes back.
        Where both directions are busy at once it is measured to be less.
        """
        if self.store_bytes_per_s is None:
            return 2.0
        return max(1.0, self.kernel_bytes_per_s / self.store_bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Main memory of a CPU or device memory of a GPU.

    Attributes:
        size_bytes: installed.
        bandwidth_bytes_per_s: all cores together.
        core_bandwidth_bytes_per_s: one core alone; latency bounds it below the total.
        core_load_bytes_per_s: what one core loads with vectors, where that was measured
            by itself.
    """

    size_bytes: int
    bandwidth_bytes_per_s: float
    core_bandwidth_bytes_per_s: float
    core_load_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network link between two machines, seen from the edge.

    Attributes:
        name: key in the catalogue.
        title: for people.
        uplink_bytes_per_s: edge to cloud, payload.
        downlink_bytes_per_s: cloud to edge, payload.
        rtt_s: round-trip time of a small packet.
        sources: where each number comes from, keyed by its path.
    """

    name: str
    title: str
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    rtt_s: float
    sources: Mapping[str, Source] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        for path in ("uplink_bytes_per_s", "downlink_bytes_per_s", "rtt_s"):
            _require_positive(self.name, path, getattr(self, path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine: all that a decision may know of the hardware.

    Attributes:
        name: key in the catalogue (``this`` for the present machine).
        title: for people.
        kind: CPU or GPU.
        cores: physical cores, or streaming multiprocessors.
        core: one of them.
        caches: from level 1 outward.
        memory: main or device memory.
        dispatch_s: time a framework spends to start one operator.
        convolution_setup_s: what starting a convolution costs beyond `dispatch_s`: the
            choice of an algorithm, layouts of operands.
        repack_bytes_per_s: rate at which a framework brings the weights of a
            convolution into its own layout, which eager PyTorch does at every call.
        efficiency_frac: share of the float32 peak that a class of operators reaches in
            the framework, keyed by the class (`EFFICIENCY_CLASSES`).
        sources: where each number comes from, keyed by its dotted path, such as
            ``memory.bandwidth_bytes_per_s`` or ``caches.2.size_bytes`` (by level).
        fingerprint: identifies the host a calibration belongs to; empty in the
            catalogue.
    """

    name: str
    title: str
    kind: Kind
    cores: int
    core: Core
    caches: tuple[Cache, ...]
    memory: Memory
    dispatch_s: float
    convolution_setup_s: float
    repack_bytes_per_s: float
    efficiency_frac: Mapping[str, float]
    sources: Mapping[str, Source] = field(default_factory=FrozenDict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        for path, value in numbers_of(self).items():
            _require_positive(self.name, path, value)
        object.__setattr__(self, "efficiency_frac", FrozenDict(self.efficiency_frac))
        object.__setattr__(self, "sources", FrozenDict(self.sources))

    def cache(self, level: int) -> Cache | None:
        """Return the cache of that level, or None where the machine has none."""
        return next((cache for cache in self.caches if cache.level == level), None)

    def cores_for(self, threads: int) -> int:
        """Return the cores that work on one call with that many threads.

        All streaming multiprocessors of a GPU do.
        """
        return self.cores if self.kind is Kind.GPU else min(threads, self.cores)

    def memory_bandwidth(self, cores: int) -> float:
        """Return what that many cores stream from memory, in bytes per second."""
        return min(
            self.memory.core_bandwidth_bytes_per_s * cores,
            self.memory.bandwidth_bytes_per_s,
        )

    def kernel_memory_bandwidth(self, cores: int) -> float:
        """Return what the vector code of a compiler streams, in bytes per second.

        One core may load more than the operators of a framework do; what all of them
        draw together stays what was measured of those.
        """
        loaded = self.memory.core_load_bytes_per_s
        if loaded is None:
            return self.memory_bandwidth(cores)
        return min(loaded * cores, max(loaded, self.memory.bandwidth_bytes_per_s))

    def peak_flops_per_s(self, threads: int = 1) -> float:
        """float32 peak of that many cores, at most all of them."""
        return self.core.peak_flops_per_s * min(threads, self.cores)


def numbers_of(machine: Machine) -> dict[str, float]:
    """Return every number of a machine under its dotted path.

    These paths are the keys of `Machine.sources`; caches go by their level.
    """
    found: dict[str, float] = {
        "cores": machine.cores,
        "core.frequency_hz": machine.core.frequency_hz,
        "core.simd_bits": machine.core.simd_bits,
        "core.fma_units": machine.core.fma_units,
        "core.vector_registers": machine.core.vector_registers,
        "memory.size_bytes": machine.memory.size_bytes,
        "memory.bandwidth_bytes_per_s": machine.memory.bandwidth_bytes_per_s,
        "memory.core_bandwidth_bytes_per_s": machine.memory.core_bandwidth_bytes_per_s,
        "dispatch_s": machine.dispatch_s,
        "convolution_setup_s": machine.convolution_setup_s,
        "repack_bytes_per_s": machine.repack_bytes_per_s,
    }
    for cache in machine.caches:
        for name in (
            "size_bytes",
            "line_bytes",
            "ways",
            "shared_by_cores",
            "bandwidth_bytes_per_s",
        ):
            found[f"caches.{cache.level}.{name}"] = getattr(cache, name)
        if cache.load_bytes_per_s is not None:
            found[f"caches.{cache.level}.load_bytes_per_s"] = cache.load_bytes_per_s
        if cache.store_bytes_per_s is not None:
            found[f"caches.{cache.level}.store_bytes_per_s"] = cache.store_bytes_per_s
    if machine.memory.core_load_bytes_per_s is not None:
        path = "memory.core_load_bytes_per_s"
        found[path] = machine.memory.core_load_bytes_per_s
    for key, value in machine.efficiency_frac.items():
        found[f"efficiency_frac.{key}"] = value
    return found


def _require_positive(name: str, path: str, value: float) -> None:
    if not value > 0:
        raise MachineError(
            f"{path} = {value}",
            rule="every number of a machine must be positive",
            where=f"machine {name!r}",
            remedy="correct the number in its catalogue file",
        )
