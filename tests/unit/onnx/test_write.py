"""What is written is read again by onnxruntime and by trimtab, and is the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.unit.symmetry.nets import small_cnn
from torch import nn

from trimtab.design.edits import Replace
from trimtab.design.search import replay
from trimtab.errors import OnnxError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.module import GraphModule
from trimtab.onnx import write as module
from trimtab.onnx.network import load
from trimtab.onnx.write import write
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.network import retie, settled
from trimtab.symmetry.schemes import subgroups
from trimtab.zoo.resolve import resolve

ort = pytest.importorskip("onnxruntime", reason="what is written has to run somewhere")
pytest.importorskip("onnxscript", reason="torch.onnx.export takes it")


def _agrees(path, network, *inputs):
    """Run a file under onnxruntime and, read again, under PyTorch."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    feeds = dict(zip(names, (each.numpy() for each in inputs), strict=True))
    with torch.no_grad():
        expected = network(*inputs)
        again = load(path).module(*inputs)
    scale = float(expected.abs().max())
    for found in (torch.from_numpy(session.run(None, feeds)[0]), again):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * scale)


def test_a_network_for_any_batch(tmp_path):
    found = resolve("zoo:lenet5")
    path = tmp_path / "net.onnx"
    written = write(found.module, found.example_inputs or (), path=path)
    assert written.inputs == ("input=float32[batch,1,32,32]",)
    assert written.outputs[0].endswith("=float32[batch,10]")
    assert written.any_batch
    assert written.comparison is not None
    assert written.comparison.calls == 2
    assert written.comparison.relative_difference < 1e-5
    for batch in (1, 5):
        _agrees(path, found.module, torch.randn(batch, 1, 32, 32))
    onnx.checker.check_model(str(path), full_check=True)
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("scheme", ["C4", "D4", "none"])
def test_a_collapsed_network(scheme, tmp_path):
    family = subgroups("D4")
    x = torch.randn(4, 1, 8, 8)
    tied = settled(retie(small_cnn(family), family[scheme], seed=0), x).eval()
    plain = collapse(tied, x).eval()
    written = write(plain, (x[:1],), path=tmp_path / "net.onnx")
    assert written.any_batch
    _agrees(tmp_path / "net.onnx", tied, x)
    _agrees(tmp_path / "net.onnx", plain, x)


@pytest.mark.parametrize("kernel", ["depthwise-pointwise", "sliding-channel"])
def test_a_rewritten_network(kernel, tmp_path):
    edits = (Replace(module="features.3", kernel=kernel),)
    model = replay(resolve("zoo:lenet5").module, (edits,), seed=4).eval()
    x = torch.randn(1, 1, 32, 32)
    write(model, (x,), path=tmp_path / "net.onnx")
    _agrees(tmp_path / "net.onnx", model, torch.randn(3, 1, 32, 32))


def test_a_graph_is_written_with_its_shapes_and_names(tmp_path):
    found = resolve("zoo:lenet5")
    graph = capture(found.module, found.example_inputs or ())
    network = GraphModule(graph, weights_of(found.module, graph)).eval()
    written = write(network, found.example_inputs or (), path=tmp_path / "net.onnx")
    assert not written.any_batch
    assert written.inputs == ("input=float32[1,1,32,32]",)
    _agrees(tmp_path / "net.onnx", found.module, *(found.example_inputs or ()))
    names = {
        each.name for each in onnx.load(str(tmp_path / "net.onnx")).graph.initializer
    }
    assert {"features.0.weight", "classifier.4.bias"} <= names


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.GRU(3, 4, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.body(x)[0]


def _encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.mark.parametrize(
    ("make", "shape"),
    [(_Recurrent, (2, 5, 3)), (_encoder, (2, 5, 16))],
    ids=["gru", "transformer"],
)
def test_other_kinds_of_networks(make, shape, tmp_path):
    torch.manual_seed(0)
    network = make().eval()
    write(network, (torch.randn(*shape),), path=tmp_path / "net.onnx")
    _agrees(tmp_path / "net.onnx", network, torch.randn(3, *shape[1:]))


@pytest.mark.parametrize("opset", [18, 21])
def test_versions(opset, tmp_path):
    written = write(
        nn.Linear(3, 2).eval(),
        (torch.ones(1, 3),),
        path=tmp_path / "a.onnx",
        opset=opset,
    )
    assert written.opset == opset
    [version] = [
        each.version
        for each in onnx.load(str(tmp_path / "a.onnx")).opset_import
        if not each.domain
    ]
    assert version == opset


def test_inputs_by_name_and_weights_beside_the_file(tmp_path, monkeypatch):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(40, 40)

        def forward(self, a, *, b):
            return self.body(a) - b

    monkeypatch.setattr(module, "_INLINE_BYTES", 100)
    network = Pair().eval()
    a, b = torch.randn(2, 40), torch.randn(2, 40)
    path = tmp_path / "net.onnx"
    written = write(network, (a,), {"b": b}, path=path)
    assert [each.split("=")[0] for each in written.inputs] == ["a", "b"]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "net.onnx",
        "net.onnx.data",
    ]
    assert written.bytes >= 40 * 41 * 4
    found = load(path).module(a, b)
    torch.testing.assert_close(found, network(a, b=b))


class _OneRow(nn.Module):
    def forward(self, x):
        return x.reshape(1, 6)


def test_a_network_of_one_batch_is_told_and_written_with_it(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(OnnxError, match=r"any number of rows.*--fixed"):
        write(_OneRow().eval(), (torch.ones(1, 6),), path=path)
    assert not list(tmp_path.iterdir())
    written = write(_OneRow().eval(), (torch.ones(1, 6),), path=path, any_batch=False)
    assert written.inputs == ("x=float32[1,6]",)


def test_what_onnx_cannot_say(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(OnnxError, match="as ONNX") as caught:
        write(Odd().eval(), (torch.ones(2, 3),), path=tmp_path / "net.onnx")
    assert "bessel" in caught.value.rule
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_left(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    network: Any = nn.Linear(3, 2).eval()
    real = module._export

    def other(net, *args, **more):
        real(nn.Linear(3, 2).eval(), *args, **more)

    monkeypatch.setattr(module, "_export", other)
    with pytest.raises(OnnxError, match="computes something else"):
        write(network, (torch.ones(1, 3),), path=path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_places_and_versions_that_are_no_good(tmp_path):
    network, x = nn.Linear(3, 2).eval(), (torch.ones(1, 3),)
    (tmp_path / "there.onnx").write_bytes(np.zeros(3).tobytes())
    for path, opset, said in (
        (tmp_path / "net.pt", 20, "ends in .onnx"),
        (tmp_path / "no" / "net.onnx", 20, "no such folder"),
        (tmp_path / "there.onnx", 20, "something stands there"),
        (tmp_path / "net.onnx", 5, "can be written"),
    ):
        with pytest.raises(UsageError, match=said):
            write(network, x, path=path, opset=opset)
