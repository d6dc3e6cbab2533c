"""Parts of a graph: joined again they compute the same bits."""

import itertools

import pytest
import torch
from torch import nn

from trimtab.errors import GraphError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.liveness import live_sets
from trimtab.graph.segment import segment
from trimtab.graph.types import Ref


class Tangled(nn.Module):
    """Shortcuts, several results of one node, views of weights, inputs that pass."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        self.scale = nn.Parameter(torch.randn(1, 8))

    def forward(self, x, bias):
        y = torch.relu(self.norm(self.conv(x)))
        first, second = y.split(4, dim=1)
        y = torch.cat([second, first], 1) + y
        z = y.mean((2, 3)) * self.scale.view(8)
        values, order = z.sort(dim=1)
        return {"scores": self.head(values) + bias, "order": order, "bias": bias}


@pytest.fixture(scope="module")
def whole():
    torch.manual_seed(0)
    net = Tangled().eval()
    args = torch.randn(2, 3, 6, 6), torch.randn(4)
    graph = capture(net, args)
    return graph, weights_of(net, graph), args


def joined(whole, positions):
    graph, weights, args = whole
    run = Executor(graph, weights)
    alive = dict(run.bind(*args))
    live = live_sets(graph)
    for start, stop in itertools.pairwise([0, *positions, len(graph.nodes)]):
        found = segment(graph, start, stop)
        if found is None:
            continue
        part, given, made = found
        results = Executor(part, weights)(*(alive[ref] for ref in given))
        assert isinstance(results, tuple)
        alive.update(zip(made, results, strict=True))
    return run.results({ref: alive[ref] for ref in live[-1]})


def test_joined_again_the_bits_are_the_same(whole):
    graph, weights, args = whole
    wanted = Executor(graph, weights)(*args)
    count = len(graph.nodes)
    every = [[], *([at] for at in range(1, count)), list(range(1, count))]
    for positions in every:
        found = joined(whole, positions)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted), positions


def test_a_part_takes_and_gives_what_its_nodes_need_alone(whole):
    graph, _, _ = whole
    at = next(i for i, node in enumerate(graph.nodes) if "relu" in node.op)
    found = segment(graph, at, at + 1)
    assert found is not None
    part, given, made = found
    assert (len(part.nodes), part.constants) == (1, ())
    assert (given, made) == (
        (Ref(graph.nodes[at - 1].name),), (Ref(graph.nodes[at].name),),
    )  # fmt: skip
    names = {each.name for each in part.inputs}
    assert names == {graph.nodes[at - 1].name}


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 2), (3, 2), (0, 99)])
def test_no_such_part(whole, start, stop):
    with pytest.raises(GraphError, match="nodes"):
        segment(whole[0], start, stop)
