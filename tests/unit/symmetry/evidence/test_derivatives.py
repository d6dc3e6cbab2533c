"""Derivatives of each example, layer by layer, against automatic differentiation."""

import pytest
import torch
from tests.unit.symmetry.nets import small_cnn
from torch import nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.symmetry.backbone import group_cnn, tied_mlp
from trimtab.symmetry.evidence.derivatives import rows_of
from trimtab.symmetry.layers import (
    GroupConv2d,
    InvariantHead,
    LiftConv2d,
    TiedConv2d,
    TiedLinear,
    TiedNorm,
    TiedTensor,
)
from trimtab.symmetry.network import Symmetric, batched, retie, settled, tied
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import flips, shifts

FLIPS = flips()
IMAGE = (channel(1), space(8, 8))


def twice():
    layer = TiedConv2d(FLIPS, 1, 1, 3)
    body = nn.Sequential(
        layer, nn.Tanh(), layer, nn.Tanh(), TiedLinear(FLIPS, IMAGE, (channel(3),))
    )
    return Symmetric(body, FLIPS, IMAGE)


def averaged():
    body = nn.Sequential(
        LiftConv2d(FLIPS, 1, 2, 3), TiedNorm(FLIPS, 2), nn.ReLU(),
        InvariantHead(FLIPS, 2, 3, pool="mean"),
    )  # fmt: skip
    return Symmetric(body, FLIPS, IMAGE)


def strided():
    body = nn.Sequential(
        LiftConv2d(FLIPS, 1, 2, 3, stride=2), nn.ReLU(),
        GroupConv2d(FLIPS, 2, 3, 3, stride=2), nn.ReLU(),
        GroupConv2d(FLIPS, 3, 3, 3, stride=2, depthwise=True),
        InvariantHead(FLIPS, 3, 3, pool="mean"),
    )  # fmt: skip
    return Symmetric(body, FLIPS, (channel(1), space(9, 9)))


NETS = {
    "small": lambda: small_cnn(FLIPS),
    "depthwise": lambda: group_cnn(FLIPS, (1, 8, 8), 3, channels=2),
    "averaged": averaged,
    "strided": strided,
    "twice": twice,
    "dense": lambda: tied_mlp(shifts(4), (2, 4), 3, channels=2),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("whole", [False, True])
def test_rows_square_to_the_gauss_newton_matrix(name, whole):
    net = NETS[name]()
    scheme = net.family.schemes[-1 if whole else 0]
    x = torch.randn(23, *net.shape, generator=torch.Generator().manual_seed(1))
    net = settled(retie(net, scheme, seed=0), x).eval()
    drawn = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, each in tied(net):
            noise = torch.randn(each.values.shape, generator=drawn)
            each.values.add_(0.05 * noise)  # biases and norms too
    x = x[:21]  # more than one chunk
    rows = rows_of(net, x)
    tensors = [each.values for _, each in tied(net)]
    assert rows.shape == (21 * 2, sum(each.numel() for each in tensors))
    wanted = torch.zeros(rows.shape[1], rows.shape[1])
    for one in x:
        scores = net(one[None])[0]
        p = F.softmax(scores, 0).detach()
        jacobian = torch.stack([
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(
                score, tensors, retain_graph=True)])
            for score in scores
        ])  # fmt: skip
        wanted += jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
    assert torch.allclose(rows.T @ rows, wanted, atol=1e-4 * float(wanted.abs().max()))
    last = list(dict(tied(net)))[-1]
    some = rows_of(net, x, [last])
    assert torch.allclose(some, rows[:, -some.shape[1] :], atol=1e-6)


def test_layers_of_other_kinds_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = TiedTensor(FLIPS, (channel(1),), std=1.0)

        def forward(self, x):
            return x * self.scale()

    body = nn.Sequential(Own(), TiedLinear(FLIPS, IMAGE, (channel(2),)))
    net = Symmetric(body, FLIPS, IMAGE)
    with pytest.raises(UsageError, match="a tied tensor of a Own"):
        rows_of(net, torch.zeros(1, 1, 8, 8))


def test_batch_norms_are_refused():
    net = batched(averaged().eval())
    with pytest.raises(UsageError, match="evidence of a network with batch norms"):
        rows_of(net, torch.randn(4, 1, 8, 8))
