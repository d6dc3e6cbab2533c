import pytest
import torch
from torch import nn

from trimtab.errors import CaptureError, ExecutionError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.module import GraphModule
from trimtab.graph.tree import Tree
from trimtab.graph.types import Constant, ConstantKind, Graph, TensorType


def test_it_is_the_network_and_its_graph(case):
    module, args, kwargs = case
    graph = capture(module, args, kwargs)
    again = GraphModule(graph, weights_of(module, graph)).eval()
    assert capture(again, args, kwargs) is graph
    assert weights_of(again, graph).keys() == weights_of(module, graph).keys()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            left, right = again(*args, **kwargs), module(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    leaves = torch.utils._pytree.tree_leaves
    for a, b in zip(leaves(left), leaves(right), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_weights_keep_their_names():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    graph = capture(net, (torch.zeros(1, 2),))
    again = GraphModule(graph, weights_of(net, graph))
    assert set(dict(again.named_parameters())) == set(dict(net.named_parameters()))


def test_another_shape_is_refused():
    net = nn.Linear(2, 3).eval()
    graph = capture(net, (torch.zeros(1, 2),))
    again = GraphModule(graph, weights_of(net, graph)).eval()
    with pytest.raises(CaptureError, match=r"captured for float32\[1,2\]"):
        capture(again, (torch.zeros(4, 2),))


@pytest.mark.parametrize("target", ["forward", "", "a..b", "_executor"])
def test_names_from_a_file_cannot_replace_what_a_module_is(target):
    empty = Tree(kind="tuple")
    graph = Graph(
        name="g",
        inputs=(),
        constants=(
            Constant(
                name="c",
                target=target,
                kind=ConstantKind.BUFFER,
                type=TensorType((1,), "float32"),
                shares=target,
            ),
        ),
        nodes=(),
        outputs=(),
        input_tree=Tree(kind="tuple", children=(empty, Tree(kind="dict"))),
        output_tree=empty,
    )
    with pytest.raises(ExecutionError, match="a module cannot hold it"):
        GraphModule(graph, {target: torch.zeros(1)})
