"""Named values as buffers: what changes, what stays, and that results are the same."""

import ctypes

import numpy as np
import pytest

from trimtab.compiler.functions import without_calls
from trimtab.compiler.loops import (
    Buffer,
    Call,
    Cast,
    Expr,
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
    walk,
)
from trimtab.compiler.steps import in_buffers

X, Y = Buffer("x", (16,)), Buffer("y", (16,))
H, J, V, T, U = (Var(name) for name in "ijvtu")


def _kernel(*body) -> Kernel:
    return Kernel(name="k", parameters=(X, Y), body=body)


def _text(*body) -> list[str]:
    return str(in_buffers(_kernel(*body))).splitlines()[1:]


def test_a_vector_loop_becomes_one_for_each_statement() -> None:
    at = H * 8 + V
    steps = (
        Let(T, X[at] * 2.0),
        Let(U, T + 1.0),
        Store(Y, (at,), T * U),
        Store(X, (at,), U),
    )
    assert _text(Loop(H, 2, (Loop(V, 8, steps, Kind.VECTOR),))) == [
        "  for i in 2:",
        "    local t_0: float32[8]",
        "    local u_1: float32[8]",
        "    for v in 8 (vector):",
        "      t_0[v] = x[i * 8 + v] * 2.0",
        "    for v in 8 (vector):",
        "      u_1[v] = t_0[v] + 1.0",
        "    for v in 8 (vector):",
        "      y[i * 8 + v] = t_0[v] * u_1[v]",
        "    for v in 8 (vector):",
        "      x[i * 8 + v] = u_1[v]",
    ]


def test_a_vector_loop_without_names_stays_whole() -> None:
    loop = Loop(V, 8, (Store(Y, (V,), X[V]), Store(X, (V,), Y[V])), Kind.VECTOR)
    assert in_buffers(_kernel(loop)) == _kernel(loop)


def test_copies_of_an_unrolled_loop_share_buffers() -> None:
    inner = Loop(V, 4, (Let(T, X[V]), Store(Y, (H * 4 + V,), T * T)), Kind.VECTOR)
    text = _text(Loop(J, 3, (Loop(H, 4, (inner,), Kind.UNROLLED),), Kind.PARALLEL))
    # The buffer belongs to the loop around: its own for each of the parallel tasks.
    assert text[:3] == [
        "  for j in 3 (parallel):",
        "    local t_0: float32[4]",
        "    for i in 4 (unrolled):",
    ]


def test_names_of_numbers_are_replaced_wherever_they_are_read() -> None:
    body = (
        Let(T, X[0] + 1.0),
        If(T.less(2.0), (Store(Y, (0,), T),)),
        Require(T.less(3.0), "too large"),
        Loop(H, 4, (Store(Y, (H,), Select(T.less(X[H]), T, X[H])),)),
        Prefetch(X, (Cast("int32", T),)),
    )
    text = "\n".join(_text(*body))
    assert "local t_0: float32[1]" in text
    assert text.count("t_0[0]") == 1 + 2 + 1 + 2 + 1
    assert not any(
        isinstance(each, Let) for each in walk(in_buffers(_kernel(*body)).body)
    )


def test_places_stay_names() -> None:
    body = (
        Let(U, H // 3),
        Loop(V, 4, (Let(T, V + 1), Store(Y, (U + T,), X[T])), Kind.VECTOR),
    )
    text = "\n".join(_text(Loop(H, 3, body)))
    assert "u = i // 3" in text
    assert "t = v + 1" in text
    assert "local" not in text


def test_a_name_given_again_in_another_block_is_another_value() -> None:
    block = (Let(T, X[H]), Store(Y, (H,), T))
    text = _text(Loop(H, 2, block), Loop(H, 2, (Let(T, H * 2), Store(Y, (T,), X[T]))))
    assert "    y[i] = t_0[0]" in text
    assert "    y[t] = x[t]" in text


def test_names_that_are_taken_are_left_out() -> None:
    kernel = Kernel(
        name="k",
        parameters=(X, Buffer("t_0", (1,))),
        body=(Local(Buffer("t_1", (1,))), Let(T, X[0] + 1.0), Store(X, (0,), T)),
    )
    assert "  local t_2: float32[1]" in str(in_buffers(kernel)).splitlines()


def test_functions_leave_no_chain() -> None:
    value: Expr = X[V]
    for name in ("tanh", "log1p", "softplus", "sigmoid"):
        value = Call(name, (value,))
    loop = Loop(V, 8, (Store(Y, (V,), value),), Kind.VECTOR)
    kernel = in_buffers(without_calls(_kernel(loop)))
    statements = list(walk(kernel.body))
    assert not any(isinstance(each, Let) for each in statements)
    names = [each.buffer.name for each in statements if isinstance(each, Local)]
    assert len(names) == len(set(names)) > 30
    kinds = {each.buffer.dtype for each in statements if isinstance(each, Local)}
    assert kinds == {"float32", "int32"}


def test_the_code_computes_the_same() -> None:
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    # Forty names of functions of functions: seconds, if each were put into the next.
    at = J * 8 + V
    value = Call("sigmoid", (Call("softplus", (Call("log1p", (X[at],)),)),))
    steps = (Let(T, value), Let(U, Call("tanh", (T * 2.0,))), Store(Y, (at,), T - U))
    vector = Loop(V, 8, steps, Kind.VECTOR)
    kernel = _kernel(Loop(J, 2, (vector,), Kind.UNROLLED))
    module = compile_kernels([kernel], target_of("x86-64-v3")).module
    x = np.linspace(0, 5, 16, dtype=np.float32)
    y = np.zeros(16, np.float32)
    module["k"](*(ctypes.c_void_p(each.ctypes.data) for each in (x, y)))
    soft = np.log1p(np.exp(np.log1p(x.astype(np.float64))))
    expected = 1 / (1 + np.exp(-soft))
    np.testing.assert_allclose(y, expected - np.tanh(2 * expected), rtol=1e-5)


def test_names_inside_a_guard() -> None:
    inner = (Let(U, T + 1.0), Store(Y, (V,), U))
    steps = (Let(T, X[V] * 2.0), If(H.less(3), inner))
    assert _text(Loop(V, 8, steps, Kind.VECTOR)) == [
        "  local t_0: float32[8]",
        "  local u_1: float32[8]",
        "  for v in 8 (vector):",
        "    t_0[v] = x[v] * 2.0",
        "  for v in 8 (vector):",
        "    if i < 3:",
        "      u_1[v] = t_0[v] + 1.0",
        "  for v in 8 (vector):",
        "    if i < 3:",
        "      y[v] = u_1[v]",
    ]
