"""Sums, extremes and their places, matrix products."""

from __future__ import annotations

import pytest
import torch
from torch import randint, randn, tensor

pytest.importorskip("tvm", reason="needs the extra `compile`")

X = randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
WHOLE = randint(0, 5, (4, 30), generator=torch.Generator().manual_seed(1))
NAN = X[0].clone()
NAN[1, 2] = NAN[3, 0] = float("nan")
LEAST = torch.full((2, 3), -float("inf"))


@pytest.mark.parametrize("op", ["sum.dim_IntList", "mean.dim", "amax.default"])
@pytest.mark.parametrize("dims", [[0], [1], [-1], [0, 2], [2, 1, 0]])
@pytest.mark.parametrize("keep", [False, True])
def test_dimensions_are_reduced(defaults, op, dims, keep) -> None:
    defaults.agrees(op, X, dims, keep)


@pytest.mark.parametrize(
    ("op", "arguments", "keywords"),
    [
        ("sum.default", (X,), {}),
        ("sum.default", (WHOLE > 2,), {}),
        ("sum.dim_IntList", (WHOLE, [1]), {}),
        ("sum.dim_IntList", (X, [1]), {"dtype": torch.float64}),
        ("prod.dim_int", (X, 1), {}),
        ("any.dim", (WHOLE > 3, 1), {}),
        ("all.default", (WHOLE > 3,), {}),
        ("amin.default", (NAN, [0]), {}),
        ("amax.default", (NAN, [1]), {}),
        ("max.default", (NAN,), {}),
        ("min.default", (WHOLE,), {}),
        ("amax.default", (WHOLE > 3, [1]), {}),
        ("var.correction", (X, [1]), {"correction": 1}),
        ("var.correction", (X, [0, 2]), {"correction": 0}),
        ("std.correction", (X,), {}),
        ("linalg_vector_norm.default", (X, 3.5, [1]), {}),
        ("linalg_vector_norm.default", (X, float("inf"), [1]), {}),
        ("softmax.int", (100 * X, 1), {}),
    ],
)
def test_reductions(defaults, op, arguments, keywords) -> None:
    defaults.agrees(op, *arguments, **keywords)


def test_a_mean_far_from_zero_spoils_no_variance(defaults) -> None:
    defaults.agrees("var.correction", X + 1e4, [1], limit=1e-3)


def test_a_variance_of_one_element_is_left_to_pytorch(defaults) -> None:
    reason = defaults.refused("var.correction", X[:, :1], [1], correction=1)
    assert reason == "a variance of too few elements"


@pytest.mark.parametrize("op", ["argmax.default", "argmin.default"])
@pytest.mark.parametrize("x", [X[0], NAN, WHOLE, WHOLE.float(), LEAST], ids=str)
def test_places_of_extremes(defaults, op, x) -> None:
    """NaN before all, of equal ones the first, also where all are infinite."""
    defaults.agrees(op, x, 1)
    defaults.agrees(op, x, 0, True)
    defaults.agrees(op, x)


@pytest.mark.parametrize("op", ["max.dim", "min.dim"])
@pytest.mark.parametrize("x", [X[0], NAN, WHOLE, LEAST], ids=str)
def test_extremes_and_their_places(defaults, op, x) -> None:
    defaults.agrees(op, x, 1)
    defaults.agrees(op, x, 0, True)


def test_extremes_of_truth(defaults) -> None:
    x = tensor([[False, True, True], [False, False, False]])
    defaults.agrees("max.dim", x, 1)


@pytest.mark.parametrize(
    ("op", "arguments", "keywords"),
    [
        ("mm.default", (randn(3, 8), randn(8, 6)), {}),
        ("mm.default", (WHOLE, WHOLE.T.contiguous()), {}),
        ("mm.default", (randn(3, 8).double(), randn(8, 6).double()), {}),
        ("bmm.default", (randn(2, 3, 8), randn(2, 8, 6)), {}),
        (
            "addmm.default",
            (randn(6), randn(3, 8), randn(8, 6)),
            {"beta": 0.5, "alpha": 2},
        ),
        ("linear.default", (randn(2, 3, 8), randn(6, 8), randn(6)), {}),
        ("mv.default", (randn(3, 8), randn(8)), {}),
        ("dot.default", (randn(8), randn(8)), {}),
        ("einsum.default", ("ii->i", [randn(4, 4)]), {}),
        (
            "scaled_dot_product_attention.default",
            (randn(1, 2, 3, 4), randn(1, 2, 5, 4), randn(1, 2, 5, 4)),
            {},
        ),
    ],
)
def test_products(defaults, op, arguments, keywords) -> None:
    defaults.agrees(op, *arguments, limit=2e-5, **keywords)
