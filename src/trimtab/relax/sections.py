"""What a training by a relaxation has to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.bundle.section import Line, Section, Series, Table
from trimtab.bundle.stage import Data
from trimtab.relax.flatness import local_energy, local_entropy, top_eigenvalue, trace
from trimtab.relax.relaxed import Relaxed
from trimtab.training.loop import History

__all__ = ["Flatness", "Round", "flatness_of", "relax_section"]

_EXAMPLES: Final = 200
_DRAWS: Final = 16
_STEPS: Final = 40  # of each chain
_SIGMA: Final = 0.5
_T: Final = 1.0
_BETA: Final = 1e4  # of the mean loss: moves of a hundredth of a weight


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round has led to.

    Attributes:
        evaluations: gradients so far.
        steps: gradients of the round.
        gamma: of it.
        equilibration: see `Relaxed.last_equilibration`.
    """

    evaluations: int
    steps: int
    gamma: float
    equilibration: float | None

    @staticmethod
    def of(optimizer: Relaxed) -> Round:
        """Return the round that an optimizer has just ended."""
        return Round(
            evaluations=optimizer.evaluations,
            steps=optimizer.steps,
            gamma=optimizer.scope.at(max(0, optimizer.rounds - 1)),
            equilibration=optimizer.last_equilibration,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Flatness:
    """How flat the loss is around the weights, on some training examples.

    Attributes:
        examples: how many.
        loss: nats, of these.
        top_eigenvalue: of the Hessian, nats over the square of a weight.
        trace: of the Hessian, nats over the square of a weight.
        trace_error: its standard error.
        local_energy: rise of the share wrong, weights moved by half of themselves.
        local_entropy: nats, at time 1 and inverse temperature 10,000.
    """

    examples: int
    loss: float
    top_eigenvalue: float
    trace: float
    trace_error: float
    local_energy: float
    local_entropy: float


def flatness_of(network: nn.Module, data: Data, *, seed: int) -> Flatness:
    """Return how flat the loss is around the weights of a network.

    Args:
        network: in evaluation mode.
        data: of whose training part the first 200 examples are used.
        seed: of directions and moves.
    """
    x, y = (each[:_EXAMPLES] for each in data.train)
    weights = [each for each in network.parameters() if each.requires_grad]
    drawn = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        return F.cross_entropy(network(x), y)

    def wrong() -> float:
        return float((network(x).argmax(1) != y).float().mean())

    traced, error = trace(loss, weights, draws=_DRAWS, generator=drawn)
    with torch.no_grad():
        value = float(loss())
    return Flatness(
        examples=len(x),
        loss=value,
        top_eigenvalue=top_eigenvalue(loss, weights, generator=drawn),
        trace=traced,
        trace_error=error,
        local_energy=local_energy(wrong, weights, sigma=_SIGMA, generator=drawn),
        local_entropy=local_entropy(
            loss, weights, t=_T, beta=_BETA, steps=_STEPS, generator=drawn
        ),
    )


def relax_section(
    relaxation: str,
    history: History,
    rounds: Sequence[Round],
    flat: Flatness | None,
    *,
    evaluations: int,
    final: tuple[float, float],
) -> Section:
    """Return curves over gradient evaluations, and the table of flatness.

    Args:
        relaxation: its name.
        history: of the training.
        rounds: in order.
        flat: of the result.
        evaluations: gradients of the whole training.
        final: loss and share right of the result on held-out examples, statistics of
            batch norms taken anew.
    """
    per_epoch = evaluations / len(history.epochs)
    x = tuple(per_epoch * (number + 1) for number in range(len(history.epochs)))

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name=name, x=x, y=tuple(values), mode="lines+markers")

    epochs = history.epochs
    figures: list[Table | Series] = [
        Series(
            title="Loss",
            x_title="gradient evaluations",
            y_title="cross-entropy (nats)",
            lines=(
                line(
                    "where gradients were taken", [each.train_loss for each in epochs]
                ),
                line("held out, at the iterate", [each.test_loss for each in epochs]),
            ),
        ),
        Series(
            title="Error",
            x_title="gradient evaluations",
            y_title="share of examples wrong",
            lines=(
                line(
                    "where gradients were taken",
                    [1.0 - each.train_accuracy_frac for each in epochs],
                ),
                line(
                    "held out, at the iterate",
                    [1.0 - each.test_accuracy_frac for each in epochs],
                ),
            ),
        ),
        *_equilibration(rounds),
    ]
    if flat is not None:
        figures.append(_table(flat))
    return Section(
        name="relax",
        title="Training along a relaxed loss",
        text=f"Optimizer {relaxation}. A round takes gradients around the iterate and "
        "ends with one step of it; the iterate is what is kept. "
        f"{_on_tether(rounds)}At the end {final[0]:.3f} nats and "
        f"{100 * final[1]:.2f} % right on held-out examples.",
        figures=tuple(figures),
    )


def _on_tether(rounds: Sequence[Round]) -> str:
    reached = [each.equilibration for each in rounds if each.equilibration is not None]
    if not reached:
        return ""
    ends = dict.fromkeys(f"{100 * each:.0f}" for each in (min(reached), max(reached)))
    return (
        "The slope of the relaxed loss is followed as far as rounds equilibrate: the "
        f"tether came {' to '.join(ends)} % of its way; near zero the method is "
        "Lookahead. "
    )


def _equilibration(rounds: Sequence[Round]) -> list[Series]:
    shown = [each for each in rounds if each.equilibration is not None]
    if not shown:
        return []
    return [
        Series(
            title="Equilibration of rounds",
            x_title="gradient evaluations",
            y_title="share of its way that the tether takes",
            lines=(
                Line(
                    name="equilibration",
                    x=tuple(float(each.evaluations) for each in shown),
                    y=tuple(each.equilibration or 0.0 for each in shown),
                ),
            ),
        )
    ]


def _table(flat: Flatness) -> Table:
    curvature = "nats / weight^2"
    rows = (
        ("loss", flat.loss, "nats"),
        ("top eigenvalue of the Hessian", flat.top_eigenvalue, curvature),
        ("trace of the Hessian", flat.trace, curvature),
        ("standard error of the trace", flat.trace_error, curvature),
        (f"local energy, sigma {_SIGMA:g}", flat.local_energy, "share of examples"),
        (f"local entropy, t {_T:g}, beta {_BETA:g}", flat.local_entropy, "nats"),
    )
    return Table(
        title=f"Flatness, of {flat.examples} training examples",
        columns=("measure", "value", "unit"),
        units=("", "", ""),
        rows=tuple((name, float(f"{value:.4g}"), unit) for name, value, unit in rows),
    )
