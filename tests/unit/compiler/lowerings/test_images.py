import torch
from torch import nn

from trimtab.compiler.tasks import Task


class Dense(nn.Module):
    """Each layer reads all before it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3, padding=1)
        self.b = nn.Conv2d(16, 8, 3, padding=1)
        self.c = nn.Conv2d(24, 8, 1)

    def forward(self, x):
        x = torch.relu(x)
        a = self.a(x)
        b = self.b(torch.cat([x, a], 1))
        return self.c(torch.cat([x, a, b], 1))


def test_pieces_are_written_where_the_whole_stands(network):
    made = network(
        Dense(),
        torch.randn(1, 8, 6, 6),
        tasks=[
            "Elementwise",
            "Contraction",
            "Contraction",
            "Contraction",
            "Elementwise",
        ],
    )
    first, a, b, _, _ = (each for each in made.tasks if isinstance(each, Task))
    assert first.output.memory == a.output.memory == b.output.memory


def test_pieces_that_do_not_fill_blocks(network):
    class Odd(nn.Module):
        def forward(self, x, y):
            return torch.cat([torch.relu(x), y], 1), torch.cat([x, x], 2)

    network(Odd(), torch.randn(1, 3, 5, 5), torch.randn(1, 5, 5, 5))


def test_pools_stay_packed(network):
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )
    network(
        module,
        torch.randn(2, 3, 12, 12),
        tasks=["Elementwise", "Contraction", "Pool", "Pool", "Pool", "Contraction"],
    )
