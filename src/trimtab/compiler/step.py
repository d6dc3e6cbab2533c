"""Stage `compile`: the network as machine code, in the bundle and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from trimtab.bundle.section import Bars, Section, Table
from trimtab.bundle.stage import Context, StageResult
from trimtab.compiler.compile import prepare
from trimtab.compiler.report import limits_in, others_in
from trimtab.errors import PlanError
from trimtab.graph.capture import capture
from trimtab.runtime.store import files_of
from trimtab.units import format_duration

__all__ = ["STAGE", "Settings", "sections_of"]

_DRAWN = 20


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[compile]`.

    Attributes:
        batch_sizes: to compile for; that of the example inputs if empty.
    """

    batch_sizes: tuple[int, ...] = ()


@final
class _Compile:
    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("machine", "threads", "seed")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Choose and compile the kernels; the network stays what it is.

        Raises:
            TrimtabError: what `trimtab.compiler.compile.compile` raises.
        """
        if any(size < 1 for size in settings.batch_sizes):
            raise PlanError(
                f"batch_sizes = {list(settings.batch_sizes)}",
                rule="a batch has at least one row",
                where="[compile]",
                remedy="give sizes such as [1, 16, 64]",
            )
        compilation = prepare(
            context.network,
            context.inputs,
            context.keywords,
            name=context.name,
            machine=context.machine,
            threads=context.threads,
            batch_sizes=settings.batch_sizes or None,
            seed=context.seed,
            progress=context.progress,
        )
        report = compilation.report
        graph = capture(
            context.network, context.inputs, context.keywords, name=context.name
        )
        return StageResult(
            network=context.network,
            values={"latency_s": report["latency_s"]},
            summary=f"{report['kernels']} kernels for {len(report['tasks'])} tasks, "
            f"predicted {format_duration(report['latency_s'])} on "
            f"{context.machine.name}, no candidate was run",
            sections=sections_of(report, context.machine.title),
            files=files_of(compilation.network(), graph=graph),
        )


def sections_of(report: dict[str, Any], machine: str) -> tuple[Section, ...]:
    """Return what the compiler has to show.

    Args:
        report: see `trimtab.compiler.report.report_of`.
        machine: title of the machine.
    """
    rejected = sum(len(task["rejected"]) for task in report["tasks"])
    text = (
        f"{report['kernels']} kernels compute {len(report['tasks'])} tasks on "
        f"{machine}. Schedules were compared by analysis, of loops for all and of "
        f"machine code for the best; none was run. {rejected} compiled schedules were "
        "rejected."
    )
    for sentence in others_in(report):
        text += f" {sentence}."
    batches = report["batches"]
    figures = [
        figure
        for each in batches
        for figure in _figures(
            each["tasks"], f", batch {each['batch']}" if len(batches) > 1 else ""
        )
    ]
    return (
        Section(name="compile", title="Kernels", text=text, figures=tuple(figures)),
    )


def _figures(tasks: Sequence[dict[str, Any]], of_batch: str) -> tuple[Bars, Table]:
    slow = sorted(tasks, key=lambda task: -task["latency_s"])[:_DRAWN]
    drawn = [task for task in tasks if task in slow]
    bounds = sorted({task["bottleneck"] for task in drawn})
    return (
        Bars(
            title=f"Predicted time by task{of_batch}, coloured by what bounds it",
            value_title="predicted time",
            value_unit="s",
            labels=tuple(_label(task) for task in drawn),
            parts=tuple(
                (
                    bound,
                    tuple(
                        task["latency_s"] if task["bottleneck"] == bound else 0.0
                        for task in drawn
                    ),
                )
                for bound in bounds
            ),
        ),
        Table(
            title=f"Tasks{of_batch}",
            columns=(
                "task",
                "family",
                "schedule",
                "judged",
                "time",
                "bound by",
                "limits",
                "rejected",
            ),
            units=("", "", "", "count", "s", "", "", ""),
            rows=tuple(
                (
                    _label(task),
                    task["family"],
                    " ".join(
                        f"{name}={value}"
                        for name, value in (task["schedule"] or {}).items()
                    ),
                    task["judged"],
                    task["latency_s"],
                    task["bottleneck"],
                    limits_in(task),
                    "; ".join(
                        dict.fromkeys(each["reason"] for each in task["rejected"])
                    ),
                )
                for task in tasks
            ),
        ),
    )


def _label(task: dict[str, Any]) -> str:
    return str(task["module"] or task["nodes"][0])


STAGE = _Compile()
