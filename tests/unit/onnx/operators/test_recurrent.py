import numpy as np
import pytest
import torch
from onnx import helper
from tests.unit.onnx.conftest import cases, refused, run, saved

from trimtab.graph.capture import capture
from trimtab.onnx.network import load

ort = pytest.importorskip("onnxruntime", reason="the other side of the comparison")
CASES = cases("gru", "lstm", "rnn", "simple_rnn")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_onnx_says(case, tmp_path):
    if "peepholes" in case.name:
        refused(case, tmp_path, "peepholes")
    else:
        run(case, tmp_path)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("first", [0, 1])
def test_as_onnxruntime_does(kind, gates, direction, first, tmp_path):
    random = np.random.default_rng(0)
    ways = 2 if direction == "bidirectional" else 1
    size, hidden = 3, 4

    def drawn(*shape):
        return random.normal(size=shape).astype(np.float32)

    constants = {
        "w": drawn(ways, gates * hidden, size),
        "r": drawn(ways, gates * hidden, hidden),
        "b": drawn(ways, 2 * gates * hidden),
        "h": drawn(ways, 2, hidden),
    }
    more = {"linear_before_reset": first} if kind == "GRU" else {}
    names = ["x", "w", "r", "b", "", "h"]
    node = helper.make_node(
        kind, names, ["y", "last"], hidden_size=hidden, direction=direction, **more
    )
    outputs = {"y": [5, ways, 2, hidden], "last": [ways, 2, hidden]}
    path = saved(tmp_path, [node], {"x": [5, 2, size]}, outputs, constants)
    x = drawn(5, 2, size)
    expected = ort.InferenceSession(str(path)).run(None, {"x": x})
    module = load(path).module
    with torch.no_grad():
        found = module(torch.from_numpy(x))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)
    graph = capture(module, (torch.from_numpy(x),))
    recurrent = f"aten.{kind.lower() if kind != 'RNN' else 'rnn_tanh'}.input"
    alone = kind == "GRU" and not first
    assert (recurrent in [each.op for each in graph.nodes]) is not alone
