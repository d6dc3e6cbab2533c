from dataclasses import replace

import pytest

from trimtab.compiler.target import target_for
from trimtab.errors import MachineError
from trimtab.hardware.load import machine


def test_x86_and_arm():
    milan = target_for(machine("milan"), threads=2)
    assert (milan.triple, milan.llvm_cpu, milan.threads) == (
        "x86_64-linux-gnu",
        "znver3",
        2,
    )
    assert {"avx2", "fma", "sse4.2"} <= set(milan.features)
    assert "avx512f" not in milan.features
    arm = target_for(machine("graviton2"))
    assert arm.triple == "aarch64-linux-gnu"
    assert "neon" in arm.features


def test_what_has_no_kernels_is_refused():
    with pytest.raises(MachineError, match="kernels are made for CPUs only"):
        target_for(machine("t4"))
    milan = machine("milan")
    odd = replace(milan, core=replace(milan.core, isa="riscv64"))
    with pytest.raises(MachineError, match=r"x86-64 and ARMv8.*core\.isa"):
        target_for(odd)
