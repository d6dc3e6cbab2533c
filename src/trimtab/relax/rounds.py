"""How many gradients a round takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from trimtab.errors import UsageError

__all__ = ["Equilibrated", "rate_of"]


@final
@dataclass(frozen=True, slots=True)
class Equilibrated:
    """Rounds as long as the tether needs to take a share of its way, and no longer.

    From 1 - (1 - lr gamma / (1 - momentum))^steps, see `Relaxed.equilibration`: where
    gamma grows from round to round, rounds become shorter.

    Attributes:
        share: of its way, within (0, 1).
        least: gradients of a round.
        most: gradients of a round, also where gamma is 0.

    Raises:
        UsageError: a number outside of its limits.

    Example:
        >>> Equilibrated(0.95).of(rate=1.0, gamma=0.1)
        29
        >>> Equilibrated(0.95).of(rate=1.0, gamma=0.0)
        100
    """

    share: float = 0.95
    least: int = 5
    most: int = 100

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and 1 <= self.least <= self.most):
            raise UsageError(
                f"rounds of {self.least} to {self.most} gradients, up to a share of "
                f"{self.share}",
                rule="the share is within (0, 1), and 1 <= least <= most",
                where="trimtab.relax.Equilibrated",
                remedy="give Equilibrated(0.95, least=5, most=100)",
            )

    def of(self, *, rate: float, gamma: float) -> int:
        """Return the gradients of a round.

        Args:
            rate: effective: learning rate over 1 - momentum.
            gamma: of the round.
        """
        left = 1.0 - rate * gamma
        if left <= 0:
            return self.least
        if left == 1:
            return self.most
        needed = math.log1p(-self.share) / math.log(left)
        return int(min(self.most, max(self.least, math.ceil(needed))))


def rate_of(optimizer: torch.optim.Optimizer | None) -> float | None:
    """Return the learning rate over 1 - momentum, of the slowest group.

    None without an optimizer, or where it has no rate of that kind, as Adam.
    """
    if optimizer is None:
        return None
    rates = []
    for group in optimizer.param_groups:
        if "betas" in group or "lr" not in group:
            return None
        rates.append(group["lr"] / max(1e-12, 1.0 - group.get("momentum", 0.0)))
    return float(min(rates))
