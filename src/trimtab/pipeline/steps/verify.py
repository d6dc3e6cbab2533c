"""Stage `verify`: the graph computes what the module computes, as fast as was said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.bundle.section import Section, Table
from trimtab.bundle.stage import Context, StageResult
from trimtab.errors import ExecutionError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.types import Ref
from trimtab.hardware.measure import profile
from trimtab.pipeline.inspection import measured_section
from trimtab.units import format_duration

__all__ = ["STAGE", "Settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table.

    Attributes:
        examples: of the held-out part on which module and graph must agree.
        measure: whether to time the graph on this host.
        calls: to time.
    """

    examples: int = 64
    measure: bool = True
    calls: int = 15


@final
class _Verify:
    settings = Settings

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Compare graph and module bit by bit, whole and cut in the middle.

        Raises:
            ExecutionError: they differ.
        """
        context.progress(0.0, "capturing")
        graph = capture(context.network, context.inputs, name=context.name)
        executor = Executor(graph, weights_of(context.network, graph))
        cases = [context.inputs]
        if context.data is not None and len(context.inputs) == 1:
            held_out = context.data.test[0][: settings.examples]
            if tuple(held_out.shape[1:]) == tuple(context.inputs[0].shape[1:]):
                cases += [(example[None],) for example in held_out]
        fastpath = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad():
                for index, case in enumerate(cases):
                    _compare(executor, context.network, case, index)
                    context.progress(0.6 * (index + 1) / len(cases), "comparing")
        finally:
            torch.backends.mha.set_fastpath_enabled(fastpath)
        cut = _compare_cut(executor, context.inputs)
        sections = [
            Section(
                name="verify",
                title="Verification",
                text="The bundled graph was run beside the module it came from; every "
                "output is equal bit by bit, also where the graph was cut and joined.",
                figures=(
                    Table(
                        title="What was compared",
                        columns=("check", "count", "differences"),
                        units=("", "", ""),
                        rows=(
                            ("module and graph, whole", len(cases), 0),
                            ("graph cut in two and joined", cut, 0),
                        ),
                    ),
                ),
            )
        ]
        summary = f"bit-equal on {len(cases)} inputs and {cut} cuts"
        if not settings.measure:
            return StageResult(
                network=context.network, summary=summary, sections=tuple(sections)
            )
        estimate = context.latency.estimate(graph, context.machine, context.threads)
        measured = profile(
            executor,
            _values(executor, context.inputs),
            threads=context.threads,
            calls=settings.calls,
            progress=lambda done, text: context.progress(0.7 + 0.29 * done, text),
        )
        return StageResult(
            network=context.network,
            summary=summary,
            observed_summary=f"measured {format_duration(measured.latency_s)}, "
            f"predicted {format_duration(estimate.latency_s)}",
            sections=tuple(sections),
            observed={
                "latency": {
                    "measured_s": measured.latency_s,
                    "predicted_s": estimate.latency_s,
                    "threads": measured.threads,
                }
            },
            observed_sections=(
                measured_section(graph, estimate, measured, context.machine),
            ),
        )


def _leaves(value: object) -> list[torch.Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _same(left: object, right: object) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(_leaves(left), _leaves(right), strict=True)
    )


def _values(executor: Executor, inputs: tuple[Any, ...]) -> dict[Ref, Any]:
    return {
        Ref(leaf.name): value
        for leaf, value in zip(executor.graph.inputs, inputs, strict=True)
    }


def _compare(
    executor: Executor, network: torch.nn.Module, case: tuple[Any, ...], index: int
) -> None:
    if not _same(executor(*case), network(*case)):
        raise ExecutionError(
            f"graph of {executor.graph.name!r}",
            rule="its output differs from the module's",
            where=f"verification input {index}",
            remedy="report this network: capture changed its meaning",
        )


def _compare_cut(executor: Executor, inputs: tuple[Any, ...]) -> int:
    """Return how many cuts were tried, spread over the graph."""
    values = _values(executor, inputs)
    whole = executor.run(values)
    count = len(executor.graph.nodes)
    positions = sorted({count * part // 8 for part in range(1, 8)})
    for position in positions:
        half = executor.run(values, 0, position)
        joined = executor.run(half, position)
        if not all(torch.equal(whole[ref], joined[ref]) for ref in whole):
            raise ExecutionError(
                f"graph of {executor.graph.name!r} cut at node {position}",
                rule="joined again it gives another output",
                where=f"node {executor.graph.nodes[position].name!r}",
                remedy="report this network: the cut changed its meaning",
            )
    return len(positions)


STAGE = _Verify()
