"""Libraries are loaded, say what is in them, and call it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.runtime.conftest import COLUMNS, ELEMENTS, INNER, ROWS, double, matmul

from trimtab.errors import BundleError, ExecutionError, MissingExtraError
from trimtab.hardware.detect import present
from trimtab.runtime import kernels
from trimtab.runtime.kernels import (
    AbstractLibrary,
    ModuleLibrary,
    SharedLibrary,
    load_code,
)
from trimtab.runtime.program import Code

SIZE = 4 * ELEMENTS


def _call(library: AbstractLibrary, name: str, *tensors: torch.Tensor) -> None:
    binding = library.bind([name])
    for position, tensor in enumerate(tensors):
        binding.set(position, tensor.data_ptr())
    binding.run(0, 1)


def test_a_library_tells_the_sizes_of_buffers(library: SharedLibrary) -> None:
    assert library.signatures == {
        "double": (SIZE, SIZE),
        "add": (SIZE, SIZE, SIZE),
        "matmul": (4 * ROWS * INNER, 4 * INNER * COLUMNS, SIZE),
        **{
            f"affine_{batch}": (16 * batch, 16, 16 * batch)  # 4 columns of 4 bytes
            for batch in (1, 4, 8)
        },
    }


def test_calls_run_in_order_on_the_pointers_given(library: SharedLibrary) -> None:
    x = torch.arange(float(ELEMENTS))
    y, z = torch.empty(ELEMENTS), torch.empty(ELEMENTS)
    binding = library.bind(["double", "add"])
    for position, tensor in enumerate((x, y, x, y, z)):
        binding.set(position, tensor.data_ptr())
    binding.run(0, 2)
    assert torch.equal(z, x + 2 * x)
    y.fill_(1)
    binding.run(1, 2)
    assert torch.equal(z, x + 1)
    binding.run(1, 1)


def test_parallel_loops_run_on_one_thread_until_a_pool_is_given(
    code: Code,
) -> None:
    own = load_code(code)
    a, b = torch.randn(ROWS, INNER), torch.randn(INNER, COLUMNS)
    c = torch.empty(ROWS, COLUMNS)
    tasks = Path("/proc/self/task")
    before = sorted(tasks.iterdir())
    _call(own, "matmul", a, b, c)
    assert sorted(tasks.iterdir()) == before
    torch.testing.assert_close(c, a @ b)


def test_a_kernel_that_fails_says_why(library: SharedLibrary) -> None:
    x = torch.empty(ELEMENTS)
    binding = library.bind(["double", "double"])
    for position in range(4):
        binding.set(position, x.data_ptr())
    assert isinstance(binding, kernels._SharedBinding)
    binding._words[2 * 2] = 1  # before the third pointer: a whole number follows
    with pytest.raises(ExecutionError) as error:
        binding.run(0, 2)
    assert str(error.value).startswith("kernel 'double': TypeError: ")
    assert "expected pointer" in str(error.value)
    assert error.value.remedy.startswith("compile the network again")


def test_a_kernel_that_is_not_there_is_named(library: SharedLibrary) -> None:
    with pytest.raises(BundleError, match="it has no kernel 'gone'"):
        library.address("gone")


def test_a_library_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "libm.so.6"
    path.write_bytes(Path(_libm()).read_bytes())
    with pytest.raises(BundleError) as error:
        SharedLibrary(path)
    assert "it is none of trimtab's" in str(error.value)


def _libm() -> str:
    ctypes.CDLL("libm.so.6")
    maps = Path("/proc/self/maps").read_text("utf-8")
    return next(line.split()[-1] for line in maps.splitlines() if "libm" in line)


@pytest.mark.parametrize("keep", [0, 63, 100, 5000, -1])
def test_a_library_that_was_cut_is_refused(code: Code, keep: int) -> None:
    with pytest.raises(BundleError) as error:
        load_code(replace(code, data=code.data[:keep]))
    kept = len(code.data[:keep])
    assert ("no shared library" if kept < 64 else f"it has {kept} bytes, its h") in str(
        error.value
    )


@pytest.mark.parametrize(
    "table", ['{"a":[1.5]}', '{"a":[-1]}', "[1]", "{", '{"a":3}', '{"a":["4"]}']
)
def test_a_table_that_is_none_is_refused(table: str) -> None:
    with pytest.raises(BundleError, match="its table of kernels cannot be read"):
        kernels._signatures(table.encode(), "here")


def test_the_file_is_not_needed_once_loaded(code: Code, tmp_path: Path) -> None:
    path = tmp_path / "kernels.so"
    path.write_bytes(code.data)
    own = SharedLibrary(path)
    path.unlink()
    x, y = torch.ones(ELEMENTS), torch.empty(ELEMENTS)
    _call(own, "double", x, y)
    assert torch.equal(y, 2 * x)


def test_modules_just_compiled_are_called_alike() -> None:
    pytest.importorskip("tvm", reason="needs the extra `compile`")
    from trimtab.compiler.tvm.link import as_text, signatures_of
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    both = [double(), matmul()]
    target = target_of(present().core.llvm_cpu)
    apart = [compile_kernels([each], target) for each in both]
    together = compile_kernels(both, target)
    text = as_text(together, signatures_of(both))
    x, y = torch.randn(ELEMENTS), torch.empty(ELEMENTS)
    a, b = torch.randn(ROWS, INNER), torch.randn(INNER, COLUMNS)
    c = torch.empty(ROWS, COLUMNS)
    for own in (
        ModuleLibrary([each.module for each in apart], signatures_of(both)),
        load_code(text),
    ):
        assert own.signatures["double"] == (SIZE, SIZE)
        _call(own, "double", x, y)
        assert torch.equal(y, 2 * x)
        assert isinstance(own, ModuleLibrary)
        with pytest.raises(BundleError, match="it has no kernel 'gone'"):
            own.function("gone")
        c.zero_()
        if own.signatures:
            _call(own, "matmul", a, b, c)
        torch.testing.assert_close(c, a @ b)


def test_text_without_a_table_is_refused() -> None:
    with pytest.raises(BundleError, match="its table of kernels cannot be read"):
        load_code(Code(kind="llvm", data=b"define void @f() { ret void }"))


def test_without_tvm_more_threads_are_refused_with_the_remedy(
    library: SharedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    kernels._runtime.cache_clear()
    with pytest.raises(MissingExtraError) as error:
        library.use_pool()
    assert str(error.value) == (
        "more than one thread: it needs libtvm_runtime.so of the package apache-tvm, "
        "which is not installed (trimtab.runtime). Install the extra: pip install "
        "'trimtab[compile]'."
    )


_PROGRAM = """
import sys
from pathlib import Path
import torch
from trimtab.graph.types import TensorType
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import load_code
from trimtab.runtime.program import Argument, Call, Code, Program

threads = int(sys.argv[2])
library = load_code(Code(kind="shared", data=Path(sys.argv[1]).read_bytes()))
a, b = torch.randn(6, 5), torch.randn(5, 4)
kinds = [TensorType(shape, "float32") for shape in ((6, 5), (5, 4), (6, 4))]
program = Program(
    inputs=tuple(kinds[:2]), outputs=(kinds[2],), workspace_bytes=0, zeroed=(),
    steps=(Call(function="matmul", nodes=(), arguments=(Argument(kind="input"),
           Argument(kind="input", index=1), Argument(kind="output"))),),
)
(c,) = ProgramExecutor(program, library, {}, threads=threads).run([a, b])
torch.testing.assert_close(c, a @ b)
print("tvm" in sys.modules, "tvm_ffi" in sys.modules)
maps = Path("/proc/self/maps").read_text()
print("libtvm_compiler" in maps, "libtvm_runtime" in maps)
"""


@pytest.mark.parametrize(
    ("threads", "loaded"),
    [(1, "False False\nFalse False\n"), (2, "False True\nFalse True\n")],
)
def test_neither_tvm_nor_a_compiler_is_loaded(
    code: Code, tmp_path: Path, threads: int, loaded: str
) -> None:
    path = tmp_path / "kernels.so"
    path.write_bytes(code.data)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), str(threads)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, loaded, "")
