"""The values of largest posterior probability, one prior precision for each tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from trimtab.bundle.stage import Data
from trimtab.errors import UsageError
from trimtab.symmetry.network import Symmetric, settled, tied
from trimtab.training.loop import Progress, fit
from trimtab.training.settings import Settings

__all__ = ["Precisions", "Recipe", "first_precisions", "map_fit", "prepared"]

Precisions = Mapping[str, float]
"""By path of a tied tensor: one over the variance of its prior."""

_STARTED_AT_ZERO = 1.0
_SETTLED_BY = 500  # examples


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one network is trained.

    Attributes:
        steps: of all rounds together.
        rounds: after each but the last the precisions of the prior are updated.
        batch_size: examples of a step.
        learning_rate: of Adam, at the top of the schedule of each round.
        first: the precisions of the first round, in those that values are drawn with:
            below 1, so that the prior does not keep a network from starting to learn.
            A round goes through the examples at least once.
        threads: of torch; None leaves them as they are.

    Raises:
        UsageError: a number outside of its limits.
    """

    steps: int = 1200
    rounds: int = 6
    batch_size: int = 25
    learning_rate: float = 1e-2
    first: float = 0.3
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("rounds", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"`Recipe({name}=...)` of {getattr(self, name)}",
                    rule=f"it must be at least {least}",
                    where="trimtab.symmetry",
                    remedy="give a larger number",
                )
        if not (math.isfinite(self.first) and self.first > 0):
            raise UsageError(
                f"`Recipe(first=...)` of {self.first}",
                rule="a precision is finite and above 0",
                where="trimtab.symmetry",
                remedy="give 0.3",
            )
        self.settings(1, seed=0)

    def settings(self, examples: int, *, seed: int) -> Settings:
        """Return the settings of one round over so many examples."""
        steps = self.steps / self.rounds
        return Settings(
            epochs=max(1, round(steps * self.batch_size / examples)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
            threads=self.threads,
        )


def prepared(network: Symmetric, data: Data, recipe: Recipe) -> dict[str, float]:
    """Settle the norms of a network on the data; return its first precisions."""
    x = data.train[0]
    # From all over the data: files are often sorted by class.
    settled(network, x[:: -(-len(x) // _SETTLED_BY)])
    return {
        path: each * recipe.first for path, each in first_precisions(network).items()
    }


def first_precisions(network: Symmetric) -> dict[str, float]:
    """Return those of the distribution that values are drawn from."""
    return {
        path: 1.0 / each.std**2 if each.std else _STARTED_AT_ZERO
        for path, each in tied(network)
    }


def map_fit(
    network: Symmetric,
    data: Data,
    precisions: Precisions,
    settings: Settings,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Symmetric:
    """Train a network in place to the maximum of its posterior, and return it.

    The loss is the negative log likelihood plus half the square of each value times the
    precision of its tensor, both divided by the number of examples.

    Args:
        network: tied by some scheme.
        data: what it learns.
        precisions: of every tied tensor.
        settings: of the training; its weight decay is not used.
        progress: called after each step.
    """
    count = len(data.train[0])
    groups = [
        {"params": [each.values], "weight_decay": precisions[path] / count}
        for path, each in tied(network)
    ]

    def optimizer(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        del parameters  # all of them, in groups
        return torch.optim.Adam(groups, lr=settings.learning_rate)

    fit(
        network,
        _Untested(data),
        replace(settings, weight_decay=0.0),
        optimizer=optimizer,
        progress=progress,
    )
    return network


@final
class _Untested:
    """The same examples, tested on one: a test after every epoch would take longest."""

    def __init__(self, data: Data) -> None:
        x, y = data.train
        if x.ndim == 4:  # convolutions and pools take half as long
            x = x.to(memory_format=torch.channels_last)
        self.name, self.digest = data.name, data.digest
        self.train, self.test = (x, y), (x[:1], y[:1])
