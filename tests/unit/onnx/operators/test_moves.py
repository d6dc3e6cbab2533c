import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import cases, refused, run, saved

from trimtab.errors import OnnxError
from trimtab.onnx.network import load

CASES = cases(
    "concat", "constant_pad", "constantofshape", "depthtospace", "edge_pad", "expand",
    "eyelike", "flatten", "range", "reflect_pad", "reshape", "shape", "size",
    "spacetodepth", "squeeze", "tile", "transpose", "tril", "triu", "unsqueeze",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    run(case, tmp_path)


def test_padding_around_is_refused(tmp_path):
    refused(cases("wrap_pad")[0], tmp_path, "wrap")


def test_a_shape_that_is_data_is_refused(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], to=7),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    module = load(saved(tmp_path, nodes, {"x": [1]})).module
    with pytest.raises(OnnxError, match="shape of Reshape that follows from data"):
        module(torch.ones(1))


def test_shapes_are_computed_ahead(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    numbers = {"zero": np.array([0]), "rest": np.array([-1])}
    path = saved(tmp_path, nodes, {"x": ["n", 3, 2]}, constants=numbers)
    assert load(path).module(torch.zeros(4, 3, 2)).shape == (4, 6)
