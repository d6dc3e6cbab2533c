"""A machine with round numbers, and file systems that look like other hosts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from trimtab.hardware.machine import (
    EFFICIENCY_CLASSES,
    Cache,
    Core,
    Kind,
    Machine,
    Memory,
    Origin,
    Source,
    numbers_of,
)


def sourced(machine: Machine, origin: Origin = Origin.SOURCED) -> dict[str, Source]:
    """Return a source for every number of a machine."""
    source = Source(origin=origin, text="data sheet, page 1")
    return dict.fromkeys(numbers_of(machine), source)


@pytest.fixture
def plain() -> Machine:
    """Four cores with 2 x 2 x 8 lanes x 2 GHz = 64 GFLOP/s each; nothing is wrong."""
    values: dict[str, object] = {
        "name": "plain",
        "title": "Plain",
        "kind": Kind.CPU,
        "cores": 4,
        "core": Core(
            isa="x86-64-v3",
            llvm_cpu="haswell",
            frequency_hz=2e9,
            simd_bits=256,
            fma_units=2.0,
            vector_registers=16,
        ),
        "caches": (
            Cache(
                level=1,
                size_bytes=2**15,
                line_bytes=64,
                ways=8,
                shared_by_cores=1,
                bandwidth_bytes_per_s=64 * 2e9,
            ),
            Cache(
                level=2,
                size_bytes=2**20,
                line_bytes=64,
                ways=16,
                shared_by_cores=4,
                bandwidth_bytes_per_s=32 * 2e9,
            ),
        ),
        "memory": Memory(
            size_bytes=2**34, bandwidth_bytes_per_s=20e9, core_bandwidth_bytes_per_s=8e9
        ),
        "dispatch_s": 5e-6,
        "convolution_setup_s": 1e-5,
        "repack_bytes_per_s": 4e9,
        "efficiency_frac": dict.fromkeys(EFFICIENCY_CLASSES, 0.5),
    }
    bare = Machine(**values)  # type: ignore[arg-type]
    return Machine(**values, sources=sourced(bare))  # type: ignore[arg-type]


Host = Callable[..., Path]


@pytest.fixture
def fake_host(tmp_path: Path) -> Host:
    """Return a function that writes ``/proc`` and ``/sys`` of a made-up host."""

    def write(
        *,
        cpuinfo: Mapping[str, str] | None = None,
        cpus: int = 1,
        siblings: int = 1,
        caches: Mapping[int, tuple[str, str, int, int, str]] | None = None,
        memory_kb: int | None = None,
        max_khz: int | None = None,
    ) -> Path:
        root = tmp_path / f"host{len(list(tmp_path.iterdir()))}"
        (root / "proc").mkdir(parents=True)
        if cpuinfo is not None:
            blocks = [
                "\n".join(
                    f"{key}\t: {value}"
                    for key, value in {"processor": str(cpu), **cpuinfo}.items()
                )
                for cpu in range(cpus)
            ]
            (root / "proc/cpuinfo").write_text("\n\n".join(blocks) + "\n")
        if memory_kb is not None:
            (root / "proc/meminfo").write_text(f"MemTotal:  {memory_kb} kB\n")
        for cpu in range(cpus):
            folder = root / f"sys/devices/system/cpu/cpu{cpu}"
            cores = cpus // siblings
            core = cpu % cores
            threads = ",".join(str(core + cores * n) for n in range(siblings))
            put(folder / "topology/core_id", str(core))
            put(folder / "topology/physical_package_id", "0")
            put(folder / "topology/thread_siblings_list", threads)
            if max_khz is not None:
                put(folder / "cpufreq/cpuinfo_max_freq", str(max_khz))
            for index, entry in (caches or {}).items():
                kind, size, line, ways, shared = entry
                level = {0: 1, 1: 1}.get(index, index)
                place = folder / f"cache/index{index}"
                put(place / "level", str(level))
                put(place / "type", kind)
                put(place / "size", size)
                put(place / "coherency_line_size", str(line))
                put(place / "ways_of_associativity", str(ways))
                put(place / "shared_cpu_list", shared)
        return root

    def put(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    return write


AVX2 = "sse sse2 ssse3 sse4_1 sse4_2 cx16 popcnt avx avx2 bmi1 bmi2 f16c fma abm movbe"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl avx512_vnni"


@pytest.fixture
def xeon(fake_host: Host) -> Path:
    """Four of a Xeon Gold 6248's cores with two threads each, an odd third level."""
    return fake_host(
        cpuinfo={
            "vendor_id": "GenuineIntel",
            "cpu family": "6",
            "model": "85",
            "model name": "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz",
            "stepping": "7",
            "flags": AVX512,
        },
        cpus=8,
        siblings=2,
        caches={
            0: ("Data", "32K", 64, 8, "0,4"),
            1: ("Instruction", "32K", 64, 8, "0,4"),
            2: ("Unified", "1024K", 64, 16, "0,4"),
            3: ("Unified", "28160K", 64, 11, "0-7"),
        },
        memory_kb=16 * 2**20,
    )


@pytest.fixture
def epyc(fake_host: Host) -> Path:
    """A virtual machine with two cores of an EPYC 7763."""
    return fake_host(
        cpuinfo={
            "vendor_id": "AuthenticAMD",
            "cpu family": "25",
            "model": "1",
            "model name": "AMD EPYC",
            "stepping": "1",
            "flags": AVX2,
        },
        cpus=2,
        caches={
            0: ("Data", "32K", 64, 8, "0"),
            1: ("Instruction", "32K", 64, 8, "0"),
            2: ("Unified", "512K", 64, 8, "0"),
            3: ("Unified", "32768K", 64, 16, "0-1"),
        },
        memory_kb=8 * 2**20,
    )


@pytest.fixture
def raspberry(fake_host: Host) -> Path:
    """A Raspberry Pi 4 whose kernel does not tell the caches."""
    root = fake_host(
        cpuinfo={
            "Features": "fp asimd evtstrm crc32 cpuid",
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU part": "0xd08",
        },
        cpus=4,
        memory_kb=4 * 2**20,
        max_khz=1_500_000,
    )
    model = root / "proc/device-tree/model"
    model.parent.mkdir()
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    return root


@pytest.fixture
def unknown_host(fake_host: Host) -> Path:
    """A host that tells nothing, as on a system that is not Linux."""
    return fake_host(cpus=0)
