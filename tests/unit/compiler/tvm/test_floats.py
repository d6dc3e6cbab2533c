"""Constants and equal operands, compiled, where TVM's simplifier would fold them."""

import ctypes
import math
import operator

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import compile as compile_module
from trimtab.compiler.compile import prepare
from trimtab.compiler.formula import Formula, slot
from trimtab.compiler.loops import Buffer, Kernel, Kind, Loop, Store, Var
from trimtab.compiler.tvm import lower
from trimtab.compiler.tvm.lower import compile_kernels, target_of

VALUES = [math.nan, math.inf, -math.inf, -0.0, 0.0, 1.5, -2.5, 3e38]
PAIRS = [(x, y) for x in VALUES for y in VALUES]
X, Y = np.array(PAIRS, dtype=np.float32).T.copy()
V = Var("v")

STEPS = {
    "x * 0": lambda x, y: x * 0.0,
    "x * -0": lambda x, y: x * -0.0,
    "0 * x": lambda x, y: 0.0 * x,
    "x * 1": lambda x, y: x * 1.0,
    "x * 0 + y": lambda x, y: x * 0.0 + y,
    "y - x * 0": lambda x, y: y - x * 0.0,
    "x + 0": lambda x, y: x + 0.0,
    "x + -0": lambda x, y: x + -0.0,
    "x - 0": lambda x, y: x - 0.0,
    "0 - x": lambda x, y: 0.0 - x,
    "x - x": lambda x, y: x - x,
    "(x - x) + y": lambda x, y: (x - x) + y,
    "x * 1 - x": lambda x, y: x * 1.0 - x,
    "(x + y) - (x + y)": lambda x, y: (x + y) - (x + y),
    "x / 1": lambda x, y: x / 1.0,
    "x / x": lambda x, y: x / x,
    "0 / x": lambda x, y: 0.0 / x,
    "x / 0": lambda x, y: x / 0.0,
    "x / -0": lambda x, y: x / -0.0,
    "(x * 0) * 0": lambda x, y: (x * 0.0) * 0.0,
}


def assert_same(found, expected):
    np.testing.assert_array_equal(found, expected)
    some = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[some], np.signbit(expected)[some])


@pytest.mark.parametrize("kind", [Kind.SERIAL, Kind.VECTOR], ids=str)
def test_a_step_of_a_formula_is_what_numpy_says(kind) -> None:
    size = len(X)
    x, y = Buffer("x", (size,)), Buffer("y", (size,))
    kernels = []
    for index, step in enumerate(STEPS.values()):
        z = Buffer("z", (size,))
        formula = Formula(slots=2, steps=(), result=slot(0)).step(
            step(slot(0), slot(1))
        )
        lets, value = formula.emit([x[V], y[V]])
        body = Loop(V, size, (*lets, Store(z, (V,), value)), kind)
        kernels.append(
            Kernel(name=f"f{index}", parameters=(x, y, z), body=(body,)),
        )
    module = compile_kernels(kernels, target_of("x86-64-v3")).module
    for kernel, step in zip(kernels, STEPS.values(), strict=True):
        found = np.zeros(size, dtype=np.float32)
        module[kernel.name](*(ctypes.c_void_p(a.ctypes.data) for a in (X, Y, found)))
        with np.errstate(all="ignore"):
            assert_same(found, step(X, Y))


def test_elements_of_one_buffer_are_told_apart() -> None:
    x, y = Buffer("x", (8,)), Buffer("y", (4,))
    twice = Store(y, (V,), x[V] - x[V * 1 + 0])
    apart = Store(y, (V,), x[V] - x[V + 4])
    texts = []
    for store in (twice, apart):
        loop = Loop(V, 4, (store,), Kind.VECTOR)
        kernel = Kernel(name="f", parameters=(x, y), body=(loop,))
        texts.append(compile_kernels([kernel], target_of("x86-64-v3")).assembly())
    assert all("vsubps" in text for text in texts)
    given = np.array([np.inf, 1, 2, 3, 1, 1, 1, 1], dtype=np.float32)
    found = np.zeros(4, dtype=np.float32)
    function = compile_kernels([kernel], target_of("x86-64-v3")).module["f"]
    function(*(ctypes.c_void_p(a.ctypes.data) for a in (given, found)))
    np.testing.assert_array_equal(found, [np.inf, 0, 1, 2])


def test_code_of_other_numbers_is_what_it_was() -> None:
    """A product and a sum stay one instruction, a difference another."""
    x, y = Buffer("x", (8,)), Buffer("y", (8,))
    value = (x[V] * 2.0 + 1.0) - y[V]
    loop = Loop(V, 8, (Store(y, (V,), value),), Kind.VECTOR)
    kernel = Kernel(name="f", parameters=(x, y), body=(loop,))
    text = compile_kernels([kernel], target_of("x86-64-v3")).assembly()
    assert text.count("vfmadd") == 1
    assert text.count("vsubps") == 1


def test_code_of_convolutions_is_what_it_was(monkeypatch) -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 3, padding=1, groups=32), torch.nn.SiLU(),
    ).eval()  # fmt: skip
    made = prepare(module, (torch.zeros(1, 16, 28, 28),), machine="milan", cache=False)
    kernels = [each.chosen.kernel for each in made.built.tuned.values()]
    now = compile_kernels(kernels, target_of("znver3")).assembly()
    plain = {"+": operator.add, "-": operator.sub, "*": operator.mul}
    for op, function in {**plain, "/": operator.truediv}.items():
        monkeypatch.setitem(lower._BINARY, op, function)
    assert compile_kernels(kernels, target_of("znver3")).assembly() == now


class Steps(torch.nn.Module):
    """Everything at once, so that one compilation tests it."""

    def forward(self, x, y):
        return (
            x * 0, x * False, x - x, x * 0.0 + y, torch.relu(x - x) + y,
            torch.minimum(x - x, y), 0.0 / x, x / 0, torch.add(x, y, alpha=0),
            F.leaky_relu(x, 0.0), F.elu(x, 0.0), torch.where(x - x < 1.0, x, y),
        )  # fmt: skip


def test_a_network_keeps_what_is_no_number() -> None:
    module = Steps().eval()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    fast = compile_module(module, (torch.ones(len(X)),) * 2, cache=False)
    families = {task["family"] for task in fast.report["tasks"]}
    assert "elementwise" in families
    for found, expected in zip(fast(x, y), module(x, y), strict=True):
        assert_same(found.numpy(), expected.numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64], ids=str)
@pytest.mark.parametrize("name", ["mul", "sub", "add"])
def test_default_schedules_too(name, dtype) -> None:
    class One(torch.nn.Module):
        def forward(self, x):
            zero = torch.zeros((), dtype=x.dtype)
            return getattr(operator, name)(torch.cos(x.sign()) * 0 + x, x), x * zero

    values = [v for v in VALUES if dtype.is_floating_point or math.isfinite(v)]
    x = torch.tensor([0.0 if v == 3e38 else v for v in values]).to(dtype)
    module = One().eval()
    fast = compile_module(module, (torch.zeros_like(x),), cache=False)
    for found, expected in zip(fast(x), module(x), strict=True):
        torch.testing.assert_close(found, expected, equal_nan=True)
