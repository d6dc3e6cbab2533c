"""ONNX's own examples of its operators, and files made in a line."""

from __future__ import annotations

import importlib
import pkgutil
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra `onnx` reads and writes files")

import torch  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

from trimtab.errors import OnnxError  # noqa: E402
from trimtab.onnx.folding import PLACES  # noqa: E402
from trimtab.onnx.network import load  # noqa: E402

# Inputs that a network gives as numbers: ONNX's examples pass them like data.
NUMBERS = {"axes", "axis", "t", "r", "min", "max"}
# What no graph holds: types, sequences, empty tensors, an operator's other spelling.
BEYOND = re.compile(
    "uint16|uint32|uint64|string|bfloat16|bf16|float8|int4|uint2|int2|_ui|_expanded|"
    "zero_size|sequence|_opt|FLOAT8|INT4|INT2|FLOAT4|BFLOAT16|_fp16|allowzero_reordered|"
    "_i16|_i32_|tri[lu]_zero|empty_set|bitwise_not_3d"
)


# Modules of examples that take seconds to import, and what they are of.
SLOW = {"averagepool", "lppool", "maxpool", "image_decoder"}


def cases(*names: str) -> list[Any]:
    """Return ONNX's examples whose names begin so: ``test_NAME``, and a word's end."""
    package = importlib.import_module("onnx.backend.test.case.node")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for each in pkgutil.iter_modules(package.__path__):
            if each.name not in SLOW - set(names):
                importlib.import_module(f"{package.__name__}.{each.name}")
    wanted = re.compile(rf"test_(?:{'|'.join(names)})(?:_|\d|$)")
    found = {
        case.name: case
        for case in package._NodeTestCases
        if wanted.match(case.name) and not BEYOND.search(case.name)
    }
    missing = [
        name for name in names if not any(re.match(rf"test_{name}", x) for x in found)
    ]
    assert not missing, f"ONNX has no examples of {missing}"
    return list(found.values())


def run(case: Any, folder: Path) -> None:
    """Require that a network of one operator gives what ONNX's example says."""
    [(inputs, expected)] = case.data_sets
    model = type(case.model)()
    model.CopyFrom(case.model)
    [node] = model.graph.node
    places = PLACES.get(node.op_type, ())
    numbers = {node.input[place] for place in places if place < len(node.input)}
    data = []
    declared = list(model.graph.input)
    del model.graph.input[:]
    for value, array in zip(declared, inputs, strict=True):
        given = _array(array)
        if value.name in NUMBERS | numbers:
            constant = numpy_helper.from_array(given, value.name)
            model.graph.initializer.append(constant)
        else:
            model.graph.input.append(value)
            data.append(torch.from_numpy(given))
    file = folder / "case.onnx"
    onnx.save(model, str(file))
    with torch.no_grad():
        found = load(file).module(*data)
    results = found if isinstance(found, tuple) else (found,)
    assert len(results) == len(expected)
    for ours, theirs in zip(results, map(_array, expected), strict=True):
        array = ours.detach().numpy() if isinstance(ours, torch.Tensor) else ours
        assert array.shape == theirs.shape
        assert array.dtype == theirs.dtype
        np.testing.assert_allclose(array, theirs, rtol=case.rtol, atol=1e-6)


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    return np.array(value)


def refused(case: Any, folder: Path, said: str) -> None:
    """Require that a network of one operator is refused in so many words."""
    with pytest.raises(OnnxError, match=said):
        run(case, folder)


def saved(
    folder: Path,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]] | None = None,
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 18,
    kind: int = onnx.TensorProto.FLOAT,
    **more: Any,
) -> Path:
    """Write a model."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(k, kind, v) for k, v in inputs.items()],
        [
            helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, v)
            for k, v in (outputs or {"y": ["any"]}).items()
        ],
        [
            numpy_helper.from_array(np.asarray(v), k)
            for k, v in (constants or {}).items()
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, **more
    )
    path = folder / "net.onnx"
    onnx.save(model, str(path))
    return path
