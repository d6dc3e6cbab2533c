"""Ready-made networks."""

import pytest
import torch

from trimtab.errors import UsageError
from trimtab.symmetry.backbone import CHANNELS, group_cnn, tied_mlp
from trimtab.symmetry.network import retie, verify
from trimtab.symmetry.schemes import flips, rotations, shifts, subgroups

D4 = subgroups("D4")


@pytest.mark.parametrize("size", [14, 17, 28, 33, 48, 49])
def test_a_group_cnn_is_exact_for_every_scheme(size):
    net = group_cnn(D4, (1, size, size), 10)
    x = torch.randn(2, 1, size, size)
    assert net(x).shape == (2, 10)
    for scheme in D4.schemes:
        assert verify(retie(net, scheme, seed=0), x) <= 1e-5
    assert CHANNELS >= 16  # features that the whole group leaves


@pytest.mark.parametrize(
    ("family", "shape"),
    [(shifts(12), (1, 12)), (rotations(8), (2, 3, 8)), (D4, (1, 6, 6))],
)
def test_a_dense_network_is_exact_for_every_scheme(family, shape):
    net = tied_mlp(family, shape, 4, channels=2)
    for scheme in family.schemes:
        assert verify(retie(net, scheme, seed=0)) <= 1e-5


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="its schemes do not only turn images"):
        group_cnn(shifts(12), (1, 12), 4)
    with pytest.raises(UsageError, match="pools by 2 would leave out a row"):
        group_cnn(flips(), (1, 8, 7), 4)
    assert group_cnn(flips(), (1, 8, 6), 4)(torch.zeros(1, 1, 8, 6)).shape == (1, 4)
