"""Files that are wrong, large, from elsewhere, or beyond what is read."""

from __future__ import annotations

import importlib.util
import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data
from tests.unit.onnx.conftest import saved

from trimtab.errors import (
    MissingExtraError,
    NetworkNotFoundError,
    OnnxError,
    TrimtabError,
)
from trimtab.onnx import read as module
from trimtab.onnx.network import load
from trimtab.onnx.operators import TRANSLATIONS
from trimtab.onnx.read import is_onnx, opset_of, read, require_package

KNOWN = {**TRANSLATIONS, "Constant": None}


def _conv(folder):
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    weight = np.ones((2, 3, 3, 3), np.float32)
    return saved(folder, [node], {"x": ["n", 3, 4, 4]}, constants={"w": weight})


def test_what_is_read(tmp_path):
    model = read(_conv(tmp_path), KNOWN)
    assert opset_of(model) == 18
    assert is_onnx("a/b.onnx")
    assert not is_onnx("zoo:onnx")


def test_a_file_that_is_not_there_or_no_model(tmp_path):
    with pytest.raises(NetworkNotFoundError, match="no such file"):
        read(tmp_path / "no.onnx", KNOWN)
    for content in (b"", b"text", b"\x08\x07"):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        with pytest.raises(OnnxError):
            read(path, KNOWN)


def test_a_damaged_file_is_refused_or_read_and_nothing_else(tmp_path):
    """Any byte changed or cut: a message of ours, or a network."""
    whole = _conv(tmp_path).read_bytes()
    chance = random.Random(0)
    refused = 0
    path = tmp_path / "net.onnx"
    for _ in range(150):
        bytes_ = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            bytes_[chance.randrange(len(bytes_))] = chance.randrange(256)
        path.write_bytes(bytes_[: chance.choice((len(bytes_), chance.randrange(400)))])
        try:
            load(path)
        except TrimtabError:
            refused += 1
    assert refused > 30


def test_all_unknown_operators_are_named_at_once(tmp_path):
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], domain="com.acme"),
        helper.make_node("Foo", ["a"], ["b"], domain="com.acme"),
        helper.make_node("NonZero", ["b"], ["c"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    with pytest.raises(OnnxError) as caught:
        load(saved(tmp_path, nodes, {"x": [1]}))
    assert "3 of its 4 operators are not read (opset 18)" in caught.value.rule
    assert "2x com.acme.Foo, 1x NonZero" in caught.value.rule


def test_loops_and_branches_are_refused_as_capture_refuses_them(tmp_path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "then", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    path = saved(tmp_path, [node], {"x": [1]}, constants={"c": np.array(True)})
    with pytest.raises(OnnxError, match=r"flow depends on data.*1x If"):
        load(path)


@pytest.mark.parametrize("opset", [6, 99])
def test_versions_of_operators_that_are_not_read(opset, tmp_path):
    path = saved(
        tmp_path, [helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, opset=opset
    )
    with pytest.raises(OnnxError, match=f"version {opset}, 7 to 28 are read"):
        load(path)


def _external(folder, location):
    path = _conv(folder)
    model = onnx.load(str(path))
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    onnx.save(model, str(path))
    if location != "w.bin":
        model = onnx.load(str(path), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
    return path


def test_data_beside_the_file_are_read(tmp_path):
    assert load(_external(tmp_path, "w.bin")).module


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", ""])
def test_data_from_elsewhere_are_refused(location, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(216))
    path = _external(tmp_path / "in", location)
    with pytest.raises(OnnxError, match="outside its folder"):
        load(path)


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(216))
    path = _external(tmp_path / "in", "w.bin")
    (tmp_path / "in" / "w.bin").unlink()
    (tmp_path / "in" / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(OnnxError, match="outside its folder"):
        load(path)


def test_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = _conv(tmp_path)
    monkeypatch.setattr(module, "_MAX_FILE_BYTES", 100)
    with pytest.raises(OnnxError, match="at most 100 are read"):
        read(path, KNOWN)


def _function(name, called, count):
    nodes = [
        helper.make_node(called, ["a" if i == 0 else f"t{i}"], [f"t{i + 1}"],
                         domain="f" if called.startswith("F") else "")
        for i in range(count)
    ]  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], [f"t{count}"], nodes, imports)


def _called(folder, functions):
    node = helper.make_node("F0", ["x"], ["y"], domain="f")
    path = saved(folder, [node], {"x": [2]}, functions=functions)
    model = onnx.load(str(path))
    model.opset_import.append(helper.make_opsetid("f", 1))
    onnx.save(model, str(path))
    return path


def test_functions_stand_where_they_are_called(tmp_path):
    import torch

    path = _called(tmp_path, [_function("F0", "F1", 2), _function("F1", "Neg", 3)])
    assert load(path).module(torch.ones(2)).tolist() == [1.0, 1.0]  # six times


def test_functions_that_multiply_are_refused(tmp_path):
    """Ten calls in each of ten functions would be 10^10 operators."""
    functions = [_function(f"F{i}", f"F{i + 1}", 10) for i in range(10)]
    path = _called(tmp_path, [*functions, _function("F10", "Neg", 1)])
    with pytest.raises(OnnxError, match="operators, at most"):
        load(path)
    path = _called(tmp_path, [_function("F0", "F0", 1)])
    with pytest.raises(OnnxError, match="calls itself"):
        load(path)


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"trimtab\[onnx\]"):
        require_package("network 'a.onnx'")
