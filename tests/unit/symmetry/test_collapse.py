"""Plain networks that compute the same."""

from typing import Any

import pytest
import torch
from tests.unit.symmetry.nets import small_cnn
from torch import nn

from trimtab.errors import UsageError
from trimtab.symmetry.backbone import group_cnn, tied_mlp
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.network import retie, settled, tied
from trimtab.symmetry.schemes import flips, shifts, subgroups
from trimtab.symmetry.tying import symmetrize

D4 = subgroups("D4")


def drawn(net, scheme, x):
    made = settled(retie(net, scheme, seed=0), x)
    with torch.no_grad():
        for _, each in tied(made):
            each.values.add_(0.1 * torch.randn_like(each.values))
    return made.eval()


@pytest.mark.parametrize("scheme", D4.schemes, ids=lambda each: each.name)
def test_it_computes_the_same_with_plain_layers(scheme):
    x = torch.randn(4, 1, 8, 8)
    net = drawn(small_cnn(D4), scheme, x)
    plain = collapse(net, x)
    assert torch.allclose(plain(x), net(x), atol=1e-4)
    kinds = {type(each).__module__ for each in plain.modules()}
    assert all(each.startswith("torch.nn") for each in kinds)
    exported = torch.export.export(plain, (x,))
    assert torch.allclose(exported.module()(x), plain(x), atol=1e-5)
    free = collapse(drawn(small_cnn(D4), D4["none"], x))
    shapes = [[each.shape for each in net.parameters()] for net in (plain, free)]
    assert shapes[0] == shapes[1]


def test_norms_fold_and_dense_layers_stay():
    x = torch.randn(4, 1, 12, 12)
    plain: Any = collapse(drawn(group_cnn(D4, (1, 12, 12), 3, channels=2), D4["C4"], x))
    kinds = [type(each).__name__ for each in plain]
    # The norm stands behind the pool; its scale is positive and goes ahead of it.
    assert kinds[:4] == ["Conv2d", "MaxPool2d", "Identity", "ReLU"]
    signals = torch.randn(4, 1, 6)
    family = shifts(6)
    net = drawn(tied_mlp(family, (1, 6), 3, channels=2), family["by 1"], signals)
    assert torch.allclose(collapse(net)(signals), net(signals), atol=1e-5)


def test_norms_that_stand_alone_become_a_layer():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    x = torch.randn(4, 1, 8, 8)
    family = flips()
    net = drawn(symmetrize(model, family, x), family["V4"], x)
    plain: Any = collapse(net, x)
    assert isinstance(plain[2], nn.Conv2d)
    assert torch.allclose(plain(x), net(x), atol=1e-5)


def test_norms_go_into_the_layer_that_only_they_read():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(8)  # registered ahead of what it follows
            self.stem = nn.Conv2d(1, 8, 3, padding=1)
            self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.read = nn.Conv2d(8, 8, 3, padding=1)
            self.after = nn.BatchNorm2d(8)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            x = torch.relu(x + self.norm(self.conv(x)))
            y = self.read(x)  # by two
            return self.head((torch.relu(self.after(y)) + y).mean((2, 3)))

    x = torch.randn(4, 1, 8, 8)
    family = flips()
    net = drawn(symmetrize(Block(), family, x), family["V4"], x)
    plain: Any = collapse(net, x)
    assert isinstance(plain.norm, nn.Identity)
    assert plain.conv.bias is not None
    assert isinstance(plain.after, nn.Conv2d)
    assert torch.allclose(plain(x), net(x), atol=1e-5)


def test_norms_of_dense_features_become_a_dense_layer():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2)
    )
    x = torch.randn(6, 1, 8, 8)
    family = flips()
    net = drawn(symmetrize(model, family, x), family["V4"], x)
    plain: Any = collapse(net, x)
    assert isinstance(plain[3], nn.Linear)
    assert torch.allclose(plain(x), net(x), atol=1e-5)


def test_what_is_not_exact_is_refused():
    class Position(nn.Module):
        def forward(self, x):
            return x + torch.linspace(0, 1, x.shape[-1])

    net = small_cnn(flips())
    net.body.insert(1, Position())
    made = retie(net, flips()["hflip"], seed=0)
    made.family, made.scheme = net.family, net.family["hflip"]
    with pytest.raises(UsageError, match="of its input changes its scores"):
        collapse(made)
