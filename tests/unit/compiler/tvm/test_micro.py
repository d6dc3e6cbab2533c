"""Loops of assembly, run on this machine."""

from __future__ import annotations

import ctypes
import platform

import pytest

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.probes import CodeProbe, bandwidths, compare, why_not
from trimtab.compiler.tvm.micro import load_loops, text_of
from trimtab.hardware.detect import present

X86 = 'target datalayout = "e"\ntarget triple = "x86_64-unknown-linux-gnu"'
ARM = 'target datalayout = "e"\ntarget triple = "aarch64-unknown-linux-gnu"'

on_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the lines are those of x86-64"
)


def test_a_constant_keeps_its_mark():
    text = text_of({"a": ["movq $7, (%rdi)"]}, X86, "znver3")
    assert 'asm sideeffect "movq $$7, (%rdi)", "{rdi},' in text
    assert "define i32 @__tvm_ffi_a(" in text
    assert '"target-cpu"="znver3"' in text


def test_lines_are_separate():
    text = text_of({"a": ["nop", "nop"]}, X86, "znver3")
    assert '"nop\\0Anop"' in text


def test_arm_has_its_own_registers():
    text = text_of({"a": ["ldr q0, [x0]"]}, ARM, "neoverse-n1")
    assert '"{x0},~{v0},' in text
    assert "movi v31.2d, #0" in text


@on_x86
def test_a_loop_runs_as_often_as_it_is_told():
    counter = (ctypes.c_int64 * 8)()
    run = load_loops({"count": ["addq $1, (%rdi)"]}, present().core.llvm_cpu)["count"]
    run(1000, ctypes.addressof(counter), 0, 64)
    assert counter[0] == 1000


@on_x86
def test_a_place_moves_on_and_starts_again():
    counter = (ctypes.c_int64 * 8)()
    run = load_loops({"count": ["addq $1, (%rdi)"]}, present().core.llvm_cpu)["count"]
    run(10, ctypes.addressof(counter), 8, 32)
    # Four places in turn: 10 = 4 + 4 + 2.
    assert list(counter) == [3, 3, 2, 2, 0, 0, 0, 0]


@pytest.mark.integration
def test_this_core_is_near_its_table():
    """Generous, since other programs may run: the table must not be off by two."""
    assert why_not() == ""
    found = {each.name: each for each in compare(present())}
    for name in ("multiply-add, one chain", "multiply, one chain", "add, one chain"):
        if name in found:
            assert 0.8 < found[name].ratio < 1.5, name
    assert all(each.unknown == () for each in found.values())


@pytest.mark.integration
def test_this_machine_streams_and_ticks():
    here = present()
    found = CodeProbe().measure(here)
    assert 0.5e9 < found["core.frequency_hz"] < 7e9
    rates = bandwidths(here)
    level = rates["caches.1.load_bytes_per_s"]
    assert level > rates["memory.core_load_bytes_per_s"] > 0
