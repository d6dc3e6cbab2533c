"""Networks tied by one scheme, and how exact they are."""

import pytest
import torch
from tests.unit.symmetry.nets import small_cnn
from torch import nn

from trimtab.errors import UsageError
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.layers import InvariantHead, LiftConv2d
from trimtab.symmetry.network import (
    Symmetric,
    batched,
    invariance_error,
    last_called,
    retie,
    settled,
    tied,
    verify,
)
from trimtab.symmetry.orbits import channel, space
from trimtab.symmetry.schemes import flips, subgroups
from trimtab.symmetry.tying import symmetrize

D4 = subgroups("D4", include="all")


@pytest.mark.parametrize("scheme", D4.schemes, ids=lambda each: each.name)
def test_a_network_is_invariant_to_its_scheme_and_to_nothing_else(scheme):
    x = torch.randn(4, 1, 8, 8)
    net = settled(retie(small_cnn(D4), scheme, seed=1), x)
    assert verify(net, x) <= 1e-5
    errors = invariance_error(net, D4, net.inputs, x, range(8))
    for element, error in errors.items():
        assert (error <= 1e-5) is (element in scheme.elements)


def test_retying_leaves_the_given_network_and_draws_by_the_seed():
    net = small_cnn(D4)
    before = [each.values.detach().clone() for _, each in tied(net)]
    one, two = (retie(net, D4["C4"], seed=3) for _ in range(2))
    other = retie(net, D4["C4"], seed=4)
    for (_, a), (_, b), (_, c) in zip(tied(one), tied(two), tied(other), strict=True):
        assert torch.equal(a.values, b.values)
        assert a.std == 0 or not torch.equal(a.values, c.values)
    for (_, each), old in zip(tied(net), before, strict=True):
        assert torch.equal(each.values, old)
    assert net.scheme.name == "none"
    assert one.scheme.name == "C4"


def test_layers_that_know_positions_are_found_out():
    class Position(nn.Module):
        def forward(self, x):
            return x + torch.linspace(0, 1, x.shape[-1])

    body = nn.Sequential(LiftConv2d(D4, 1, 2, 3), Position(), InvariantHead(D4, 2, 3))
    net = Symmetric(body, D4, (channel(1), space(8, 8)))
    assert verify(net) == 0.0  # that it shares nothing holds
    with pytest.raises(UsageError, match=r"hflip of its input changes its scores"):
        verify(retie(net, D4["hflip"], seed=0))


def test_layers_are_of_the_family():
    with pytest.raises(UsageError, match=r"it has no layer of trimtab\.symmetry"):
        Symmetric(nn.Linear(4, 2), D4, (channel(4),))
    body = LiftConv2d(flips(), 1, 2, 3)
    with pytest.raises(UsageError, match="of another family"):
        Symmetric(body, D4, (channel(1), space(8, 8)))
    net = small_cnn(D4)
    net.body.insert(1, nn.Conv2d(16, 16, 1))
    with pytest.raises(UsageError, match=r"`1\.weight` is a parameter that no scheme"):
        Symmetric(net.body, D4, net.inputs)


def test_schemes_of_another_group_are_refused():
    with pytest.raises(UsageError, match="its elements are those of another group"):
        retie(small_cnn(flips()), D4["C4"], seed=0)
    with pytest.raises(UsageError, match="its elements are those of another group"):
        retie(small_cnn(flips()), D4["D4"], seed=0)


def test_the_last_layer_is_the_last_that_is_called():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = InvariantHead(D4, 2, 3)
            self.stem = LiftConv2d(D4, 1, 2, 3)

        def forward(self, x):
            return self.head(self.stem(x).relu())

    net = Symmetric(Backwards(), D4, (channel(1), space(8, 8)))
    x = torch.randn(20, 1, 8, 8)
    assert last_called(net, x[:1]) == ("body.head.weight", "body.head.bias")
    tensors = dict(tied(net))
    before = tensors["body.stem.weight"].values.clone()
    settled(net, x)
    assert torch.equal(before, tensors["body.stem.weight"].values)
    assert float(net(x).std(0).mean().detach()) == pytest.approx(1.0, abs=1e-4)


def test_scores_start_from_one_size_whatever_the_scheme():
    x = torch.randn(40, 1, 8, 8)
    for name in ("none", "C4", "D4"):
        net = settled(retie(small_cnn(D4), D4[name], seed=1), x)
        assert float(net(x).std(0).mean().detach()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("scheme", ["C4", "D4"])
def test_norms_by_batch_keep_invariance_and_become_plain(scheme):
    x = torch.randn(16, 1, 8, 8)
    plain = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip
    family = subgroups("D4")
    made = retie(symmetrize(plain, family, x), family[scheme], seed=1)
    net = settled(made, x)
    before = net.eval()(x)
    batched(net)
    assert torch.allclose(net(x), before, atol=1e-3)  # they begin where they were
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(5):
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    turned = torch.rot90(x, 1, (2, 3))
    assert torch.allclose(net(turned), net(x), atol=1e-5)  # of a whole batch, too
    net.eval()
    assert verify(net, x) <= 1e-5
    found = collapse(net, x)
    assert not any(isinstance(each, nn.BatchNorm1d) for each in found.modules())
    assert torch.allclose(found(x), net(x), atol=1e-5)
