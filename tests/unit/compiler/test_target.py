from dataclasses import replace

import pytest
import torch
from torch import nn

from trimtab.compiler.target import target_for, useful_threads
from trimtab.errors import MachineError
from trimtab.graph.capture import capture
from trimtab.graph.types import Graph
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


def test_what_is_too_small_for_several_threads_takes_one() -> None:
    def captured(width: int) -> Graph:
        layer = nn.Linear(width, width).eval()
        return capture(layer, (torch.zeros(8, width),))

    milan = machine("milan")
    small, large = captured(16), captured(1024)
    assert useful_threads([small], milan, 4) == 1
    assert useful_threads([large], milan, 4) == 4
    assert useful_threads([small, large], milan, 4) == 4
    assert useful_threads([large], milan, 1) == 1
