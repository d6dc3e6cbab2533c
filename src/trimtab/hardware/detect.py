"""The present machine as a `Machine`, from what the operating system tells.

Linux tells cores, caches, flags and memory. It tells neither the clock that the vector
units sustain nor any bandwidth: those come from the catalogue's machine with the same
core, marked as derived, and from defaults where there is none. `hardware.calibrate`
replaces them by measurements.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from trimtab.frozen import FrozenDict
from trimtab.hardware import defaults
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import (
    Cache,
    Core,
    Kind,
    Machine,
    Memory,
    Origin,
    Source,
    numbers_of,
)
from trimtab.hardware.processors import (
    arm_cpu,
    arm_isa,
    simd_bits,
    x86_cpu,
    x86_isa,
)

__all__ = ["fingerprint", "present"]

_ROOT = Path("/")
_CPUS = "sys/devices/system/cpu"
_LEVELS = (1, 2, 3)
# Levels beyond the third are caches of the memory, as far away and as slow.
_IDENTIFYING_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni",
    "avx512_bf16", "amx_tile", "asimd", "asimddp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
# Flags that change what code runs; others come and go with kernels.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """A cache as sysfs shows it; None where it does not say."""

    level: int
    size_bytes: int
    line_bytes: int | None
    ways: int | None
    shared_by_cores: int | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """All that is read from the system."""

    model_name: str
    identity: str
    microarchitecture: str
    isa: str
    llvm_cpu: str
    flags: frozenset[str]
    simd_bits: int
    cores: int
    cores_text: str
    frequency_hz: float | None
    levels: tuple[_Level, ...]
    memory_bytes: int | None


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
    host = _host(root)
    entry = _relative(host)
    found = _Numbers(entry)
    core = _core(host, entry, found)
    caches = _caches(host, entry, core, found)
    found.read("cores", host.cores_text)
    memory = _memory(host, entry, core, caches, found)
    model = entry or defaults.unknown(core)
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
    return _fingerprint(_host(root))


def _fingerprint(host: _Host) -> str:
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
    """Collects where each number comes from, while the machine is put together."""

    def __init__(self, entry: Machine | None) -> None:
        self.sources: dict[str, Source] = {}
        self._entry = entry

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
        origin = self._entry.sources[path]
        self.derive(
            path,
            f"of {self._entry.name!r} in the catalogue, which has the same core"
            f"{change}; there {origin.origin}: {origin.text}",
        )


def _relative(host: _Host) -> Machine | None:
    """Return the first machine of the catalogue with the same core."""
    if not host.microarchitecture:
        return None
    entries = (machine(name) for name in machine_names())
    return next(
        (
            entry
            for entry in entries
            if entry.kind is Kind.CPU
            and entry.core.llvm_cpu == host.microarchitecture
        ),
        None,
    )


def _core(host: _Host, entry: Machine | None, found: _Numbers) -> Core:
    flags = "flags of /proc/cpuinfo"
    registers = defaults.vector_registers(host.simd_bits, host.isa)
    found.derive("core.simd_bits", f"widest vectors among the {flags}")
    found.derive("core.vector_registers", f"what an ISA of the {flags} has")
    if entry is not None and entry.core.simd_bits == host.simd_bits:
        fma_units = entry.core.fma_units
        found.copy("core.fma_units")
    else:
        fma_units = defaults.fma_units(host.simd_bits, host.flags)
        found.derive("core.fma_units", defaults.REASON)
    if entry is None:
        frequency = host.frequency_hz or defaults.FREQUENCY_HZ
        text = "the highest clock that the system states" if host.frequency_hz else ""
        found.derive("core.frequency_hz", text or defaults.REASON)
    elif host.frequency_hz and host.frequency_hz < entry.core.frequency_hz:
        frequency = host.frequency_hz
        found.derive(
            "core.frequency_hz",
            f"the highest clock that the system states; {entry.name!r} in the "
            "catalogue, which has the same core, sustains more",
        )
    else:
        frequency = entry.core.frequency_hz
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
    host: _Host, entry: Machine | None, core: Core, found: _Numbers
) -> tuple[Cache, ...]:
    if not host.levels:
        model = entry.caches if entry is not None else defaults.unknown(core).caches
        caches = tuple(
            replace(cache, shared_by_cores=min(cache.shared_by_cores, host.cores))
            for cache in model
        )
        for cache in caches:
            for name in defaults.CACHE_NUMBERS:
                found.copy(f"caches.{cache.level}.{name}")
        return caches
    return tuple(_cache(host, level, entry, core, found) for level in host.levels)


def _cache(
    host: _Host, level: _Level, entry: Machine | None, core: Core, found: _Numbers
) -> Cache:
    path = f"caches.{level.level}"
    model = entry.cache(level.level) if entry is not None else None
    known = model or defaults.cache(level.level, core)

    def pick(name: str, value: int | None, default: int) -> int:
        if value is not None:
            found.read(f"{path}.{name}", f"{_CPUS}, cache of level {level.level}")
            return value
        if model is not None:
            found.copy(f"{path}.{name}")
        else:
            found.derive(f"{path}.{name}", defaults.REASON)
        return default

    bandwidth = known.bandwidth_bytes_per_s
    name = f"{path}.bandwidth_bytes_per_s"
    if model is None or entry is None:
        found.derive(name, defaults.REASON)
    else:
        ratio = core.frequency_hz / entry.core.frequency_hz
        bandwidth *= ratio
        found.copy(name, f", times {ratio:.3g} for the clock" if ratio != 1 else "")
    line_bytes = pick("line_bytes", level.line_bytes, known.line_bytes)
    # A cache of which the system knows no ways may be smaller than the catalogue's.
    ways = min(known.ways, max(1, level.size_bytes // line_bytes))
    return Cache(
        level=level.level,
        size_bytes=pick("size_bytes", level.size_bytes, known.size_bytes),
        line_bytes=line_bytes,
        ways=pick("ways", level.ways, ways),
        shared_by_cores=pick(
            "shared_by_cores",
            level.shared_by_cores,
            min(known.shared_by_cores, host.cores),
        ),
        bandwidth_bytes_per_s=bandwidth,
    )


def _memory(
    host: _Host,
    entry: Machine | None,
    core: Core,
    caches: tuple[Cache, ...],
    found: _Numbers,
) -> Memory:
    one = "memory.core_bandwidth_bytes_per_s"
    total = "memory.bandwidth_bytes_per_s"
    if host.memory_bytes is not None:
        found.read("memory.size_bytes", "/proc/meminfo, MemTotal")
        size = host.memory_bytes
    else:
        found.derive("memory.size_bytes", defaults.REASON)
        size = defaults.MEMORY_BYTES
    if entry is None:
        fastest = min(
            [defaults.CORE_BANDWIDTH_BYTES_PER_S]
            + [cache.bandwidth_bytes_per_s for cache in caches]
        )
        found.derive(one, defaults.REASON)
        found.derive(total, defaults.REASON)
        return Memory(
            size_bytes=size,
            core_bandwidth_bytes_per_s=fastest,
            bandwidth_bytes_per_s=fastest * max(1.0, host.cores / 4),
        )
    alone = entry.memory.core_bandwidth_bytes_per_s
    found.copy(one)
    reached = alone * host.cores
    if reached < entry.memory.bandwidth_bytes_per_s:
        # Part of a machine, as clouds rent it, cannot draw what the socket can.
        text = f"{host.cores} cores times what one core of {entry.name!r} draws alone"
        found.derive(total, text)
    else:
        found.copy(total)
    return Memory(
        size_bytes=size,
        core_bandwidth_bytes_per_s=alone,
        bandwidth_bytes_per_s=min(reached, entry.memory.bandwidth_bytes_per_s),
    )
