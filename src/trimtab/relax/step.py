"""Stage `relax`: the training loop with a relaxation as optimizer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import torch
from torch import nn

from trimtab.bundle.stage import Context, StageResult
from trimtab.errors import UsageError
from trimtab.relax.checks import TETHERED
from trimtab.relax.norms import reestimate
from trimtab.relax.relaxed import Relaxation, Relaxed
from trimtab.relax.rounds import Equilibrated
from trimtab.relax.scopes import Constant, Exponential
from trimtab.relax.sections import Flatness, Round, flatness_of, relax_section
from trimtab.training.loop import Progress, batches_of, evaluate, fit
from trimtab.training.settings import Settings as Training
from trimtab.training.stage import data_of
from trimtab.units import format_percent

__all__ = ["DEFAULTS", "STAGE", "Settings", "optimizer_of"]

DEFAULTS: Final[dict[Relaxation, dict[str, float]]] = {
    "local-entropy": {"gamma": 0.1, "steps": 20, "outer_rate": 1.0},
    "hopf-lax": {"gamma": 0.1, "steps": 20, "outer_rate": 1.0},
    "hopf-lax-fixed-point": {"gamma": 1.0, "steps": 5, "outer_rate": 0.1},
    # Pairs of draws, 0.06 wide.
    "heat": {"gamma": 1.0, "steps": 4, "outer_rate": 0.1, "temperature": 0.0036},
}
"""Of keys that are left out."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[relax]`; what is left out is in `DEFAULTS`.

    Attributes:
        relaxation: which equation smooths the loss.
        epochs: passes over the training examples.
        batch_size: examples of a gradient.
        steps: gradients of a round, or as many as the tether needs.
        gamma: one over the time of smoothing, of the first round.
        growth: of gamma, by the round.
        most_gamma: where growth ends.
        temperature: of noise; of ``heat``, gamma times the square of its width.
        inner_rate: learning rate within a round, of the two tethered relaxations: 0.1.
        inner_momentum: of Nesterov's kind, kept from round to round: 0.9.
        outer_rate: learning rate of the outer steps.
        outer_momentum: of Nesterov's kind.
        weight_decay: within a round where there is an inner loop, else of outer steps.
        schedule: of the outer rate.
        warmup_frac: share of all gradients over which it rises.
        label_smoothing: of the cross entropy.
        flatness: whether curvature and its relatives are measured at the end.
        seed: 0 for that of the run.
        threads: of torch while training; None leaves them as they are.
    """

    relaxation: Relaxation = "local-entropy"
    epochs: int = 5
    batch_size: int = 64
    steps: int | Literal["equilibrated"] | None = None
    gamma: float | None = None
    growth: float = 1.0
    most_gamma: float = 1e3
    temperature: float | None = None
    inner_rate: float | None = None
    inner_momentum: float | None = None
    outer_rate: float | None = None
    outer_momentum: float = 0.0
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_frac: float = 0.0
    label_smoothing: float = 0.0
    flatness: bool = True
    seed: int = 0
    threads: int | None = None


def optimizer_of(
    settings: Settings, parameters: list[nn.Parameter], *, seed: int
) -> Relaxed:
    """Return the optimizer that a table asks for.

    Args:
        settings: the table.
        parameters: to train.
        seed: of the noise.

    Raises:
        UsageError: numbers that a relaxation refuses.

    Example:
        >>> opt = optimizer_of(Settings(), [nn.Parameter(torch.ones(2))], seed=0)
        >>> opt.steps, opt.gamma
        (20, 0.1)
    """
    own = DEFAULTS[settings.relaxation]
    gamma = own["gamma"] if settings.gamma is None else settings.gamma
    steps = int(own["steps"]) if settings.steps is None else settings.steps
    rate = own["outer_rate"] if settings.outer_rate is None else settings.outer_rate
    temperature = settings.temperature
    if temperature is None:
        temperature = own.get("temperature", 0.0)
    if settings.growth < 1 or settings.most_gamma < gamma:
        raise UsageError(
            f"gamma from {gamma:g}, growth {settings.growth:g}, to "
            f"{settings.most_gamma:g}",
            rule="time of smoothing gets shorter or stays: a growth of at least 1, and "
            "most_gamma at least gamma",
            where="table [relax]",
            remedy="correct these keys",
        )
    tethered = settings.relaxation in TETHERED
    decay = settings.weight_decay
    inner_rate = 0.1 if settings.inner_rate is None else settings.inner_rate
    momentum = 0.9 if settings.inner_momentum is None else settings.inner_momentum
    _check_rates(settings, tethered=tethered)

    def inner(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _sgd(groups, inner_rate, momentum, decay)

    def outer(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _sgd(groups, rate, settings.outer_momentum, 0.0 if tethered else decay)

    return Relaxed(
        parameters,
        relaxation=settings.relaxation,
        inner=inner if tethered else None,
        outer=outer,
        steps=Equilibrated() if steps == "equilibrated" else steps,
        scope=Constant(gamma)
        if settings.growth == 1
        else Exponential(gamma, settings.growth, settings.most_gamma),
        temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
    )


def _check_rates(settings: Settings, *, tethered: bool) -> None:
    limits = {
        "inner_rate": (settings.inner_rate, 1e6),
        "outer_rate": (settings.outer_rate, 1e6),
        "weight_decay": (settings.weight_decay, 1e6),
        "inner_momentum": (settings.inner_momentum, 0.9999),
        "outer_momentum": (settings.outer_momentum, 0.9999),
    }
    for name, (value, most) in limits.items():
        if value is not None and not 0 <= value <= most:
            raise UsageError(
                f"{name} = {value}",
                rule=f"it is at least 0 and at most {most:g}",
                where="table [relax]",
                remedy="correct it",
            )
        if value is not None and name.startswith("inner") and not tethered:
            raise UsageError(
                f"{name} of relaxation {settings.relaxation!r}",
                rule="it has no inner loop with a rate",
                where="table [relax]",
                remedy="leave it out; outer_rate is what it has",
            )


def _sgd(
    groups: list[dict[str, Any]], rate: float, momentum: float, decay: float
) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups, lr=rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay
    )


@final
class _Relax:
    settings = Settings
    gives = ("accuracy_frac",)
    reads: tuple[str, ...] = ("data", "seed")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Train, and judge on the held-out part of the data.

        Raises:
            PlanError: there are no data, or the network cannot learn them.
            UsageError: numbers that the training or the relaxation refuses.
        """
        data = data_of(context, "relax")
        network = copy.deepcopy(context.network)
        seed = settings.seed or context.seed
        training = Training(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            schedule=settings.schedule,
            warmup_frac=settings.warmup_frac,
            label_smoothing=settings.label_smoothing,
            seed=seed,
            threads=settings.threads,
        )
        made: list[Relaxed] = []
        rounds: list[Round] = []

        def make(parameters: list[nn.Parameter]) -> Relaxed:
            made.append(optimizer_of(settings, parameters, seed=seed))
            return made[0]

        def told(now: Progress) -> None:
            opt = made[0]
            if opt.position == 0:
                rounds.append(Round.of(opt))
            context.progress(
                now.step / now.steps,
                f"epoch {now.epoch} of {now.epochs}, loss {now.loss:.3f}",
            )

        history = fit(network, data, training, optimizer=make, progress=told)
        reestimate(network, batches_of(data.train[0], settings.batch_size))
        loss, accuracy = evaluate(network, *data.test)
        flat: Flatness | None = None
        if settings.flatness:
            context.progress(1.0, "how flat it is")
            flat = flatness_of(network, data, seed=seed)
        opt = made[0]
        return StageResult(
            network=network.eval(),
            summary=f"{settings.relaxation}, {opt.evaluations} gradients in "
            f"{opt.rounds} rounds on {data.name}: {format_percent(accuracy)} of the "
            "held-out examples right",
            sections=(
                relax_section(
                    settings.relaxation,
                    history,
                    rounds,
                    flat,
                    evaluations=opt.evaluations,
                    final=(loss, accuracy),
                ),
            ),
            values={"accuracy_frac": accuracy},
            observed={"training": {"wall_s": sum(history.wall_s)}},
        )


STAGE = _Relax()
