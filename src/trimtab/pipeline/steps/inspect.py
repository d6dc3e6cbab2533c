"""Stage `inspect`: what the network asks of the machine, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from trimtab.bundle.stage import Context, StageResult
from trimtab.cost.verdict import fits
from trimtab.errors import BudgetInfeasibleError
from trimtab.graph.capture import capture
from trimtab.pipeline.inspection import cost_section, totals
from trimtab.units import format_count, format_duration

__all__ = ["STAGE", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table has no keys yet."""


@final
class _Inspect:
    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("machine", "threads", "latency", "budget")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Judge what training cannot change.

        Raises:
            BudgetInfeasibleError: a static limit is broken.
        """
        del settings
        context.progress(0.1, "capturing")
        graph = capture(
            context.network, context.inputs, context.keywords, name=context.name
        )
        context.progress(0.7, "estimating")
        estimate = context.latency.estimate(graph, context.machine, context.threads)
        verdicts = context.budget.judge(totals(graph, estimate))
        if not fits(verdicts):
            broken = [verdict for verdict in verdicts if not verdict.fits]
            raise BudgetInfeasibleError(
                f"network {context.name!r} within the budget",
                rule="; ".join(map(str, broken)),
                where=f"machine {context.machine.name!r}, stage [inspect]",
                remedy="raise the limit in [budget], take a smaller network, or leave "
                "[inspect] out to get the bundle all the same",
                best=verdicts,
                binding=min(broken, key=lambda each: each.slack / each.limit).name,
            )
        return StageResult(
            network=context.network,
            summary=f"{format_count(graph.parameters)} parameters, "
            f"{format_count(estimate.work.multiply_adds)} multiply-adds, predicted "
            f"{format_duration(estimate.latency_s)} on {context.machine.name}",
            sections=(cost_section(graph, estimate, context.machine),),
        )


STAGE = _Inspect()
