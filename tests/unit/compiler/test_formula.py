"""Every elementwise operator against PyTorch in float64, without any code generator."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trimtab.compiler.formula import (
    IDENTITY,
    Formula,
    elementwise,
    operators,
    slot,
    substitute,
)
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Cast,
    Kernel,
    Let,
    Number,
    Select,
    Store,
    Var,
    maximum,
)
from trimtab.frozen import FrozenDict
from trimtab.graph.types import Node, Ref, TensorType

X, Y = Ref("x"), Ref("y")
KIND = TensorType((9,), "float32")
VALUES = [-7.0, -3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 4.0, 6.5]
OTHERS = [2.0, -1.5, 0.5, 4.0, -3.0, 1.0, 0.25, -6.0, 8.0]

GELU = FrozenDict({"self": X, "approximate": "none"})
TANH = FrozenDict({"self": X, "approximate": "tanh"})

# Arguments, and what PyTorch does with x and y.
CASES: dict[str, list[Any]] = {
    "add.Tensor": [
        ({"self": X, "other": Y, "alpha": 1}, lambda x, y: x + y),
        ({"self": X, "other": Y, "alpha": 2.5}, lambda x, y: x + 2.5 * y),
        ({"self": X, "other": 3, "alpha": 1}, lambda x, y: x + 3),
    ],
    "add.Scalar": [({"self": X, "other": 3, "alpha": 2}, lambda x, y: x + 6)],
    "sub.Tensor": [
        ({"self": X, "other": Y, "alpha": 1}, lambda x, y: x - y),
        ({"self": X, "other": X, "alpha": 3}, lambda x, y: -2 * x),
    ],
    "sub.Scalar": [({"self": X, "other": 0.5, "alpha": 1}, lambda x, y: x - 0.5)],
    "rsub.Tensor": [({"self": X, "other": Y, "alpha": 2}, lambda x, y: y - 2 * x)],
    "rsub.Scalar": [({"self": X, "other": 1, "alpha": 1}, lambda x, y: 1 - x)],
    "mul.Tensor": [
        ({"self": X, "other": Y}, lambda x, y: x * y),
        ({"self": X, "other": True}, lambda x, y: x),
    ],
    "mul.Scalar": [({"self": X, "other": -2}, lambda x, y: -2 * x)],
    "div.Tensor": [({"self": X, "other": Y}, lambda x, y: x / y)],
    "div.Scalar": [({"self": X, "other": 4}, lambda x, y: x / 4)],
    "pow.Tensor_Scalar": [
        ({"self": Y, "exponent": 2}, lambda x, y: y**2),
        ({"self": Y, "exponent": 3.0}, lambda x, y: y**3),
        ({"self": Y, "exponent": -1}, lambda x, y: 1 / y),
        ({"self": Y, "exponent": 1}, lambda x, y: y),
    ],
    "maximum.default": [({"self": X, "other": Y}, torch.maximum)],
    "minimum.default": [({"self": X, "other": Y}, torch.minimum)],
    "max.other": [({"self": X, "other": Y}, torch.maximum)],
    "min.other": [({"self": X, "other": Y}, torch.minimum)],
    "clamp.default": [
        ({"self": X, "min": -1, "max": 2.5}, lambda x, y: x.clamp(-1, 2.5)),
        ({"self": X, "min": None, "max": 1}, lambda x, y: x.clamp(max=1)),
        ({"self": X, "min": 1, "max": None}, lambda x, y: x.clamp(min=1)),
        ({"self": X, "min": 2, "max": -2}, lambda x, y: x.clamp(2, -2)),
    ],
    "clamp_min.default": [({"self": X, "min": 0.5}, lambda x, y: x.clamp(min=0.5))],
    "clamp_max.default": [({"self": X, "max": 0.5}, lambda x, y: x.clamp(max=0.5))],
    "neg.default": [({"self": X}, lambda x, y: -x)],
    "abs.default": [({"self": X}, lambda x, y: x.abs())],
    "square.default": [({"self": X}, lambda x, y: x * x)],
    "sqrt.default": [({"self": X}, lambda x, y: x.sqrt())],
    "rsqrt.default": [({"self": Y}, lambda x, y: y.rsqrt())],
    "reciprocal.default": [({"self": Y}, lambda x, y: 1 / y)],
    "exp.default": [({"self": X}, lambda x, y: x.exp())],
    "erf.default": [({"self": X}, lambda x, y: x.erf())],
    "tanh.default": [({"self": X}, lambda x, y: x.tanh())],
    "floor.default": [({"self": X}, lambda x, y: x.floor())],
    "relu.default": [({"self": X}, lambda x, y: F.relu(x))],
    "relu6.default": [({"self": X}, lambda x, y: F.relu6(x))],
    "hardtanh.default": [
        ({"self": X, "min_val": -2, "max_val": 3}, lambda x, y: F.hardtanh(x, -2, 3))
    ],
    "leaky_relu.default": [
        ({"self": X, "negative_slope": s}, lambda x, y, s=s: F.leaky_relu(x, s))
        for s in (0.01, 0, 2.0, -1.5)
    ],
    "elu.default": [
        (
            {"self": X, "alpha": 2.0, "scale": 1.5, "input_scale": 0.5},
            lambda x, y: torch.where(x > 0, 1.5 * x, 3.0 * ((0.5 * x).exp() - 1)),
        )
    ],
    "gelu.default": [
        (GELU, lambda x, y: F.gelu(x)),
        (TANH, lambda x, y: F.gelu(x, approximate="tanh")),
    ],
    "silu.default": [({"self": X}, lambda x, y: F.silu(x))],
    "sigmoid.default": [({"self": X}, lambda x, y: x.sigmoid())],
    "hardsigmoid.default": [({"self": X}, lambda x, y: F.hardsigmoid(x))],
    "hardswish.default": [({"self": X}, lambda x, y: F.hardswish(x))],
}


def node(op, arguments, kind=KIND) -> Node:
    return Node(
        name="n", op=f"aten.{op}", arguments=FrozenDict(arguments), outputs=(kind,)
    )


def run(value, interpret, x, y) -> np.ndarray:
    """Return the values of an expression of slots 0 and 1."""
    formula = Formula(slots=2, steps=(), result=slot(0)).step(value)
    buffers = Buffer("x", (1,)), Buffer("y", (1,)), Buffer("z", (1,))
    lets, result = formula.emit([buffers[0][0], buffers[1][0]], "_1")
    body = (*lets, Store(buffers[2], (0,), result))
    kernel = Kernel(name="k", parameters=buffers, body=body)
    found = []
    for one, other in zip(x, y, strict=True):
        memory = {"x": np.array([one]), "y": np.array([other]), "z": np.zeros(1)}
        with np.errstate(all="ignore"):
            found.append(interpret(kernel, memory).memory["z"][0])
    return np.array(found)


def test_all_operators_are_here() -> None:
    assert {f"aten.{name}" for name in CASES} == set(operators())


@pytest.mark.parametrize("op", sorted(CASES))
def test_operators(op, interpret) -> None:
    for arguments, function in CASES[op]:
        value = elementwise(node(op, arguments), {X: slot(0), Y: slot(1)})
        assert value is not None
        x, y = (torch.tensor(each, dtype=torch.float64) for each in (VALUES, OTHERS))
        expected = function(x, y)
        some = expected.isfinite()  # roots of negative numbers are none
        found = torch.from_numpy(
            run(value, interpret, x[some].tolist(), y[some].tolist())
        )
        torch.testing.assert_close(found, expected[some], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "op",
    [
        "relu.default", "relu6.default", "hardtanh.default", "clamp.default",
        "clamp_min.default", "clamp_max.default", "leaky_relu.default",
        "hardsigmoid.default", "hardswish.default", "abs.default", "neg.default",
        "add.Tensor", "mul.Tensor", "maximum.default", "minimum.default", "max.other",
        "min.other",
    ],
)  # fmt: skip
def test_what_is_no_number_stays_none(op, interpret) -> None:
    arguments, _ = CASES[op][0]
    value = elementwise(node(op, arguments), {X: slot(0), Y: slot(1)})
    assert np.isnan(run(value, interpret, [math.nan], [1.0])).all()
    if Y in arguments.values():
        assert np.isnan(run(value, interpret, [1.0], [math.nan])).all()


def test_what_has_no_formula() -> None:
    values = {X: slot(0), Y: slot(1)}
    assert elementwise(node("sin.default", {"self": X}), values) is None
    whole = TensorType((9,), "int64")
    assert elementwise(node("neg.default", {"self": X}, whole), values) is None
    for exponent in (2.5, 0, -2):
        power = node("pow.Tensor_Scalar", {"self": X, "exponent": exponent})
        assert elementwise(power, values) is None
    # A bound that is none gives none: PyTorch says so.
    clamp = node("clamp.default", {"self": X, "min": None, "max": math.nan})
    assert elementwise(clamp, values) is None


def test_zero_times_infinity_is_no_number(interpret) -> None:
    for zero in (0, 0.0, -0.0, False):
        product = node("mul.Tensor", {"self": X, "other": zero})
        value = elementwise(product, {X: slot(0)})
        assert value == slot(0) * Number(0.0)
        assert np.isnan(run(value, interpret, [math.inf], [1.0])).all()


def test_numbers_are_those_of_float32() -> None:
    values = {X: slot(0)}
    for given, expected in ((1e300, math.inf), (-1e300, -math.inf), (3, 3.0)):
        product = node("mul.Scalar", {"self": X, "other": given})
        assert elementwise(product, values) == slot(0) * Number(expected)
    product = node("mul.Scalar", {"self": X, "other": 3.4028234e38})
    assert elementwise(product, values) == slot(0) * Number(3.4028234e38)


def test_steps_are_named_once_and_copies_differ() -> None:
    formula = IDENTITY.then(lambda x: x * 2.0)
    assert not formula.is_identity
    formula, fresh = formula.with_slot()
    assert (formula.slots, fresh) == (2, slot(1))
    formula = formula.then(lambda x, other: x + x * other, fresh)
    assert str(formula) == "t0 = s0 * 2.0; t1 = t0 + t0 * s1"
    lets, result = formula.emit([Var("a"), Var("b")], "_7")
    assert lets == (
        Let(Var("t0_7"), Var("a") * 2.0),
        Let(Var("t1_7"), Var("t0_7") + Var("t0_7") * Var("b")),
    )
    assert result == Var("t1_7")
    assert formula.emit([Var("a"), Var("b")], "_8")[0][0] == Let(
        Var("t0_8"), Var("a") * 2.0
    )


def test_identities() -> None:
    assert IDENTITY.is_identity
    assert str(IDENTITY) == "s0"
    assert IDENTITY.emit([Number(4.0)]) == ((), Number(4.0))
    second = Formula(slots=2, steps=(), result=slot(1))
    assert not second.is_identity


def test_substitution_goes_everywhere() -> None:
    x, a, b = Buffer("x", (4,)), Var("a"), Var("b")
    value = Select(
        a.less(2),
        Call("exp", (x[a],)),
        Cast("float32", maximum(a, 1)) + Number(1.0),
    )
    assert substitute(value, {a: b}) == Select(
        b.less(2),
        Call("exp", (x[b],)),
        Cast("float32", maximum(b, 1)) + Number(1.0),
    )
    assert substitute(a + b, {a: Number(1), b: Number(2)}) in (
        Binary("+", Number(1), Number(2)),
        Number(3),
    )
