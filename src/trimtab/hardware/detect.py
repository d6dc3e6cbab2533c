"""The present machine as a `Machine`, from what the operating system tells.

Linux tells cores, caches, flags and memory. It tells neither the clock that the vector
units sustain nor any bandwidth: those come from the catalogue's machine with the same
core, marked as derived, and from defaults where there is none. `hardware.calibrate`
replaces them by measurements.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from trimtab.errors import UnknownMachineError
from trimtab.frozen import FrozenDict
from trimtab.hardware import defaults
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.host import Host, Level, read_host
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import (
    Cache,
    Core,
    Kind,
    Machine,
    Memory,
    Origin,
    Source,
)
from trimtab.hardware.operations import Operation

__all__ = ["fingerprint", "present"]

_ROOT = Path("/")
_CACHE_NUMBERS = (
    "size_bytes", "line_bytes", "ways", "shared_by_cores", "bandwidth_bytes_per_s",
)  # fmt: skip
_IDENTIFYING_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni",
    "avx512_bf16", "amx_tile", "asimd", "asimddp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
# Flags that change what code runs; others come and go with kernels.


def present(root: Path = _ROOT) -> Machine:
    """Return the machine this runs on, named ``this``.

    Cores are those that the process may use, without their second hardware threads; a
    quota of CPU time is not read.

    Args:
        root: where ``proc`` and ``sys`` are; another one serves tests.

    Example:
        >>> here = present()
        >>> here.name, here.cores >= 1
        ('this', True)
    """
    host = read_host(root)
    entry = _relative(host)
    found = _Numbers(entry)
    found.read("cores", host.cores_text)
    core = _core(host, entry, found)
    model = entry or defaults.unknown(core)
    caches = _caches(host, model, core, found)
    memory = _memory(host, model, found)
    for path in ("dispatch_s", "convolution_setup_s", "repack_bytes_per_s"):
        found.copy(path)
    for name in model.efficiency_frac:
        found.copy(f"efficiency_frac.{name}")
    cores = f"{host.cores} core{'s' if host.cores != 1 else ''}"
    return Machine(
        name="this",
        title=f"{host.model_name}, {cores}",
        kind=Kind.CPU,
        cores=host.cores,
        core=core,
        caches=caches,
        memory=memory,
        dispatch_s=model.dispatch_s,
        convolution_setup_s=model.convolution_setup_s,
        repack_bytes_per_s=model.repack_bytes_per_s,
        efficiency_frac=model.efficiency_frac,
        sources=FrozenDict(found.sources),
        fingerprint=_fingerprint(host),
    )


def fingerprint(root: Path = _ROOT) -> str:
    """Return 16 hexadecimal digits that stay the same while the hardware does.

    Processor, flags that change what code runs, cores and caches make it up; neither
    the kernel nor the load of the moment changes it.

    Args:
        root: where ``proc`` and ``sys`` are.

    Example:
        >>> fingerprint() == fingerprint()
        True
    """
    return _fingerprint(read_host(root))


def _fingerprint(host: Host) -> str:
    parts = {
        "model": host.model_name,
        "identity": host.identity,
        "flags": [flag for flag in _IDENTIFYING_FLAGS if flag in host.flags],
        "cores": host.cores,
        "caches": [
            (level.level, level.size_bytes, level.shared_by_cores)
            for level in host.levels
        ],
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Numbers:
    """Collects where each number comes from while the machine is put together."""

    def __init__(
        self, entry: Machine | None, sources: dict[str, Source] | None = None
    ) -> None:
        self._entry = entry
        self.sources: dict[str, Source] = {} if sources is None else sources

    @property
    def is_default(self) -> bool:
        """Whether there is no machine to copy from."""
        return self._entry is None

    def of_defaults(self) -> _Numbers:
        """Return a collector of the same sources that copies defaults."""
        return _Numbers(None, self.sources)

    def read(self, path: str, text: str) -> None:
        """Note a number that the system told."""
        self.sources[path] = Source(origin=Origin.SOURCED, text=text)

    def derive(self, path: str, text: str) -> None:
        """Note a number that was worked out."""
        self.sources[path] = Source(origin=Origin.DERIVED, text=text)

    def copy(self, path: str, change: str = "") -> None:
        """Note a number of the catalogue's machine, or a default."""
        if self._entry is None:
            self.derive(path, defaults.REASON)
            return
        source = self._entry.sources[path]
        self.derive(
            path,
            f"that of {self._entry.name!r} in the catalogue, which has the same core"
            f"{change}; there {source.origin}: {source.text}",
        )


def _relative(host: Host) -> Machine | None:
    """Return the first machine of the catalogue with the same core."""
    if not host.microarchitecture:
        return None
    entries = (machine(name) for name in machine_names())
    return next(
        (
            entry
            for entry in entries
            if entry.kind is Kind.CPU and entry.core.llvm_cpu == host.microarchitecture
        ),
        None,
    )


def _started(host: Host) -> float:
    """Return multiply-adds a cycle by the table of the core, 0 where there is none."""
    try:
        core = microarchitecture(host.llvm_cpu)
    except UnknownMachineError:
        return 0.0
    # Vectors of SVE have the width 0 in a table.
    for bits in (host.simd_bits, 0):
        if core.row(Operation.FMA, bits) is not None:
            return core.throughput(Operation.FMA, bits)
    return 0.0


def _core(host: Host, entry: Machine | None, found: _Numbers) -> Core:
    registers = defaults.vector_registers(host.simd_bits, host.isa)
    text = "from the flags in /proc/cpuinfo" if host.flags else defaults.REASON
    found.derive("core.simd_bits", text)
    found.derive("core.vector_registers", text)
    if entry is not None and entry.core.simd_bits == host.simd_bits:
        fma_units = entry.core.fma_units
        found.copy("core.fma_units")
    elif (started := _started(host)) > 0:
        fma_units = started
        text = f"what the table of ports of {host.llvm_cpu} starts a cycle"
        found.derive("core.fma_units", text)
    else:
        fma_units = defaults.fma_units(host.simd_bits, host.flags)
        found.derive("core.fma_units", defaults.REASON)
    frequency = (entry or defaults.unknown()).core.frequency_hz
    stated = host.frequency_hz
    if stated is not None and (entry is None or stated < frequency):
        frequency = stated
        found.derive("core.frequency_hz", "the highest clock that the system states")
    else:
        found.copy("core.frequency_hz")
    return Core(
        isa=host.isa,
        llvm_cpu=host.llvm_cpu,
        frequency_hz=frequency,
        simd_bits=host.simd_bits,
        fma_units=fma_units,
        vector_registers=registers,
    )


def _caches(
    host: Host, model: Machine, core: Core, found: _Numbers
) -> tuple[Cache, ...]:
    if host.levels:
        return tuple(_cache(host, level, model, core, found) for level in host.levels)
    for cache in model.caches:
        for name in _CACHE_NUMBERS:
            found.copy(f"caches.{cache.level}.{name}")
    return tuple(
        replace(cache, shared_by_cores=min(cache.shared_by_cores, host.cores))
        for cache in model.caches
    )


def _cache(
    host: Host, level: Level, model: Machine, core: Core, found: _Numbers
) -> Cache:
    path = f"caches.{level.level}"
    known = model.cache(level.level)
    if known is None:
        # The catalogue's machine lacks a level that this one has.
        model = defaults.unknown(core)
        known = model.cache(level.level) or model.caches[-1]
        found = found.of_defaults()

    def pick(name: str, value: int | None, default: int) -> int:
        if value is None:
            found.copy(f"{path}.{name}")
            return default
        found.read(f"{path}.{name}", f"cache of level {level.level} in /sys")
        return value

    ratio = core.frequency_hz / model.core.frequency_hz
    change = f", times {ratio:.3g} for the clock" if ratio != 1 else ""
    found.copy(f"{path}.bandwidth_bytes_per_s", change)
    line_bytes = pick("line_bytes", level.line_bytes, known.line_bytes)
    # The cache may be smaller than that of the catalogue.
    ways = min(known.ways, max(1, level.size_bytes // line_bytes))
    cores = min(known.shared_by_cores, host.cores)
    return Cache(
        level=level.level,
        size_bytes=pick("size_bytes", level.size_bytes, known.size_bytes),
        line_bytes=line_bytes,
        ways=pick("ways", level.ways, ways),
        shared_by_cores=pick("shared_by_cores", level.shared_by_cores, cores),
        bandwidth_bytes_per_s=known.bandwidth_bytes_per_s * ratio,
    )


def _memory(host: Host, model: Machine, found: _Numbers) -> Memory:
    size = host.memory_bytes
    if size is None:
        found.copy("memory.size_bytes")
        size = model.memory.size_bytes
    else:
        found.read("memory.size_bytes", "MemTotal in /proc/meminfo")
    path = "memory.bandwidth_bytes_per_s"
    found.copy("memory.core_bandwidth_bytes_per_s")
    alone = model.memory.core_bandwidth_bytes_per_s
    together = model.memory.bandwidth_bytes_per_s
    if found.is_default:
        # A quarter of the cores saturates most memories.
        together = alone * max(1.0, host.cores / 4)
        found.copy(path)
    elif alone * host.cores < together:
        # Part of a machine, as clouds rent it, cannot draw what the socket can.
        together = alone * host.cores
        text = f"{host.cores} cores times what one core of {model.name!r} draws alone"
        found.derive(path, text)
    else:
        found.copy(path)
    return Memory(
        size_bytes=size,
        core_bandwidth_bytes_per_s=alone,
        bandwidth_bytes_per_s=together,
    )
