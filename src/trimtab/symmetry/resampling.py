"""Images in polar coordinates, where turning by any angle is a shift of one axis.

Kernels and images on a square grid can be turned exactly by quarters only. Resampled
once to rows of radii and columns of angles, an image turned by a full turn divided by
the number of angles is the same rows shifted cyclically by one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.errors import UsageError

__all__ = ["polar", "polar_layers", "turned"]


def polar(x: Tensor, *, radii: int, angles: int) -> Tensor:
    """Return images (n, channels, radii, angles), sampled bilinearly.

    Radii are spaced evenly up to the rim of the largest disk inside, with half a step
    left at both ends; angles grow to the left, as `torch.rot90` turns.

    Args:
        x: images (n, channels, size, size).
        radii: rows of the result.
        angles: columns.

    Raises:
        UsageError: images that are not square, or fewer than 1 radius or 2 angles.

    Example:
        >>> x = torch.rand(1, 1, 8, 8)
        >>> turned = polar(torch.rot90(x, 1, (2, 3)), radii=3, angles=8)
        >>> shifted = polar(x, radii=3, angles=8).roll(2, 3)  # a quarter of 8
        >>> torch.allclose(turned, shifted, atol=1e-5)
        True
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3] or radii < 1 or angles < 2:
        raise UsageError(
            f"images {tuple(x.shape)} in {radii} radii and {angles} angles",
            rule="images are (n, channels, size, size), with at least 1 radius and 2 "
            "angles",
            where="trimtab.symmetry.polar",
            remedy="crop or pad images to squares",
        )
    radius = (torch.arange(radii, dtype=torch.float64) + 0.5) / radii
    angle = torch.arange(angles, dtype=torch.float64) * (2 * math.pi / angles)
    across = radius[:, None] * angle.cos()[None]
    up = radius[:, None] * angle.sin()[None]
    grid = torch.stack([across, -up], 2).to(x.dtype)
    return F.grid_sample(
        x, grid.expand(len(x), -1, -1, -1), mode="bilinear", align_corners=False
    )


def polar_layers(shape: Sequence[int], *, radii: int, angles: int) -> nn.Sequential:
    """Return plain layers that resample images as `polar` does: one fixed product.

    Ahead of a network that `trimtab.symmetry.collapse` made they give one that takes
    images.

    Args:
        shape: (channels, size, size) of an image.
        radii: rows of the result.
        angles: columns.

    Raises:
        UsageError: images that are not square, or fewer than 1 radius or 2 angles.

    Example:
        >>> layers = polar_layers((1, 8, 8), radii=3, angles=8)
        >>> x = torch.rand(2, 1, 8, 8)
        >>> torch.allclose(layers(x), polar(x, radii=3, angles=8), atol=1e-6)
        True
    """
    _, *rest = shape
    pixels = math.prod(rest)
    each = torch.eye(pixels).reshape(pixels, 1, *rest)
    found = polar(each, radii=radii, angles=angles).reshape(pixels, -1)
    layer = nn.Linear(pixels, radii * angles, bias=False)
    layer.weight = nn.Parameter(found.T.contiguous(), requires_grad=False)
    return nn.Sequential(nn.Flatten(2), layer, nn.Unflatten(2, (radii, angles)))


def turned(x: Tensor, degrees: float) -> Tensor:
    """Return images (n, channels, size, size) turned to the left, zeros from outside.

    Example:
        >>> x = torch.rand(1, 1, 8, 8)
        >>> torch.allclose(turned(x, 90), torch.rot90(x, 1, (2, 3)), atol=1e-5)
        True
    """
    a = math.radians(degrees)
    matrix = torch.tensor(
        [[math.cos(a), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]],
        dtype=x.dtype,
    )
    grid = F.affine_grid(
        matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False
    )
    return F.grid_sample(x, grid, mode="bilinear", align_corners=False)
