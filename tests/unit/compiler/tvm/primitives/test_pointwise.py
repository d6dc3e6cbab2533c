"""Operators element by element mean what they mean in PyTorch, to the last case."""

from __future__ import annotations

import pytest
import torch
from torch import rand, randint, randn, tensor

pytest.importorskip("tvm", reason="needs the extra `compile`")

INF, NAN = float("inf"), float("nan")
ODD = tensor([1.5, -0.5, 0.0, -0.0, INF, -INF, NAN, 2.5])
WHOLE = tensor([-7, -2, 0, 3, 8])


@pytest.mark.parametrize(
    "op",
    [
        "abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "neg", "reciprocal",
        "round", "sigmoid", "sign", "sin", "tan", "tanh", "trunc", "relu", "selu",
        "mish", "log_sigmoid", "hardswish", "isnan", "isinf", "nan_to_num",
    ],
)  # fmt: skip
def test_functions(defaults, op) -> None:
    defaults.agrees(f"{op}.default", torch.cat([ODD, 3 * randn(24)]))


@pytest.mark.parametrize("op", ["log", "log1p", "log2", "sqrt", "rsqrt"])
def test_functions_of_positive_numbers(defaults, op) -> None:
    defaults.agrees(f"{op}.default", torch.cat([ODD, rand(24)]))


def test_small_arguments_keep_their_digits(defaults) -> None:
    small = randn(8) * 1e-5
    defaults.agrees("expm1.default", small, limit=1e-6)
    defaults.agrees("log1p.default", small, limit=1e-6)


def test_halves_are_rounded_to_even(defaults) -> None:
    defaults.agrees("round.default", tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]))


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_extremes_of_two_keep_nan(defaults, op) -> None:
    defaults.agrees(f"{op}.default", ODD, ODD.flip(0))
    defaults.agrees(f"{op}.default", WHOLE, WHOLE.flip(0))


@pytest.mark.parametrize("op", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(defaults, op) -> None:
    defaults.agrees(f"{op}.Tensor", ODD, ODD)
    defaults.agrees(f"{op}.Tensor", WHOLE, WHOLE.flip(0))
    defaults.agrees(f"{op}.Tensor", WHOLE > 0, WHOLE > -3)
    defaults.agrees(f"{op}.Scalar", WHOLE, 0.5)


def test_nan_differs_from_itself(defaults) -> None:
    made = defaults.call("ne.Tensor", ODD, ODD)
    assert made.results[0].sum() == 1
    defaults.agrees("isnan.default", ODD)


@pytest.mark.parametrize(
    ("op", "arguments", "keywords"),
    [
        ("add.Tensor", (randn(3, 4), randn(4)), {"alpha": 2.5}),
        ("sub.Tensor", (WHOLE, WHOLE.flip(0)), {"alpha": 3}),
        ("rsub.Scalar", (randn(5), 1.0, 2.0), {}),
        ("add.Tensor", (WHOLE, randn(5)), {}),
        ("add.Tensor", (WHOLE > 0, WHOLE > 2), {}),
        ("mul.Tensor", (WHOLE > 0, randn(5)), {}),
        ("mul.Tensor", (WHOLE > 0, WHOLE > 2), {}),
        ("mul.Scalar", (WHOLE, 2.5), {}),
        ("div.Tensor", (WHOLE, tensor([1, 2, 3, 4, 5])), {}),
        ("div.Tensor_mode", (randn(9), randn(9)), {"rounding_mode": "floor"}),
        ("div.Tensor_mode", (randn(9), randn(9)), {"rounding_mode": "trunc"}),
        ("div.Scalar_mode", (WHOLE, 3), {"rounding_mode": "floor"}),
        ("div.Scalar_mode", (WHOLE, 3), {"rounding_mode": "trunc"}),
        ("remainder.Scalar", (WHOLE, 4), {}),
        ("remainder.Scalar", (WHOLE, -4), {}),
        ("remainder.Scalar", (randn(9), -0.7), {}),
        ("remainder.Tensor", (randn(9), randn(9)), {}),
        ("pow.Tensor_Scalar", (rand(9), 1.7), {}),
        ("pow.Scalar", (2.0, randn(9)), {}),
        ("pow.Tensor_Tensor", (rand(9), randn(9)), {}),
        ("atan2.default", (randn(9), randn(9)), {}),
        ("addcmul.default", (randn(9), randn(9), randn(9)), {"value": 0.5}),
        ("lerp.Tensor", (randn(9), randn(9), rand(9)), {}),
        ("clamp.default", (ODD, -0.25, None), {}),
        ("clamp.Tensor", (ODD, None, randn(8)), {}),
        ("clamp_max.default", (randn(9), 0.1), {}),
        ("elu.default", (randn(9), 1.3, 1.1, 0.9), {}),
        ("celu.default", (randn(9), 1.3), {}),
        ("softplus.default", (randn(9), 2.0, 1.0), {}),
        ("gelu.default", (randn(9),), {"approximate": "tanh"}),
        ("bitwise_and.Tensor", (WHOLE, WHOLE.flip(0)), {}),
        ("bitwise_xor.Tensor", (WHOLE, WHOLE.flip(0)), {}),
        ("bitwise_xor.Tensor", (WHOLE > 0, WHOLE > 2), {}),
        ("bitwise_not.default", (WHOLE,), {}),
        ("bitwise_not.default", (WHOLE > 0,), {}),
        ("logical_or.default", (WHOLE, WHOLE > 5), {}),
        ("logical_not.default", (ODD,), {}),
        ("where.self", (WHOLE > 0, WHOLE, randn(5)), {}),
        ("where.ScalarOther", (WHOLE > 0, randn(5), -INF), {}),
        ("masked_fill.Scalar", (randn(3, 5), WHOLE > 0, -INF), {}),
        ("masked_fill.Tensor", (randn(3, 5), WHOLE > 0, tensor(2.0)), {}),
    ],
)
def test_operators_of_several_tensors(defaults, op, arguments, keywords) -> None:
    defaults.agrees(op, *arguments, **keywords)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float32, torch.float64,
    ],
)  # fmt: skip
def test_conversions(defaults, dtype) -> None:
    for source in (randint(0, 9, (6,)), 9 * rand(6), rand(6) > 0.5):
        defaults.agrees("_to_copy.default", source, dtype=dtype)


def test_nan_is_true(defaults) -> None:
    defaults.agrees("to.dtype", ODD, torch.bool)


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("remainder.Tensor", (WHOLE, tensor([1, 2, 3, 4, 5]))),
        ("floor_divide.default", (WHOLE, tensor([1, 2, 3, 4, 5]))),
    ],
)
def test_integers_are_not_divided_by_what_may_be_zero(defaults, op, arguments) -> None:
    assert "integers are divided by a tensor" in defaults.refused(op, *arguments)


def test_powers_of_integers_are_refused(defaults) -> None:
    assert defaults.refused("pow.Tensor_Scalar", WHOLE, 5) == "pow of int64"


@pytest.mark.parametrize(
    ("op", "arguments", "keywords"),
    [
        ("full_like.default", (randn(3), 2.5), {}),
        ("ones_like.default", (WHOLE,), {}),
        ("new_full.default", (randn(3), [2, 3], 7.0), {}),
        ("arange.start_step", (1, 10, 2), {"dtype": torch.float32}),
        ("linspace.default", (0.0, 1.0, 5), {}),
        ("eye.default", (4,), {}),
        ("fill.Tensor", (randn(3), tensor(2.0)), {}),
        ("copy.default", (randn(2, 3), randn(3)), {}),
    ],
)
def test_tensors_of_numbers(defaults, op, arguments, keywords) -> None:
    defaults.agrees(op, *arguments, **keywords)
