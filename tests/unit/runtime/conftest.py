"""A few small kernels, compiled once: what the tests of this room call."""

from __future__ import annotations

import platform
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.compiler.loops import Buffer, Kernel, Kind, Local, Loop, Store, Var, expr
from trimtab.graph.capture import capture
from trimtab.graph.types import TensorType
from trimtab.hardware.detect import present
from trimtab.runtime.batches import Bucket
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.runtime.kernels import SharedLibrary, load_code
from trimtab.runtime.program import Argument, Call, Code, Program, Target

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


def affine(batch: int) -> Kernel:
    """Return ``y = 2 x + w`` over rows of `COLUMNS`."""
    x, y = Buffer("x", (batch, COLUMNS)), Buffer("y", (batch, COLUMNS))
    w, i, j = Buffer("w", (COLUMNS,)), Var("i"), Var("j")
    row = (Loop(j, COLUMNS, (Store(y, (i, j), x[i, j] * 2.0 + w[j]),)),)
    return Kernel(
        name=f"affine_{batch}", parameters=(x, w, y), body=(Loop(i, batch, row),)
    )


class Affine(nn.Module):
    """What `affine` computes."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(1.0, 1 + COLUMNS))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2.0 + self.w


def bucket(batch: int, module: nn.Module | None = None) -> Bucket:
    """Return `affine` for a batch size, as a compiler would make it."""
    graph = capture((module or Affine()).eval(), (torch.zeros(batch, COLUMNS),))
    kind = TensorType((batch, COLUMNS), "float32")
    call = Call(
        function=f"affine_{batch}",
        arguments=(
            Argument(kind="input"),
            Argument(kind="constant", name="w"),
            Argument(kind="output"),
        ),
        nodes=tuple(node.name for node in graph.nodes),
    )
    program = Program(
        inputs=(kind,), outputs=(kind,), workspace_bytes=0, zeroed=(), steps=(call,)
    )
    return Bucket(batch=batch, program=program, graph=graph)


def target(threads: int = 1) -> Target:
    """Return this machine."""
    return Target(
        machine="this",
        llvm_cpu=present().core.llvm_cpu,
        triple=f"{platform.machine()}-linux-gnu",
        features=(),
        threads=threads,
    )


def network(code: Code | None, *batches: int, **more: Any) -> CompiledNetwork:
    """Return `affine` compiled for some batch sizes."""
    module = Affine().eval()
    parts: dict[str, Any] = {
        "buckets": [bucket(batch) for batch in batches],
        "weights": {"w": module.w.detach()},
        "target": target(),
        "constants": {"w": module.w.detach()},
        "code": code,
        "any_batch": len(batches) > 1,
    }
    return CompiledNetwork(**{**parts, **more})


@pytest.fixture(scope="session")
def code() -> Code:
    """Return a shared library with all of them."""
    pytest.importorskip("tvm", reason="needs the extra `compile`")
    from trimtab.compiler.tvm.link import find_linker, object_of, signatures_of
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    linker = find_linker()
    if linker is None:
        pytest.skip("neither g++ nor ziglang is installed")
    kernels = [double(), add(), matmul(), *map(affine, (1, 4, 8))]
    here = target_of(present().core.llvm_cpu)
    objects = [object_of(compile_kernels([each], here)) for each in kernels]
    return linker.link(objects, signatures_of(kernels))


@pytest.fixture(scope="session")
def library(code: Code) -> SharedLibrary:
    """Return it, loaded."""
    found = load_code(code)
    assert isinstance(found, SharedLibrary)
    return found
