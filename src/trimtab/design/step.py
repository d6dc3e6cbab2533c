"""Stage `design`: the network rewritten within limits, and what it sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from trimtab.bundle.stage import Context, StageResult
from trimtab.design.analysis import analysis_of, windows_of
from trimtab.design.edits import edits_from_json, edits_to_json
from trimtab.design.explain import findings_of
from trimtab.design.search import Level, Problem, optimize, replay
from trimtab.design.sections import field_section, result_section
from trimtab.errors import PlanError
from trimtab.graph.module import GraphModule
from trimtab.graph.types import Graph

__all__ = ["FILE", "STAGE", "Settings"]

FILE = "design.json"
"""In the bundle: the edits."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[design]`.

    Attributes:
        level: what may change: blocks of stages, kinds of kernels, both, or nothing:
            ``none`` shows what the network sees.
        parameters: a number or a share of what the network has, such as ``"0.5x"``.
        multiply_adds: the same.
        latency: such as ``"3ms"``, or a share.
        free: whether designs may lose at some exponent of the score.
    """

    level: Level | Literal["none"] = "both"
    parameters: str | None = "1x"
    multiply_adds: str | None = "1x"
    latency: str | None = None
    free: bool = False


@final
class _Design:
    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("machine", "threads", "latency", "budget", "seed")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Rewrite a copy of the network, or show what it sees.

        Raises:
            BudgetInfeasibleError: no edit meets a limit.
            PlanError: the network is a bundle.
            UsageError: there is no convolution of an image.
        """
        level = settings.level
        context.progress(0.02, "capturing")
        analysis, graph = analysis_of(
            context.network, context.inputs, context.keywords, name=context.name
        )

        def latency_of(graph: Graph) -> float:
            found = context.latency.estimate(graph, context.machine, context.threads)
            return found.latency_s

        findings = findings_of(
            context.network,
            analysis,
            graph,
            windows=windows_of(context.network),
            latency_of=latency_of,
        )
        shown = field_section(analysis, findings)
        if level == "none":
            return StageResult(
                network=context.network,
                summary=f"{len(analysis.layers)} convolutions, "
                f"{len(findings)} findings",
                sections=(shown,),
            )
        if isinstance(context.network, GraphModule):
            raise PlanError(
                f"stage [design] of bundle {context.name!r}",
                rule="edits are of modules, and a bundle is a graph",
                where="key `network`",
                remedy='give the network it came from, or level = "none"',
            )

        result = optimize(
            Problem(
                model=context.network,
                inputs=context.inputs,
                keywords=context.keywords,
                machine=context.machine,
                limits={
                    "parameters": settings.parameters,
                    "multiply_adds": settings.multiply_adds,
                    "latency_s": settings.latency,
                },
                budget=context.budget,
                level=level,
                robust=not settings.free,
                latency=context.latency,
                threads=context.threads,
                seed=context.seed,
            ),
            lambda done, text: context.progress(0.05 + 0.95 * done, text),
        )
        before, after = result.before, result.after
        record = {
            "seed": context.seed,
            "rounds": [edits_to_json(each) for each in result.edits],
        }
        return StageResult(
            network=result.model,
            summary=f"{sum(map(len, result.edits))} edits, "
            f"{after.parameters / before.parameters:.2f}x the parameters, "
            f"{after.multiply_adds / before.multiply_adds:.2f}x the multiply-adds, "
            f"score {before.score:.3f} to {after.score:.3f}",
            sections=(shown, result_section(result)),
            files={FILE: (json.dumps(record, indent=1) + "\n").encode()},
        )

    def rebuild(
        self, context: Context, settings: Settings, files: Mapping[str, bytes]
    ) -> nn.Module:
        """Return the network with the edits of an earlier run made again."""
        del settings
        record = json.loads(files[FILE])
        rounds = [edits_from_json(each) for each in record["rounds"]]
        return replay(context.network, rounds, seed=record["seed"])


STAGE = _Design()
