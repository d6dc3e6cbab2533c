"""Machine code that LLVM makes for several processors is read whole."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.assembly.program import parse
from trimtab.compiler.assembly.report import hot_loops
from trimtab.compiler.loops import (
    Buffer,
    Kernel,
    Kind,
    Local,
    Loop,
    Store,
    Var,
    block,
    expr,
    maximum,
    unroll,
)
from trimtab.compiler.tvm.lower import compile_kernels, target_of
from trimtab.hardware.cores import microarchitecture

pytestmark = pytest.mark.integration

HEIGHT, WIDTH, DEPTH, WINDOW = 6, 28, 16, 3


def convolution(rows: int, vectors: int, lanes: int) -> Kernel:
    """Return a packed convolution whose sums are meant to stay in registers."""
    x = Buffer("x", (HEIGHT + 2, WIDTH + 2, DEPTH))
    weight = Buffer("weight", (WINDOW, WINDOW, DEPTH, vectors, lanes))
    y = Buffer("y", (HEIGHT, WIDTH, vectors, lanes))
    sums = Buffer("sums", (rows, vectors, lanes))
    h, w, m, n, c, r, v, i = map(Var, ("h", "w", "m", "n", "c", "r", "v", "i"))

    def tile(store: Store) -> tuple[Loop, ...]:
        inner = Loop(i, lanes, (store,), Kind.VECTOR)
        return unroll(r, rows, unroll(v, vectors, inner))  # type: ignore[return-value]

    product = x[h + m, w * rows + r + n, c] * weight[m, n, c, v, i]
    body = block(
        Local(sums),
        tile(Store(sums, (r, v, i), expr(0.0))),
        Loop(
            m,
            WINDOW,
            (
                Loop(
                    n,
                    WINDOW,
                    (
                        Loop(
                            c,
                            DEPTH,
                            tile(Store(sums, (r, v, i), sums[r, v, i] + product)),
                        ),
                    ),
                ),
            ),
        ),
        tile(Store(y, (h, w * rows + r, v, i), maximum(sums[r, v, i], 0.0))),
    )
    return Kernel(
        name="convolution",
        parameters=(x, weight, y),
        body=(Loop(h, HEIGHT, (Loop(w, WIDTH // rows, body),)),),
    )


PROCESSORS = {
    "znver3": ("", 8),
    "znver4": ("", 16),
    "skylake-avx512": ("", 16),
    "icelake-server": ("", 16),
    "emeraldrapids": ("", 16),
    "haswell": ("", 8),
    "nehalem": ("", 4),
    "neoverse-n1": ("aarch64-linux-gnu", 4),
    "neoverse-v1": ("aarch64-linux-gnu", 4),
    "cortex-a72": ("aarch64-linux-gnu", 4),
    "cortex-a53": ("aarch64-linux-gnu", 4),
}


@pytest.mark.parametrize(("rows", "vectors"), [(2, 2), (4, 2), (14, 2)])
@pytest.mark.parametrize("cpu", PROCESSORS)
def test_every_instruction_is_known_and_every_product_is_found(
    cpu: str, rows: int, vectors: int
) -> None:
    triple, lanes = PROCESSORS[cpu]
    compiled = compile_kernels(
        [convolution(rows, vectors, lanes)], target_of(cpu, triple)
    )
    core = microarchitecture(cpu)
    found = [
        each
        for function in parse(compiled.assembly())
        for each in hot_loops(function, core)
    ]
    assert found
    assert all(each.report.unknown == () for each in found)
    assert all(each.trips is not None for each in found)
    assert all(each.report.scalar_arithmetic == 0 for each in found)
    products = HEIGHT * WIDTH * WINDOW**2 * DEPTH * vectors * lanes
    if cpu == "nehalem":  # without fused products
        assert max(found, key=lambda each: each.weight).report.arithmetic
    else:
        fused = sum(each.report.fma_lanes * each.passes for each in found)
        assert fused == products


def test_a_tile_beyond_the_registers_is_seen() -> None:
    def stack(rows: int) -> int:
        compiled = compile_kernels([convolution(rows, 2, 8)], target_of("znver3"))
        found = [
            each.report
            for function in parse(compiled.assembly())
            for each in hot_loops(function, microarchitecture("znver3"))
            if each.report.fmas
        ]
        return max(each.spills for each in found)

    assert stack(4) == 0
    # 28 sums in 16 registers.
    assert stack(14) >= 2 * (28 - 16)
