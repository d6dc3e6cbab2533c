"""The transforms of Winograd's convolution: matrices, and the code that applies them.

``y = A^T [(G g) * (B^T d)]`` computes `tile` outputs of a correlation of `tile + 2`
inputs d with three weights g from `tile + 2` products. In two dimensions the transforms
apply along columns and along rows.

The matrices come from interpolation of polynomials at the points zero, some pairs
``+-p`` and infinity. With ``M(x) = x (x^2 - p^2) ...`` over the finite points, a row of
B^T has the coefficients of ``M(x) / (x - point)``, a row of G the powers of the point
over the derivative of M there, a column of A^T its powers; infinity takes ``M(x)``
itself, the last weight and the last output.

The points are ours: 0, +-1, infinity for two outputs, 0, +-5/8, +-3/2, infinity for
four. The usual +-1, +-2 for four outputs lose twice as much in float32: in a simulation
over 64 channels 3.0e-7 root mean square, relative to the largest output, against 1.4e-7
(two outputs lose 1.2e-7). Of the pairs tried only 2/3, 3/2 did as well, and their
powers are not exact in float32; those of 5/8 and 3/2 are, so that the constants lose
nothing.

References: S. Winograd, Arithmetic Complexity of Computations, SIAM, 1980. A. Lavin and
S. Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308, 2015: the
use per tile, and the sum over channels before the last transform. B. Barabasz et al.,
Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural
Networks, arXiv 1803.10986, 2018: points decide the error and are found by experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from trimtab.compiler.loops import Expr
from trimtab.errors import UsageError

__all__ = ["POINTS", "Matrices", "input_code", "matrices", "output_code"]

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS: dict[int, tuple[Fraction, ...]] = {
    2: (Fraction(1),),
    4: (Fraction(5, 8), Fraction(3, 2)),
}
"""For each number of outputs the positive points; their negatives, 0 and infinity come
besides."""


class Matrices(NamedTuple):
    """The transforms of one dimension.

    Attributes:
        input: B^T, ``tile + 2`` square.
        weight: G, ``tile + 2`` rows of three.
        output: A^T, `tile` rows of ``tile + 2``.
    """

    input: Matrix
    weight: Matrix
    output: Matrix


def matrices(tile: int) -> Matrices:
    """Return the transforms for some outputs, in the order 0, p, -p, ..., infinity.

    Args:
        tile: outputs in a row, 2 or 4.

    Raises:
        UsageError: there are no points for that many.

    Example:
        >>> [[str(x) for x in row] for row in matrices(2).weight[:2]]
        [['-1', '0', '0'], ['1/2', '1/2', '1/2']]
    """
    finite = [Fraction(0)]
    for point in _points(tile):
        finite += [point, -point]
    one, zero = Fraction(1), Fraction(0)
    inputs, weights, columns = [], [], []
    for point in finite:
        others = [each for each in finite if each != point]
        scale = one
        for other in others:
            scale *= point - other
        inputs.append((*_from_roots(others), zero))
        weights.append(tuple(point**power / scale for power in range(3)))
        columns.append([point**power for power in range(tile)])
    inputs.append(_from_roots(finite))
    weights.append((zero, zero, one))
    columns.append([zero] * (tile - 1) + [one])
    return Matrices(
        input=tuple(inputs),
        weight=tuple(weights),
        output=tuple(zip(*columns, strict=True)),
    )


def input_code(
    tile: int, d: Sequence[Expr], name: Callable[[Expr], Expr]
) -> list[Expr]:
    """Return ``B^T d`` of one dimension, with what pairs of points share computed once.

    Args:
        tile: outputs in a row, 2 or 4.
        d: the ``tile + 2`` inputs.
        name: gives an expression a name and returns the name.

    Raises:
        UsageError: there are no points for that many.
    """
    squares = [point**2 for point in _points(tile)]
    first = _polynomial(_from_roots(squares), d, 0)
    found = [name(first)]
    for point, square in zip(_points(tile), squares, strict=True):
        rest = _from_roots([each for each in squares if each != square])
        even = name(_polynomial(rest, d, 2))
        odd = name(_polynomial(rest, d, 1))
        scaled = odd if point == 1 else name(_times(point, odd))
        found += [name(even + scaled), name(even - scaled)]
    found.append(name(_polynomial(_from_roots(squares), d, 1)))
    return found


def output_code(
    tile: int, m: Sequence[Expr], name: Callable[[Expr], Expr]
) -> list[Expr]:
    """Return ``A^T m`` of one dimension, with what pairs of points share computed once.

    Args:
        tile: outputs in a row, 2 or 4.
        m: the ``tile + 2`` products.
        name: gives an expression a name and returns the name.

    Raises:
        UsageError: there are no points for that many.
    """
    pairs = []
    for index, point in enumerate(_points(tile)):
        plus, minus = m[1 + 2 * index], m[2 + 2 * index]
        pairs.append((point, name(plus + minus), name(plus - minus)))
    found = []
    for power in range(tile):
        total: Expr | None = m[0] if power == 0 else None
        if power == tile - 1:
            total = m[-1]
        for point, even, odd in pairs:
            term = _times(point**power, odd if power % 2 else even)
            total = term if total is None else total + term
        assert total is not None  # there is a pair for every number of outputs
        found.append(name(total))
    return found


def _points(tile: int) -> tuple[Fraction, ...]:
    if tile not in POINTS:
        raise UsageError(
            f"a Winograd tile of {tile} outputs",
            rule=f"points are known for {', '.join(map(str, POINTS))}",
            where="tile",
            remedy="choose one of them or a direct convolution",
        )
    return POINTS[tile]


def _from_roots(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Return the coefficients of the polynomial with these roots, lowest first."""
    found = [Fraction(1)]
    for root in roots:
        raised = [Fraction(0), *found]
        found = [
            high - root * low
            for high, low in zip(raised, [*found, Fraction(0)], strict=True)
        ]
    return tuple(found)


def _polynomial(
    coefficients: Sequence[Fraction], d: Sequence[Expr], start: int
) -> Expr:
    """Return the sum of coefficients times every second input, the last being one."""
    total = d[start + 2 * (len(coefficients) - 1)]
    for index, coefficient in enumerate(coefficients[:-1]):
        term = _times(abs(coefficient), d[start + 2 * index])
        total = total + term if coefficient > 0 else total - term
    return total


def _times(factor: Fraction, value: Expr) -> Expr:
    return value if factor == 1 else value * float(factor)
