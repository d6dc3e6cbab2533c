"""Stage `partition`: the cuts that edge and cloud will work by, in the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from trimtab.bundle.stage import Context, StageResult
from trimtab.errors import PlanError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.store import digest
from trimtab.graph.types import Graph
from trimtab.partition.agreed import FILE, FORMAT, Agreed, Cut, check_exact, dumps
from trimtab.partition.conditions import Conditions, Limits, Objective
from trimtab.partition.plan import plan
from trimtab.partition.profiles import Profile, estimated, named
from trimtab.partition.quality import Quality, measured
from trimtab.partition.sections import partition_section
from trimtab.partition.space import Space

__all__ = ["STAGE", "Settings"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[partition]`.

    Attributes:
        edge: machine, or the JSON of `trimtab profile`.
        cloud: the same; by default the machine of the plan.
        carried: JSON of `trimtab profile` of this machine, from which machines that are
            named are scaled.
        uplink_mbit_s: from edge to cloud.
        rtt_ms: round trip.
        fading: median over low goodput.
        objective: what is to be best.
        codecs: that may be used.
        private_layers: layers with weights that must run on the edge.
        max_bytes: of a request.
        edge_bytes: for weights and activations on the edge; a network that needs more
            is never run there whole.
        accuracy_loss: that a codec may cost at a cut, by the data of the run; of
            answers that stay the same, where these have no classes.
        examples: of the data that codecs are measured on.
    """

    edge: str = "raspberry-pi-4"
    cloud: str | None = None
    carried: str | None = None
    uplink_mbit_s: float = 20.0
    rtt_ms: float = 40.0
    fading: float = 2.0
    objective: Objective = "latency"
    codecs: list[str] = field(default_factory=lambda: ["raw"])
    private_layers: int = 0
    max_bytes: int | None = None
    edge_bytes: int | None = None
    accuracy_loss: float = 0.005
    examples: int = 100


@final
class _Partition:
    settings = Settings
    gives = ()
    reads: tuple[str, ...] = ("data", "machine", "threads", "latency")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Choose cuts, check that each joins to the same bits, and keep them.

        Raises:
            PlanError: nothing of the network may run in the cloud.
            UsageError: a key out of its limits.
            BudgetInfeasibleError: no cut keeps to the limits.
        """
        graph = capture(
            context.network, context.inputs, context.keywords, name=context.name
        )
        context.progress(0.2, "profiles")

        def profile(spec: str) -> Profile:
            return named(
                spec, graph, context.latency, threads=context.threads,
                carried=settings.carried, folder=context.folder,
            )  # fmt: skip

        edge = profile(settings.edge)
        cloud = (
            estimated(graph, context.machine, context.latency, threads=context.threads)
            if settings.cloud is None
            else profile(settings.cloud)
        )
        limits = Limits(
            private_layers=settings.private_layers,
            most_bytes=settings.max_bytes,
            edge_bytes=settings.edge_bytes,
            accuracy_loss_frac=settings.accuracy_loss,
        )
        codecs = tuple(settings.codecs)
        space = Space(graph, edge, cloud, codecs=codecs, limits=limits)
        weights = weights_of(context.network, graph)
        quality = _quality(space, graph, weights, settings, context)
        if quality:
            space = Space(
                graph, edge, cloud, codecs=codecs, limits=limits, quality=quality
            )
        at = Conditions(
            uplink_bytes_per_s=settings.uplink_mbit_s * 1e6 / 8,
            rtt_s=settings.rtt_ms / 1e3,
            fading=settings.fading,
        )
        found = plan(space, at, objective=settings.objective)
        away = sorted({
            int(where)
            for where, here in zip(space.positions, space.local, strict=True)
            if not here
        })  # fmt: skip
        if not away:
            raise PlanError(
                f"stage [partition] of {context.name!r}",
                rule="within these limits only the edge may run it",
                where="table [partition]",
                remedy="allow fewer private layers, or leave the stage out",
            )
        context.progress(0.5, f"{len(away)} cuts")
        checked = check_exact(graph, weights, away)
        by_position = {cut.position: cut for cut in space.cuts}
        agreed = Agreed(
            format=FORMAT,
            graph=digest(graph),
            cuts=tuple(
                Cut(
                    position=where,
                    digest=by_position[where].digest,
                    after=by_position[where].after,
                    size_bytes=by_position[where].size_bytes,
                )
                for where in away
            ),
            codecs=codecs,
            edge=edge,
            cloud=cloud,
            private_layers=settings.private_layers,
            most_bytes=settings.max_bytes,
            whole=bool(space.local.any()),
            uplink_bytes_per_s=at.uplink_bytes_per_s,
            rtt_s=at.rtt_s,
            objective=settings.objective,
            accuracy_loss_frac=settings.accuracy_loss,
            quality=quality,
        )
        return StageResult(
            network=context.network,
            summary=f"{checked} cuts, each the same bits as the whole; at "
            f"{settings.uplink_mbit_s:g} Mbit/s and {settings.rtt_ms:g} ms best "
            f"{found.best.name} with {found.best.codec}",
            sections=(partition_section(space, found, at, settings.objective),),
            files={FILE: dumps(agreed)},
        )


def _quality(
    space: Space,
    graph: Graph,
    weights: Mapping[str, Tensor],
    settings: Settings,
    context: Context,
) -> tuple[Quality, ...]:
    """Return what codecs do on examples that were learned from; none for bits alone."""
    if context.data is None or set(settings.codecs) <= {"raw"}:
        return ()
    x, y = context.data.train
    cuts = list({cut.position: cut for cut in space.cuts}.values())
    return measured(
        graph, weights, cuts, settings.codecs, x[: settings.examples],
        y[: settings.examples],
        progress=lambda done, text: context.progress(0.2 + 0.3 * done, text),
    )  # fmt: skip


STAGE = _Partition()
