"""Stage: one step of a run, found by the name of its table in the run file.

A stage takes the network as the stage before left it, decides, and hands on a network,
what it has to show, the values a budget can limit and what it observed. It knows
neither the other stages nor the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from trimtab.bundle.section import Section
from trimtab.cost.latency import LatencyModel
from trimtab.cost.verdict import Budget, Verdict
from trimtab.hardware.machine import Machine

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Context", "Data", "Rebuilds", "Stage", "StageResult"]


class Data(Protocol):
    """A data set as a stage sees it; `trimtab.training.data` makes them."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def train(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets to learn from."""

    @property
    def test(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets to judge by."""

    @property
    def digest(self) -> str:
        """SHA-256 of the content and its division."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a stage may know.

    Attributes:
        name: of the network.
        network: in evaluation mode, as the stage before left it; a stage that changes
            it changes a copy.
        inputs: positional example inputs, batch 1.
        keywords: keyword example inputs.
        data: None where the run file names none.
        machine: to decide for.
        threads: one call may use.
        latency: the model that predicts times.
        budget: hard limits.
        seed: of everything random.
        folder: the run file's, for relative paths.
        progress: told the share that is done and a short text.
        files: that the stages before left for the bundle, by name.
    """

    name: str
    network: nn.Module
    inputs: tuple[Any, ...]
    keywords: Mapping[str, Any]
    data: Data | None
    machine: Machine
    threads: int
    latency: LatencyModel
    budget: Budget
    seed: int
    folder: Path
    progress: Callable[[float, str], None]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage hands on.

    Attributes:
        network: in evaluation mode.
        summary: one sentence: what was decided or found; the same for the same plan
            and seed.
        observed_summary: one sentence on what was observed; shown, not bundled.
        sections: what it has to show; the same for the same plan and seed.
        values: quantities a budget can limit, by the names of `Budget`.
        observed: kinds of observations and their values, kept beside the bundle.
        observed_sections: what it has to show of them; drawn, not bundled.
        observed_verdicts: how what was observed stands to the budget.
        files: further files for the bundle.
        lasting: whether a later run may take it; not where an observation failed for
            reasons of the moment.
    """

    network: nn.Module
    summary: str
    observed_summary: str = ""
    sections: tuple[Section, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)
    observed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    observed_sections: tuple[Section, ...] = ()
    observed_verdicts: tuple[Verdict, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    lasting: bool = True


Settings = TypeVar("Settings")


class Stage(Protocol[Settings]):
    """One step of a run.

    Attributes:
        settings: a frozen dataclass whose fields are the keys of the stage's table.
        gives: the limits of `Budget` that only this stage finds a value for.
        reads: the attributes of `Context` that its result follows from, beside the
            network and its inputs; what is kept of it is good for the same ones only.
    """

    settings: type[Settings]
    gives: tuple[str, ...]
    reads: tuple[str, ...]

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Do the step.

        Raises:
            TrimtabError: it cannot be done; nothing was written.
        """
        ...


@runtime_checkable
class Rebuilds(Protocol):
    """A stage that rewrites the network, and can do so again without its work."""

    def rebuild(
        self, context: Context, settings: Any, files: Mapping[str, bytes]
    ) -> nn.Module:
        """Return a network of the structure that the stage led to, of any values.

        Args:
            context: as the stage got it.
            settings: of its table.
            files: that it left.
        """
        ...
