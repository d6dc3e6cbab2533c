import torch
from torch import nn
from torch.nn import functional as F


class Folds(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x.sum(1, keepdim=True) * 2.0, x.amax(-1), x.mean()


class Shares(nn.Module):
    def forward(self, x):
        return F.softmax(x, 1), F.log_softmax(x, -1) + 1.0


def test_folds(network):
    network(Folds(), torch.randn(2, 8, 5, 6), tasks=["Reduce"] * 4)


def test_softmax_along_any_axis(network):
    network(Shares(), torch.randn(3, 7, 9), tasks=["Softmax", "Softmax", "Elementwise"])


def test_normalisations(network):
    layer = nn.LayerNorm((6, 8))
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    network(layer, torch.randn(2, 3, 6, 8), tasks=["Normalize"])
    groups = nn.GroupNorm(4, 16)
    nn.init.normal_(groups.weight)
    network(groups, torch.randn(2, 16, 5, 5), tasks=["Normalize"])
    network(nn.InstanceNorm2d(6), torch.randn(2, 6, 5, 5))
    root = nn.RMSNorm(10)
    nn.init.normal_(root.weight)
    network(nn.Sequential(root, nn.ReLU()), torch.randn(4, 10), tasks=["Normalize"])
