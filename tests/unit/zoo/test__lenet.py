from __future__ import annotations

import torch
from torch import nn

from trimtab.zoo._lenet import digits_cnn, lenet5


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_lenet5_has_the_layers_of_the_paper() -> None:
    convolutions = 6 * (1 * 25 + 1) + 16 * (6 * 25 + 1)
    linear = 120 * (16 * 25 + 1) + 84 * (120 + 1) + 10 * (84 + 1)
    network = lenet5()
    assert _count(network) == convolutions + linear == 61_706
    # The third layer of the paper is sparse (table I): 1516 instead of 2416 weights;
    # with the 24 of its two pooling layers and without the output layer, the paper's
    # 60,000 free parameters:
    sparse = 1_516 - 16 * (6 * 25 + 1) + 2 * 6 + 2 * 16
    assert convolutions + linear - 10 * 85 + sparse == 60_000
    out: torch.Tensor = network(torch.zeros(2, 1, 32, 32))
    assert out.shape == (2, 10)


def test_digits_cnn_is_small_and_keeps_its_arguments() -> None:
    convolutions = 9 * (1 * 16 + 16 * 32 + 32 * 64)
    norms = 2 * (16 + 32 + 64)
    linear = 64 * (64 * 9 + 1) + 10 * (64 + 1)
    assert _count(digits_cnn()) == convolutions + norms + linear == 60_986
    network = digits_cnn(num_classes=4, in_channels=3)
    out: torch.Tensor = network(torch.zeros(2, 3, 28, 28))
    assert out.shape == (2, 4)


def test_digits_cnn_learns() -> None:
    """Ten noisy patterns, one a class, are learned and recognised in new noise."""
    torch.manual_seed(0)
    patterns = torch.rand(10, 1, 28, 28)
    labels = torch.arange(10).repeat(3)
    network = digits_cnn()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(12):
        optimizer.zero_grad()
        noisy = patterns[labels] + 0.3 * torch.randn(30, 1, 28, 28)
        out: torch.Tensor = network(noisy)
        nn.functional.cross_entropy(out, labels).backward()
        optimizer.step()
    noisy = patterns[labels] + 0.3 * torch.randn(30, 1, 28, 28)
    found: torch.Tensor = network(noisy)
    assert (found.argmax(1) == labels).float().mean() > 0.9
