"""What each stage bought: the network before and after it, in the same quantities."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from torch import Tensor, nn

from trimtab.bundle.section import Section, Table, Waterfall
from trimtab.bundle.stage import Data
from trimtab.cost.verdict import Verdict, fits
from trimtab.errors import TrimtabError
from trimtab.graph.module import GraphModule
from trimtab.training.loop import evaluate

__all__ = [
    "FILE",
    "QUANTITIES",
    "START",
    "Stand",
    "accuracy_of",
    "columns_of",
    "records",
    "section",
]

FILE: Final = "stages.json"
"""In the bundle: where the network stood after every stage."""

START: Final = "(start)"
"""Stands before the first stage."""

QUANTITIES: Final[Mapping[str, tuple[str, str]]] = {
    "accuracy_frac": ("accuracy", "frac"),
    "parameters": ("parameters", "count"),
    "multiply_adds": ("multiply-adds", "count"),
    "latency_s": ("latency", "s"),
    "weight_bytes": ("weights", "bytes"),
    "peak_bytes": ("activations", "bytes"),
    "throughput_per_s": ("throughput", "1/s"),
    "p95_latency_s": ("p95 served", "s"),
}
"""What is compared: heading and unit, by name."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Where the network stands after a stage.

    Attributes:
        stage: its name, or `START`.
        values: by the names of `QUANTITIES`; what is not known is absent.
        verdicts: how they stand to the budget.
        found: names of what the stage itself found, which no graph says.
    """

    stage: str
    values: Mapping[str, float]
    verdicts: tuple[Verdict, ...] = ()
    found: tuple[str, ...] = ()

    def judged(self) -> str:
        """Return the verdict on the budget in a word or two; nothing without one.

        Example:
            >>> Stand(stage="train", values={}).judged()
            ''
        """
        if not self.verdicts:
            return ""
        if fits(self.verdicts):
            return "fits"
        return "over: " + ", ".join(
            each.name for each in self.verdicts if not each.fits
        )


def accuracy_of(
    network: nn.Module, data: Data | None, inputs: tuple[Any, ...]
) -> float | None:
    """Return the share of held-out examples right; None where that has no meaning.

    Args:
        network: in evaluation mode.
        data: of the plan.
        inputs: example inputs of the network.
    """
    alone = len(inputs) == 1 and isinstance(inputs[0], Tensor)
    if data is None or not alone or isinstance(network, GraphModule):
        return None
    if tuple(inputs[0].shape[1:]) != tuple(data.test[0].shape[1:]):
        return None
    try:
        return evaluate(network, *data.test)[1]
    except (TrimtabError, RuntimeError, ValueError, IndexError, TypeError):
        return None  # no scores of classes


def records(stands: Sequence[Stand]) -> list[dict[str, Any]]:
    """Return the stands as JSON holds them."""
    return [
        {
            "stage": each.stage,
            "values": dict(each.values),
            "found": list(each.found),
            "fits": fits(each.verdicts),
            "over": [verdict.name for verdict in each.verdicts if not verdict.fits],
        }
        for each in stands
    ]


def columns_of(stands: Sequence[Stand]) -> list[str]:
    """Return the quantities that are known somewhere, in the order of the table."""
    return [name for name in QUANTITIES if any(name in each.values for each in stands)]


def section(stands: Sequence[Stand]) -> Section:
    """Return what reports show: a table, and how each quantity came about.

    Args:
        stands: the start, then one a stage.
    """
    names = columns_of(stands)
    table = Table(
        title="The network after each stage",
        columns=("stage", *(QUANTITIES[name][0] for name in names), "budget"),
        units=("", *(QUANTITIES[name][1] for name in names), ""),
        rows=tuple(
            (
                each.stage,
                *(each.values.get(name) for name in names),
                each.judged(),
            )
            for each in stands
        ),
    )
    falls = [fall for name in names if (fall := _waterfall(stands, name)) is not None]
    return Section(
        name="stages",
        title="What each stage bought",
        text="All of it is predicted from graph and machine, accuracy is that of the "
        "held-out examples. Before [compile] latency is that of PyTorch, operator by "
        "operator; after it that of the kernels.",
        figures=(table, *falls),
    )


def _waterfall(stands: Sequence[Stand], name: str) -> Waterfall | None:
    """Return the changes of a quantity; None where it never changes."""
    known = [(each.stage, each.values[name]) for each in stands if name in each.values]
    if len(known) < 2:
        return None
    steps, values = [known[0][0]], [float(known[0][1])]
    for (_, before), (stage, after) in itertools.pairwise(known):
        if after != before:
            steps.append(stage)
            values.append(float(after - before))
    if len(steps) < 2:
        return None
    title, unit = QUANTITIES[name]
    return Waterfall(
        title=f"How {title} came about",
        value_title=title,
        value_unit=unit,
        steps=tuple(steps),
        values=tuple(values),
    )
