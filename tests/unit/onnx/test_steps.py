import numpy as np
import pytest
import torch
from onnx import helper

from trimtab.errors import OnnxError
from trimtab.onnx.operators.table import Operation
from trimtab.onnx.steps import Entry, KnownNumbers, Step


def _step(kind, count=2, **attributes):
    names = [f"v{i}" for i in range(count)]
    node = helper.make_node(kind, names, ["y"], name="here", **attributes)
    return Step(Operation(kind=kind, opset=18, attributes=attributes), node)


def test_known_numbers_stay_known_and_data_are_tensors():
    add = _step("Add")
    known = add(np.array([1]), np.array([2]))
    assert isinstance(known, np.ndarray)
    assert known.tolist() == [3]
    assert torch.equal(add(torch.ones(1), np.array([2.0])), torch.full((1,), 3.0))
    assert KnownNumbers(known)() is known


def test_what_an_operator_does_not_take_is_told_with_its_node():
    with pytest.raises(OnnxError, match=r"operator MatMul: .*\(node 'here'\)"):
        _step("MatMul")(torch.ones(2, 3), torch.ones(2, 3))


def test_an_entry_takes_what_it_says():
    entry = Entry(name="x", dtype=torch.int64, shape=(None, 3))
    ids = torch.zeros(5, 3, dtype=torch.int64)
    assert entry(ids) is ids
    assert entry.text() == "x=int64[?,3]"
    with pytest.raises(OnnxError, match=r"input 'x' of type float32\[5,3\]"):
        entry(ids.float())
