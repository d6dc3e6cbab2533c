"""Named tuples of PyTorch's operators, from a network to a bundle and back."""

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.compiler.compile import compile as compile_module
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.store import dumps, loads
from trimtab.pipeline.load import load


class Best(nn.Module):
    """Returns what `max`, `sort` or `topk` of a dense layer returns."""

    def __init__(self, name: str, *arguments: int) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 5)
        self.name, self.arguments = name, arguments

    def forward(self, x):
        return getattr(self.dense(x), self.name)(*self.arguments)


@pytest.mark.parametrize(
    ("name", "arguments"), [("max", (-1,)), ("topk", (3,)), ("sort", (-1,))]
)
def test_the_class_is_kept_all_the_way(name, arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    net, x = Best(name, *arguments).eval(), torch.randn(4, 6)
    with torch.no_grad():
        expected = net(x)
    graph = capture(net, (x,))
    assert loads(dumps(graph)) == graph
    fast = compile_module(net, (x,), machine="milan")
    fast.save(tmp_path / "net.trimtab")
    for run in (
        Executor(graph, weights_of(net, graph)),
        fast,
        load(tmp_path / "net.trimtab"),
    ):
        found = run(x)
        assert type(found) is type(expected) is getattr(torch.return_types, name)
        torch.testing.assert_close(found.values, expected.values)
        assert torch.equal(found.indices, expected.indices)
