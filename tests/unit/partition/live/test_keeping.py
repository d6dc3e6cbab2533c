"""Which layers are in memory: what is asked for, and no more."""

import threading

import pytest
import torch
from tests.unit.partition.live.nets import Disk, made

from trimtab.errors import ExecutionError
from trimtab.graph.types import Ref
from trimtab.partition.live.keeping import Keeping


@pytest.fixture
def both():
    net, halves = made()
    disk = Disk(dict(net.named_parameters()))
    return net, halves.graph, disk


def ran(keeping, graph, net):
    x = torch.randn(1, 3, 16, 16)
    run = keeping.run
    found = run.run({Ref(graph.inputs[0].name): x})
    return torch.equal(run.results(found), net(x))


def test_a_larger_part_loads_what_is_between(both):
    net, graph, disk = both
    end = len(graph.nodes)
    keeping = Keeping(graph, disk, range(1))
    assert disk.asked == [{"first.weight", "first.bias"}]
    small = keeping.bytes
    keeping.keep(range(end))
    assert disk.asked[1] == {"second.weight", "second.bias", "last.weight", "last.bias"}
    assert ran(keeping, graph, net)
    assert keeping.has(range(3, 4))
    keeping.keep(range(1))
    assert (keeping.bytes, len(disk.asked), keeping.loads) == (small, 2, 2)
    assert not keeping.has(range(2))
    keeping.keep(range(1))
    assert keeping.loads == 2


def test_empty_first_lets_all_go_before_it_loads(both):
    _, graph, disk = both
    held = []
    keeping = Keeping(graph, disk, range(1))

    def load(names):
        held.append(keeping.bytes)
        return disk(names)

    keeping._load = load
    keeping.keep(range(len(graph.nodes)), empty_first=True)
    keeping.keep(range(1), empty_first=False)
    assert held == [0]
    assert keeping.size_of(range(1)) == keeping.bytes
    assert disk.asked[1] >= {"first.weight", "last.weight"}


def test_a_call_that_began_ends_with_what_it_had(both):
    net, graph, disk = both
    end = len(graph.nodes)
    keeping = Keeping(graph, disk, range(end))
    x = torch.randn(1, 3, 16, 16)
    begun, go_on = threading.Event(), threading.Event()
    found = []

    def watch(node):
        begun.set()
        go_on.wait(5)

    def call():
        run = keeping.run
        values = run.run({Ref(graph.inputs[0].name): x}, watch=watch)
        found.append(run.results(values))

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(5)
    keeping.keep(range(1))
    go_on.set()
    thread.join(5)
    assert torch.equal(found[0], net(x))
    with pytest.raises(ExecutionError, match="here are 0 to 1"):
        keeping.run.run({Ref(graph.inputs[0].name): x})
