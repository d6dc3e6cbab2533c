import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import saved
from torch import nn

from trimtab.errors import OnnxError
from trimtab.onnx.compare import compare

pytest.importorskip("onnxruntime", reason="the other side of the comparison")


class _Scaled(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * self.by


def _doubling(folder):
    node = helper.make_node("Mul", ["x", "two"], ["y"])
    numbers = {"two": np.array([2], np.float32)}
    return saved(folder, [node], {"x": ["n"]}, {"y": ["n"]}, numbers)


def test_differences_are_told(tmp_path):
    calls: list[Any] = [
        ((torch.tensor([1.0, 4.0]),), {}),
        ((torch.tensor([-8.0]),), {}),
    ]
    found = compare(_doubling(tmp_path), _Scaled(2.001), calls)
    assert found is not None
    assert found.largest_difference == pytest.approx(8 * 0.001, rel=1e-3)
    assert found.relative_difference == pytest.approx(0.001 / 2.001, rel=1e-3)
    assert found.calls == 2


@pytest.mark.parametrize("by", [2.01, -2.0, float("nan"), torch.ones(2, 1)])
def test_something_else_is_refused(by, tmp_path):
    calls: list[Any] = [((torch.tensor([1.0, 4.0]),), {})]
    with pytest.raises(OnnxError, match="computes something else"):
        compare(_doubling(tmp_path), _Scaled(by), calls)


def test_infinities_and_no_numbers_are_equal(tmp_path):
    odd = torch.tensor([float("inf"), float("nan"), 1.0])
    found = compare(_doubling(tmp_path), _Scaled(2.0), [((odd,), {})])
    assert found is not None
    assert found.largest_difference == 0


def test_without_onnxruntime_nothing_is_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert compare(_doubling(tmp_path), _Scaled(3.0), []) is None
