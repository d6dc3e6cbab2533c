import math

import pytest
import torch
from torch import nn

from trimtab.compiler.formula import IDENTITY, Formula, elementwise, operators, slot
from trimtab.compiler.loops import Binary, Call, Number, Select, Var, maximum
from trimtab.graph.capture import capture
from trimtab.graph.operators import OPERATORS
from trimtab.graph.types import Ref

VALUES = (-100.0, -3.0, -1.0, -0.25, 0.0, 0.3, 1.0, 2.5, 7.0, 100.0)


def _value(expression, names):
    """Compute an expression in float64."""

    def run(each):
        return _value(each, names)

    match expression:
        case Var():
            return names[expression]
        case Number(value):
            return float(value)
        case Select(condition, a, b):
            return run(a) if run(condition) else run(b)
        case Call(name, arguments):
            inner = [run(each) for each in arguments]
            if name == "sigmoid":
                return 1 / (1 + math.exp(-inner[0])) if inner[0] > -700 else 0.0
            if name == "exp" and inner[0] > 709:
                return math.inf
            if name == "softplus":
                return math.log1p(math.exp(-abs(inner[0]))) + max(inner[0], 0)
            return (
                {"abs": abs}.get(name) and abs(inner[0])
                if name == "abs"
                else getattr(math, name)(*inner)
            )
        case Binary(op, a, b):
            x, y = run(a), run(b)
            if op == "/":
                return x / y if y else math.nan
            return {
                "+": lambda: x + y,
                "-": lambda: x - y,
                "*": lambda: x * y,
                "max": lambda: x if x > y else y,
                "min": lambda: x if x < y else y,
                "<": lambda: x < y,
                ">=": lambda: x >= y,
                "==": lambda: x == y,
            }[op]()
    raise TypeError(expression)


MODULES = [
    nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-2, 3), nn.LeakyReLU(0.1), nn.ELU(0.7),
    nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.Hardsigmoid(),
    nn.Hardswish(),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=lambda each: str(each))
def test_formulas_are_pytorchs_functions(module):
    graph = capture(module.eval(), (torch.zeros(1),))
    (node,) = graph.nodes
    (source,) = node.inputs
    built = elementwise(node, {source: slot(0)})
    assert built is not None
    for x in VALUES:
        expected = module(torch.tensor([x], dtype=torch.float64)).item()
        found = _value(built, {slot(0): x})
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), x


def test_every_formula_is_of_the_vocabulary():
    assert set(operators()) <= set(OPERATORS)


def test_what_has_no_formula():
    graph = capture(nn.Softmax(0).eval(), (torch.zeros(3),))
    node = graph.nodes[0]
    assert elementwise(node, dict.fromkeys(node.inputs, slot(0))) is None


def test_steps_are_named_once_and_emitted_with_fresh_names():
    formula = IDENTITY.then(lambda x: maximum(0.0, x))
    formula, other = formula.with_slot()
    formula = formula.step(formula.result * formula.result + other)
    assert str(formula) == "t0 = max(0.0, s0); t1 = t0 * t0 + s1"
    assert formula.slots == 2
    assert not formula.is_identity
    assert IDENTITY.is_identity
    lets, result = formula.emit([Var("a"), Var("b")], "_7")
    assert [str(each.var) for each in lets] == ["t0_7", "t1_7"]
    assert str(lets[1].value) == "t0_7 * t0_7 + b"
    assert result == Var("t1_7")
    assert Formula(slots=1, steps=(), result=slot(0)) == IDENTITY
    assert Ref("x")
