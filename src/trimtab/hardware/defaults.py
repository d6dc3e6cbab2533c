"""Numbers for a machine about which nothing is known: low rather than high.

A budget that fits with these fits on the machine; what is lost is that some that would
fit are refused. `trimtab machine calibrate` replaces them by measurements.
"""

from __future__ import annotations

from collections.abc import Collection

from trimtab.frozen import FrozenDict
from trimtab.hardware.machine import Cache, Core, Kind, Machine, Memory

__all__ = ["REASON", "fma_units", "unknown", "vector_registers"]

REASON = "conservative default: neither the system nor the catalogue tells"
"""What stands beside a default as its origin."""

_FREQUENCY_HZ = 2.0e9
# What servers with many cores sustain at least.
_MEMORY_BYTES = 2**31
_CORE_BANDWIDTH_BYTES_PER_S = 8e9
# One core, DDR3 or a narrow LPDDR4; everything newer has more.
_CACHE = {1: (2**15, 16.0), 2: (2**18, 8.0), 3: (2**22, 4.0)}
# Size and bytes per cycle, by level.
_EFFICIENCY_FRAC = {
    "matmul": 0.4, "conv": 0.3, "depthwise": 0.005,
    "pool": 0.0005, "norm": 0.005, "vector": 0.02,
}  # fmt: skip
# Not above any machine of the catalogue.


def unknown(core: Core | None = None) -> Machine:
    """Return a machine with that core and nothing else known.

    Example:
        >>> unknown().memory.size_bytes == 2 * 2**30
        True
    """
    core = core or Core(
        isa="unknown",
        llvm_cpu="generic",
        frequency_hz=_FREQUENCY_HZ,
        simd_bits=128,
        fma_units=1.0,
        vector_registers=16,
    )
    return Machine(
        name="unknown",
        title="unknown",
        kind=Kind.CPU,
        cores=1,
        core=core,
        caches=tuple(
            Cache(
                level=level,
                size_bytes=size_bytes,
                line_bytes=64,
                ways=8,
                shared_by_cores=1,
                bandwidth_bytes_per_s=bytes_per_cycle * core.frequency_hz,
            )
            for level, (size_bytes, bytes_per_cycle) in _CACHE.items()
        ),
        memory=Memory(
            size_bytes=_MEMORY_BYTES,
            bandwidth_bytes_per_s=_CORE_BANDWIDTH_BYTES_PER_S,
            # Not faster than the last cache of a slow core.
            core_bandwidth_bytes_per_s=min(
                _CORE_BANDWIDTH_BYTES_PER_S, _CACHE[3][1] * core.frequency_hz
            ),
        ),
        dispatch_s=100e-6,
        convolution_setup_s=200e-6,
        repack_bytes_per_s=1e9,
        efficiency_frac=FrozenDict(_EFFICIENCY_FRAC),
    )


def fma_units(simd_bits: int, flags: Collection[str]) -> float:
    """Return multiply-adds a cycle: two for 256 bits with AVX2, otherwise one.

    Many processors with 512 bits join their two units of 256; Arm cores may have one.

    Example:
        >>> fma_units(256, {"avx2", "fma"}), fma_units(512, {"avx2", "fma"})
        (2.0, 1.0)
    """
    return 2.0 if simd_bits == 256 and {"avx2", "fma"} <= set(flags) else 1.0


def vector_registers(simd_bits: int, isa: str) -> int:
    """Return the architectural vector registers of an instruction set.

    Example:
        >>> vector_registers(256, "x86-64-v3"), vector_registers(128, "armv8-a")
        (16, 32)
    """
    if isa.startswith(("armv8", "armv9")) or simd_bits == 512:
        return 32
    return 16
