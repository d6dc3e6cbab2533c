"""Whether machine code that was made for one processor runs on this one."""

from __future__ import annotations

import platform

from trimtab.hardware.host import Host, read_host
from trimtab.runtime.program import Target

__all__ = ["FEATURES", "why_not_here"]

FEATURES = {
    "cmov": "cmov", "sse2": "sse2", "sse3": "pni", "ssse3": "ssse3",
    "sse4.1": "sse4_1", "sse4.2": "sse4_2", "popcnt": "popcnt", "cx16": "cx16",
    "avx": "avx", "f16c": "f16c", "fma": "fma", "avx2": "avx2", "bmi": "bmi1",
    "bmi2": "bmi2", "lzcnt": "abm", "movbe": "movbe", "avxvnni": "avx_vnni",
    "avx512f": "avx512f", "avx512cd": "avx512cd", "avx512bw": "avx512bw",
    "avx512dq": "avx512dq", "avx512vl": "avx512vl", "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi", "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni", "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq", "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16", "gfni": "gfni",
    "fp-armv8": "fp", "neon": "asimd", "fullfp16": "asimdhp", "dotprod": "asimddp",
    "lse": "atomics", "rdm": "asimdrdm", "rcpc": "lrcpc", "sve": "sve",
    "sve2": "sve2", "bf16": "bf16", "i8mm": "i8mm", "complxnum": "fcma",
}  # fmt: skip
"""Instruction sets that LLVM uses on its own account, and Linux's word for each."""


def why_not_here(
    target: Target, host: Host | None = None, architecture: str = ""
) -> str:
    """Return why code for a target cannot run on a host; empty if it can.

    Args:
        target: that the code was made for.
        host: this one by default.
        architecture: of the host, as ``uname -m`` spells it.

    Example:
        >>> arm = Target(machine="graviton2", llvm_cpu="neoverse-n1",
        ...              triple="aarch64-linux-gnu", features=("neon",), threads=1)
        >>> why_not_here(arm, architecture="x86_64")
        'it is for aarch64, this machine is x86_64'
    """
    architecture = architecture or platform.machine()
    wanted = target.triple.partition("-")[0]
    if wanted != architecture:
        return (
            f"it is for {wanted or 'no architecture'}, this machine is {architecture}"
        )
    found = host or read_host()
    if target.llvm_cpu in (found.llvm_cpu, found.microarchitecture, found.isa):
        named: set[str] = set()
    elif not target.features:
        return (
            f"it is for {target.llvm_cpu!r} and does not say which instructions it "
            f"uses, this machine is {found.llvm_cpu!r}"
        )
    else:
        # What the table does not have, code generation does not use by itself.
        named = {each for each in target.features if each in FEATURES}
    # A hypervisor hides flags of a processor whose name it shows.
    named |= {each for each in target.features if each.startswith("avx512")}
    missing = sorted(
        each for each in named if FEATURES.get(each, each) not in found.flags
    )
    if missing:
        return (
            f"it is for {target.llvm_cpu!r} and uses {', '.join(missing)}, which this "
            f"machine ({found.llvm_cpu!r}) does not have"
        )
    return ""
