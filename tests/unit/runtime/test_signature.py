"""What networks take and return, by name."""

import torch
from torch import nn

from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import TensorType
from trimtab.runtime.signature import Model, Port, bound, model_of, named


class Two(nn.Module):
    """Takes what is no tensor, too, and returns by name."""

    def forward(self, x, *, scale=2, shift):
        return {"sum": (x * scale + shift, x), "shape": 3}


def test_a_graph_is_called_and_its_returns_are_named():
    graph = capture(
        Two().eval(), (torch.zeros(2, 3),), {"scale": 2, "shift": torch.ones(3)}
    )
    model = model_of(graph)
    assert [port.name for port in model.inputs] == ["x", "shift"]
    assert [port.name for port in model.outputs] == ["output.sum.0", "output.sum.1"]
    x, shift = torch.arange(6.0).reshape(2, 3), torch.ones(3)
    args, kwargs = bound(graph, {"x": x, "shift": shift})
    returned = Executor(graph, weights_of(Two(), graph))(*args, **kwargs)
    found = named(graph, returned)
    assert torch.equal(found["output.sum.0"], 2 * x + 1)
    assert torch.equal(found["output.sum.1"], x)


def test_metadata_have_the_protocols_names():
    port = Port(name="k", type=TensorType((2,), "int8"))
    model = Model(name="net", inputs=(port,), outputs=())
    described = {"name": "k", "datatype": "INT8", "shape": [2]}
    assert model.record()["inputs"] == [described]
    assert Model(name="a/b", inputs=(), outputs=()).path == "/v2/models/a%2Fb/infer"


def test_a_free_first_axis_and_bounds_are_told():
    port = Port(name="ids", type=TensorType((1, 3), "int64"), bounds=(50,))
    free = Model(name="net", inputs=(port,), outputs=(), most_items=8)
    (found,) = free.record()["inputs"]
    assert found["shape"] == [-1, 3]
    assert found["parameters"] == {"bounds": [50]}
    assert free.record()["parameters"] == {"most_items": 8}
    fixed = Model(name="net", inputs=(port,), outputs=())
    assert fixed.record()["inputs"][0]["shape"] == [1, 3]
    assert "parameters" not in fixed.record()
    assert free.most_bytes - fixed.most_bytes == 7 * 3 * 32
