"""Ordinary networks, tied; what breaks exactness is refused by name."""

from typing import Any

import pytest
import torch
from torch import nn

from trimtab.errors import UsageError
from trimtab.symmetry.backbone import tied_mlp
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.layers import GroupConv2d, LiftConv2d, TiedLinear, TiedNorm
from trimtab.symmetry.network import retie, verify
from trimtab.symmetry.schemes import (
    flips,
    permutations,
    product,
    shifts,
    subgroups,
)
from trimtab.symmetry.tying import axes_of, symmetrize

D4 = subgroups("D4")
X = torch.zeros(1, 1, 8, 8)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x, 2) + nn.functional.avg_pool2d(x, 2)
        return self.head(torch.relu(self.deep(x)).mean((2, 3)))


def flat(*layers):
    last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return nn.Sequential(*layers, *last)


def test_code_of_its_own_stays_and_layers_are_tied():
    model = Residual()
    net = symmetrize(model, D4, X)
    body: Any = net.body
    assert type(body).__name__ == "Residual"
    assert isinstance(body.stem, LiftConv2d)
    assert isinstance(body.conv, GroupConv2d)
    assert isinstance(body.norm, TiedNorm)
    assert body.deep.groups == 16
    assert isinstance(body.head, TiedLinear)
    assert isinstance(model.stem, nn.Conv2d)  # the given one is as it was
    for scheme in D4.schemes:
        assert verify(retie(net, scheme, seed=0)) <= 1e-5


def test_shapes_stay_what_they_were():
    net = symmetrize(Residual(), D4, X)
    body: Any = net.body
    assert body.conv.weight().numel() == 16 * 16 * 9
    assert net(torch.zeros(3, 1, 8, 8)).shape == (3, 5)


def test_dense_networks_have_places_and_slots():
    mlp = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(),
        nn.Linear(16, 3),
    )  # fmt: skip
    net = symmetrize(mlp, D4, X)
    body: Any = net.body
    kinds = [[axis.kind for axis in body[n].weight.axes] for n in (1, 3, 5)]
    assert kinds == [
        ["channel", "regular", "channel", "space"],
        ["channel", "regular", "channel", "regular"],
        ["channel", "channel", "regular"],
    ]
    family = shifts(12)
    signal = nn.Sequential(nn.Flatten(), nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))
    net = symmetrize(signal, family, torch.zeros(1, 1, 12))
    assert verify(retie(net, family["by 1"], seed=0)) <= 1e-5


def test_strides_are_exact_on_sizes_one_more_than_a_multiple():
    strided = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(16, 16, 1, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=1, padding=1, groups=16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    x = torch.zeros(1, 1, 17, 17)
    net = symmetrize(strided, D4, x)
    assert net.body[3](net.body[:3](x)).shape == (1, 16, 3, 3)  # type: ignore[index]
    for name in ("C4", "D4"):
        tied = retie(net, D4[name], seed=0)
        assert verify(tied) <= 1e-5
        plain = collapse(tied)
        assert plain[0].stride == (2, 2)  # type: ignore[index]
    with pytest.raises(UsageError, match="windows 2 apart on 16 x 16"):
        symmetrize(strided, D4, torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (flat(nn.Conv2d(1, 8, 4, padding=2)), "a kernel of 4 x 4 has no centre"),
        (flat(nn.Conv2d(1, 8, 3, stride=2, padding=1)),
         "windows 2 apart on 8 x 8.*one more than a multiple of 2"),
        (flat(nn.Conv2d(1, 8, 3, dilation=2, padding=1)), "dilation"),
        (flat(nn.Conv2d(1, 8, 3, stride=(1, 2), padding=1)), "differ by axis"),
        (flat(nn.Conv2d(1, 8, 3)), "give padding=1|Give padding=1"),
        (flat(nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)),
         "it has 12 channels.*8 or 16"),
        (flat(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 1, 1, groups=2)),
         "2 groups cut through slots"),
        (flat(nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(3)),
         "windows of 3 by 3 on 8 x 8"),
        (flat(nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)),
         "not known to treat all channels"),
        (flat(nn.Conv2d(1, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 3)),
         "not known to treat all channels"),
        (nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.AdaptiveAvgPool2d(3),
                       nn.Flatten(), nn.Linear(72, 2)), "overlap unevenly"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Linear(16, 9),
                       nn.Linear(9, 2)), "it has 9 outputs"),
    ],
)  # fmt: skip
def test_what_breaks_exactness_is_named(model, said):
    with pytest.raises(UsageError, match=f"(?s){said}"):
        symmetrize(model, D4, X)


def test_a_layer_that_is_called_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 3, padding=1)
            self.conv = nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.conv(self.conv(self.stem(x))).mean((2, 3)))

    with pytest.raises(UsageError, match=r"it is called twice.*module 'conv'"):
        symmetrize(Twice(), D4, X)


def test_what_slips_through_is_found_by_trying():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 3, padding=1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.stem(x).mean((2, 3))) + x[:, 0, 0, :2]

    with pytest.raises(UsageError, match=r"alike|changes its scores"):
        symmetrize(Rows(), D4, X)


def test_dropout_is_left_out_and_slots_may_be_too_many():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 2),
    )  # fmt: skip
    net = symmetrize(model, D4, X)
    assert not any(isinstance(each, nn.Dropout) for each in net.modules())
    assert isinstance(model[5], nn.Dropout)
    plain = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    with pytest.raises(UsageError, match="a tied norm learns both"):
        symmetrize(plain, D4, X)
    with pytest.raises(UsageError, match="a slot for each of the 4096 elements"):
        tied_mlp(shifts(4096), (1, 4096), 2)


def test_families_find_their_axes():
    kinds = [each.kind for each in axes_of(D4, (3, 8, 8))]
    assert kinds == ["channel", "space"]
    colours = permutations({"next": [1, 2, 0]}, axis="colour")
    assert axes_of(product(flips(), colours), (3, 4, 6))[0].name == "colour"
    assert [e.kind for e in axes_of(shifts(5), (5,))] == ["permuted"]
    for family, shape in ((D4, (8, 8)), (shifts(5), (1, 6)), (colours, (1, 4, 4))):
        with pytest.raises(UsageError, match="a family made for this shape"):
            axes_of(family, shape)
    with pytest.raises(UsageError, match="exchanges rows and columns"):
        axes_of(D4, (1, 8, 6))
    assert axes_of(flips(), (1, 8, 6))[1].sizes == (8, 6)
    both = product(shifts(6, axis="one"), shifts(6, axis="two"))
    with pytest.raises(UsageError, match="a family made for this shape"):
        axes_of(both, (6, 6))
