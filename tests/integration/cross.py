"""Kernels compiled for AArch64 and called under `qemu-aarch64`, from this machine."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from numpy.typing import NDArray

from trimtab.compiler.loops import Kernel

Array = NDArray[Any]

_SECONDS = 120
_FLAGS = (
    "-c", "-O1", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-builtin",
    "-fno-stack-protector", "-fno-sanitize=all",
)  # fmt: skip


@final
class AArch64:
    """Kernels in a program that runs under qemu.

    Args:
        kernels: to compile, all in one program.
        folder: for its files.
        llvm_cpu: what to compile for.
    """

    def __init__(
        self, kernels: Sequence[Kernel], folder: Path, llvm_cpu: str = "neoverse-n1"
    ) -> None:
        from trimtab.compiler.tvm import link
        from trimtab.compiler.tvm.lower import compile_kernels, target_of

        self._kernels = list(kernels)
        self._program = folder / "kernels"
        target = target_of(llvm_cpu, "aarch64-linux-gnu")
        names = [kernel.name for kernel in kernels]
        (folder / "table.cpp").write_text(
            'extern "C" { typedef int (*Kernel)(void*, const void*, int, void*);\n'
            + "".join(
                f"int __tvm_ffi_{name}(void*, const void*, int, void*);\n"
                for name in names
            )
            + "extern const char trimtab_signatures[];\n"
            "const char trimtab_signatures[] = {0};\n"
            "extern const Kernel kernels[];\n"
            "const Kernel kernels[] = {"
            + ", ".join(f"__tvm_ffi_{name}" for name in names)
            + ", nullptr}; }\n",
            "utf-8",
        )
        parts = []
        for source in (
            Path(__file__).with_name("aarch64.cpp"),
            Path(link.__file__).with_name("glue.cpp"),
            folder / "table.cpp",
        ):
            parts.append(folder / f"{source.stem}.o")
            _zig(
                "c++", "-target", "aarch64-linux-gnu", *_FLAGS, source, "-o", parts[-1]
            )
        parts.append(folder / "code.o")
        parts[-1].write_bytes(link.object_of(compile_kernels(kernels, target)))
        _zig("ld.lld", "-static", "-o", self._program, *parts)

    def __call__(self, name: str, *buffers: Array) -> list[Array]:
        """Return what the buffers of a kernel hold after a call."""
        index = [kernel.name for kernel in self._kernels].index(name)
        sizes = [
            np.dtype(each.dtype).itemsize * each.elements
            for each in self._kernels[index].parameters
        ]
        assert [each.nbytes for each in buffers] == sizes
        call = struct.pack("<2Q", index, len(buffers))
        for each in buffers:
            call += struct.pack("<Q", each.nbytes) + each.tobytes()
        done = subprocess.run(
            ["qemu-aarch64", self._program],
            input=call,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, (done.returncode, done.stderr[:2000])
        found, start = [], 0
        for each in buffers:
            part = done.stdout[start : start + each.nbytes]
            found.append(np.frombuffer(part, each.dtype).reshape(each.shape))
            start += each.nbytes
        assert start == len(done.stdout)
        return found


def require() -> None:
    """Skip, saying why, where qemu or ziglang is absent."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is absent (Debian package qemu-user)")
    pytest.importorskip("ziglang", reason="links for AArch64; extra `compile`")
    pytest.importorskip("tvm", reason="compiles for AArch64; extra `compile`")


def here(kernel: Kernel, *buffers: Array) -> list[Array]:
    """Return what the buffers hold after a call of the kernel on this host."""
    import torch

    from trimtab.compiler.tvm.link import signatures_of
    from trimtab.compiler.tvm.lower import compile_kernels, target_of
    from trimtab.hardware.detect import present
    from trimtab.runtime.kernels import ModuleLibrary
    from trimtab.runtime.memory import place

    target = target_of(present().core.llvm_cpu)
    module = compile_kernels([kernel], target).module
    library = ModuleLibrary([module], signatures_of([kernel]))
    copies = place(
        {str(i): torch.from_numpy(each.copy()) for i, each in enumerate(buffers)}
    )
    binding = library.bind([kernel.name])
    for position, copy in enumerate(copies.values()):
        binding.set(position, copy.data_ptr())
    binding.run(0, 1)
    return [copy.numpy() for copy in copies.values()]


def _zig(*words: object) -> None:
    command = [sys.executable, "-m", "ziglang", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[:2000]
