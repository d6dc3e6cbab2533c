from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.hardware.check import Severity, check
from trimtab.hardware.defaults import REASON
from trimtab.hardware.detect import fingerprint, present
from trimtab.hardware.load import machine, to_toml
from trimtab.hardware.machine import Origin, numbers_of

FakeHost = Callable[..., Path]

HOSTS = ("xeon", "epyc", "raspberry", "unknown_host")


@pytest.fixture(params=HOSTS)
def root(request: pytest.FixtureRequest) -> Path:
    """Each of the made-up hosts."""
    found: Path = request.getfixturevalue(request.param)
    return found


def test_every_host_becomes_a_plausible_machine(root: Path) -> None:
    here = present(root)
    assert here.name == "this"
    errors = [item for item in check(here) if item.severity is Severity.ERROR]
    assert errors == []
    assert here.sources.keys() == numbers_of(here).keys()
    assert here.fingerprint == fingerprint(root)


def test_every_host_can_be_written_and_read(root: Path, tmp_path: Path) -> None:
    here = present(root)
    file = tmp_path / "this.toml"
    file.write_text(to_toml(here))
    assert machine(file) == here


def test_a_xeon(xeon: Path) -> None:
    here, entry = present(xeon), machine("cascade-lake")
    assert here.title == "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz, 4 cores"
    assert here.core == entry.core
    assert [cache.size_bytes for cache in here.caches] == [2**15, 2**20, 28160 * 2**10]
    assert here.caches[2].shared_by_cores == 4
    assert here.sources["caches.3.size_bytes"].origin is Origin.SOURCED
    assert here.sources["caches.3.size_bytes"].text == "cache of level 3 in /sys"


def test_part_of_a_machine_cannot_draw_what_the_socket_can(epyc: Path) -> None:
    here, entry = present(epyc), machine("milan")
    alone = entry.memory.core_bandwidth_bytes_per_s
    assert 2 * alone < entry.memory.bandwidth_bytes_per_s
    assert here.memory.bandwidth_bytes_per_s == 2 * alone
    source = here.sources["memory.bandwidth_bytes_per_s"]
    assert source.origin is Origin.DERIVED
    assert source.text == "2 cores times what one core of 'milan' draws alone"


def test_what_is_copied_says_from_where(epyc: Path) -> None:
    source = present(epyc).sources["dispatch_s"]
    assert source.origin is Origin.DERIVED
    assert source.text == (
        "that of 'milan' in the catalogue, which has the same core; there derived: "
        + machine("milan").sources["dispatch_s"].text
    )


def test_a_kernel_that_does_not_tell_caches(raspberry: Path) -> None:
    here = present(raspberry)
    assert here.title == "Raspberry Pi 4 Model B Rev 1.4, 4 cores"
    assert here.caches == machine("raspberry-pi-4").caches
    assert here.sources["caches.2.ways"].origin is Origin.DERIVED


def test_a_lower_clock_slows_the_caches(fake_host: FakeHost) -> None:
    entry = machine("raspberry-pi-4")
    root = fake_host(
        cpuinfo={
            "CPU implementer": "0x41",
            "CPU part": "0xd08",
            "Features": "asimd",
        },
        cpus=2,
        caches={0: ("Data", "32K", 64, 2, "0"), 2: ("Unified", "1M", 64, 16, "0-1")},
        max_khz=750_000,
    )
    here = present(root)
    assert here.core.frequency_hz == 0.75e9
    ratio = 0.75e9 / entry.core.frequency_hz
    assert here.caches[0].bandwidth_bytes_per_s == (
        entry.caches[0].bandwidth_bytes_per_s * ratio
    )
    text = here.sources["caches.1.bandwidth_bytes_per_s"].text
    assert f"times {ratio:.3g} for the clock" in text


def test_a_higher_clock_is_not_believed(fake_host: FakeHost) -> None:
    """What a processor reaches for a moment it does not sustain."""
    root = fake_host(
        cpuinfo={"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1",
                 "flags": "avx avx2 fma"},
        max_khz=3_500_000,
    )  # fmt: skip
    assert present(root).core.frequency_hz == machine("milan").core.frequency_hz


def test_hidden_vectors_halve_the_peak(fake_host: FakeHost) -> None:
    root = fake_host(
        cpuinfo={"vendor_id": "GenuineIntel", "cpu family": "6", "model": "143",
                 "flags": "avx avx2 fma"},
    )  # fmt: skip
    core = present(root).core
    assert (core.simd_bits, core.fma_units, core.vector_registers) == (256, 2.0, 16)
    whole = machine("sapphire-rapids").core
    assert core.peak_flops_per_s == whole.peak_flops_per_s / 2


def test_a_core_without_a_machine_multiplies_as_its_table_says(
    fake_host: FakeHost,
) -> None:
    """The clock is found by counting multiply-adds: half of them would double it."""
    flags = "avx avx2 bmi1 bmi2 f16c fma abm movbe"
    wide = " avx512f avx512bw avx512cd avx512dq avx512vl"
    root = fake_host(
        cpuinfo={"vendor_id": "GenuineIntel", "cpu family": "6", "model": "173",
                 "flags": flags + wide},
    )  # fmt: skip
    here = present(root)
    assert here.core.llvm_cpu == "graniterapids"
    assert (here.core.simd_bits, here.core.fma_units) == (512, 2.0)
    assert here.sources["core.fma_units"].text == (
        "what the table of ports of graniterapids starts a cycle"
    )
    assert here.sources["core.frequency_hz"].text == REASON


def test_a_level_that_the_catalogue_lacks_gets_defaults(fake_host: FakeHost) -> None:
    root = fake_host(
        cpuinfo={"CPU implementer": "0x41", "CPU part": "0xd08", "Features": "asimd"},
        cpus=4,
        caches={
            0: ("Data", "32K", 64, 2, "0"),
            2: ("Unified", "1M", 64, 16, "0-3"),
            3: ("Unified", "8M", 0, 0, ""),
        },
    )
    here = present(root)
    assert here.caches[2].size_bytes == 2**23
    assert here.sources["caches.3.ways"].text == REASON
    assert [item for item in check(here) if item.severity is Severity.ERROR] == []


def test_nothing_is_told(unknown_host: Path) -> None:
    here = present(unknown_host)
    assert here.core.llvm_cpu == "generic"
    assert {
        here.sources[path].text for path in numbers_of(here) if path != "cores"
    } == {REASON}


def test_the_present_machine() -> None:
    here = present()
    assert here == present()
    assert [item for item in check(here) if item.severity is Severity.ERROR] == []


def test_a_fingerprint_ignores_kernel_clock_and_memory(xeon: Path) -> None:
    before = fingerprint(xeon)
    info = xeon / "proc/cpuinfo"
    info.write_text(info.read_text().replace("flags\t: ", "flags\t: newflag ibpb "))
    (xeon / "proc/meminfo").write_text("MemTotal: 1 kB\n")
    assert fingerprint(xeon) == before
    assert len(before) == 16


def test_a_fingerprint_follows_the_hardware(root: Path, epyc: Path) -> None:
    before = fingerprint(epyc)
    assert fingerprint(root) != before or root == epyc
    info = epyc / "proc/cpuinfo"
    info.write_text(info.read_text().replace("avx2", "avx3"))
    assert fingerprint(epyc) != before
