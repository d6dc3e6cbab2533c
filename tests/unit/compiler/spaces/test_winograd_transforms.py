"""Winograd's transforms: exact in rational arithmetic."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest

from trimtab.compiler.loops import Binary, Expr, Number, Var
from trimtab.compiler.spaces.winograd_transforms import (
    POINTS,
    input_code,
    matrices,
    output_code,
)
from trimtab.errors import UsageError


def rational(rng: random.Random) -> Fraction:
    return Fraction(rng.randint(-50, 50), rng.randint(1, 9))


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def value_of(value: Expr, names: dict[Var, Fraction]) -> Fraction:
    match value:
        case Var():
            return names[value]
        case Number(number):
            return Fraction(number)
        case Binary(op, a, b):
            left, right = value_of(a, names), value_of(b, names)
            return {"+": left + right, "-": left - right, "*": left * right}[op]
    raise AssertionError(f"{value!r} is not of a transform")


def run(code, tile: int, given: list[Fraction]) -> list[Fraction]:
    names = {Var(f"d{index}"): value for index, value in enumerate(given)}
    inputs = list(names)

    def name(value: Expr) -> Expr:
        var = Var(f"t{len(names)}")
        names[var] = value_of(value, names)
        return var

    return [value_of(each, names) for each in code(tile, inputs, name)]


@pytest.mark.parametrize("tile", POINTS)
def test_a_tile_is_a_correlation(tile: int) -> None:
    rng = random.Random(tile)
    for _ in range(20):
        d = [rational(rng) for _ in range(tile + 2)]
        g = [rational(rng) for _ in range(3)]
        forward, weight, backward = matrices(tile)
        products = [
            a * b for a, b in zip(times(weight, g), times(forward, d), strict=True)
        ]
        direct = [sum(d[i + k] * g[k] for k in range(3)) for i in range(tile)]
        assert times(backward, products) == direct


@pytest.mark.parametrize("tile", POINTS)
def test_the_code_is_the_matrices(tile: int) -> None:
    rng = random.Random(tile)
    given = [rational(rng) for _ in range(tile + 2)]
    assert run(input_code, tile, given) == times(matrices(tile).input, given)
    assert run(output_code, tile, given) == times(matrices(tile).output, given)


@pytest.mark.parametrize("tile", POINTS)
def test_what_kernels_multiply_with_is_exact_in_float32(tile: int) -> None:
    forward, _, backward = matrices(tile)
    for row in (*forward, *backward):
        for each in row:
            assert Fraction(float(np.float32(float(each)))) == each


def test_two_outputs_have_the_matrices_of_the_paper_but_for_signs() -> None:
    forward, weight, backward = (np.array(each, dtype=float) for each in matrices(2))
    assert forward.tolist() == [
        [-1, 0, 1, 0],
        [0, 1, 1, 0],
        [0, -1, 1, 0],
        [0, -1, 0, 1],
    ]
    assert weight.tolist() == [[-1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]
    assert backward.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]


def test_other_sizes_are_refused() -> None:
    expected = (
        "a Winograd tile of 3 outputs: points are known for 2, 4 (tile). "
        "Choose one of them or a direct convolution."
    )
    for call in (
        lambda: matrices(3),
        lambda: input_code(3, [Var("d")] * 5, lambda value: value),
        lambda: output_code(3, [Var("m")] * 5, lambda value: value),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == expected
