"""`trimtab train`: the training of a plan alone, by the optimizer of one's choice."""

from __future__ import annotations

import enum
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.run import carry_out

if TYPE_CHECKING:
    from trimtab.pipeline.plan import Plan

__all__ = ["Optimizer", "train"]


class Optimizer(enum.StrEnum):
    """What descends."""

    SGD = "sgd"
    ADAMW = "adamw"
    LOCAL_ENTROPY = "local-entropy"
    HOPF_LAX = "hopf-lax"
    HOPF_LAX_FIXED_POINT = "hopf-lax-fixed-point"
    HEAT = "heat"


_PLAIN = (Optimizer.SGD, Optimizer.ADAMW)
_SHARED = (
    "epochs", "batch_size", "weight_decay", "schedule", "warmup_frac",
    "label_smoothing", "seed", "threads",
)  # fmt: skip
# Keys that mean the same in [train] and [relax].


def train(
    plan: Annotated[Path, typer.Argument(help="The run file.", metavar="PLAN.toml")],
    optimizer: Annotated[
        Optimizer | None,
        typer.Option(help="Beats the file's: of [relax], or else of [train]."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Beats the file's.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder of the result.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Beats the file's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Beats the file's.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing bundle whole.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train the network of a plan, and nothing else of it; a bundle and a report."""
    carry_out(
        plan,
        {"output": output, "data": data, "seed": seed},
        overwrite=overwrite,
        as_json=as_json,
        change=lambda wanted: _training_alone(wanted, optimizer, epochs),
    )


def _training_alone(
    plan: Plan, optimizer: Optimizer | None, epochs: int | None
) -> Plan:
    """Return a plan with one stage: the training, by the optimizer that is wanted."""
    tables = {name: dict(plan.stages.get(name, {})) for name in ("train", "relax")}
    relaxed = optimizer not in (None, *_PLAIN) or (
        optimizer is None and "relax" in plan.stages
    )
    name = "relax" if relaxed else "train"
    other = tables["train" if relaxed else "relax"]
    shared = {key: other[key] for key in _SHARED if key in other}
    table: dict[str, Any] = {**shared, **tables[name]}
    if optimizer is not None:
        key = "relaxation" if relaxed else "optimizer"
        before = tables["relax"].get("relaxation", Optimizer.LOCAL_ENTROPY.value)
        if relaxed and before != optimizer.value:
            # Its numbers are those of another equation.
            kept = (*_SHARED, "flatness")
            table = {each: table[each] for each in kept if each in table}
        table[key] = optimizer.value
    if epochs is not None:
        table["epochs"] = epochs
    return replace(plan, stages={name: table})
