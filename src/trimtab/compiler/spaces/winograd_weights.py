"""Weights of Winograd's convolution, transformed and in the order of their use."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_plan import Plan, Point
from trimtab.compiler.spaces.winograd_transforms import matrices

__all__ = ["transform_weights"]


def transform_weights(
    work: Contraction, point: Point, weight: ArrayLike, *, lanes: int
) -> NDArray[np.float32]:
    """Return the transformed weights U as the kernel reads them.

    ``G g G^T`` is computed in float64 and rounded once. The order: chunks of output
    channels, positions, groups of vectors, input channels, vectors and lanes.

    Args:
        work: what the kernel computes.
        point: its schedule.
        weight: ``(O, C, 3, 3)``; a tensor of PyTorch on the processor too.
        lanes: float32 elements of a vector.

    Returns:
        A flat array of ``(tile + 2)^2 O C`` elements.
    """
    g = np.array(matrices(point.tile).weight, dtype=np.float64)
    given = np.asarray(weight, dtype=np.float64)
    outputs, inputs = given.shape[:2]
    u = np.einsum("ai,ocij,bj->aboc", g, given, g, optimize=True)
    u = u.reshape(-1, outputs, inputs).astype(np.float32)
    plan = Plan.of(work, point, lanes=lanes, threads=1)
    found: list[NDArray[np.float32]] = []
    for chunk in plan.chunks:
        for index in range(chunk.count):
            first = chunk.start + index * chunk.channels
            for position in u[:, first : first + chunk.channels]:
                for group in chunk.groups:
                    size = group.step * group.lanes
                    part = position[group.start : group.start + group.count * size]
                    panels = part.reshape(group.count, size, inputs)
                    found.append(panels.transpose(0, 2, 1).reshape(-1))
    return np.concatenate(found)
