"""What the operating system tells of the machine: cores, caches, flags, memory.

Reads ``/proc`` and ``/sys`` below a root, which tests replace. Whatever is absent or
odd, as in containers and virtual machines, is None or empty, never an error.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from trimtab.hardware.processors import arm_cpu, arm_isa, simd_bits, x86_cpu, x86_isa

__all__ = ["Host", "Level", "read_host"]

_LEVELS = (1, 2, 3)
# A fourth level is a cache of the memory, as far away and nearly as slow.
_SIZE = re.compile(r"([0-9]+)([KMG]?)B?")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A cache; None where the system does not say.

    Attributes:
        level: 1 (data), 2, 3.
        size_bytes: of one instance.
        line_bytes: of a line.
        ways: associativity.
        shared_by_cores: those of the process that share an instance.
    """

    level: int
    size_bytes: int
    line_bytes: int | None
    ways: int | None
    shared_by_cores: int | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """All that is read.

    Attributes:
        model_name: what the processor calls itself.
        identity: vendor, family and model, or implementer and part.
        microarchitecture: LLVM's name, empty if it has none.
        isa: level of the instruction set that the flags amount to.
        llvm_cpu: what code may be generated for: the microarchitecture, or only the
            level where a hypervisor hides some of its vectors.
        flags: as Linux spells them.
        simd_bits: width of the widest vector unit.
        cores: physical cores that the process may use.
        cores_text: where that number comes from.
        frequency_hz: highest clock that the system states.
        levels: data caches from the innermost outward.
        memory_bytes: installed, as far as the kernel may use it.
    """

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
    levels: tuple[Level, ...]
    memory_bytes: int | None


def read_host(root: Path = Path("/")) -> Host:
    """Return what the system tells.

    Args:
        root: where ``proc`` and ``sys`` are.

    Example:
        >>> read_host().cores >= 1
        True
    """
    cpus = _usable_cpus(root)
    processor = _processor(root, min(cpus, default=0))
    arm = "CPU implementer" in processor
    flags = frozenset(processor.get("Features" if arm else "flags", "").split())
    if arm:
        codes = [_number(processor.get(key)) for key in ("CPU implementer", "CPU part")]
        microarchitecture = arm_cpu(*codes)
        isa = arm_isa(microarchitecture) if "asimd" in flags else "armv7-a"
        llvm_cpu = microarchitecture or "generic"
        identity = "arm {:#x} {:#x}".format(*codes)
    elif "vendor_id" in processor:
        keys = ("cpu family", "model", "stepping")
        codes = [_number(processor.get(key)) for key in keys]
        vendor = processor["vendor_id"]
        microarchitecture = x86_cpu(vendor, *codes)
        isa = x86_isa(flags)
        hidden = _has_avx512(microarchitecture) and "avx512f" not in flags
        llvm_cpu = isa if hidden or not microarchitecture else microarchitecture
        identity = f"{vendor} {codes[0]} {codes[1]}"
    else:
        microarchitecture, llvm_cpu = "", "generic"
        isa = identity = platform.machine() or "unknown"
    groups = _core_groups(root, cpus)
    return Host(
        model_name=_model_name(root, processor) or microarchitecture or identity,
        identity=identity,
        microarchitecture=microarchitecture,
        isa=isa,
        llvm_cpu=llvm_cpu,
        flags=flags,
        simd_bits=simd_bits(flags, microarchitecture) if flags else 128,
        cores=len(set(groups.values())) or os.cpu_count() or 1,
        cores_text=(
            "cores that the process may use, by /sys/devices/system/cpu"
            if groups
            else "processors that Python counts"
        ),
        frequency_hz=_frequency(root, min(cpus, default=0)),
        levels=_caches(root, groups),
        memory_bytes=_memory(root),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n\t")
    except OSError:
        return ""


def _number(text: str | None) -> int:
    """Return a decimal or hexadecimal number, 0 where there is none."""
    try:
        return int(text or "", 0)
    except ValueError:
        return 0


def _usable_cpus(root: Path) -> set[int]:
    """Return the logical processors that the process may use; empty if unknown."""
    folders = root.glob("sys/devices/system/cpu/cpu[0-9]*")
    known = {
        int(folder.name[3:])
        for folder in folders
        if folder.name[3:].isdecimal() and _read(folder / "online") != "0"
    }
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        allowed = set(os.sched_getaffinity(0))
        return (known & allowed) or allowed
    return known


def _processor(root: Path, cpu: int) -> Mapping[str, str]:
    """Return the entry of one logical processor in ``/proc/cpuinfo``."""
    first: dict[str, str] = {}
    for block in _read(root / "proc/cpuinfo").split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        entry = {key.strip(): value.strip() for key, _, value in pairs}
        if entry.get("processor") == str(cpu):
            return entry
        first = first or entry
    return first


def _model_name(root: Path, processor: Mapping[str, str]) -> str:
    name = processor.get("model name", "")
    return name or _read(root / "proc/device-tree/model")


def _core_groups(root: Path, cpus: Iterable[int]) -> dict[int, tuple[str, str]]:
    """Return package and core of every logical processor.

    Two hardware threads have the same; where the system does not say, each processor
    is a core.
    """
    groups = {}
    for cpu in cpus:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = _read(topology / "core_id")
        package = _read(topology / "physical_package_id")
        groups[cpu] = (package, core if core not in ("", "-1") else f"cpu{cpu}")
    if len({core for _, core in groups.values()}) == 1 and not _threads(root, groups):
        # Some hypervisors number every core 0.
        return {cpu: ("", f"cpu{cpu}") for cpu in groups}
    return groups


def _threads(root: Path, cpus: Iterable[int]) -> bool:
    """Whether the system says that hardware threads share a core."""
    return any(
        len(_cpu_list(_read(topology / name))) > 1
        for cpu in cpus
        for topology in [root / f"sys/devices/system/cpu/cpu{cpu}/topology"]
        for name in ("thread_siblings_list", "core_cpus_list")
    )


def _cpu_list(text: str) -> set[int]:
    """Return the processors of a list like ``0-3,8``; empty if it is no list."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        if not low.isdecimal() or not (high or low).isdecimal():
            return set()
        found |= set(range(int(low), int(high or low) + 1))
    return found


def _caches(root: Path, groups: Mapping[int, tuple[str, str]]) -> tuple[Level, ...]:
    found: dict[int, Level] = {}
    base = root / f"sys/devices/system/cpu/cpu{min(groups, default=0)}/cache"
    for folder in sorted(base.glob("index[0-9]*")):
        level = _number(_read(folder / "level"))
        size = _SIZE.fullmatch(_read(folder / "size"))
        if _read(folder / "type") == "Instruction" or level not in _LEVELS:
            continue
        if size is None or not int(size[1]):
            continue
        sharing = _cpu_list(_read(folder / "shared_cpu_list"))
        cores = {groups[cpu] for cpu in sharing if cpu in groups}
        found[level] = Level(
            level=level,
            size_bytes=int(size[1]) * _UNITS[size[2]],
            line_bytes=_number(_read(folder / "coherency_line_size")) or None,
            ways=_number(_read(folder / "ways_of_associativity")) or None,
            shared_by_cores=len(cores) or None,
        )
    return tuple(found[level] for level in sorted(found))


def _frequency(root: Path, cpu: int) -> float | None:
    """Return the highest clock of cpufreq, which virtual machines do not have."""
    folder = root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
    return 1e3 * _number(_read(folder / "cpuinfo_max_freq")) or None


def _memory(root: Path) -> int | None:
    found = re.search(
        r"^MemTotal:\s*([0-9]+) kB", _read(root / "proc/meminfo"), re.MULTILINE
    )
    return int(found[1]) * 2**10 or None if found else None


def _has_avx512(microarchitecture: str) -> bool:
    """Whether code for that processor may use 512-bit vectors."""
    return microarchitecture in {
        "skylake-avx512", "cascadelake", "cooperlake", "icelake-server",
        "icelake-client", "tigerlake", "rocketlake", "sapphirerapids",
        "emeraldrapids", "graniterapids", "graniterapids-d", "znver4", "znver5",
    }  # fmt: skip
