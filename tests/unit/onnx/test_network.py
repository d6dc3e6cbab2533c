from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import saved
from torch import nn

from trimtab.errors import OnnxError
from trimtab.graph.capture import capture
from trimtab.onnx.network import load


def _two_layers(folder, **more):
    nodes = [
        helper.make_node("Conv", ["x", "body.0.weight", "body.0.bias"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"], name="/body/1/Relu"),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "head.weight", "head.bias"], ["y"], transB=1),
    ]
    constants = {
        "body.0.weight": np.full((2, 1, 3, 3), 0.5, np.float32),
        "body.0.bias": np.zeros(2, np.float32),
        "head.weight": np.ones((5, 8), np.float32),
        "head.bias": np.arange(5, dtype=np.float32),
    }
    inputs = {"x": ["n", 1, 4, 4]}
    return saved(folder, nodes, inputs, {"y": ["n", 5]}, constants, **more)


def test_layers_stand_where_their_weights_did(tmp_path):
    module = load(_two_layers(tmp_path)).module
    assert isinstance(module.get_submodule("body.0"), nn.Conv2d)
    assert isinstance(module.get_submodule("head"), nn.Linear)
    assert sorted(module.state_dict()) == [
        "body.0.bias", "body.0.weight", "head.bias", "head.weight",
    ]  # fmt: skip
    graph = capture(module, (torch.zeros(1, 1, 4, 4),))
    assert [(node.op, node.module) for node in graph.nodes] == [
        ("aten.conv2d.default", "body.0"),
        ("aten.relu.default", "body.1.Relu"),
        ("aten.flatten.using_ints", "c"),
        ("aten.linear.default", "head"),
    ]
    # Ones under 3x3 halves are 4.5, over two channels and four places 36.
    assert module(torch.ones(2, 1, 4, 4)).tolist() == [[36, 37, 38, 39, 40.0]] * 2


def test_it_is_an_ordinary_module(tmp_path):
    module = load(_two_layers(tmp_path)).module
    again = copy.deepcopy(module)
    module(torch.ones(1, 1, 4, 4)).sum().backward()
    assert all(each.grad is not None for each in module.parameters())
    assert all(each.grad is None for each in again.parameters())
    assert not module.training


def test_a_first_axis_that_is_open_is_one(tmp_path):
    found = load(_two_layers(tmp_path))
    assert [each.shape for each in found.example_inputs or ()] == [(1, 1, 4, 4)]
    assert found.declared == ("x=float32[?,1,4,4]",)
    relu = helper.make_node("Relu", ["x"], ["y"])
    found = load(saved(tmp_path, [relu], {"x": ["n", "length"]}))
    assert found.example_inputs is None
    assert found.declared == ("x=float32[?,?]",)


def test_other_inputs_are_refused(tmp_path):
    module = load(_two_layers(tmp_path)).module
    for wrong in (torch.ones(1, 1, 4, 5), torch.ones(1, 4, 4),
                  torch.ones(1, 1, 4, 4, dtype=torch.float64)):  # fmt: skip
        with pytest.raises(OnnxError, match=r"the file says x=float32\[\?,1,4,4\]"):
            module(wrong)


def test_inputs_by_name(tmp_path):
    nodes = [helper.make_node("Sub", ["in.1", "class"], ["y"])]
    module = load(saved(tmp_path, nodes, {"in.1": [2], "class": [2]})).module
    found = module(input_class=torch.ones(2), in_1=torch.full((2,), 3.0))
    assert found.tolist() == [2, 2]


def test_shared_constants_stay_shared(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    constants = {"w": np.eye(3, dtype=np.float32)}
    module = load(saved(tmp_path, nodes, {"x": [1, 3]}, constants=constants)).module
    assert [name for name, _ in module.named_parameters()] == ["w"]


def test_names_that_are_no_names(tmp_path):
    nodes = [
        helper.make_node("Add", ["x", "training"], ["if"], name="forward"),
        helper.make_node("Add", ["if", "a.b"], ["__class__"], name="a.b.c"),
        helper.make_node("Add", ["__class__", "_modules"], ["y"], name="a"),
    ]
    names = ("training", "a.b", "_modules")
    constants = {name: np.ones(2, np.float32) for name in names}
    module = load(saved(tmp_path, nodes, {"x": [2]}, constants=constants)).module
    assert module(torch.zeros(2)).tolist() == [3, 3]
    assert len(capture(module, (torch.zeros(2),)).nodes) == 3


def test_several_results_come_as_a_tuple(tmp_path):
    nodes = [helper.make_node("Split", ["x"], ["y", "z"], axis=0)]
    outputs = {"z": [1], "y": [1]}
    module = load(saved(tmp_path, nodes, {"x": [2]}, outputs, opset=13)).module
    assert [each.tolist() for each in module(torch.tensor([1.0, 2.0]))] == [[2], [1]]


def test_constants_of_types_that_no_graph_has(tmp_path):
    node = helper.make_node("Equal", ["x", "c"], ["y"])
    path = saved(
        tmp_path, [node], {"x": [1]}, constants={"c": np.array([1], np.uint64)}
    )
    with pytest.raises(OnnxError, match=r"constant 'c' is of type .*UINT64"):
        load(path)


def test_a_norm_of_any_rank_is_a_layer(tmp_path):
    names = ["s", "b", "m", "v"]
    constants = {name: np.full(3, 0.5 + i, np.float32) for i, name in enumerate(names)}
    for shape, kind in (([2, 3], nn.BatchNorm1d), ([2, 3, 4, 4], nn.BatchNorm2d)):
        node = helper.make_node("BatchNormalization", ["x", *names], ["y"])
        path = saved(tmp_path, [node], {"x": shape}, constants=constants)
        module = load(path).module
        assert any(isinstance(each, kind) for each in module.modules())
        x = torch.full(shape, 4.5)
        # 0.5 * (4.5 - 2.5) / sqrt(3.5) + 1.5
        expected = torch.full(shape, 0.5 * 2 / (3.5 + 1e-5) ** 0.5 + 1.5)
        torch.testing.assert_close(module(x), expected)


def test_a_value_that_nobody_makes(tmp_path):
    path = saved(tmp_path, [helper.make_node("Relu", ["nowhere"], ["y"])], {"x": [1]})
    with pytest.raises(OnnxError):
        load(path)
    assert onnx.load(str(path))
