"""The equations behind the relaxations: closed forms and solvers on grids.

With f the loss, t the time of smoothing, beta an inverse temperature and u(x, 0) = f::

    local entropy   u_t = -1/2 |grad u|^2 + 1/(2 beta) Lap u   (viscous Hamilton-Jacobi)
    Hopf-Lax        u_t = -1/2 |grad u|^2
    heat            u_t = 1/(2 beta) Lap u

of which the closed forms are (arXiv 1704.04932; G_s a Gaussian of variance s)::

    local entropy   u = -1/beta log (G_{t/beta} * exp(-beta f))          (Cole-Hopf)
    Hopf-Lax        u = inf_y f(y) + |x - y|^2 / 2t                     (Moreau's)
    heat            u = G_{t/beta} * f

A factor of two is easily lost: Langevin dynamics dy = -grad H ds + sqrt(2/beta) dW have
the law exp(-beta H); with dW / sqrt(beta), as the noise of SGD is often written, it is
exp(-2 beta H).

Everything here is for one or two dimensions, to look at and to test by: the optimizers
solve nothing on a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from trimtab.errors import UsageError

__all__ = ["Moments", "cole_hopf", "gibbs", "heat", "hopf_lax", "solve"]

Floats = NDArray[np.float64]
Scheme = Literal["godunov", "lax-friedrichs"]

_COURANT: Final = 0.4  # of the largest stable step
_BLOCK: Final = 4_000_000  # entries of a kernel at once


def cole_hopf(
    f: Floats, axes: Sequence[Floats], *, t: float, beta: float,
    at: Sequence[Floats] | None = None,
) -> Floats:  # fmt: skip
    """Return local entropy: the viscous Hamilton-Jacobi equation at time t.

    Args:
        f: values on a grid, (n,) or (n, m).
        axes: evenly spaced coordinates of the grid, one array an axis; what lies
            outside is left out.
        t: time, above 0.
        beta: inverse temperature, above 0.
        at: coordinates of the result, an array an axis; by default those of the grid.

    Raises:
        UsageError: a time or inverse temperature that is not above 0, axes that do not
            fit the values or are not evenly spaced.

    Example:
        >>> x = np.linspace(-8, 8, 4001)
        >>> u = cole_hopf(x**2 / 2, [x], t=1.0, beta=2.0, at=[np.array([1.0])])
        >>> exact = 1 / 4 + math.log(2) / 4  # of a parabola, see the tests
        >>> abs(float(u[0]) - exact) < 1e-9
        True
    """
    axes, at = _checked(f, axes, at, t=t, beta=beta)
    found = -beta * f
    for number, (y, x) in enumerate(zip(axes, at, strict=True)):
        found = _along(
            found, number, y, x,
            lambda kernel, some: logsumexp(kernel + some, axis=1),
            t / beta,
        )  # fmt: skip
    return -found / beta


def heat(
    f: Floats, axes: Sequence[Floats], *, t: float, beta: float,
    at: Sequence[Floats] | None = None,
) -> Floats:  # fmt: skip
    """Return the heat equation at time t: f smoothed by a Gaussian of variance t/beta.

    Arguments and errors are those of `cole_hopf`.
    """
    axes, at = _checked(f, axes, at, t=t, beta=beta)
    found = f
    for number, (y, x) in enumerate(zip(axes, at, strict=True)):
        found = _along(
            found, number, y, x,
            lambda kernel, some: (np.exp(kernel) * some).sum(1),
            t / beta,
        )  # fmt: skip
    return found


def hopf_lax(
    f: Floats, axes: Sequence[Floats], *, t: float, at: Sequence[Floats] | None = None
) -> Floats:
    """Return the Moreau envelope: the Hamilton-Jacobi equation at time t.

    The smallest value on the grid is taken, so that the error is of the order of the
    square of its spacing. Arguments and errors are those of `cole_hopf`.
    """
    axes, at = _checked(f, axes, at, t=t)
    found = f
    for number, (y, x) in enumerate(zip(axes, at, strict=True)):
        found = _along(
            found, number, y, x,
            lambda kernel, some: (some - kernel).min(1),
            t, normal=False,
        )  # fmt: skip
    return found


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and variance of y under rho ~ exp(-beta f(y) - beta (x - y)^2 / 2t).

    Of these is the slope of local entropy, grad u = (x - <y>) / t, and its curvature,
    1/t - beta Var(y) / t^2.

    Attributes:
        mean: (m,).
        variance: (m,).
        weights: (m, n), of each point of the grid; rows sum to one.
    """

    mean: Floats
    variance: Floats
    weights: Floats


def gibbs(f: Floats, y: Floats, *, t: float, beta: float, at: Floats) -> Moments:
    """Return the moments of the measure that the inner loop draws from, one dimension.

    Args:
        f: values (n,).
        y: evenly spaced coordinates (n,).
        t: time, above 0.
        beta: inverse temperature, above 0.
        at: points x (m,).

    Raises:
        UsageError: as of `cole_hopf`.
    """
    _checked(f, [y], None, t=t, beta=beta)
    logs = -beta * f - beta * (at[:, None] - y) ** 2 / (2 * t)
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    mean = weights @ y
    variance = (weights * (y - mean[:, None]) ** 2).sum(1)
    return Moments(mean=mean, variance=variance, weights=weights)


def solve(
    f: Floats, axes: Sequence[Floats], *, t: float, beta: float | None = None,
    scheme: Scheme = "godunov",
) -> Floats:  # fmt: skip
    """Return u at time t by an explicit scheme of first order.

    Upwind slopes where values meet the edge are extrapolated linearly; look at what is
    more than a few t max|grad u| inside.

    Args:
        f: values on a grid, (n,) or (n, m).
        axes: evenly spaced coordinates, one array an axis.
        t: time, above 0.
        beta: inverse temperature; None leaves viscosity out.
        scheme: of the Hamiltonian: Godunov's, or Lax and Friedrichs', more viscous.

    Raises:
        UsageError: as of `cole_hopf`, or an unknown scheme.

    Example:
        >>> x = np.linspace(-4, 4, 401)
        >>> u = solve(x**2 / 2, [x], t=1.0)
        >>> abs(float(u[250]) - 0.25) < 0.02  # x = 1: the parabola is half as steep
        True
    """
    if scheme not in ("godunov", "lax-friedrichs"):
        raise UsageError(
            f"scheme {scheme!r}",
            rule="known are godunov and lax-friedrichs",
            where="trimtab.relax.pde.solve",
            remedy="choose one of these",
        )
    axes, _ = _checked(f, axes, None, t=t, beta=1.0 if beta is None else beta)
    spacings = [float(each[1] - each[0]) for each in axes]
    u = f.astype(np.float64)
    done = 0.0
    while done < t:
        slopes = [_slopes(u, number, each) for number, each in enumerate(spacings)]
        steepest = max(
            float(max(np.abs(left).max(), np.abs(right).max()))
            for left, right in slopes
        )
        limits = [min(spacings) / max(steepest, 1e-12) / len(axes)]
        if beta is not None:
            limits.append(beta * min(spacings) ** 2 / len(axes))
        step = min(_COURANT * min(limits), t - done)
        change = np.zeros_like(u)
        for number, (left, right) in enumerate(slopes):
            if scheme == "godunov":
                uphill, downhill = np.maximum(left, 0.0), np.minimum(right, 0.0)
                change -= 0.5 * np.maximum(uphill**2, downhill**2)
            else:
                change -= 0.5 * ((left + right) / 2) ** 2
                change += 0.5 * steepest * (right - left)
            if beta is not None:
                change += (right - left) / (2 * beta * spacings[number])
        u = u + step * change
        done += step
    return u


def _slopes(u: Floats, axis: int, spacing: float) -> tuple[Floats, Floats]:
    """Return one-sided differences; linear beyond the edge."""
    between = np.diff(u, axis=axis) / spacing
    first = np.take(between, [0], axis)
    last = np.take(between, [-1], axis)
    return (
        np.concatenate([first, between], axis),
        np.concatenate([between, last], axis),
    )


def _along(
    values: Floats, axis: int, y: Floats, x: Floats, reduce: object, variance: float,
    *, normal: bool = True,
) -> Floats:  # fmt: skip
    """Reduce an axis by a Gaussian kernel's logarithm, from y to x.

    Args:
        values: on the grid.
        axis: whose coordinates are y.
        y: of the grid, (n,).
        x: of the result, (m,).
        reduce: takes log kernels (b, n, 1) and values (1, n, k), gives (b, k).
        variance: of the kernel.
        normal: whether the kernel is a density times the spacing.
    """
    assert callable(reduce)
    moved = np.moveaxis(values, axis, 0)
    flat = moved.reshape(len(y), -1)
    found = np.empty((len(x), flat.shape[1]))
    shift = 0.0
    if normal:
        shift = math.log(float(y[1] - y[0])) - 0.5 * math.log(2 * math.pi * variance)
    rows = max(1, _BLOCK // flat.size)
    for start in range(0, len(x), rows):
        some = x[start : start + rows]
        kernel = shift - (some[:, None] - y) ** 2 / (2 * variance)
        found[start : start + rows] = reduce(kernel[:, :, None], flat[None])
    shape = (len(x), *moved.shape[1:])
    return np.moveaxis(found.reshape(shape), 0, axis)


def _checked(
    f: Floats, axes: Sequence[Floats], at: Sequence[Floats] | None, *, t: float,
    beta: float = 1.0,
) -> tuple[list[Floats], list[Floats]]:  # fmt: skip
    asked = f"values {f.shape} on axes of {', '.join(str(len(each)) for each in axes)}"
    if not (math.isfinite(t) and t > 0 and math.isfinite(beta) and beta > 0):
        raise UsageError(
            f"a relaxation at time {t}, inverse temperature {beta}",
            rule="both are finite and above 0",
            where="trimtab.relax.pde",
            remedy="give t = 1 / gamma and beta = 1 / temperature",
        )
    if f.ndim not in (1, 2) or f.shape != tuple(len(each) for each in axes):
        raise UsageError(
            asked,
            rule="grids have one or two axes, and a value for each of their points",
            where="trimtab.relax.pde",
            remedy="give one array of coordinates an axis",
        )
    for each in axes:
        steps = np.diff(each)
        if len(each) < 3 or not np.allclose(steps, steps[0]) or not steps[0] > 0:
            raise UsageError(
                asked,
                rule="coordinates grow evenly, and there are at least three",
                where="trimtab.relax.pde",
                remedy="make them with numpy.linspace",
            )
    if at is not None and len(at) != len(axes):
        raise UsageError(
            f"{len(at)} arrays of points for {len(axes)} axes",
            rule="there is one for each",
            where="trimtab.relax.pde",
            remedy="give one array of coordinates an axis",
        )
    return list(axes), list(axes if at is None else at)
