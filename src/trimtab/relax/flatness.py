"""How flat a minimum is: curvature, and what small moves of the weights cost.

Curvature depends on how a network is written down: scaling one layer up and the next
down changes it and no score (Dinh et al., arXiv 1703.04933). `local_energy` moves
weights in proportion to themselves and does not mind. Compare curvatures of networks
with the same architecture, at the same training loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from trimtab.errors import UsageError

__all__ = ["local_energy", "local_entropy", "top_eigenvalue", "trace"]

Loss = Callable[[], Tensor]


def top_eigenvalue(
    loss: Loss,
    parameters: Sequence[Tensor],
    *,
    iterations: int = 25,
    generator: torch.Generator | None = None,
) -> float:
    """Return the eigenvalue of largest size of the Hessian of the loss, with its sign.

    By power iteration on products of Hessian and vector; its unit is that of the loss
    over the square of a weight.

    Args:
        loss: computes the training loss at the parameters as they are, of all examples
            or always the same ones.
        parameters: in which it is differentiated.
        iterations: products.
        generator: of the first direction.

    Raises:
        UsageError: no parameters, or fewer than one product.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> loss = lambda: 0.5 * (3.0 * w[0] ** 2 + w[1] ** 2)
        >>> round(top_eigenvalue(loss, [w], iterations=50), 4)
        3.0
    """
    _check(parameters, iterations, "products")
    gradients = _gradients(loss, parameters)
    direction = _unit(_drawn(parameters, generator))
    found = 0.0
    for _ in range(iterations):
        product = _product(gradients, parameters, direction)
        found = _dot(product, direction)
        if not any(bool(each.any()) for each in product):
            return 0.0
        direction = _unit(product)
    return found


def trace(
    loss: Loss,
    parameters: Sequence[Tensor],
    *,
    draws: int = 32,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Return the trace of the Hessian and its standard error, by Hutchinson's estimate.

    Args:
        loss: as in `top_eigenvalue`.
        parameters: in which it is differentiated.
        draws: of directions of random signs.
        generator: of these.

    Raises:
        UsageError: no parameters, or fewer than two draws.
    """
    _check(parameters, draws - 1, "draws but one")
    gradients = _gradients(loss, parameters)
    values = []
    for _ in range(draws):
        signs = [each.sign() for each in _drawn(parameters, generator)]
        values.append(_dot(_product(gradients, parameters, signs), signs))
    found = np.array(values)
    return float(found.mean()), float(found.std(ddof=1) / math.sqrt(draws))


@torch.no_grad()
def local_energy(
    error: Callable[[], float],
    parameters: Sequence[Tensor],
    *,
    sigma: float = 0.5,
    draws: int = 10,
    generator: torch.Generator | None = None,
) -> float:
    """Return by how much an error rises when every weight moves by a share of itself.

    The mean over draws of error(w (1 + sigma z)) - error(w), in the unit of the error
    (Pittorino et al., arXiv 2006.07897).

    Args:
        error: of the network with the parameters as they are, such as the share of
            training examples that it gets wrong.
        parameters: that are moved, and put back.
        sigma: standard deviation of the share.
        draws: of moves.
        generator: of these.

    Raises:
        UsageError: no parameters, or fewer than one draw.
    """
    _check(parameters, draws, "draws")
    kept = [each.clone() for each in parameters]
    before = error()
    rises = []
    try:
        for _ in range(draws):
            for each, old, noise in zip(
                parameters, kept, _drawn(parameters, generator), strict=True
            ):
                each.copy_(old * (1.0 + sigma * noise))
            rises.append(error() - before)
    finally:
        for each, old in zip(parameters, kept, strict=True):
            each.copy_(old)
    return sum(rises) / draws


@torch.no_grad()
def local_entropy(
    loss: Loss,
    parameters: Sequence[Tensor],
    *,
    t: float,
    beta: float,
    nodes: int = 6,
    steps: int = 100,
    generator: torch.Generator | None = None,
) -> float:
    """Return local entropy u = -1/beta log E exp(-beta f(x + sqrt(t/beta) z)) at x.

    In the unit of the loss; above the loss itself where the surroundings are steep. It
    is the integral over s from 0 to 1 of the mean of f under the law of density
    exp(-s beta f(y)) times the Gaussian, at Gauss-Legendre nodes; each mean is that of
    a chain of preconditioned Crank-Nicolson steps (Cotter et al., arXiv 1202.0709),
    which is exact, needs no gradient and does not mind the number of weights.

    Args:
        loss: as in `top_eigenvalue`.
        parameters: of the network, x; put back afterwards.
        t: time of smoothing.
        beta: inverse temperature.
        nodes: of the integral.
        steps: of each chain, of which the first fifth is left out.
        generator: of the moves.

    Raises:
        UsageError: no parameters, a time or inverse temperature that is not above 0, or
            fewer than five steps.
    """
    _check(parameters, min(nodes, steps // 5), "fives of steps, and nodes")
    if not (math.isfinite(t) and t > 0 and math.isfinite(beta) and beta > 0):
        raise UsageError(
            f"local entropy at time {t}, inverse temperature {beta}",
            rule="both are finite and above 0",
            where="trimtab.relax.flatness",
            remedy="give t = 1 / gamma and beta = 1 / temperature",
        )
    kept = [each.clone() for each in parameters]
    width = math.sqrt(t / beta)
    moves = [width * each for each in _drawn(parameters, generator)]
    points, weights = np.polynomial.legendre.leggauss(nodes)

    def at(some: Sequence[Tensor]) -> float:
        for each, old, move in zip(parameters, kept, some, strict=True):
            each.copy_(old + move)
        return float(loss())

    total = 0.0
    try:
        value = at(moves)
        for node, weight in zip((points + 1) / 2, weights / 2, strict=True):
            size, seen = 0.5, []
            for step in range(steps):
                noise = _drawn(parameters, generator)
                tried = [
                    math.sqrt(1 - size**2) * move + size * width * each
                    for move, each in zip(moves, noise, strict=True)
                ]
                other = at(tried)
                chance = math.exp(min(0.0, node * beta * (value - other)))
                if float(torch.rand((), generator=generator)) < chance:
                    moves, value = tried, other
                if step < steps // 5:  # towards a quarter accepted, then as it is
                    size = min(1.0, max(1e-3, size * math.exp(0.2 * (chance - 0.25))))
                else:
                    seen.append(value)
            total += float(weight) * sum(seen) / len(seen)
    finally:
        for each, old in zip(parameters, kept, strict=True):
            each.copy_(old)
    return total


def _gradients(loss: Loss, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        found = torch.autograd.grad(
            loss(), list(parameters), create_graph=True, allow_unused=True
        )
    return tuple(
        torch.zeros_like(each) if gradient is None else gradient
        for each, gradient in zip(parameters, found, strict=True)
    )


def _product(
    gradients: Sequence[Tensor], parameters: Sequence[Tensor], along: Sequence[Tensor]
) -> list[Tensor]:
    """Return the Hessian times a direction; zero where the gradient is constant."""
    some = [
        (gradient, each)
        for gradient, each in zip(gradients, along, strict=True)
        if gradient.requires_grad
    ]
    if not some:
        return [torch.zeros_like(each) for each in parameters]
    outputs, directions = zip(*some, strict=True)
    found = torch.autograd.grad(
        outputs, list(parameters), directions, retain_graph=True, allow_unused=True
    )
    return [
        torch.zeros_like(each) if part is None else part
        for each, part in zip(parameters, found, strict=True)
    ]


def _drawn(
    parameters: Sequence[Tensor], generator: torch.Generator | None
) -> list[Tensor]:
    return [
        torch.randn(
            each.shape, dtype=each.dtype, device=each.device, generator=generator
        )
        for each in parameters
    ]


def _dot(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    return sum(
        float((a.double() * b.double()).sum()) for a, b in zip(one, two, strict=True)
    )


def _unit(vector: Sequence[Tensor]) -> list[Tensor]:
    length = math.sqrt(_dot(vector, vector)) or 1.0
    return [each / length for each in vector]


def _check(parameters: Sequence[Tensor], count: int, what: str) -> None:
    if not parameters or count < 1:
        raise UsageError(
            f"flatness in {len(parameters)} parameters with {count} {what}",
            rule="there is at least one of both",
            where="trimtab.relax.flatness",
            remedy="give the parameters of the network and the defaults",
        )
