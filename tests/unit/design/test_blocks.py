"""Which modules are blocks that may be moved."""

import torch
from tests.unit.design.nets import IMAGE, Block, plain, residual
from torch import nn

from trimtab.design.blocks import blocks_of
from trimtab.graph.capture import capture


def found(model, x=IMAGE):
    groups = blocks_of(model, capture(model.eval(), (x,)))
    return [
        (group.container, group.size, [each.paths for each in group.blocks])
        for group in groups
    ]


def test_blocks_of_a_residual_network():
    assert found(residual(2, 3)) == [
        ("stages.0", (16, 16), [("stages.0.0",), ("stages.0.1",)]),
        ("stages.1", (8, 8), [("stages.1.1",), ("stages.1.2",)]),
    ]


def test_a_convolution_moves_with_what_follows_it():
    # The first changes the channels, the last the size.
    assert found(plain()) == [
        ("", (16, 16), [("3", "4", "5"), ("6", "7", "8")]),
    ]
    assert found(plain(batch_norm=False)) == [("", (16, 16), [("2", "3"), ("4", "5")])]


def test_blocks_that_are_built_otherwise_are_no_siblings():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2),
    )
    assert [len(blocks) for _, _, blocks in found(net)] == [1, 1]


def test_what_is_called_twice_or_between_others_is_no_block():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.blocks = nn.ModuleList([Block(8, 8), Block(8, 8)])

        def forward(self, x):
            x = self.stem(x)
            kept = x
            x = self.blocks[0](x)
            x = self.blocks[1](x)
            return self.blocks[0](x) + kept

    assert found(Twice()) == [("blocks", (16, 16), [("blocks.1",)])]


def test_a_block_with_two_inputs_is_none():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x, y):
            return self.conv(x) + y, x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.blocks = nn.ModuleList([Two(), Two()])

        def forward(self, x):
            x = y = self.stem(x)
            for block in self.blocks:
                x, y = block(x, y)
            return x

    # Into the first comes one value twice, into the second come two.
    assert found(Net()) == [("blocks", (16, 16), [("blocks.0",)])]


def test_what_is_inside_a_block_stays_there():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())

        def forward(self, x):
            return x + self.body(x)

    net = nn.Sequential(nn.Conv2d(3, 8, 1), Inner(), Inner())
    assert found(net) == [("", (16, 16), [("1",), ("2",)])]


def test_a_network_without_containers_has_none():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return torch.relu(self.a(x))

    assert found(Net()) == []
