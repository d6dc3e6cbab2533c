"""What a relaxation is refused for, ahead of any step."""

from __future__ import annotations

import math
from typing import Final

from trimtab.errors import UsageError

__all__ = ["RELAXATIONS", "TETHERED", "check", "share"]

RELAXATIONS: Final = ("local-entropy", "hopf-lax", "hopf-lax-fixed-point", "heat")
TETHERED: Final = ("local-entropy", "hopf-lax")
"""Those with an inner optimizer, whose points are tied to the iterate."""


def check(
    relaxation: str,
    *,
    steps: int,
    equilibrated: bool,
    gamma: float,
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
        gamma: of the first round.
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
    if steps < 1:
        raise _refusal(
            f"{steps} steps of a round", "there is at least one", "give steps=20"
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
    if relaxation != "local-entropy" and gamma == 0:
        raise _refusal(
            f"relaxation {relaxation!r} with a gamma of 0",
            "its time t = 1 / gamma would be infinite",
            "give a scope above 0; local-entropy takes 0",
        )


def share(name: str, value: float | None, default: float, *, most: float) -> float:
    """Return a share, or the default where none is given.

    Args:
        name: of it.
        value: as it was given.
        default: in its place.
        most: the largest; it must lie above 0 unless 1 is not allowed either.

    Raises:
        UsageError: it is outside of its limits.
    """
    if value is None:
        return default
    fits = 0 < value <= most if most == 1.0 else 0 <= value <= most
    if not fits:
        raise _refusal(
            f"`{name}` of {value}",
            "it is above 0 and at most 1"
            if most == 1.0
            else f"it is at least 0 and at most {most:g}",
            f"give {default:g}",
        )
    return value


def _refusal(asked: str, rule: str, remedy: str) -> UsageError:
    return UsageError(asked, rule=rule, where="trimtab.relax.Relaxed", remedy=remedy)
