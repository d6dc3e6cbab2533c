"""Layers: equivariant to their scheme, and of ordinary shapes."""

import pytest
import torch

from trimtab.errors import UsageError
from trimtab.symmetry.layers import (
    GroupConv2d,
    LiftConv2d,
    TiedConv2d,
    TiedLinear,
    TiedNorm,
)
from trimtab.symmetry.network import transformed
from trimtab.symmetry.orbits import channel, permuted, regular, space
from trimtab.symmetry.schemes import shifts, subgroups

D4 = subgroups("D4", include="all")
SLOTS = (channel(2), regular(D4.group), space(4, 4))
LAYERS = {
    "lift": (lambda: LiftConv2d(D4, 3, 2, 3), (channel(3), space(4, 4)), SLOTS),
    "group": (lambda: GroupConv2d(D4, 2, 2, 3), SLOTS, SLOTS),
    "depthwise": (lambda: GroupConv2d(D4, 2, 2, 3, depthwise=True), SLOTS, SLOTS),
    "pointwise": (lambda: GroupConv2d(D4, 2, 2, 1), SLOTS, SLOTS),
    "plain": (
        lambda: TiedConv2d(D4, 3, 2, 5), (channel(3), space(4, 4)),
        (channel(2), space(4, 4)),
    ),
    "norm": (lambda: TiedNorm(D4, 2), SLOTS, SLOTS),
    "dense": (
        lambda: TiedLinear(D4, SLOTS, SLOTS[:2]), SLOTS, SLOTS[:2],
    ),
}  # fmt: skip


def retied(layer, scheme):
    for each in layer.children():
        each.retie(scheme, torch.Generator().manual_seed(0))
        with torch.no_grad():
            each.values.normal_()
    return layer


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scheme", D4.schemes, ids=lambda each: each.name)
def test_moving_what_comes_in_moves_what_goes_out(name, scheme):
    made, inputs, outputs = LAYERS[name]
    layer = retied(made(), scheme)
    x = torch.randn(2, *(size for axis in inputs for size in axis.sizes))
    folded = x.flatten(1, 2) if len(inputs) == 3 else x
    before = layer(folded)
    inside = outside = 0.0
    for element in range(len(D4.group)):
        turned = transformed(D4, element, x, inputs).view(folded.shape)
        wanted = transformed(D4, element, before, outputs).view(before.shape)
        error = float((layer(turned) - wanted).detach().abs().max())
        if element in scheme.elements:
            inside = max(inside, error)
        else:
            outside = max(outside, error)
    assert inside < 1e-5 * max(1.0, float(before.detach().abs().max()))
    assert outside > 1e-2 or len(scheme) == 8


def test_a_dense_layer_of_shifts_is_a_circular_convolution():
    family = shifts(8)
    axes = (channel(1), permuted("shift", 8))
    layer = retied(TiedLinear(family, axes, axes, bias=False), family["by 1"])
    x = torch.randn(3, 1, 8)
    kernel = layer.weight().reshape(8, 8)[0]
    wanted = torch.stack([(x[:, 0].roll(-k, 1) * kernel).sum(1) for k in range(8)], 1)
    assert torch.allclose(layer(x), wanted, atol=1e-5)


def test_a_scheme_changes_no_shape():
    layer = GroupConv2d(D4, 4, 4, 3)
    counts = {}
    for scheme in D4.schemes:
        layer.weight.retie(scheme, None)
        assert layer.weight().shape == (4, 8, 4, 8, 3, 3)
        counts[scheme.name] = layer.weight.values.numel()
    assert counts["D4"] * 8 == counts["none"] == 4 * 8 * 4 * 8 * 9


def test_a_norm_settles_once_and_stays():
    layer = TiedNorm(D4, 2)
    x = 3.0 * torch.randn(40, 16, 5, 5) + 2.0
    layer.settling = True
    made = layer(x)
    layer.settling = False
    for part in made.split(8, 1):
        assert float(part.mean().detach()) == pytest.approx(0.0, abs=1e-5)
        assert float(part.std().detach()) == pytest.approx(1.0, abs=1e-4)
    # What comes later is not looked at: half the examples give half the result.
    assert torch.equal(layer(x[:20]), made[:20])


def test_what_breaks_exactness_is_refused():
    with pytest.raises(UsageError, match="an even kernel has no centre"):
        LiftConv2d(D4, 1, 2, 4)
    with pytest.raises(UsageError, match="as many go out as"):
        GroupConv2d(D4, 2, 4, 3, depthwise=True)
