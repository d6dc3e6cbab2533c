"""What a relaxation is refused for, ahead of any step."""

from __future__ import annotations

import math
from typing import Final

from trimtab.errors import UsageError
from trimtab.relax.scopes import Scope

__all__ = [
    "RELAXATIONS",
    "TETHERED",
    "check",
    "check_gamma",
    "damping_of",
    "newest_of",
]

RELAXATIONS: Final = ("local-entropy", "hopf-lax", "hopf-lax-fixed-point", "heat")
TETHERED: Final = ("local-entropy", "hopf-lax")
"""Those with an inner optimizer, whose points are tied to the iterate."""


def check(
    relaxation: str,
    *,
    steps: int,
    equilibrated: bool,
    scope: Scope,
    temperature: float,
    inner: bool,
    newest: bool,
    damping: bool,
) -> None:
    """Refuse numbers outside of their limits, and what a relaxation does not use.

    Args:
        relaxation: its name.
        steps: gradients of a round.
        equilibrated: whether rounds are as long as a tether needs.
        scope: of gamma.
        temperature: of noise or smoothing.
        inner: whether an inner optimizer was given.
        newest: whether the weight of the newest point was given.
        damping: whether that of the fixed point was given.

    Raises:
        UsageError: any of these.
    """
    if relaxation not in RELAXATIONS:
        raise _refusal(
            f"relaxation {relaxation!r}",
            f"known are {', '.join(RELAXATIONS)}",
            "choose one of these",
        )
    if not isinstance(steps, int) or steps < 1:
        raise _refusal(
            f"{steps} steps of a round",
            "it is a whole number of at least one",
            "give steps=20",
        )
    if not (math.isfinite(temperature) and temperature >= 0):
        raise _refusal(
            f"a temperature of {temperature}",
            "it is finite and at least 0",
            "give 0, or the square of the deviation that the noise shall have",
        )
    unused = {
        "inner": inner and relaxation not in TETHERED,
        "steps=Equilibrated(...)": equilibrated and relaxation not in TETHERED,
        "newest": newest and relaxation != "local-entropy",
        "damping": damping and relaxation != "hopf-lax-fixed-point",
        "temperature": temperature > 0 and relaxation.startswith("hopf-lax"),
    }
    for name, given in unused.items():
        if given:
            raise _refusal(
                f"`{name}` of relaxation {relaxation!r}",
                "it is not used there",
                "leave it out",
            )
    if relaxation == "heat" and not temperature:
        raise _refusal(
            "relaxation 'heat' at temperature 0",
            "it smooths over a variance of temperature / gamma",
            "give gamma times the square of the width to smooth over",
        )
    if not hasattr(scope, "at"):
        raise _refusal(
            f"a scope {scope!r}",
            "it is a number, or says gamma of a round by a method `at`",
            "give 0.1, or trimtab.relax.Exponential(1e-3, 1.001)",
        )
    check_gamma(scope, 0, relaxation)


def check_gamma(scope: Scope, done: int, relaxation: str) -> float:
    """Return gamma after so many rounds.

    Args:
        scope: that says it.
        done: rounds.
        relaxation: that takes it.

    Raises:
        UsageError: it is below 0, not finite, or 0 where a time is needed.
    """
    gamma = float(scope.at(done))
    if not (math.isfinite(gamma) and gamma >= 0):
        raise _refusal(
            f"a gamma of {gamma} after {done} rounds",
            "it is finite and at least 0",
            "correct the scope",
        )
    if relaxation != "local-entropy" and gamma == 0:
        raise _refusal(
            f"relaxation {relaxation!r} with a gamma of 0 after {done} rounds",
            "its time t = 1 / gamma would be infinite",
            "give a scope that stays above 0; local-entropy takes 0",
        )
    return gamma


def newest_of(newest: float | None) -> float:
    """Return the weight of the newest point in the average: 0.75 by default.

    Raises:
        UsageError: it is not above 0 and at most 1.
    """
    if newest is None:
        return 0.75
    if not 0 < newest <= 1:
        raise _refusal(
            f"`newest` of {newest}", "it is above 0 and at most 1", "give 0.75"
        )
    return newest


def damping_of(damping: float | None) -> float:
    """Return the damping of the fixed point: 0.75 by default.

    Raises:
        UsageError: it is not at least 0 and at most 0.999.
    """
    if damping is None:
        return 0.75
    if not 0 <= damping <= 0.999:
        raise _refusal(
            f"`damping` of {damping}", "it is at least 0 and at most 0.999", "give 0.75"
        )
    return damping


def _refusal(asked: str, rule: str, remedy: str) -> UsageError:
    return UsageError(asked, rule=rule, where="trimtab.relax.Relaxed", remedy=remedy)
