"""Code for x86 processors that need not be here: its registers, and its results."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.report import hot_loops
from trimtab.compiler.compile import Compilation, prepare
from trimtab.compiler.reading import read
from trimtab.compiler.tvm.link import features_of
from trimtab.compiler.tvm.lower import compile_kernels, target_of
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.runtime.target import why_not_here

pytestmark = pytest.mark.integration

SSE, AVX2, AVX512 = 128, 256, 512
WIDEST = {SSE: "x", AVX2: "y", AVX512: "z"}
LEVELS = {SSE: "x86-64-v2", AVX2: "x86-64-v3", AVX512: "x86-64-v4"}
# Machines of the catalogue, and cores that only have a table of their own.
MACHINES = {
    "nehalem": SSE,
    "haswell": AVX2,
    "milan": AVX2,
    "skylake-sp": AVX512,
    "ice-lake": AVX512,
    "sapphire-rapids": AVX512,
    "genoa": AVX512,
}
CORES = ("nehalem", "haswell")
NETWORKS = {
    "convolution": (lambda: nn.Conv2d(16, 32, 3, padding=1), (1, 16, 10, 9)),
    "dense": (lambda: nn.Linear(48, 96), (12, 48)),
}


def _machine(name: str) -> Machine:
    if name not in CORES:
        return find_machine(name)
    like, bits = find_machine("milan"), MACHINES[name]
    core = replace(like.core, llvm_cpu=name, isa=LEVELS[bits], simd_bits=bits)
    return replace(like, name=name, core=core)


def _compiled(name: str, network: str) -> tuple[nn.Module, torch.Tensor, Compilation]:
    make, shape = NETWORKS[network]
    module, x = make().eval(), torch.randn(shape)
    return module, x, prepare(module, (x,), machine=_machine(name), cache=False)


def _assembly(made: Compilation) -> str:
    """Return the code of the kernel with the products."""
    target = target_of(made.target.llvm_cpu, made.target.triple)
    (kernel,) = (
        each.chosen.kernel
        for each in made.built.tuned.values()
        if each.family in ("contraction", "winograd")
    )
    return compile_kernels([kernel], target).assembly()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", MACHINES)
def test_code_is_of_its_instruction_set_and_right(name: str, network: str) -> None:
    bits = MACHINES[name]
    module, x, made = _compiled(name, network)
    assert (made.machine.core.isa, made.machine.core.simd_bits) == (LEVELS[bits], bits)
    core = microarchitecture(made.target.llvm_cpu)
    assembly = _assembly(made)

    registers = set(re.findall(r"%([xyz]mm)\d", assembly))
    words = set(re.findall(r"^\t([a-z]\w*)", assembly, re.MULTILINE))
    products = {word for word in words if re.fullmatch(r"vfn?m(add|sub)\d+[ps]s", word)}
    if bits == SSE:
        assert registers == {"xmm"}
        assert not {word for word in words if word.startswith("v")}  # AVX's spelling
        assert {"mulps", "addps"} <= words
    else:
        assert products
        assert "mulps" not in words
        assert ("zmm" in registers) == (bits == AVX512)

    functions = [(each, hot_loops(each, core)) for each in parse(assembly)]
    function, hottest = max(
        ((each, loop) for each, loops in functions for loop in loops),
        key=lambda pair: pair[1].weight,
    )
    lines = [line for at in hottest.loop.own for line in function.blocks[at].lines]
    computing = [
        operands for word, operands in lines if word in (products or ("mulps", "addps"))
    ]
    assert computing
    assert all(f"%{WIDEST[bits]}mm" in operands for operands in computing)
    assert all(each.report.unknown == () for _, loops in functions for each in loops)
    reading = read(assembly, core)
    assert reading.loops
    assert (reading.unknown, reading.scalar) == ((), 0)  # it may spill
    if bits != SSE and network == "dense":  # each product once, all of them in vectors
        fused = sum(
            each.report.fma_lanes * each.passes
            for _, loops in functions
            for each in loops
        )
        assert fused == 12 * 48 * 96

    # All that LLVM may use must be here, not only what the target asks for.
    may_use = features_of(made.target.llvm_cpu, made.target.triple)
    if why_not_here(replace(made.target, features=may_use)) == "":
        with torch.inference_mode():
            found, expected = made.network()(x), module(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
