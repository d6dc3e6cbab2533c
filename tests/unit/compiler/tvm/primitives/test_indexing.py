"""Elements at places that are data: read, written, added, and never outside."""

from __future__ import annotations

import pytest
import torch
from torch import randint, randn, tensor

pytest.importorskip("tvm", reason="needs the extra `compile`")

X = randn(3, 5, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("op", "arguments", "keywords"),
    [
        ("index.Tensor", (X, [tensor([2, 0, 2])]), {}),
        ("index.Tensor", (X, [tensor([-1, 0])]), {}),
        ("index.Tensor", (X, [tensor([[2], [0]]), tensor([4, 0, 1])]), {}),
        ("index.Tensor", (X, [None, tensor([4, 0])]), {}),
        ("index.Tensor", (X, [tensor([2, 0]), None, tensor([5, 1])]), {}),
        ("index_select.default", (X, -1, tensor([5, 0, 0])), {}),
        ("index_select.default", (X, 1, tensor([5, 0, 0], dtype=torch.int32) // 2), {}),
        ("gather.default", (X[0], 1, randint(0, 6, (5, 3))), {}),
        ("gather.default", (X[0], 0, randint(0, 5, (2, 4))), {}),
        ("take.default", (X, randint(0, 90, (7,))), {}),
        ("embedding.default", (X[0], randint(0, 5, (2, 2))), {}),
        ("bucketize.Tensor", (X[0], tensor([-1.0, 0.0, 1.0])), {}),
        (
            "bucketize.Tensor",
            (tensor([-1.0, 0.0]), tensor([-1.0, 0.0])),
            {"right": True},
        ),
    ],
)
def test_elements_are_read(defaults, op, arguments, keywords) -> None:
    defaults.agrees(op, *arguments, **keywords)


PLACES = tensor([[0, 1], [2, 3], [4, 0], [1, 5], [3, 2]])


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("scatter.src", (X[0], 1, PLACES, randn(5, 2))),
        ("scatter.value", (X[0], 1, PLACES, 9.0)),
        ("scatter_add.default", (X[0], 1, PLACES * 0, randn(5, 2))),
        ("index_add.default", (X[0], 1, tensor([3, 3, 0]), randn(5, 3))),
        ("index_put.default", (X, [tensor([2, 0])], randn(2, 5, 6))),
        ("index_put.default", (X, [tensor([-1, 0])], tensor(1.0))),
        ("index_put.default", (X, [tensor([2, 2])], randn(2, 5, 6), True)),
        ("index_put.default", (X, [None, tensor([1, 4])], randn(3, 2, 6))),
        ("index_put.default", (X, [tensor([2, 0]), None, tensor([1, 5])], randn(2, 5))),
        ("col2im.default", (randn(1, 12, 20), [6, 5], [2, 2], [1, 1], [0, 0], [1, 1])),
    ],
)
def test_elements_are_written(defaults, op, arguments) -> None:
    defaults.agrees(op, *arguments)


@pytest.mark.parametrize("x", [X, (10 * X).long(), X > 0], ids=["float", "int", "bool"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_running_sums(defaults, x, dim) -> None:
    defaults.agrees("cumsum.default", x, dim)


def test_a_long_running_sum_keeps_its_digits(defaults) -> None:
    defaults.agrees("cumsum.default", torch.full((100_000,), 0.1), 0, limit=1e-6)


@pytest.mark.parametrize(
    ("op", "arguments", "ranges"),
    [
        ("index.Tensor", (X, [tensor([0, 0])]), (-3, 2)),
        ("index_select.default", (X, 0, tensor([0, 0])), (0, 2)),
        ("gather.default", (X, 0, torch.zeros(2, 1, 1, dtype=torch.int64)), (0, 2)),
        ("scatter.value", (X, 0, torch.zeros(2, 1, 1, dtype=torch.int64), 1.0), (0, 2)),
        ("index_put.default", (X, [tensor([0, 0])], tensor(1.0)), (-3, 2)),
    ],
)
def test_places_outside_are_refused(defaults, op, arguments, ranges) -> None:
    made = defaults.call(op, *arguments)
    low, high = ranges
    for bad in (low - 1, high + 1, 2**40, -(2**40)):
        places = made.values[next(r for r in made.values if r.name == "x1")].clone()
        places.view(-1)[-1] = bad
        assert (
            f"a place is not in {low}..{high}" in defaults.error(made, x1=places).rule
        )


def test_masks_are_refused(defaults) -> None:
    # How many elements they pick is known when they are.
    made = defaults.call("index.Tensor", X, [tensor([True, False, True])])
    assert isinstance(defaults.kernel(made), str)
