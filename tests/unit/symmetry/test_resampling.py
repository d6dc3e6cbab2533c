"""Turning is shifting, in polar coordinates."""

import pytest
import torch

from trimtab.errors import UsageError
from trimtab.symmetry.resampling import polar, turned


@pytest.mark.parametrize("quarters", range(4))
def test_quarters_are_exact(quarters):
    x = torch.rand(2, 3, 9, 9)
    x_turned = torch.rot90(x, quarters, (2, 3))
    one = polar(x_turned, radii=4, angles=12)
    two = polar(x, radii=4, angles=12).roll(3 * quarters, 3)
    assert torch.allclose(one, two, atol=1e-5)
    assert torch.allclose(turned(x, 90.0 * quarters), x_turned, atol=1e-5)


def test_a_smooth_image_turns_by_any_place():
    grid = torch.linspace(-1, 1, 33)
    square = (grid[:, None] + 0.3) ** 2 + (grid[None] - 0.4) ** 2
    x = torch.exp(-8 * square)[None, None]
    shifted = polar(x, radii=6, angles=16).roll(1, 3)
    one = polar(turned(x, 22.5), radii=6, angles=16)
    assert torch.allclose(one, shifted, atol=0.03)


def test_only_squares_are_resampled():
    with pytest.raises(UsageError, match="images to squares"):
        polar(torch.zeros(1, 1, 4, 6), radii=2, angles=4)
    with pytest.raises(UsageError, match="2 angles"):
        polar(torch.zeros(1, 1, 4, 4), radii=2, angles=1)
