"""Transformed weights in the order of their use."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trimtab.compiler.formula import IDENTITY
from trimtab.compiler.layout import packed
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_plan import Plan, Point
from trimtab.compiler.spaces.winograd_transforms import matrices
from trimtab.compiler.spaces.winograd_weights import transform_weights


def work(inputs: int, outputs: int) -> Contraction:
    return Contraction(
        input=packed((1, inputs, 4, 4), block=inputs),
        output=packed((1, outputs, 4, 4), block=outputs),
        kernel=(3, 3),
        padding=(1, 1),
        formula=IDENTITY,
    )


@pytest.mark.parametrize("tile", [2, 4])
def test_each_weight_stands_where_the_kernel_reads_it(tile: int) -> None:
    inputs, outputs, lanes = 5, 27, 4  # six vectors, and three channels
    given = work(inputs, outputs)
    point = Point(tile=tile, block=4, rows=2, vectors=2, chunk=2)
    weight = np.random.default_rng(0).standard_normal((outputs, inputs, 3, 3))
    found = transform_weights(given, point, weight, lanes=lanes)
    g = np.array(matrices(tile).weight, dtype=float)
    u = np.array([[g @ plane @ g.T for plane in each] for each in weight])
    u = u.astype(np.float32).reshape(outputs, inputs, -1)
    place = 0
    for chunk in Plan.of(given, point, lanes=lanes, threads=1).chunks:
        for index in range(chunk.count):
            for position in range((tile + 2) ** 2):
                for group in chunk.groups:
                    for step in range(group.count):
                        size = group.step * group.lanes
                        first = chunk.start + index * chunk.channels + group.start
                        first += step * size
                        for depth in range(inputs):
                            row = found[place : place + size]
                            expected = u[first : first + size, depth, position]
                            np.testing.assert_allclose(row, expected, rtol=1e-6)
                            place += size
    assert place == found.size == (tile + 2) ** 2 * inputs * outputs
    assert found.dtype == np.float32


def test_a_weight_of_one_point_is_a_product_of_columns() -> None:
    weight = np.zeros((1, 1, 3, 3))
    weight[0, 0, 0, 2] = 1.0
    point = Point(tile=2, block=1, rows=1, vectors=1)
    found = transform_weights(work(1, 1), point, weight, lanes=8).reshape(4, 4)
    first, last = [-1.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 1.0]  # columns of G
    assert found.tolist() == [[a * b for b in last] for a in first]


def test_tensors_of_pytorch_are_taken() -> None:
    weight = torch.randn(8, 4, 3, 3)
    point = Point(tile=4, block=1, rows=1, vectors=1)
    found = transform_weights(work(4, 8), point, weight, lanes=4)
    same = transform_weights(work(4, 8), point, weight.double().numpy(), lanes=4)
    assert np.array_equal(found, same)
