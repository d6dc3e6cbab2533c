import torch
from torch import nn


class Both(nn.Module):
    def forward(self, a, b):
        return torch.relu(a @ b) + 1.0


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 10))
        self.bias = nn.Parameter(torch.randn(10))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight), x @ self.weight


def test_dense_layers(network):
    module = nn.Sequential(nn.Linear(13, 24), nn.GELU(), nn.Linear(24, 1, bias=False))
    network(module, torch.randn(3, 13), tasks=["Contraction", "Contraction"])


def test_leading_axes_and_residual(network):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return x + self.linear(x)

    network(Residual(), torch.randn(2, 3, 5, 8), tasks=["Contraction"])


def test_products_of_computed_tensors(network):
    network(Both(), torch.randn(4, 5, 7), torch.randn(4, 7, 9), tasks=["Contraction"])
    network(Both(), torch.randn(2, 3, 5, 7), torch.randn(2, 3, 7, 8))


def test_a_transposed_operand_is_copied_once(network):
    class Scores(nn.Module):
        def forward(self, q, k):
            return q @ k.transpose(1, 2)

    network(
        Scores(),
        torch.randn(2, 5, 8),
        torch.randn(2, 6, 8),
        tasks=["Elementwise", "Contraction"],
    )


def test_weights_the_other_way_round(network):
    network(Scaled(), torch.randn(4, 6), tasks=["Contraction", "Contraction"])
