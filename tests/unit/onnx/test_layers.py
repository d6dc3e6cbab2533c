import numpy as np
import pytest
import torch
from torch import nn

from trimtab.onnx.layers import layer_of
from trimtab.onnx.operators.table import Operation


def _layer(kind, constants, rank=None, **attributes):
    operation = Operation(kind=kind, opset=18, attributes=attributes)
    return layer_of(operation, constants, len(constants) + 1, rank)


WEIGHT = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_product_with_constants_is_linear(transposed):
    given = WEIGHT if transposed else WEIGHT.T
    layer = _layer("Gemm", {1: given, 2: np.ones(4, np.float32)}, transB=transposed)
    assert isinstance(layer, nn.Linear)
    assert torch.equal(layer(torch.eye(6)), torch.from_numpy(WEIGHT.T) + 1)


def test_a_convolution_keeps_all_it_has():
    kernel = np.ones((4, 2, 3, 5), np.float32)
    layer = _layer(
        "Conv", {1: kernel}, group=2, pads=[1, 2, 1, 2], strides=[2, 1],
        dilations=[1, 3],
    )  # fmt: skip
    assert isinstance(layer, nn.Conv2d)
    assert (layer.groups, layer.in_channels, layer.padding) == (2, 4, (1, 2))
    assert (layer.stride, layer.dilation, layer.bias) == ((2, 1), (1, 3), None)


@pytest.mark.parametrize(
    ("kind", "constants", "attributes"),
    [
        ("Gemm", {1: WEIGHT}, {"alpha": 2.0}),
        ("Gemm", {1: WEIGHT}, {"transA": 1}),
        ("Gemm", {1: WEIGHT, 2: np.ones((3, 4), np.float32)}, {"transB": 1}),
        ("Conv", {1: np.ones((2, 2, 3), np.float32)}, {"pads": [0, 1]}),
        ("Conv", {1: np.ones((2, 2, 3), np.float32)}, {"auto_pad": b"SAME_UPPER"}),
        ("Conv", {1: np.ones((3, 2, 3), np.float32)}, {"group": 2}),
        ("BatchNormalization", {1: np.ones(3, np.float32)}, {}),
        ("Tanh", {}, {}),
    ],
)
def test_others_are_none(kind, constants, attributes):
    assert _layer(kind, constants, 3, **attributes) is None
