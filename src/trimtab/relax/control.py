"""What relaxations are to stochastic gradient descent, in one dimension.

Two statements of arXiv 1704.04932, for a walk dX = -f'(X) ds + beta^(-1/2) dW and its
cost V(X_T), where a reader can work them out:

* steered by a, at a price of the mean of a^2/2, the least cost u(x, T) solves

      u_t = -f' u_x - u_x^2 / 2 + u_xx / (2 beta),  u(x, 0) = V(x),

  it is -1/beta log E exp(-beta V(X_T)) of the walk left alone, a = -u_x reaches it, and
  E V(steered) <= E V(left alone) - E of the price. The price is paid in gradients.

* where y is fast, in dx = -(x - y)/t ds and

      eps dy = -(f'(y) + (y - x)/t) ds + sqrt(2 eps / beta) dW,

  x goes down the slope of local entropy, as eps goes to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from trimtab.errors import UsageError
from trimtab.relax.pde import Floats, gibbs

__all__ = ["Averaged", "Steered", "averaged", "least_cost", "steered"]

Function = Callable[[Floats], Floats]

_COURANT: Final = 0.4  # of the largest stable step
_SLICES: Final = 500


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Steered:
    """Walks left alone, and steered, from one place; means with standard errors.

    Attributes:
        predicted: least cost as -1/beta log E exp(-beta V), of walks left alone.
        predicted_error: its standard error; large where few walks decide.
        alone: E V(X_T) of these.
        alone_error: its standard error.
        cost: E V(X_T) + price of walks that are steered.
        cost_error: its standard error.
        reached: E V(X_T) of these.
        price: half the mean of the square of the steering, over time.
        gain: alone - reached - price, at least 0 by the theory.
        gain_error: its standard error.
    """

    predicted: float
    predicted_error: float
    alone: float
    alone_error: float
    cost: float
    cost_error: float
    reached: float
    price: float
    gain: float
    gain_error: float


def least_cost(
    slope: Function, end: Function, x: Floats, *, t: float, beta: float
) -> tuple[Floats, Floats]:
    """Return some times up to t and the least cost u at each of them.

    By Godunov's scheme, of first order; look at what is well within the ends.

    Args:
        slope: f'.
        end: V.
        x: evenly spaced places, (n,).
        t: time, above 0.
        beta: inverse temperature, above 0.

    Returns:
        Times (k,) from 0 to t, 500 at most and about evenly, and u of shape (k, n).

    Raises:
        UsageError: a time or inverse temperature that is not above 0.

    Example:
        >>> x = np.linspace(-4, 4, 401)  # V = x^2/2, no slope: a parabola and a level
        >>> _, u = least_cost(np.zeros_like, lambda x: x**2 / 2, x, t=1.0, beta=2.0)
        >>> abs(float(u[-1, 250]) - (1 / 4 + math.log(2) / 4)) < 0.01
        True
    """
    if not (0 < t < math.inf and 0 < beta < math.inf):
        raise UsageError(
            f"a walk of time {t}, inverse temperature {beta}",
            rule="both are finite and above 0",
            where="trimtab.relax.control",
            remedy="give numbers above 0",
        )
    spacing = float(x[1] - x[0])
    drift = slope(x)
    u = end(x).astype(np.float64)
    now, times, values = 0.0, [0.0], [u]
    while now < t:
        between = np.diff(u) / spacing
        left = np.concatenate([between[:1], between])
        right = np.concatenate([between, between[-1:]])
        fastest = float(max(np.abs(drift + left).max(), np.abs(drift + right).max()))
        limit = min(spacing / max(fastest, 1e-12), beta * spacing**2)
        step = min(_COURANT * limit, t - now)
        # f' p + p^2/2 = (p + f')^2/2 - f'^2/2: convex around p = -f'.
        uphill = np.maximum(left + drift, 0.0)
        downhill = np.minimum(right + drift, 0.0)
        change = 0.5 * drift**2 - 0.5 * np.maximum(uphill**2, downhill**2)
        u = u + step * (change + (right - left) / (2 * beta * spacing))
        now += step
        if now >= t or now - times[-1] >= t / (_SLICES - 2):
            times.append(now)
            values.append(u)
    return np.array(times), np.array(values)


def steered(
    slope: Function,
    end: Function,
    start: float,
    *,
    times: Floats,
    values: Floats,
    x: Floats,
    beta: float,
    paths: int = 20_000,
    steps: int = 500,
    seed: int = 0,
) -> Steered:
    """Return what walks come to, alone and steered, of the same noise.

    Args:
        slope: f'.
        end: V.
        start: of all walks.
        times: of `least_cost`, the last of which is the length of the walk.
        values: of `least_cost`, (k, n).
        x: places of these, (n,).
        beta: inverse temperature.
        paths: walks.
        steps: of Heun's method.
        seed: of the noise.
    """
    drawn = np.random.default_rng(seed)
    whole = float(times[-1])
    step = whole / steps
    spacing = float(x[1] - x[0])
    alone = np.full(paths, start)
    led = np.full(paths, start)
    price = np.zeros(paths)

    def steering(at: Floats, left: float) -> Floats:
        here = values[min(int(np.searchsorted(times, left)), len(times) - 1)]
        found: Floats = -np.interp(at, x, np.gradient(here, spacing))
        return found

    for number in range(steps):
        left = whole - number * step  # of the walk: the clock of u
        noise = drawn.standard_normal(paths) * math.sqrt(step / beta)
        # Heun's method: of second order in the mean, as the noise does not depend on x.
        first = -slope(alone)
        second = -slope(alone + step * first + noise)
        alone = alone + 0.5 * step * (first + second) + noise
        by = steering(led, left)
        first = by - slope(led)
        ahead = led + step * first + noise
        then = steering(ahead, left - step)
        led = led + 0.5 * step * (first + then - slope(ahead)) + noise
        price += 0.25 * step * (by**2 + then**2)
    ends, reached = end(alone), end(led)
    least = float(ends.min())
    weights = np.exp(-beta * (ends - least))
    mean = float(weights.mean())
    root = math.sqrt(paths)
    gain = ends - reached - price
    return Steered(
        predicted=least - math.log(mean) / beta,
        predicted_error=float(weights.std()) / mean / root / beta,
        alone=float(ends.mean()),
        alone_error=float(ends.std()) / root,
        cost=float((reached + price).mean()),
        cost_error=float((reached + price).std()) / root,
        reached=float(reached.mean()),
        price=float(price.mean()),
        gain=float(gain.mean()),
        gain_error=float(gain.std()) / root,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Averaged:
    """Where x comes to beside a fast y, against where local entropy leads.

    Attributes:
        limit: along the slope of local entropy.
        bias: mean of the paths less the limit.
        bias_error: its standard error.
        rms: root of the mean square of their distance.
    """

    limit: float
    bias: float
    bias_error: float
    rms: float


def averaged(
    f: Function,
    slope: Function,
    start: float,
    *,
    eps: float,
    t: float,
    beta: float,
    grid: Floats,
    length: float = 1.0,
    paths: int = 1_000,
    seed: int = 0,
) -> Averaged:
    """Return how far x is from the slope of local entropy beside a y of that speed.

    Args:
        f: the loss.
        slope: f'.
        start: of x; y begins in its law there.
        eps: time of y over that of x.
        t: time of smoothing.
        beta: inverse temperature.
        grid: places of integrals over y, far beyond where its law is.
        length: time of x.
        paths: of both.
        seed: of the noise.
    """
    drawn = np.random.default_rng(seed)
    loss = f(grid)

    def mean(at: Floats) -> Floats:
        return gibbs(loss, grid, t=t, beta=beta, at=at).mean

    here, steps = np.array([start]), 500
    for _ in range(steps):  # by the midpoint rule
        step = length / steps
        middle = here - 0.5 * step * (here - mean(here)) / t
        here = here - step * (middle - mean(middle)) / t
    law = gibbs(loss, grid, t=t, beta=beta, at=np.array([start])).weights[0]
    y = drawn.choice(grid, size=paths, p=law / law.sum())
    y = y + (drawn.random(paths) - 0.5) * float(grid[1] - grid[0])
    x = np.full(paths, start)
    count = math.ceil(length / (0.01 * eps))
    step = length / count
    width = math.sqrt(2.0 * step / (beta * eps))
    for _ in range(count):
        force = slope(y) + (y - x) / t
        x = x - step * (x - y) / t
        y = y - step / eps * force + width * drawn.standard_normal(paths)
    off = x - here[0]
    return Averaged(
        limit=float(here[0]),
        bias=float(off.mean()),
        bias_error=float(off.std()) / math.sqrt(paths),
        rms=float(np.sqrt((off**2).mean())),
    )
