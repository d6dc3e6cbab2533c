import ctypes

import numpy as np
import pytest

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.loops import (
    Buffer,
    Call,
    Cast,
    If,
    Kernel,
    Kind,
    Let,
    Local,
    Loop,
    Prefetch,
    Require,
    Select,
    Store,
    Var,
    expr,
    maximum,
    unroll,
)
from trimtab.compiler.tvm.lower import compile_kernels, target_of

AT, V = Var("i"), Var("v")
HERE = target_of("x86-64-v3")


def _run(kernel, *arrays):
    function = compile_kernels([kernel], HERE).module[kernel.name]
    function(*(ctypes.c_void_p(each.ctypes.data) for each in arrays))


def test_vectors_locals_and_conditions():
    x, y, acc = Buffer("x", (32,)), Buffer("y", (32,)), Buffer("acc", (8,))
    body = (
        Local(acc),
        Loop(V, 8, (Store(acc, (V,), x[AT * 8 + V] * 2.0),), Kind.VECTOR),
        Prefetch(x, (AT * 8,)),
        Loop(
            V,
            8,
            (
                Let(Var("t"), maximum(0.0, acc[V])),
                Store(y, (AT * 8 + V,), Select(acc[V].less(1.0), Var("t"), expr(9.0))),
            ),
            Kind.VECTOR,
        ),
        If(AT.equals(3), (Store(y, (0,), expr(-1.0)),)),
    )
    kernel = Kernel(name="f", parameters=(x, y), body=(Loop(AT, 4, body),))
    given = np.linspace(-2, 2, 32, dtype=np.float32)
    found = np.zeros(32, dtype=np.float32)
    _run(kernel, given, found)
    expected = np.where(2 * given < 1, np.maximum(2 * given, 0), 9)
    expected[0] = -1
    np.testing.assert_array_equal(found, expected)


def test_whole_numbers_casts_functions_and_unrolling():
    n = Buffer("n", (4,), "int64")
    y = Buffer("y", (4,))
    value = Call("sqrt", (Cast("float32", n[AT]),)) + Call("exp", (expr(0.0),))
    kernel = Kernel(
        name="g", parameters=(n, y), body=unroll(AT, 4, Store(y, (AT,), value))
    )
    found = np.zeros(4, dtype=np.float32)
    _run(kernel, np.array([0, 1, 4, 9], dtype=np.int64), found)
    np.testing.assert_allclose(found, [1, 2, 3, 4], rtol=1e-6)


def test_a_requirement_ends_the_call():
    x = Buffer("x", (1,))
    kernel = Kernel(
        name="h",
        parameters=(x,),
        body=(Require(x[0].less(1.0), "too large"), Store(x, (0,), expr(5.0))),
    )
    good = np.zeros(1, dtype=np.float32)
    _run(kernel, good)
    assert good[0] == 5
    bad = np.ones(1, dtype=np.float32)
    with pytest.raises(ValueError, match="too large"):
        _run(kernel, bad)
    assert bad[0] == 1


def test_code_for_another_processor():
    x = Buffer("x", (8,))
    kernel = Kernel(
        name="k",
        parameters=(x,),
        body=(Loop(V, 4, (Store(x, (V,), x[V] * x[V + 4] + x[V]),), Kind.VECTOR),),
    )
    arm = target_of("neoverse-n1", "aarch64-linux-gnu")
    assert "fmla" in compile_kernels([kernel], arm).assembly()


def test_a_vector_of_one_element():
    x, y = Buffer("x", (3,)), Buffer("y", (3,))
    inner = Loop(V, 1, (Store(y, (AT + V,), x[AT + V] * 2.0),), Kind.VECTOR)
    kernel = Kernel(name="f", parameters=(x, y), body=(Loop(AT, 3, (inner,)),))
    found = np.zeros(3, dtype=np.float32)
    _run(kernel, np.array([1, 2, 3], dtype=np.float32), found)
    assert found.tolist() == [2, 4, 6]


def test_a_nest_of_several_axes_is_row_major():
    x, y = Buffer("x", (2, 3, 4)), Buffer("y", (4, 3, 2))
    i, j, k = Var("i"), Var("j"), Var("k")
    store = Store(y, (k, j, i), x[i, j, k])
    body = Loop(i, 2, (Loop(j, 3, (Loop(k, 4, (store,)),)),))
    given = np.arange(24, dtype=np.float32)
    found = np.zeros(24, dtype=np.float32)
    _run(Kernel(name="f", parameters=(x, y), body=(body,)), given, found)
    expected = given.reshape(2, 3, 4).transpose(2, 1, 0).reshape(-1)
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_number_goes_through_the_second_of_a_maximum():
    x, y = Buffer("x", (4,)), Buffer("y", (4,))
    value = maximum(0.0, x[V])
    body = (Loop(V, 4, (Store(y, (V,), value),), Kind.VECTOR),)
    kernel = Kernel(name="f", parameters=(x, y), body=body)
    given = np.array([np.nan, -1, 2, np.inf], dtype=np.float32)
    found = np.zeros(4, dtype=np.float32)
    _run(kernel, given, found)
    np.testing.assert_array_equal(found, [np.nan, 0, 2, np.inf])


def test_several_kernels_in_one_module():
    x = Buffer("x", (1,))
    kernels = [
        Kernel(name=f"add{n}", parameters=(x,), body=(Store(x, (0,), x[0] + float(n)),))
        for n in (1, 2)
    ]
    module = compile_kernels(kernels, HERE).module
    found = np.zeros(1, dtype=np.float32)
    for name in ("add1", "add2", "add2"):
        module[name](ctypes.c_void_p(found.ctypes.data))
    assert found[0] == 1 + 2 + 2
