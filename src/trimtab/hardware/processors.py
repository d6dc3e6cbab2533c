"""What a processor calls itself, and what LLVM calls it.

The tables follow the identifiers of the vendors as LLVM reads them on a host
(llvm/lib/TargetParser/Host.cpp). They hold processors that run networks, not all.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["arm_cpu", "arm_isa", "simd_bits", "x86_cpu", "x86_isa"]

_INTEL = {
    0x2A: "sandybridge", 0x2D: "sandybridge",
    0x3A: "ivybridge", 0x3E: "ivybridge",
    0x3C: "haswell", 0x3F: "haswell", 0x45: "haswell", 0x46: "haswell",
    0x3D: "broadwell", 0x47: "broadwell", 0x4F: "broadwell", 0x56: "broadwell",
    0x4E: "skylake", 0x5E: "skylake", 0x8E: "skylake", 0x9E: "skylake",
    0xA5: "skylake", 0xA6: "skylake",
    0x6A: "icelake-server", 0x6C: "icelake-server",
    0x7D: "icelake-client", 0x7E: "icelake-client",
    0x8C: "tigerlake", 0x8D: "tigerlake", 0xA7: "rocketlake",
    0x97: "alderlake", 0x9A: "alderlake",
    0xB7: "raptorlake", 0xBA: "raptorlake", 0xBF: "raptorlake",
    0xAA: "meteorlake", 0xAC: "meteorlake",
    0x8F: "sapphirerapids", 0xCF: "emeraldrapids",
    0xAD: "graniterapids", 0xAE: "graniterapids-d",
}  # fmt: skip
# Model of family 6. Model 0x55 has three names, told apart by the stepping.

_ARM = {
    (0x41, 0xD03): "cortex-a53", (0x41, 0xD05): "cortex-a55",
    (0x41, 0xD07): "cortex-a57", (0x41, 0xD08): "cortex-a72",
    (0x41, 0xD09): "cortex-a73", (0x41, 0xD0A): "cortex-a75",
    (0x41, 0xD0B): "cortex-a76", (0x41, 0xD0C): "neoverse-n1",
    (0x41, 0xD0D): "cortex-a77", (0x41, 0xD40): "neoverse-v1",
    (0x41, 0xD41): "cortex-a78", (0x41, 0xD42): "cortex-a78ae",
    (0x41, 0xD44): "cortex-x1", (0x41, 0xD49): "neoverse-n2",
    (0x41, 0xD4F): "neoverse-v2", (0x46, 0x001): "a64fx",
    (0x4E, 0x004): "carmel", (0xC0, 0xAC3): "ampere1", (0xC0, 0xAC4): "ampere1a",
}  # fmt: skip
# Implementer and part of the main identification register.

_ARM_ISA = {
    "cortex-a55": "armv8.2-a", "cortex-a75": "armv8.2-a", "cortex-a76": "armv8.2-a",
    "cortex-a77": "armv8.2-a", "cortex-a78": "armv8.2-a", "cortex-a78ae": "armv8.2-a",
    "cortex-x1": "armv8.2-a", "neoverse-n1": "armv8.2-a", "carmel": "armv8.2-a",
    "a64fx": "armv8.2-a", "neoverse-v1": "armv8.4-a", "ampere1": "armv8.6-a",
    "ampere1a": "armv8.6-a", "neoverse-n2": "armv9-a", "neoverse-v2": "armv9-a",
}  # fmt: skip
# All others of `_ARM` have armv8-a.

_SVE_BITS = {"neoverse-v1": 256, "a64fx": 512}
# No flag tells the length of an SVE vector; all others have the 128 bits of ASIMD.

_X86_LEVELS = (
    (
        "x86-64-v4",
        {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma"},
    ),
    ("x86-64-v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}),
    ("x86-64-v2", {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
)
# The flags as Linux spells them, without those that every such processor has.


def x86_cpu(vendor: str, family: int, model: int, stepping: int = 0) -> str:
    """Return LLVM's name of an x86 processor, empty if the table does not have it.

    Args:
        vendor: ``vendor_id`` of ``/proc/cpuinfo``.
        family: with the extended family added, as Linux shows it.
        model: with the extended model.
        stepping: tells the Xeons of model 0x55 apart.

    Example:
        >>> x86_cpu("AuthenticAMD", 25, 1), x86_cpu("GenuineIntel", 6, 0x55, 7)
        ('znver3', 'cascadelake')
    """
    if vendor == "GenuineIntel" and family == 6:
        if model != 0x55:
            return _INTEL.get(model, "")
        if stepping < 5:
            return "skylake-avx512"
        return "cascadelake" if stepping < 8 else "cooperlake"
    if vendor in ("AuthenticAMD", "HygonGenuine"):
        if family == 0x17:
            return "znver2" if model >= 0x30 else "znver1"
        if family == 0x18:
            return "znver1"
        if family == 0x19:
            # Zen 4 came in between: 0x20 to 0x5F are Zen 3 again (desktop, laptop).
            return "znver4" if model // 16 in (1, 6, 7, 10) else "znver3"
        if family == 0x1A:
            return "znver5"
    return ""


def x86_isa(flags: Collection[str]) -> str:
    """Return the level of the x86-64 psABI that a processor has; LLVM knows it, too.

    Example:
        >>> x86_isa({"sse2"})
        'x86-64'
    """
    for level, needed in _X86_LEVELS:
        if needed <= set(flags):
            return level
    return "x86-64"


def arm_cpu(implementer: int, part: int) -> str:
    """Return LLVM's name of an Arm processor, empty if the table does not have it.

    Example:
        >>> arm_cpu(0x41, 0xD08)
        'cortex-a72'
    """
    return _ARM.get((implementer, part), "")


def arm_isa(llvm_cpu: str) -> str:
    """Return the version of the architecture that a 64-bit Arm processor has.

    Example:
        >>> arm_isa("neoverse-n1"), arm_isa("cortex-a72")
        ('armv8.2-a', 'armv8-a')
    """
    return _ARM_ISA.get(llvm_cpu, "armv8-a")


def simd_bits(flags: Collection[str], llvm_cpu: str = "") -> int:
    """Return the width of the widest vector unit for float32.

    Args:
        flags: ``flags`` or ``Features`` of ``/proc/cpuinfo``.
        llvm_cpu: tells the length of SVE vectors.

    Example:
        >>> simd_bits({"avx", "fma"}), simd_bits({"asimd", "sve"}, "neoverse-v1")
        (256, 256)
    """
    if "avx512f" in flags:
        return 512
    if "avx" in flags:
        return 256
    if "sve" in flags:
        return _SVE_BITS.get(llvm_cpu, 128)
    return 128 if {"sse", "sse2", "asimd", "neon"} & set(flags) else 64
