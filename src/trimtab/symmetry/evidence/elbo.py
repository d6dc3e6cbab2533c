"""Evidence of a scheme by a variational lower bound, the way of arXiv 2107.09301.

Values are Gaussian and independent in the posterior, q(v) = N(mu, sigma^2), and in the
prior, whose variance in each tensor is the mean of mu^2 + sigma^2 (empirical Bayes, at
most what values are drawn with):

    ELBO = E_q log p(D | v) - sum_l KL(q(v_l) | N(0, 1 / delta_l)).

Measured bias: with few examples this prefers large subgroups, for the slack of the
bound grows with the number of free values; and a bound that has not converged ranks
nothing. The abstract of the paper is all that is known of it; this is our reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.symmetry.network import Symmetric, tied
from trimtab.symmetry.train import Recipe, map_fit, prepared

__all__ = ["Bound", "elbo_fit"]

_LOG_SIGMA: Final = -4.0  # at the start
_FASTER: Final = 3.0  # log sigma learns so much faster than mu
_MAP: Final = 0.25  # of all steps, to a maximum first


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bound:
    """A lower bound of the log evidence, in nats.

    Attributes:
        value: estimated with `samples` draws.
        error: standard error of the estimate.
        log_likelihood: of the data, its mean over draws.
        divergence: of the posterior from the prior.
        sigmas: standard deviations of the posterior, by path.
    """

    value: float
    error: float
    log_likelihood: float
    divergence: float
    sigmas: dict[str, Tensor]


def elbo_fit(
    network: Symmetric,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    samples: int = 64,
    progress: Callable[[float], None] = lambda done: None,
) -> Bound:
    """Fit means and standard deviations; the means are left in the network.

    Args:
        network: tied by a scheme.
        data: what it learns.
        recipe: a quarter of its steps goes to a maximum of the posterior first.
        seed: of the order of examples and of the draws.
        samples: draws of the final estimate; with 8 its error is tens of nats.
        progress: told the share that is done.
    """
    x, y = data.train
    first = Recipe(
        steps=max(1, round(recipe.steps * _MAP)),
        rounds=1,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        first=recipe.first,
        threads=recipe.threads,
    )
    precisions = prepared(network, data, first)
    map_fit(network, data, precisions, first.settings(len(x), seed=seed))
    tensors = dict(tied(network))
    means = {path: each.values for path, each in tensors.items()}
    logs = {
        path: torch.full_like(each, _LOG_SIGMA).requires_grad_()
        for path, each in means.items()
    }
    rate = recipe.learning_rate
    optimizer = torch.optim.Adam(
        [
            {"params": list(means.values()), "lr": rate},
            {"params": list(logs.values()), "lr": _FASTER * rate},
        ]
    )
    drawn = torch.Generator().manual_seed(seed)
    steps = max(1, recipe.steps - first.steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        rows = torch.randint(len(x), (recipe.batch_size,), generator=drawn)
        noise = {
            path: torch.randn(each.shape, generator=drawn)
            for path, each in means.items()
        }
        loss = torch.zeros(())
        for sign in (1.0, -1.0):  # a pair of opposite draws
            values = {
                path: each + sign * logs[path].exp() * noise[path]
                for path, each in means.items()
            }
            loss = loss + F.cross_entropy(_scores(network, values, x[rows]), y[rows])
        loss = loss / 2 + _divergence(network, means, logs) / len(x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            progress(_MAP + (1 - _MAP) * step / steps)
    network.eval()
    with torch.no_grad():
        likelihoods = []
        for _ in range(samples):
            values = {
                path: each + logs[path].exp() * torch.randn(each.shape, generator=drawn)
                for path, each in means.items()
            }
            likelihoods.append(
                -sum(
                    float(
                        F.cross_entropy(
                            _scores(network, values, some), target, reduction="sum"
                        )
                    )
                    for some, target in zip(
                        torch.split(x, 500), torch.split(y, 500), strict=True
                    )
                )
            )
        divergence = float(_divergence(network, means, logs))
    spread = torch.tensor(likelihoods, dtype=torch.float64)
    return Bound(
        value=float(spread.mean()) - divergence,
        error=float(spread.std()) / math.sqrt(samples) if samples > 1 else math.inf,
        log_likelihood=float(spread.mean()),
        divergence=divergence,
        sigmas={path: each.detach().exp() for path, each in logs.items()},
    )


def _scores(network: Symmetric, values: dict[str, Tensor], x: Tensor) -> Tensor:
    found: Tensor = functional_call(
        network, {f"{path}.values": each for path, each in values.items()}, (x,)
    )
    return found


def _divergence(
    network: Symmetric, means: Mapping[str, Tensor], logs: Mapping[str, Tensor]
) -> Tensor:
    total = torch.zeros(())
    for path, each in tied(network):
        most = each.std**2 if each.std else 1.0
        square = means[path] ** 2 + (2.0 * logs[path]).exp()
        variance = square.mean().clamp(max=most)
        total = (
            total
            + 0.5 * (square / variance - 1.0 + variance.log() - 2.0 * logs[path]).sum()
        )
    return total
