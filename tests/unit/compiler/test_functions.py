"""Functions as arithmetic: against float64, as written and as compiled."""

import ctypes
import math
import re
import warnings
from typing import Any

import numpy as np
import pytest

from trimtab.compiler.functions import FUNCTIONS, INTRINSIC, expand, without_calls
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Cast,
    If,
    Kernel,
    Kind,
    Let,
    Load,
    Loop,
    Number,
    Prefetch,
    Select,
    Store,
    Var,
)
from trimtab.errors import UsageError

ELEMENTS = 1 << 14


def _sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


EXACT: dict[str, Any] = {
    "erf": np.vectorize(math.erf),
    "exp": np.exp,
    "exp_flushed": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tanh": np.tanh,
}

# Units in the last place, of machine code with and of code without fused products.
ULPS = {"tanh": 7, "erf": 7}
OTHERS = 4

INF, NAN = math.inf, math.nan
LIMITS = {
    "erf": [(INF, 1), (-INF, -1), (NAN, NAN), (1e-45, 1e-45)],
    "exp": [(INF, INF), (-INF, 0), (NAN, NAN), (0, 1), (89, INF), (-104, 0)],
    "exp_flushed": [(INF, INF), (-INF, 0), (NAN, NAN), (0, 1), (89, INF), (-88, 0)],
    "expm1": [(INF, INF), (-INF, -1), (NAN, NAN), (1e-45, 1e-45), (0, 0)],
    "log": [(INF, INF), (-INF, NAN), (NAN, NAN), (0, -INF), (1, 0), (-1, NAN)],
    "log1p": [(INF, INF), (-2, NAN), (NAN, NAN), (-1, -INF), (1e-45, 1e-45)],
    "log2": [(INF, INF), (-1, NAN), (NAN, NAN), (0, -INF), (2**-149, -149), (8, 3)],
    "sigmoid": [(INF, 1), (-INF, 0), (NAN, NAN), (0, 0.5)],
    "softplus": [(INF, INF), (-INF, 0), (NAN, NAN)],
    "tanh": [(INF, 1), (-INF, -1), (NAN, NAN), (1e-45, 1e-45), (20, 1)],
}


def _samples() -> np.ndarray:
    generator = np.random.default_rng(0)
    count = ELEMENTS // 4
    anywhere = generator.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    return np.concatenate(
        [
            anywhere,
            generator.normal(scale=1, size=count).astype(np.float32),
            generator.normal(scale=8, size=count).astype(np.float32),
            generator.uniform(-110, 95, count).astype(np.float32),
        ]
    )


def _evaluate(value, names):
    """Compute an expression over arrays, without machine code."""
    match value:
        case Var():
            return names[value]
        case Number(number):
            return np.float32(number) if isinstance(number, float) else np.int32(number)
        case Call("abs", (a,)):
            return np.abs(_evaluate(a, names))
        case Select(condition, a, b):
            return np.where(*(_evaluate(each, names) for each in (condition, a, b)))
        case Cast(dtype, a, bits):
            inner = np.asarray(_evaluate(a, names))
            return inner.view(dtype) if bits else inner.astype(dtype)
        case Binary(op, a, b):
            x, y = _evaluate(a, names), _evaluate(b, names)
            return {
                "+": lambda: x + y,
                "-": lambda: x - y,
                "*": lambda: x * y,
                "/": lambda: x / y,
                "//": lambda: x // y,
                "<": lambda: x < y,
                "==": lambda: x == y,
                "min": lambda: np.where(x < y, x, y),
                "max": lambda: np.where(x > y, x, y),
            }[op]()
    raise TypeError(value)


@pytest.fixture(scope="module")
def compiled():
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    x, y = Buffer("x", (ELEMENTS,)), Buffer("y", (ELEMENTS,))
    i, v = Var("i"), Var("v")
    at = i * 8 + v
    kernels = [
        Kernel(
            name=name,
            parameters=(x, y),
            body=(
                Loop(
                    i,
                    ELEMENTS // 8,
                    (
                        Loop(
                            v, 8, (Store(y, (at,), Call(name, (x[at],))),), Kind.VECTOR
                        ),
                    ),
                ),
            ),
        )
        for name in FUNCTIONS
    ]
    return compile_kernels(kernels, target_of("x86-64-v3"))


def _by_machine(compiled, name, x):
    y = np.empty(ELEMENTS, np.float32)
    x = np.ascontiguousarray(np.resize(x, ELEMENTS))
    compiled.module[name](*(ctypes.c_void_p(each.ctypes.data) for each in (x, y)))
    return y


def _by_hand(name, x):
    argument = Var("x")
    names = {argument: x}
    lets, result = expand(name, (argument,), "0")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for let in lets:
            names[let.var] = _evaluate(let.value, names)
        return np.asarray(_evaluate(result, names), np.float32)


def _check(name, x, y):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        exact = EXACT[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        if name == "exp_flushed":  # its range is smaller
            exact = np.where(rounded < 2.0**-126, 0, exact)
            y = np.where(y < 2.0**-126, 0, y)
            exact = np.where(exact > 2.0**127.49, np.inf, exact)
            y = np.where(y > 2.0**127.49, np.inf, y)
            rounded = exact.astype(np.float32)
        assert np.array_equal(np.isnan(y), np.isnan(rounded))
        assert np.array_equal(y[np.isinf(rounded)], rounded[np.isinf(rounded)])
        finite = np.isfinite(rounded)
        error = np.abs(y[finite].astype(np.float64) - exact[finite])
        error /= np.spacing(np.abs(rounded[finite]))
    assert error.max() <= ULPS.get(name, OTHERS), x[finite][error.argmax()]


def test_every_function_has_an_exact_one() -> None:
    assert set(EXACT) == set(LIMITS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_as_written(name) -> None:
    x = _samples()
    _check(name, x, _by_hand(name, x))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_as_compiled(name, compiled) -> None:
    x = _samples()
    _check(name, x, _by_machine(compiled, name, x))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_limits(name, compiled) -> None:
    x = np.array([at for at, _ in LIMITS[name]], np.float32)
    expected = np.array([limit for _, limit in LIMITS[name]], np.float32)
    # These end within a unit in the last place of 1.
    rounding = 2.0**-23 if name in ("tanh", "erf") else 0.0
    for found in (_by_hand(name, x), _by_machine(compiled, name, x)[: len(x)]):
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=0)


def test_machine_code_calls_no_library(compiled) -> None:
    called = re.findall(r"callq?\s+\*?(\S+)", compiled.assembly())
    assert not {each for each in called if re.search("exp|log|erf|tanh", each)} - {
        f"{name}_compute_" for name in FUNCTIONS
    }


def test_calls_in_every_place_are_written_out() -> None:
    x, y = Buffer("x", (8,)), Buffer("y", (8,))
    i = Var("i")
    exponential = Call("exp", (x[i],))
    kernel = Kernel(
        name="k",
        parameters=(x, y),
        body=(
            Loop(
                i,
                8,
                (
                    Let(Var("a"), Call("sigmoid", (exponential * 2.0,))),
                    If(Call("tanh", (x[i],)).less(0.5), (Store(y, (i,), exponential),)),
                    Store(
                        y,
                        (Cast("int32", Call("log", (x[i],))),),
                        Select(x[i].less(0.0), Cast("float32", exponential), Var("a")),
                    ),
                    Prefetch(x, (Cast("int32", Call("exp", (y[i],))),)),
                    Store(y, (i,), x[Cast("int32", exponential)]),
                    Store(y, (i,), Call("sqrt", (exponential,)) + Call("abs", (x[i],))),
                ),
            ),
        ),
    )
    text = str(without_calls(kernel))
    assert not re.search(r"(exp|sigmoid|tanh|log)\(", text)
    assert "sqrt(" in text
    assert "abs(" in text
    # The statements stand, each after its steps.
    assert len(re.findall(r"^ +y\[", text, re.MULTILINE)) == 4
    assert text.count("prefetch") == 1
    names = re.findall(r"^ +(f\w+) =", text, re.MULTILINE)
    assert len(names) == len(set(names))


def test_a_kernel_without_calls_stays() -> None:
    x = Buffer("x", (4,))
    i = Var("i")
    body = (Loop(i, 4, (Store(x, (i,), Load(x, (i,)) * 2.0),)),)
    kernel = Kernel(name="k", parameters=(x,), body=body)
    assert without_calls(kernel) == kernel


def test_what_one_instruction_does_stays() -> None:
    for name in INTRINSIC:
        assert expand(name, (Var("x"),), "0") == ((), Call(name, (Var("x"),)))


def test_an_unknown_function() -> None:
    with pytest.raises(UsageError) as caught:
        expand("gamma", (Var("x"),), "0")
    assert str(caught.value) == (
        "the function 'gamma': a kernel may call abs, erf, exp, exp_flushed, expm1, "
        "floor, log, log1p, log2, sigmoid, softplus, sqrt, tanh "
        "(trimtab.compiler.functions). Write it with these, or add its formula there."
    )
