"""How strongly the inner loop is tied to the iterate, round by round: scoping.

gamma = 1/t grows while t, the time that the loss is smoothed for, goes to zero, so that
the relaxation begins wide and ends as the loss itself (arXiv 1611.01838, section 4.3;
in the language of control it is the clock that runs down, arXiv 1704.04932).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

from trimtab.errors import UsageError

__all__ = ["Constant", "Exponential", "Linear", "Scope"]


class Scope(Protocol):
    """gamma by the number of outer steps that are done."""

    def at(self, done: int) -> float:
        """Return gamma of the round after so many."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """The same gamma always.

    Attributes:
        gamma: one over the time of smoothing; 0 leaves the inner loop free.

    Raises:
        UsageError: below 0 or not finite.

    Example:
        >>> Constant(0.1).at(100)
        0.1
    """

    gamma: float

    def __post_init__(self) -> None:
        _check("gamma", self.gamma)

    def at(self, done: int) -> float:
        """Return gamma, whatever is done."""
        return self.gamma


@final
@dataclass(frozen=True, slots=True)
class Exponential:
    """gamma that grows by a factor with each outer step, up to a limit.

    Attributes:
        start: gamma of the first round.
        growth: the factor, such as 1.001.
        most: the limit.

    Raises:
        UsageError: a number below 0, or not finite where it must be.

    Example:
        >>> [Exponential(0.01, 2.0, 0.05).at(done) for done in range(4)]
        [0.01, 0.02, 0.04, 0.05]
    """

    start: float
    growth: float
    most: float = math.inf

    def __post_init__(self) -> None:
        _check("gamma", self.start)
        _check("growth", self.growth)
        _check("most", self.most, finite=False)

    def at(self, done: int) -> float:
        """Return gamma of the round after so many."""
        try:
            return min(self.start * self.growth**done, self.most)
        except OverflowError:
            return self.most if self.start else 0.0


@final
@dataclass(frozen=True, slots=True)
class Linear:
    """gamma from one number to another over so many outer steps, then as it is.

    Attributes:
        start: gamma of the first round.
        end: gamma at last.
        rounds: after which it is reached.

    Raises:
        UsageError: a number below 0 or not finite, or fewer than one round.

    Example:
        >>> [Linear(0.0, 1.0, 4).at(done) for done in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    rounds: int

    def __post_init__(self) -> None:
        _check("gamma", self.start)
        _check("gamma", self.end)
        if self.rounds < 1:
            raise UsageError(
                f"a scope over {self.rounds} rounds",
                rule="it takes at least one",
                where="trimtab.relax",
                remedy="give the outer steps of the training",
            )

    def at(self, done: int) -> float:
        """Return gamma of the round after so many."""
        share = min(1.0, done / self.rounds)
        return self.start + share * (self.end - self.start)


def _check(name: str, value: float, *, finite: bool = True) -> None:
    if math.isnan(value) or value < 0 or (finite and math.isinf(value)):
        raise UsageError(
            f"a scope with {name} of {value}",
            rule="it is a finite number of at least 0",
            where="trimtab.relax",
            remedy="give gamma = 1 / t, such as 0.1",
        )
