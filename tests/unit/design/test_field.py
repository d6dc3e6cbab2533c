"""Fields of values: united, broadcast, reduced."""

import torch
from torch import nn

from trimtab.design.propagate import fields_of
from trimtab.graph.capture import capture


def field(call, *shape):
    class Net(nn.Module):
        def forward(self, x):
            return call(x)

    graph = capture(Net().eval(), (torch.zeros(shape),))
    (result,) = graph.outputs
    values = {str(ref): each for ref, each in fields_of(graph).values.items()}
    return values[str(result)]


def test_what_is_added_sees_both():
    pool = nn.AvgPool2d(3, 1, 1)
    found = field(lambda x: pool(x) + x, 1, 2, 8, 8)
    assert found.axis(0).size == 3
    assert found.axis(0).least == 1
    assert found.channel_count == 1


def test_a_mean_over_the_image_sees_it_whole():
    found = field(lambda x: x.mean((2, 3), keepdim=True), 1, 2, 8, 6)
    assert [found.axis(each).size for each in (0, 1)] == [8, 6]
    assert all(found.axis(each).is_whole for each in (0, 1))
    assert found.spatial == ()


def test_a_sum_over_channels_sees_all_of_them():
    found = field(lambda x: x.sum(1, keepdim=True), 1, 5, 4, 4)
    assert found.channel_count == 5
    assert found.spatial == (4, 4)
