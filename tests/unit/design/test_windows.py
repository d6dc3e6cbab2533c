"""Fields of windows: pools, resampling, padding; convolutions in test_propagate."""

import pytest
import torch
import torch.nn.functional as F
from tests.unit.design.test_field import field
from torch import nn


def rows(found):
    """Returns the rows that each output sees, None where it sees none."""
    axis = found.axis(0)
    pairs = zip(axis.first.tolist(), axis.last.tolist(), strict=True)
    return [(first, last) if first <= last else None for first, last in pairs]


def support(call, *shape):
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    x.requires_grad_()
    seen: list[tuple[int, int] | None] = []
    for row in range(call(x).shape[2]):
        (gradient,) = torch.autograd.grad(call(x)[0, 0, row, 2], x)
        places = torch.nonzero((gradient[0, 0] != 0).any(1)).flatten().tolist()
        seen.append((min(places), max(places)) if places else None)
    return seen


@pytest.mark.parametrize(
    "call",
    [
        nn.AvgPool2d(3, 1, 1),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(5),
        lambda x: F.pad(x, (1, 1, 2, 0)),
        lambda x: F.interpolate(x, scale_factor=0.6),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, size=(20, 20)),
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
        lambda x: F.interpolate(x, size=(26, 26), mode="bilinear"),
        lambda x: F.interpolate(x, size=(25, 25), mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, size=(26, 26), mode="bicubic"),
    ],
)
def test_fields_are_the_support_of_gradients(call):
    assert rows(field(call, 1, 1, 13, 13)) == support(call, 1, 1, 13, 13)
