import torch
from torch import nn

from trimtab.graph.capture import capture
from trimtab.graph.text import to_text


def test_a_small_network(golden):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)
    )
    golden(to_text(capture(net.eval(), (torch.zeros(1, 1, 4, 4),))), "small_cnn.txt")


def test_every_value_of_the_graph_is_there(case):
    module, args, kwargs = case
    graph = capture(module, args, kwargs)
    text = to_text(graph)
    for leaves in (graph.inputs, graph.constants, graph.nodes):
        for each in leaves:
            assert f"%{each.name} " in text
    assert text.count("\n") == 2 + sum(
        map(len, (graph.inputs, graph.constants, graph.nodes))
    )
