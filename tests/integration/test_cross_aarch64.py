"""Kernels compiled for AArch64 compute what they compute here, under qemu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.integration.cross import AArch64, Array, here, require

from trimtab.compiler.formula import IDENTITY, Formula, slot
from trimtab.compiler.layout import packed, row_major
from trimtab.compiler.loops import (
    Buffer,
    Cast,
    If,
    Kernel,
    Kind,
    Local,
    Loop,
    Prefetch,
    Select,
    Store,
    Var,
    block,
    expr,
    maximum,
    minimum,
    unroll,
)

pytestmark = pytest.mark.integration

LANES = 4
"""float32 elements of a vector of NEON's."""


@pytest.fixture(autouse=True)
def _tools() -> None:
    require()


def _matmul(rows: int, inner: int, columns: int) -> Kernel:
    """Return ``c = a b`` with a register tile, the rows in parallel."""
    a, b, c = (
        Buffer("a", (rows, inner)),
        Buffer("b", (inner, columns)),
        Buffer("c", (rows, columns)),
    )
    i, j, k, u, v = map(Var, "ijkuv")
    tile = 2 * LANES
    acc = Buffer("acc", (2, LANES))

    def vectors(statement: Any) -> Any:
        return unroll(u, 2, Loop(v, LANES, (statement,), Kind.VECTOR))

    at = j * tile + u * LANES + v
    body = block(
        Local(acc),
        vectors(Store(acc, (u, v), expr(0.0))),
        Loop(
            k,
            inner,
            block(
                Prefetch(b, (k, j * tile)),
                vectors(Store(acc, (u, v), acc[u, v] + a[i, k] * b[k, at])),
            ),
        ),
        vectors(Store(c, (i, at), maximum(acc[u, v], 0.0))),
    )
    return Kernel(
        name="matmul",
        parameters=(a, b, c),
        body=(Loop(i, rows, (Loop(j, columns // tile, body),), Kind.PARALLEL),),
    )


def test_a_product_with_a_register_tile(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((7, 33), np.float32)
    b = rng.standard_normal((33, 24), np.float32)
    program = AArch64([_matmul(7, 33, 24)], tmp_path)
    same_a, same_b, c = program("matmul", a, b, np.full((7, 24), np.nan, np.float32))
    np.testing.assert_array_equal(same_a, a)
    np.testing.assert_array_equal(same_b, b)
    expected = np.maximum(a.astype(np.float64) @ b, 0)
    np.testing.assert_allclose(c, expected, rtol=0, atol=1e-5)


def test_every_kind_of_expression(tmp_path: Path) -> None:
    n = 64
    x, y = Buffer("x", (n,)), Buffer("y", (5, n))
    k, z = Buffer("k", (n,), "int64"), Buffer("z", (n,), "int64")
    big = Buffer("big", (n * 64,))  # more than a stack slot or two
    i = Var("i")
    body = block(
        Local(big),
        Loop(i, n * 64, (Store(big, (i,), x[i % n] + 1.0),)),
        Loop(
            i,
            n,
            (
                Store(y, (0, i), minimum(maximum(x[i], -0.5), 0.5) / 3.0),
                Store(y, (1, i), Select(x[i].less(0.0), -x[i] * 0.25, x[i])),
                Store(y, (2, i), x[(i // 8) * 8 + (i * 3) % 8] - big[i * 64 + 63]),
                Store(y, (3, i), Cast("float32", k[i])),
                Store(y, (4, i), expr(2.0)),
                Store(z, (i,), k[i] + Cast("int64", i)),
                If(x[i].at_least(1.0), (Store(y, (4, i), expr(3.0)),)),
            ),
        ),
    )
    kernel = Kernel(name="all_of_them", parameters=(x, k, y, z), body=body)
    rng = np.random.default_rng(1)
    a = rng.standard_normal(n, np.float32)
    b = rng.integers(-(1 << 20), 1 << 20, n)
    program = AArch64([kernel], tmp_path)
    _, _, c, d = program(
        "all_of_them", a, b, np.zeros((5, n), np.float32), np.zeros(n, np.int64)
    )
    at = np.arange(n)
    third = np.float32(3)
    np.testing.assert_allclose(c[0], np.clip(a, -0.5, 0.5) / third, rtol=3e-7)
    np.testing.assert_array_equal(c[1], np.where(a < 0, a * np.float32(-0.25), a))
    np.testing.assert_array_equal(
        c[2], a[at // 8 * 8 + at * 3 % 8] - (a[(at * 64 + 63) % n] + np.float32(1))
    )
    np.testing.assert_array_equal(c[3], b.astype(np.float32))
    np.testing.assert_array_equal(c[4], np.where(a >= 1, 3, 2))
    np.testing.assert_array_equal(d, b + at)


def test_memory_beyond_a_buffer_is_guarded(tmp_path: Path) -> None:
    x, i = Buffer("x", (1024,)), Var("i")
    beyond = Kernel(
        name="beyond",
        parameters=(x,),
        body=(Loop(i, 4096, (Store(x, (i,), expr(1.0)),)),),
    )
    with pytest.raises(AssertionError, match=r"^\(-11, "):  # SIGSEGV
        AArch64([beyond], tmp_path)("beyond", np.zeros(1024, np.float32))


RELU = Formula(slots=1, steps=(), result=maximum(0.0, slot(0)))


ROWS = 9
"""Rows of a table."""


def _spaces() -> dict[str, tuple[Any, Any, Any]]:
    """Return work of every family, its schedules and its loops."""
    from trimtab.compiler.spaces import (
        attention,
        contraction,
        contraction_model,
        depthwise,
        elementwise,
        embedding,
        normalize,
        pool,
        recurrent,
        reduce,
        softmax,
        winograd,
        winograd_model,
    )

    image = packed((1, 8, 9, 7), block=LANES, halo=(1, 1, 1, 1))
    wide = packed((1, 8, 9, 7), block=LANES, halo=(2, 4, 2, 4))
    result = packed((1, 12, 9, 7), block=LANES)
    same = packed((1, 8, 9, 7), block=LANES)
    half = packed((1, 8, 5, 4), block=LANES)
    plain, one = row_major((6, 50)), row_major((6, 1))
    heads = row_major((1, 2, 10, 8))
    table, state = row_major((ROWS, 11)), row_major((3, 10))
    window: Any = {"kernel": (3, 3), "padding": (1, 1)}
    works: dict[str, tuple[Any, Any]] = {
        "contraction": (
            contraction,
            contraction.Contraction(
                input=image, output=result, formula=RELU, bias=True, **window
            ),
        ),
        "winograd": (
            winograd,
            contraction.Contraction(
                input=wide, output=result, formula=IDENTITY, **window
            ),
        ),
        "depthwise": (
            depthwise,
            depthwise.Depthwise(input=image, output=same, formula=RELU, **window),
        ),
        "elementwise": (
            elementwise,
            elementwise.Elementwise(output=plain, formula=RELU, operands=(plain,)),
        ),
        "softmax": (softmax, softmax.Softmax(input=plain, output=plain, axis=1)),
        "normalize": (
            normalize,
            normalize.Normalize(input=plain, output=plain, axes=(1,), eps=1e-5),
        ),
        "pool": (
            pool,
            pool.Pool(input=same, output=half, kind="mean", stride=(2, 2), **window),
        ),
        "reduce": (
            reduce,
            reduce.Reduce(input=plain, output=one, axes=(1,), kind="mean"),
        ),
        "attention": (
            attention,
            attention.Attention(
                query=heads, key=heads, value=heads, output=heads, causal=True
            ),
        ),
        "lstm": (
            recurrent,
            recurrent.Recurrent(
                cell="lstm",
                gates=row_major((4, 3, 4 * 10)),
                output=row_major((4, 3, 10)),
                initial=state,
                final=state,
            ),
        ),
        "gru": (
            recurrent,
            recurrent.Recurrent(
                cell="gru",
                gates=row_major((4, 3, 3 * 10)),
                output=row_major((4, 3, 10)),
                initial=None,
                final=state,
                backward=True,
            ),
        ),
        "embedding": (
            embedding,
            embedding.Embedding(table=table, output=row_major((23, 11)), count=23),
        ),
        "bags": (
            embedding,
            embedding.Embedding(
                table=table, output=row_major((6, 11)), count=23, pool="mean"
            ),
        ),
        "weighted bags": (
            embedding,
            embedding.Embedding(
                table=table,
                output=row_major((6, 11)),
                count=23,
                pool="sum",
                weighted=True,
                last_offset=True,
                padding=3,
                index_dtype="int32",
            ),
        ),
        "equal bags": (
            embedding,
            embedding.Embedding(
                table=table, output=row_major((6, 11)), count=24, pool="max", length=4
            ),
        ),
    }
    points: dict[Any, Any] = {contraction: contraction_model, winograd: winograd_model}
    return {
        name: (work, points.get(module, module).points, module.kernel)
        for name, (module, work) in works.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "attention",
        "bags",
        "contraction",
        "depthwise",
        "elementwise",
        "embedding",
        "equal bags",
        "gru",
        "lstm",
        "normalize",
        "pool",
        "reduce",
        "softmax",
        "weighted bags",
        "winograd",
    ],
)
def test_kernels_of_each_family(name: str, tmp_path: Path) -> None:
    work, points, make = _spaces()[name]
    found = points(work, lanes=LANES, threads=3)
    some = dict.fromkeys((found[0], found[len(found) // 2], found[-1]))
    kernels = [
        make(work, point, lanes=LANES, threads=3, name=f"k{index}")
        for index, point in enumerate(some)
    ]
    program = AArch64(kernels, tmp_path)
    for kernel in kernels:
        buffers = _buffers(kernel)
        written = False
        for before, there, same in zip(
            buffers, program(kernel.name, *buffers), here(kernel, *buffers), strict=True
        ):
            scale = float(np.abs(same).max())
            np.testing.assert_allclose(there, same, rtol=0, atol=1e-5 * scale)
            written |= not np.array_equal(before, there)
        assert written


def test_a_number_outside_a_table_ends_the_call(tmp_path: Path) -> None:
    work, points, make = _spaces()["embedding"]
    sizes: Any = {"lanes": LANES, "threads": 1}
    kernel = make(work, points(work, **sizes)[0], **sizes, name="rows")
    program = AArch64([kernel], tmp_path)
    table, indices, output = _buffers(kernel)
    program("rows", table, indices, output)
    indices[-1] = ROWS
    with pytest.raises(AssertionError, match=f"a table of {ROWS} rows has no row"):
        program("rows", table, indices, output)


def _buffers(kernel: Kernel) -> list[Array]:
    """Return random values for every buffer, the one that is written among them."""
    rng = np.random.default_rng(2)
    found: list[Array] = []
    for each in kernel.parameters:
        values: Array
        if each.name == "indices":
            values = rng.integers(0, ROWS, each.elements)
        elif each.name == "offsets":
            values = np.sort(rng.integers(0, 20, each.elements))
            values[0], values[2] = 0, values[1]  # the second bag is empty
        else:
            values = rng.standard_normal(each.elements)
        found.append(values.astype(each.dtype))
    return found
