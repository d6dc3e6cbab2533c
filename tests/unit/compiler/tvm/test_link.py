"""Machine code becomes a library that needs libc alone."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trimtab.compiler.loops import Buffer, Kernel, Local, Loop, Store, Var
from trimtab.errors import UsageError
from trimtab.hardware.detect import present
from trimtab.runtime.kernels import load_code
from trimtab.runtime.program import Target
from trimtab.runtime.target import why_not_here

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.tvm.link import (
    Linker,
    as_text,
    features_of,
    find_linker,
    object_of,
    signatures_of,
)
from trimtab.compiler.tvm.lower import compile_kernels, target_of


def _scale(name: str, factor: float) -> Kernel:
    x, y, i = Buffer("x", (8,)), Buffer("y", (2, 4)), Var("i")
    body = (Loop(i, 8, (Store(y, (i // 4, i % 4), x[i] * factor),)),)
    return Kernel(name=name, parameters=(x, y), body=body)


KERNELS = [_scale("twice", 2.0), _scale("thrice", 3.0)]


def _objects() -> list[bytes]:
    target = target_of(present().core.llvm_cpu)
    return [object_of(compile_kernels([each], target)) for each in KERNELS]


def _linkers() -> list[Linker]:
    """Return g++'s and ziglang's."""
    found = [find_linker.__wrapped__()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        found.append(find_linker.__wrapped__())
    return [each for each in found if each is not None]


@pytest.mark.parametrize("linker", _linkers(), ids=lambda each: each.name.split()[0])
def test_objects_become_a_library(linker: Linker, tmp_path: Path) -> None:
    code = linker.link(_objects(), signatures_of(KERNELS))
    library = load_code(code)
    assert library.signatures == {"twice": (32, 32), "thrice": (32, 32)}
    x, y = torch.arange(8.0), torch.empty(2, 4)
    for index, factor in enumerate((2, 3)):
        binding = library.bind(["twice", "thrice"])
        for position in range(4):
            binding.set(position, (x, y)[position % 2].data_ptr())
        binding.run(index, index + 1)
        assert torch.equal(y.view(-1), factor * x)
    if shutil.which("readelf"):
        path = tmp_path / "kernels.so"
        path.write_bytes(code.data)
        shown = subprocess.run(
            ["readelf", "-d", path], capture_output=True, text=True, check=True
        ).stdout
        needed = [line for line in shown.splitlines() if "NEEDED" in line]
        parts = ("libc.so", "libm.so", "ld-linux")  # all of libc
        assert [line for line in needed if not any(map(line.count, parts))] == []


def test_a_large_local_buffer_needs_no_runtime() -> None:
    x, y, big = Buffer("x", (4096,)), Buffer("y", (4096,)), Buffer("big", (4096,))
    i = Var("i")
    body = (
        Local(big),
        Loop(i, 4096, (Store(big, (i,), x[i] + 1.0),)),
        Loop(i, 4096, (Store(y, (i,), big[-1 * i + 4095]),)),
    )
    kernel = Kernel(name="turn", parameters=(x, y), body=body)
    linker = find_linker()
    assert linker is not None
    target = target_of(present().core.llvm_cpu)
    objects = [object_of(compile_kernels([kernel], target))]
    library = load_code(linker.link(objects, signatures_of([kernel])))
    source, result = torch.arange(4096.0), torch.empty(4096)
    binding = library.bind(["turn"])
    binding.set(0, source.data_ptr())
    binding.set(1, result.data_ptr())
    binding.run(0, 1)
    assert torch.equal(result, source.flip(0) + 1)


@pytest.mark.parametrize(
    ("cpu", "triple", "has", "lacks"),
    [
        ("x86-64-v2", "x86_64-linux-gnu", {"sse4.2", "popcnt"}, {"avx", "fma"}),
        ("znver3", "x86_64-linux-gnu", {"avx2", "fma", "bmi2"}, {"avx512f", "pku"}),
        ("icelake-server", "x86_64-linux-gnu", {"avx512f", "avx512vl"}, set()),
        ("neoverse-n1", "aarch64-linux-gnu", {"neon", "dotprod"}, {"sve"}),
    ],
)
def test_processors_have_their_instructions(
    cpu: str, triple: str, has: set[str], lacks: set[str]
) -> None:
    found = set(features_of(cpu, triple))
    assert has <= found
    assert not lacks & found


def test_code_for_this_processor_runs_here() -> None:
    triple = f"{platform.machine()}-linux-gnu"
    cpu = present().core.llvm_cpu
    here = Target(
        machine="this",
        llvm_cpu=cpu,
        triple=triple,
        features=features_of(cpu, triple),
        threads=1,
    )
    assert why_not_here(here) == ""
    # As if it were made for another processor with the same instructions.
    assert why_not_here(replace(here, llvm_cpu="other")) == ""


def test_text_tells_its_kernels() -> None:
    target = target_of(present().core.llvm_cpu)
    code = as_text(compile_kernels(KERNELS, target), signatures_of(KERNELS))
    assert code.kind == "llvm"
    head, _, rest = code.data.partition(b"\n")
    assert head == b'; {"thrice":[32,32],"twice":[32,32]}'
    assert b"@__tvm_ffi_twice" in rest


def test_what_the_linker_refuses_is_told() -> None:
    linker = find_linker()
    assert linker is not None
    with pytest.raises(UsageError) as error:
        linker.link([b"no object file"], {})
    text = str(error.value)
    assert text.startswith("a library of compiled kernels: ")
    assert f"linker {linker.name}" in text
    assert text.endswith("Install g++, or the wheel ziglang with the extra `compile`.")


def test_a_linker_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    with pytest.raises(UsageError, match="No such file or directory"):
        Linker("gone", compile=[gone], link=[gone]).link([], {})


def test_another_architecture_takes_ziglang() -> None:
    found = find_linker("aarch64-linux-gnu")
    assert found is not None
    assert found.name == "ziglang for aarch64-linux-gnu"


def test_without_linkers_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_linker.__wrapped__() is None
