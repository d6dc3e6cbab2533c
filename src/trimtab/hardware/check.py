"""Whether the numbers of a machine can be true: ranges, order, and an origin for each.

A description that is off by a factor of a thousand looks like any other; only
arithmetic between its numbers shows it. A published table of GPUs gave one card a
memory bandwidth of 1.792e15 instead of 1.792e12 bytes a second: with that number no
operator is ever limited by memory, and no prediction looks wrong. The balance of that
card, its flops a byte, came to 0.06, where every other has ten or more. `check` finds
that.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from trimtab.frozen import FrozenDict
from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Cache,
    Kind,
    Link,
    Machine,
    Origin,
    Source,
    numbers_of,
)
from trimtab.units import format_bytes, format_duration, format_rate

__all__ = ["Finding", "Severity", "check", "check_link", "unsourced"]

BALANCE_FLOPS_PER_BYTE = {Kind.CPU: (1.0, 100.0), Kind.GPU: (2.0, 200.0)}
"""float32 peak over memory bandwidth, of the whole machine.

Boards with narrow vectors have 4 to 9, servers 12 to 30, desktops with two channels of
memory and wide vectors 50 to 60. GPUs have 10 to 20 with stacked memory and up to 85
without. The limits leave room on either side, but far less than the thousand that a
wrong prefix makes.
"""

CORE_BALANCE_FLOPS_PER_BYTE = {Kind.CPU: (0.5, 60.0), Kind.GPU: (1.0, 200.0)}
"""float32 peak over memory bandwidth, of one core.

One core draws a larger share of the memory than of the arithmetic, so its balance is
below the machine's: 2 to 4 where vectors are narrow, 10 to 20 on servers whose mesh is
slow, seen from one core. A core beyond the limit was given another unit than the rest.
"""

FREQUENCY_HZ = {Kind.CPU: (0.3e9, 6.5e9), Kind.GPU: (0.2e9, 3.5e9)}
"""Sustained clock. No processor has sustained 6.5 GHz, no GPU 3.5 GHz, and below the
lower limits nobody runs networks with PyTorch: a number outside is in MHz or GHz.
"""

SIMD_BITS = (32, 4096)
"""Width of the vector unit: from a scalar float32 to twice the widest ever built."""

FMA_UNITS = (0.1, 16.0)
"""Vector multiply-adds a cycle. Two is common, four the most that is; a fraction stands
for a unit that takes several cycles.
"""

VECTOR_REGISTERS = (4, 1024)
"""Architectural registers: 8 on old x86, 32 with AVX-512 and Arm, 255 on GPUs."""

DISPATCH_S = (1e-8, 1e-2)
"""Time to start an operator: eager PyTorch takes microseconds, on small boards tens of
them; a compiled graph can take a tenth of one. Seconds in place of microseconds fail.
"""

SETUP_S = (1e-10, 1e-2)
"""What a convolution costs beyond an operator: nothing that can be measured up to a
choice among algorithms that takes milliseconds.
"""

UPLINK_LIMIT_BYTES_PER_S = 100e9 / 8
"""100 Gbit/s, the fastest port that a machine at an edge may have; a description with
bits in place of bytes for a fast link is beyond it.
"""

RTT_S = (1e-6, 5.0)
"""Round-trip time: light takes 1 µs for 150 m there and back; a satellite in high orbit
takes 0.6 s, and a link slower than 5 s carries no inference.
"""


class Severity(enum.StrEnum):
    """What a finding asks for."""

    ERROR = "error"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check found.

    Attributes:
        machine: name of the machine, or of the link.
        path: dotted path of the number; the first of several.
        severity: an error cannot be true, a note is unusual.
        text: the value, the limit, and why.
    """

    machine: str
    path: str
    severity: Severity
    text: str


def unsourced(described: Machine | Link) -> FrozenDict[str, Source]:
    """Return the numbers that are no evidence, derived or recalled, by their path.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> unsourced(machine("milan"))["dispatch_s"].origin
        <Origin.DERIVED: 'derived'>
    """
    return FrozenDict(
        {
            path: source
            for path, source in described.sources.items()
            if source.origin in (Origin.DERIVED, Origin.RECALLED)
        }
    )


def check(machine: Machine) -> tuple[Finding, ...]:
    """Return what is wrong with a machine, errors first; empty where nothing is.

    Example:
        >>> from trimtab.hardware.load import machine
        >>> [found for found in check(machine("milan")) if found.severity == "error"]
        []
    """
    found = [
        Finding(machine=machine.name, path=path, severity=severity, text=text)
        for rule in (_origins, _names, _ranges, _balance, _caches, _order, _shares)
        for path, severity, text in rule(machine)
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity != Severity.ERROR))


def check_link(link: Link) -> tuple[Finding, ...]:
    """Return what is wrong with a link; empty where nothing is.

    Example:
        >>> from trimtab.hardware.load import link
        >>> check_link(link("wifi"))
        ()
    """
    paths = ("uplink_bytes_per_s", "downlink_bytes_per_s", "rtt_s")
    problems = [*_missing(link.sources, paths)]
    for path in paths[:2]:
        rate = getattr(link, path)
        if not rate <= UPLINK_LIMIT_BYTES_PER_S:
            problems.append(
                (
                    path,
                    Severity.ERROR,
                    f"{format_rate(rate)} is more than "
                    f"{format_rate(8 * UPLINK_LIMIT_BYTES_PER_S, 'bit/s')}",
                )
            )
    if not RTT_S[0] <= link.rtt_s <= RTT_S[1]:
        low, high = map(format_duration, RTT_S)
        text = f"{format_duration(link.rtt_s)} is not between {low} and {high}"
        problems.append(("rtt_s", Severity.ERROR, text))
    return tuple(
        Finding(machine=link.name, path=path, severity=severity, text=text)
        for path, severity, text in problems
    )


_Problem = tuple[str, Severity, str]


def _missing(sources: Mapping[str, Source], paths: Iterable[str]) -> Iterator[_Problem]:
    for path in paths:
        if path not in sources or not sources[path].text.strip():
            yield path, Severity.ERROR, "no source says where the number comes from"


def _origins(machine: Machine) -> Iterator[_Problem]:
    numbers = numbers_of(machine)
    yield from _missing(machine.sources, numbers)
    for path in machine.sources.keys() - numbers.keys():
        yield path, Severity.NOTE, "a source for a number that the machine has not"
    for path, value in numbers.items():
        if not math.isfinite(value):
            yield path, Severity.ERROR, f"{value} is not finite"


def _names(machine: Machine) -> Iterator[_Problem]:
    for name in ("llvm_cpu", "isa"):
        if not getattr(machine.core, name).strip():
            yield f"core.{name}", Severity.ERROR, "empty, code generation needs it"


def _outside(
    path: str, value: float, limits: tuple[float, float], text: str
) -> Iterator[_Problem]:
    if not limits[0] <= value <= limits[1]:
        yield path, Severity.ERROR, text


def _ranges(machine: Machine) -> Iterator[_Problem]:
    core = machine.core
    low, high = FREQUENCY_HZ[machine.kind]
    text = (
        f"{format_rate(core.frequency_hz, 'Hz')} is not between "
        f"{format_rate(low, 'Hz')} and {format_rate(high, 'Hz')}"
    )
    yield from _outside("core.frequency_hz", core.frequency_hz, (low, high), text)
    for name, limits in (
        ("simd_bits", SIMD_BITS),
        ("fma_units", FMA_UNITS),
        ("vector_registers", VECTOR_REGISTERS),
    ):
        value = getattr(core, name)
        text = f"{value} is not between {limits[0]} and {limits[1]}"
        yield from _outside(f"core.{name}", value, limits, text)
    if not _is_power_of_two(core.simd_bits):
        text = f"{core.simd_bits} is no power of two"
        yield "core.simd_bits", Severity.ERROR, text
    for path, limits in (("dispatch_s", DISPATCH_S), ("convolution_setup_s", SETUP_S)):
        value = getattr(machine, path)
        least, most = map(format_duration, limits)
        text = f"{format_duration(value)} is not between {least} and {most}"
        yield from _outside(path, value, limits, text)


def _balance(machine: Machine) -> Iterator[_Problem]:
    memory = machine.memory
    for path, bandwidth, flops, limits, what in (
        (
            "memory.bandwidth_bytes_per_s",
            memory.bandwidth_bytes_per_s,
            machine.peak_flops_per_s(machine.cores),
            BALANCE_FLOPS_PER_BYTE[machine.kind],
            "the machine",
        ),
        (
            "memory.core_bandwidth_bytes_per_s",
            memory.core_bandwidth_bytes_per_s,
            machine.peak_flops_per_s(),
            CORE_BALANCE_FLOPS_PER_BYTE[machine.kind],
            "one core",
        ),
    ):
        text = (
            f"{what} has {format_rate(flops, 'FLOP/s')} for {format_rate(bandwidth)} "
            f"of memory: a balance of {flops / bandwidth:.3g} flops a byte is not "
            f"between {limits[0]:g} and {limits[1]:g}"
        )
        yield from _outside(path, flops / bandwidth, limits, text)


def _caches(machine: Machine) -> Iterator[_Problem]:
    for cache in machine.caches:
        path = f"caches.{cache.level}"
        if not _is_power_of_two(cache.line_bytes):
            text = f"lines of {cache.line_bytes} bytes, no power of two"
            yield f"{path}.line_bytes", Severity.ERROR, text
        one_set = cache.ways * cache.line_bytes
        text = (
            f"{cache.ways} ways of {cache.line_bytes} bytes in a cache of "
            f"{format_bytes(cache.size_bytes)}"
        )
        if one_set > cache.size_bytes:
            yield f"{path}.ways", Severity.ERROR, f"{text}: a set exceeds the cache"
        elif cache.size_bytes % one_set:
            yield f"{path}.ways", Severity.NOTE, f"{text}: sets are no whole number"
        if cache.shared_by_cores > machine.cores:
            text = f"{cache.shared_by_cores} cores share it, of {machine.cores}"
            yield f"{path}.shared_by_cores", Severity.ERROR, text


def _order(machine: Machine) -> Iterator[_Problem]:
    memory = machine.memory
    if memory.core_bandwidth_bytes_per_s > memory.bandwidth_bytes_per_s:
        text = (
            f"one core draws {format_rate(memory.core_bandwidth_bytes_per_s)}, more "
            f"than all with {format_rate(memory.bandwidth_bytes_per_s)}"
        )
        yield "memory.core_bandwidth_bytes_per_s", Severity.ERROR, text
    for inner, outer in pairwise(machine.caches):
        if not inner.level < outer.level:
            text = f"level {outer.level} stands behind level {inner.level}"
            yield f"caches.{outer.level}", Severity.ERROR, text
        if not inner.size_bytes < outer.size_bytes:
            text = (
                f"level {outer.level} of {format_bytes(outer.size_bytes)} is not "
                f"larger than level {inner.level} of {format_bytes(inner.size_bytes)}"
            )
            yield f"caches.{outer.level}.size_bytes", Severity.ERROR, text
    if machine.caches and machine.caches[-1].size_bytes >= memory.size_bytes:
        text = f"{format_bytes(memory.size_bytes)} is not larger than the last cache"
        yield "memory.size_bytes", Severity.ERROR, text
    steps = [_bandwidth(cache) for cache in machine.caches]
    outermost = "memory.core_bandwidth_bytes_per_s"
    steps.append((outermost, memory.core_bandwidth_bytes_per_s))
    for (inner_path, inner_rate), (path, rate) in pairwise(steps):
        if rate > inner_rate:
            # Benchmarks mix reads and writes differently from level to level.
            measured = Origin.MEASURED in {
                machine.sources[key].origin
                for key in (inner_path, path)
                if key in machine.sources
            }
            text = f"{format_rate(rate)} is faster than {format_rate(inner_rate)}"
            yield (
                path,
                Severity.NOTE if measured else Severity.ERROR,
                f"{text} of {inner_path}, which lies nearer to the core",
            )


def _shares(machine: Machine) -> Iterator[_Problem]:
    for name, share in machine.efficiency_frac.items():
        if not 0 < share <= 1:
            text = f"a share of the peak of {share:g} is not in (0, 1]"
            yield f"efficiency_frac.{name}", Severity.ERROR, text
    for name in EFFICIENCY_CLASSES:
        if name not in machine.efficiency_frac:
            text = "missing, operators of that class cannot be estimated"
            yield f"efficiency_frac.{name}", Severity.ERROR, text
    fastest = max(
        [machine.memory.bandwidth_bytes_per_s]
        + [cache.bandwidth_bytes_per_s * machine.cores for cache in machine.caches]
    )
    if machine.repack_bytes_per_s > fastest:
        text = (
            f"{format_rate(machine.repack_bytes_per_s)} is faster than "
            f"{format_rate(fastest)}, the fastest that all cores can read"
        )
        yield "repack_bytes_per_s", Severity.ERROR, text


def _bandwidth(cache: Cache) -> tuple[str, float]:
    path = f"caches.{cache.level}.bandwidth_bytes_per_s"
    return path, cache.bandwidth_bytes_per_s


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
