from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.hardware.host import Level, read_host

FakeHost = Callable[..., Path]


def test_hardware_threads_are_no_cores(xeon: Path) -> None:
    host = read_host(xeon)
    assert host.cores == 8 // 2
    assert host.model_name == "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"
    assert host.identity == "GenuineIntel 6 85"
    assert host.llvm_cpu == host.microarchitecture == "cascadelake"
    assert host.isa == "x86-64-v4"
    assert host.simd_bits == 512
    assert host.memory_bytes == 16 * 2**30


def test_caches_are_shared_by_cores_not_by_threads(xeon: Path) -> None:
    level1, level2, level3 = read_host(xeon).levels
    assert level1 == Level(
        level=1, size_bytes=2**15, line_bytes=64, ways=8, shared_by_cores=1
    )
    assert level2.size_bytes == 2**20
    assert level3.size_bytes == 28160 * 2**10
    assert level3.shared_by_cores == 8 // 2


def test_instructions_are_no_data(epyc: Path) -> None:
    assert [level.level for level in read_host(epyc).levels] == [1, 2, 3]


def test_an_arm_board(raspberry: Path) -> None:
    host = read_host(raspberry)
    assert host.model_name == "Raspberry Pi 4 Model B Rev 1.4"
    assert host.identity == "arm 0x41 0xd08"
    assert host.llvm_cpu == "cortex-a72"
    assert host.isa == "armv8-a"
    assert host.cores == 4
    assert host.levels == ()
    assert host.frequency_hz == 1.5e9


def test_nothing_is_told(unknown_host: Path) -> None:
    host = read_host(unknown_host)
    assert host.cores == os.cpu_count()
    assert host.llvm_cpu == "generic"
    assert host.isa == platform.machine()
    assert host.levels == ()
    assert host.memory_bytes is None
    assert host.frequency_hz is None


def test_hidden_vectors_are_not_generated_for(fake_host: FakeHost) -> None:
    """Code for the processor would fault where the hypervisor masks AVX-512."""
    flags = "sse2 ssse3 sse4_1 sse4_2 cx16 popcnt avx"
    host = read_host(
        fake_host(
            cpuinfo={
                "vendor_id": "GenuineIntel",
                "cpu family": "6",
                "model": "106",
                "flags": flags,
            }
        )
    )
    assert host.microarchitecture == "icelake-server"
    assert host.llvm_cpu == host.isa == "x86-64-v2"


def test_an_unknown_x86_gets_its_level(fake_host: FakeHost) -> None:
    cpuinfo = {"vendor_id": "CentaurHauls", "cpu family": "7", "model": "91"}
    host = read_host(fake_host(cpuinfo=cpuinfo))
    assert host.microarchitecture == ""
    assert host.llvm_cpu == "x86-64"
    assert host.model_name == "CentaurHauls 7 91"


@pytest.mark.parametrize(
    ("size", "ways", "shared"),
    [("", 8, "0"), ("0K", 8, "0"), ("many", 8, "0"), ("-1K", 8, "0")],
)
def test_a_cache_without_a_size_is_left_out(
    fake_host: FakeHost, size: str, ways: int, shared: str
) -> None:
    root = fake_host(cpus=1, caches={0: ("Data", size, 64, ways, shared)})
    assert read_host(root).levels == ()


def test_odd_numbers_of_virtual_machines_are_unknown(fake_host: FakeHost) -> None:
    root = fake_host(cpus=1, caches={2: ("Unified", "2M", 0, 0, "")})
    assert read_host(root).levels == (
        Level(
            level=2, size_bytes=2**21, line_bytes=None, ways=None, shared_by_cores=None
        ),
    )


def test_garbage_does_not_raise(fake_host: FakeHost) -> None:
    root = fake_host(
        cpuinfo={"vendor_id": "GenuineIntel", "cpu family": "six", "model": ""},
        caches={0: ("Data", "32K", 64, 8, "0-x,,7-")},
    )
    (root / "proc/meminfo").write_bytes(b"\xff\xfe MemTotal")
    host = read_host(root)
    assert host.memory_bytes is None
    assert host.levels[0].shared_by_cores is None


def test_cores_that_all_have_number_zero_are_told_apart(fake_host: FakeHost) -> None:
    root = fake_host(cpus=4)
    for cpu in range(4):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        (topology / "core_id").write_text("0\n")
        (topology / "thread_siblings_list").write_text(f"{cpu}\n")
    assert read_host(root).cores == 4


def test_a_processor_that_is_off_is_not_counted(fake_host: FakeHost) -> None:
    root = fake_host(cpus=4)
    (root / "sys/devices/system/cpu/cpu3/online").write_text("0\n")
    assert read_host(root).cores == 3


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux only")
def test_the_present_machine_has_no_more_cores_than_the_process_may_use() -> None:
    assert 1 <= read_host().cores <= len(os.sched_getaffinity(0))
