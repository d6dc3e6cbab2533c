"""Cuts against every division of small graphs."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.partition.cuts import candidates, cut_at, least_latency


class Branches(nn.Module):
    """Values that several nodes read, and branches that meet."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.left, self.right = nn.Linear(5, 3), nn.Linear(5, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        x = self.first(x)
        left, right = self.left(x).relu(), self.right(x)
        return self.last(left + right) + x[:, :2]


@pytest.fixture(scope="module")
def graph():
    return capture(Branches().eval(), (torch.zeros(1, 6),))


def cheapest(graph, edge, cloud, rate, forced):
    """Try every set of nodes that runs on the edge."""
    nodes = graph.nodes
    best = float("inf")
    for chosen in itertools.product((True, False), repeat=len(nodes)):
        on_edge = {node.name for node, here in zip(nodes, chosen, strict=True) if here}
        if any(node.name not in on_edge for node in nodes[:forced]):
            continue
        made = {node.name for node in nodes}
        if any(
            node.name in on_edge and ref.name in made and ref.name not in on_edge
            for node in nodes
            for ref in node.inputs
        ):
            continue  # it would come back
        sent = {
            ref
            for node in nodes
            if node.name not in on_edge
            for ref in node.inputs
            if graph.constant(ref) is None
            and (ref.name not in made or ref.name in on_edge)
        }
        time = sum(
            edge[at] if node.name in on_edge else cloud[at]
            for at, node in enumerate(nodes)
        )
        best = min(
            best, time + rate * sum(graph.type_of(ref).size_bytes for ref in sent)
        )
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_best_division_is_the_best_of_all(graph, seed):
    drawn = np.random.default_rng(seed)
    count = len(graph.nodes)
    edge, cloud = drawn.random(count), drawn.random(count) * drawn.choice([0.1, 1.0])
    rate = 10 ** drawn.uniform(-4, -1)
    forced = int(drawn.integers(0, 3))
    found = least_latency(graph, edge.tolist(), cloud.tolist(), rate, forced=forced)
    wanted = cheapest(graph, edge, cloud, rate, forced)
    assert found.latency_s == pytest.approx(wanted, rel=1e-6)
    assert {node.name for node in graph.nodes[:forced]} <= found.edge


def test_candidates_are_the_cuts_that_nothing_dominates(graph):
    seconds = [1.0] * len(graph.nodes)
    every = candidates(graph, seconds, dominated=True)
    assert [each.position for each in every] == list(range(len(graph.nodes) + 1))
    assert len(candidates(graph, seconds)) == len(every)  # work differs everywhere
    free = candidates(graph, [1.0] + [0.0] * (len(graph.nodes) - 1))
    smallest = min(each.size_bytes for each in every[1:])
    assert free[0].position == 0
    assert free[-1].position == len(graph.nodes)
    assert smallest in {each.size_bytes for each in free}
    assert len(free) <= 3


def test_what_must_stay_private_stays(graph):
    seconds = [1.0] * len(graph.nodes)
    found = candidates(graph, seconds, least_position=2)
    assert found[0].position == 2
    with pytest.raises(UsageError, match="must run on the edge"):
        candidates(graph, seconds, least_position=len(graph.nodes) + 1)


def test_both_sides_of_every_cut_together_are_the_network(graph):
    net = Branches().eval()
    run = Executor(graph, weights_of(net, graph))
    x = torch.randn(1, 6)
    whole = run.run({cut_at(graph, 0).values[0]: x})
    for each in candidates(graph, [1.0] * len(graph.nodes)):
        head = run.run({cut_at(graph, 0).values[0]: x}, 0, each.position)
        sent = {ref: head[ref].clone() for ref in each.values}
        assert sum(value.numel() * 4 for value in sent.values()) == each.size_bytes
        tail = run.run(sent, each.position)
        assert all(torch.equal(tail[ref], whole[ref]) for ref in whole)


def test_identity_is_of_the_graph_and_the_place(graph):
    digests = {cut_at(graph, at).digest for at in range(len(graph.nodes) + 1)}
    assert len(digests) == len(graph.nodes) + 1
    again = capture(Branches().eval(), (torch.zeros(1, 6),))
    assert cut_at(again, 3).digest == cut_at(graph, 3).digest
    other = capture(Branches().eval(), (torch.zeros(2, 6),))
    assert cut_at(other, 3).digest != cut_at(graph, 3).digest
    with pytest.raises(UsageError, match="positions 0 to"):
        cut_at(graph, 99)


def test_times_must_be_those_of_the_graph(graph):
    with pytest.raises(UsageError, match="times for graph"):
        candidates(graph, [1.0])
    with pytest.raises(UsageError, match="times for graph"):
        least_latency(graph, [1.0], [1.0], 1.0)
