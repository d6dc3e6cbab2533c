"""How many gradients a round takes, and how far its tether gets in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch

from trimtab.errors import UsageError

__all__ = ["Equilibrated", "Pace", "equilibration", "largest_gamma", "paces"]


class Pace(NamedTuple):
    """How SGD moves.

    Attributes:
        lr: learning rate.
        momentum: of it.
        dampening: of the momentum.
        nesterov: whether it looks ahead.
    """

    lr: float
    momentum: float
    dampening: float
    nesterov: bool

    @property
    def effective(self) -> float:
        """Rate of a slope that stays: what momentum adds up to."""
        damped = 1.0 - self.dampening if self.momentum else 1.0
        return self.lr * damped / max(1e-12, 1.0 - self.momentum)


def paces(optimizer: torch.optim.Optimizer | None) -> tuple[Pace, ...] | None:
    """Return the pace of every group; None for what is not SGD.

    Others scale each weight by what they have seen of it: how far they take a tether is
    not known ahead.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return None
    return tuple(
        Pace(
            float(group["lr"]),
            float(group["momentum"]),
            float(group["dampening"]),
            bool(group["nesterov"]),
        )
        for group in optimizer.param_groups
    )


def _left(pace: Pace, gamma: float, steps: int) -> list[float]:
    """Return the share of its way that is left after each step of a free tether."""
    place, velocity, found = 1.0, 0.0, []
    for number in range(steps):
        slope = gamma * place
        fresh = slope if number == 0 else (1.0 - pace.dampening) * slope
        velocity = pace.momentum * velocity + fresh
        ahead = slope + pace.momentum * velocity if pace.nesterov else velocity
        place -= pace.lr * (ahead if pace.momentum else slope)
        found.append(place)
    return found


def equilibration(some: Sequence[Pace], gamma: float, steps: int) -> float:
    """Return the share of its way that a free tether takes a round, 0 to 1.

    Of the slowest group, from rest: `1 - |y|` where y begins at 1, is drawn to 0 and
    nothing else.

    Example:
        >>> round(equilibration([Pace(0.1, 0.0, 0.0, False)], 1.0, 10), 3)  # 1 - 0.9^10
        0.651
    """
    if not gamma:
        return 0.0
    return min(max(0.0, 1.0 - abs(_left(each, gamma, steps)[-1])) for each in some)


def largest_gamma(some: Sequence[Pace]) -> float:
    """Return the gamma beyond which a tether pulls y further away each step."""
    limits = []
    for each in some:
        mu = each.momentum
        # Of the recursion in `_left`, whose product of roots and sum decide.
        reach = 1.0 + 2.0 * mu if each.nesterov else 1.0 - each.dampening * (mu > 0)
        limits.append(2.0 * (1.0 + mu) / max(1e-12, reach * each.lr))
    return min(limits)


@final
@dataclass(frozen=True, slots=True)
class Equilibrated:
    """Rounds as long as the tether needs to take a share of its way, and no longer.

    See `equilibration`: where gamma grows from round to round, rounds become shorter.

    Attributes:
        share: of its way, within (0, 1).
        least: gradients of a round.
        most: gradients of a round, also where gamma is 0.

    Raises:
        UsageError: a number outside of its limits.

    Example:
        >>> Equilibrated(0.95).of([Pace(1.0, 0.0, 0.0, False)], 0.1)
        29
        >>> Equilibrated(0.95).of([Pace(1.0, 0.0, 0.0, False)], 0.0)
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

    def of(self, some: Sequence[Pace], gamma: float) -> int:
        """Return the gradients of a round: of the slowest group, not to come back."""
        needed = self.least
        for each in some:
            left = _left(each, gamma, self.most)
            late = [at for at, one in enumerate(left) if abs(one) > 1.0 - self.share]
            needed = max(needed, late[-1] + 2 if late else 1)
        return min(self.most, needed)
