import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trimtab.graph.capture import capture, weights_of
from trimtab.onnx.unfold import unfold


class _Bags(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.mode = mode

    def forward(self, ids, scale=2.0):
        return F.embedding_bag(ids, self.table.weight, mode=self.mode) * scale


def _unfolded(module, *inputs):
    module = module.eval()
    graph = capture(module, inputs)
    return unfold(graph, weights_of(module, graph))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_of_one_length_are_rows_and_a_sum(mode):
    module = _Bags(mode)
    ids = torch.tensor([[1, 2, 8], [0, 0, 4]])
    plain = _unfolded(module, ids)
    assert "embedding_bag" not in plain.code
    torch.testing.assert_close(plain(ids), module(ids))


def test_other_bags_stay():
    module = _Bags("max")
    ids = torch.tensor([[1, 2], [3, 4]])
    plain = _unfolded(module, ids)
    assert "embedding_bag" in plain.code
    assert torch.equal(plain(ids), module(ids))


class _Several(nn.Module):
    """Lists, tuples, constants in the code, a weight that is used twice."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 4)
        self.two = nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x):
        first, second = self.two(self.one(x)).split([1, 3], dim=1)
        top = second.max(dim=1)
        return {"first": first + torch.tensor([3.0]), "top": (top.values, self.shift)}


def test_structure_and_weights_stay():
    module = _Several()
    x = torch.randn(2, 4)
    plain = _unfolded(module, x)
    found, expected = plain(x), module(x)
    assert torch.equal(found["first"], expected["first"])
    assert torch.equal(found["top"][0], expected["top"][0])
    names = {name for name, _ in plain.named_parameters()}
    assert names == {"one.weight", "one.bias", "two.bias"}
    assert torch.equal(dict(plain.named_buffers())["shift"], torch.ones(4))
