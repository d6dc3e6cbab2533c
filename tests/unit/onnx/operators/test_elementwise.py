import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import cases, refused, run, saved

from trimtab.graph.capture import capture
from trimtab.onnx.network import load

CASES = cases(
    "abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan", "atanh",
    "bitwise_not", "cast", "ceil",
    "celu", "clip", "cos", "cosh", "div", "dropout", "elu", "equal", "erf", "exp",
    "floor", "gelu", "greater", "greater_equal", "hardsigmoid", "hardswish", "identity",
    "isinf", "isnan", "leakyrelu", "less", "less_equal", "log", "max", "mean", "min",
    "mish", "mod", "mul", "neg", "or", "pow", "prelu", "reciprocal", "relu", "round",
    "selu", "shrink", "sigmoid", "sign", "sin", "sinh", "softplus", "softsign", "sqrt",
    "sub", "sum", "swish", "tan", "tanh", "thresholdedrelu", "where", "xor",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    run(case, tmp_path)


def test_training_is_refused(tmp_path):
    found = cases("training_dropout_default", "training_dropout_mask")
    assert found
    for case in found:
        refused(case, tmp_path, "training mode")


def test_bounds_of_six_are_one_known_operator(tmp_path):
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    numbers = {"low": np.float32(0), "high": np.float32(6)}
    module = load(saved(tmp_path, [node], {"x": [2, 3]}, constants=numbers)).module
    graph = capture(module, (torch.zeros(2, 3),))
    assert [each.op for each in graph.nodes] == ["aten.relu6.default"]


def test_one_number_stays_out_of_the_constants(tmp_path):
    node = helper.make_node("Mul", ["x", "half"], ["y"])
    path = saved(
        tmp_path, [node], {"x": [2]}, constants={"half": np.array([0.5], np.float32)}
    )
    graph = capture(load(path).module, (torch.ones(2),))
    assert not graph.constants


def test_the_type_of_another(tmp_path):
    node = helper.make_node("CastLike", ["x", "like"], ["y"])
    path = saved(tmp_path, [node], {"x": [2]}, constants={"like": np.arange(3)})
    assert load(path).module(torch.tensor([1.7, -1.7])).tolist() == [1, -1]
