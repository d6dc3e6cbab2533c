"""The numbers of a training and its schedule of learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, Literal, final

from trimtab.errors import UsageError

__all__ = ["Settings", "schedule_factor"]

# Limits of each number in the settings: least, most, whether the ends are allowed.
_LIMITS: Final[dict[str, tuple[float, float, bool]]] = {
    "epochs": (1, 10**6, True),
    "batch_size": (1, 10**7, True),
    "learning_rate": (0, 1e6, False),
    "momentum": (0, 1, True),
    "weight_decay": (0, 1e6, True),
    "warmup_frac": (0, 1, True),
    "label_smoothing": (0, 1, True),
    "seed": (0, 2**63 - 1, True),
    "threads": (1, 4096, True),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training examples.
        batch_size: examples per step.
        optimizer: stochastic gradient descent or AdamW.
        learning_rate: at the top of the schedule.
        momentum: of ``sgd``; the first beta of ``adamw`` stays 0.9.
        weight_decay: of both.
        schedule: of the learning rate after the warm-up.
        warmup_frac: share of all steps over which the rate rises linearly.
        label_smoothing: of the cross entropy that is descended and reported as
            training loss; the test loss is without.
        seed: of the order of examples and of dropout.
        threads: of torch while training; None leaves them as they are.

    Raises:
        UsageError: a number outside of its limits or an unknown name.

    Example:
        >>> Settings(epochs=2).batch_size
        64
    """

    epochs: int = 5
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_frac: float = 0.0
    label_smoothing: float = 0.0
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _LIMITS and value is not None:
                low, high, ends = _LIMITS[each.name]
                if not (low <= value <= high and (ends or low < value < high)):
                    raise UsageError(
                        f"`Settings({each.name}=...)` of {value}",
                        rule=f"it must lie between {low:g} and {high:g}"
                        + ("" if ends else ", without these"),
                        remedy="give a number in this range",
                    )
        for name, known in (
            ("optimizer", ("sgd", "adamw")),
            ("schedule", ("constant", "cosine")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"`Settings({name}=...)` of {getattr(self, name)!r}",
                    rule=f"known are {' and '.join(known)}",
                    remedy="choose one of these",
                )


def schedule_factor(settings: Settings, step: int, steps: int) -> float:
    """Return what the learning rate is multiplied with in a step.

    With w warm-up steps: (step + 1) / w while step < w; then 1, or for ``cosine``
    (1 + cos(pi t)) / 2 with t = (step - w) / (steps - w).

    Args:
        settings: whose schedule it is.
        step: from 0.
        steps: of the whole training.

    Example:
        >>> schedule_factor(Settings(schedule="cosine"), 5, 10)
        0.5
    """
    warm = math.floor(settings.warmup_frac * steps)
    if step < warm:
        return (step + 1) / warm
    if settings.schedule == "constant":
        return 1.0
    through = (step - warm) / max(1, steps - warm)
    return 0.5 * (1.0 + round(math.cos(math.pi * through), 15))
