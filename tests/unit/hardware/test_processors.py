from __future__ import annotations

import pytest

from trimtab.hardware.processors import arm_cpu, arm_isa, simd_bits, x86_cpu, x86_isa


@pytest.mark.parametrize(
    ("family", "model", "name"),
    [
        (0x17, 0x01, "znver1"),
        (0x17, 0x31, "znver2"),
        (0x17, 0x71, "znver2"),
        (0x18, 0x00, "znver1"),
        (0x19, 0x01, "znver3"),
        (0x19, 0x11, "znver4"),
        (0x19, 0x21, "znver3"),  # desktop: a higher model, an older core
        (0x19, 0x50, "znver3"),
        (0x19, 0x61, "znver4"),
        (0x19, 0xA0, "znver4"),
        (0x1A, 0x02, "znver5"),
        (0x15, 0x02, ""),
    ],
)
def test_amd(family: int, model: int, name: str) -> None:
    assert x86_cpu("AuthenticAMD", family, model) == name


@pytest.mark.parametrize(
    ("model", "stepping", "name"),
    [
        (0x55, 4, "skylake-avx512"),
        (0x55, 7, "cascadelake"),
        (0x55, 11, "cooperlake"),
        (0x6A, 6, "icelake-server"),
        (0x8F, 8, "sapphirerapids"),
        (0xCF, 2, "emeraldrapids"),
        (0x01, 0, ""),
    ],
)
def test_intel(model: int, stepping: int, name: str) -> None:
    assert x86_cpu("GenuineIntel", 6, model, stepping) == name


def test_other_vendors_and_families() -> None:
    assert x86_cpu("HygonGenuine", 0x18, 0) == "znver1"
    assert x86_cpu("GenuineIntel", 15, 1) == ""
    assert x86_cpu("CentaurHauls", 6, 0x55) == ""


@pytest.mark.parametrize(
    ("part", "name", "isa"),
    [
        (0xD08, "cortex-a72", "armv8-a"),
        (0xD0C, "neoverse-n1", "armv8.2-a"),
        (0xD40, "neoverse-v1", "armv8.4-a"),
        (0xD4F, "neoverse-v2", "armv9-a"),
        (0xFFF, "", "armv8-a"),
    ],
)
def test_arm(part: int, name: str, isa: str) -> None:
    assert arm_cpu(0x41, part) == name
    assert arm_isa(name) == isa


V2 = {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (set(), "x86-64"),
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V4, "x86-64-v4"),
        (V4 - {"avx512vl"}, "x86-64-v3"),
        (V3 - {"movbe"}, "x86-64-v2"),
    ],
)
def test_levels_of_x86(flags: set[str], level: str) -> None:
    assert x86_isa(flags) == level


@pytest.mark.parametrize(
    ("flags", "cpu", "bits"),
    [
        ({"sse2", "avx", "avx512f"}, "", 512),
        ({"sse2", "avx"}, "", 256),
        ({"sse2"}, "", 128),
        ({"asimd"}, "cortex-a72", 128),
        ({"asimd", "sve"}, "neoverse-v1", 256),
        ({"asimd", "sve"}, "neoverse-v2", 128),
        ({"asimd", "sve"}, "a64fx", 512),
        ({"asimd"}, "neoverse-v1", 128),  # the kernel hides SVE
        ({"fpu"}, "", 64),
    ],
)
def test_widest_vectors(flags: set[str], cpu: str, bits: int) -> None:
    assert simd_bits(flags, cpu) == bits
