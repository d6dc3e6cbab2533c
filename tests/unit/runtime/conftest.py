"""A few small kernels, compiled once: what the tests of this room call."""

from __future__ import annotations

import pytest

from trimtab.compiler.loops import Buffer, Kernel, Kind, Local, Loop, Store, Var, expr
from trimtab.hardware.detect import present
from trimtab.runtime.kernels import SharedLibrary, load_code
from trimtab.runtime.program import Code

ROWS, INNER, COLUMNS = 6, 5, 4
ELEMENTS = ROWS * COLUMNS


def double() -> Kernel:
    """Return ``y = 2 x`` over `ELEMENTS`."""
    x, y, i = Buffer("x", (ELEMENTS,)), Buffer("y", (ELEMENTS,)), Var("i")
    body = (Loop(i, ELEMENTS, (Store(y, (i,), x[i] * 2.0),)),)
    return Kernel(name="double", parameters=(x, y), body=body)


def add() -> Kernel:
    """Return ``z = x + y`` over `ELEMENTS`."""
    x, y, z = (Buffer(name, (ELEMENTS,)) for name in "xyz")
    i = Var("i")
    body = (Loop(i, ELEMENTS, (Store(z, (i,), x[i] + y[i]),)),)
    return Kernel(name="add", parameters=(x, y, z), body=body)


def matmul() -> Kernel:
    """Return ``c = a b``, the rows in parallel."""
    a = Buffer("a", (ROWS, INNER))
    b = Buffer("b", (INNER, COLUMNS))
    c = Buffer("c", (ROWS, COLUMNS))
    acc = Buffer("acc", (COLUMNS,))
    i, j, k = Var("i"), Var("j"), Var("k")
    row = (
        Local(acc),
        Loop(j, COLUMNS, (Store(acc, (j,), expr(0.0)),)),
        Loop(
            k,
            INNER,
            (Loop(j, COLUMNS, (Store(acc, (j,), acc[j] + a[i, k] * b[k, j]),)),),
        ),
        Loop(j, COLUMNS, (Store(c, (i, j), acc[j]),)),
    )
    body = (Loop(i, ROWS, row, Kind.PARALLEL),)
    return Kernel(name="matmul", parameters=(a, b, c), body=body)


@pytest.fixture(scope="session")
def code() -> Code:
    """Return a shared library with the three kernels."""
    pytest.importorskip("tvm", reason="needs the extra `compile`")
    from trimtab.compiler.tvm.link import find_linker, object_of, signatures_of
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    linker = find_linker()
    if linker is None:
        pytest.skip("neither g++ nor ziglang is installed")
    kernels = [double(), add(), matmul()]
    target = target_of(present().core.llvm_cpu)
    objects = [object_of(compile_kernels([each], target)) for each in kernels]
    return linker.link(objects, signatures_of(kernels))


@pytest.fixture(scope="session")
def library(code: Code) -> SharedLibrary:
    """Return it, loaded."""
    found = load_code(code)
    assert isinstance(found, SharedLibrary)
    return found
