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
    both = np.kron(g, g)  # G g G^T as one product with the nine weights
    positions = len(both)
    u = (both @ given.reshape(outputs * inputs, 9).T).astype(np.float32)
    u = u.reshape(positions, outputs, inputs)
    plan = Plan.of(work, point, lanes=lanes, threads=1)
    found: list[NDArray[np.float32]] = []
    for chunk in plan.chunks:
        first, size = chunk.start, chunk.count * chunk.channels
        part = u[:, first : first + size].reshape(
            positions, chunk.count, chunk.channels, inputs
        )
        filled = np.empty(
            (chunk.count, positions, chunk.channels * inputs), dtype=np.float32
        )
        start = 0
        for group in chunk.groups:
            width = group.step * group.lanes
            some = part[:, :, group.start : group.start + group.count * width]
            panels = some.reshape(positions, chunk.count, group.count, width, inputs)
            end = start + group.count * width * inputs
            filled[:, :, start:end] = panels.transpose(1, 0, 2, 4, 3).reshape(
                chunk.count, positions, -1
            )
            start = end
        found.append(filled.reshape(-1))
    return np.concatenate(found) if len(found) > 1 else found[0]
