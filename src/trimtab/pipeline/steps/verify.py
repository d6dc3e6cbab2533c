"""Stage `verify`: the graph computes what the module computes, as fast as was said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.bundle.section import Section, Table
from trimtab.bundle.stage import Context, StageResult
from trimtab.cost.latency import Corrected
from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.tree import flatten
from trimtab.graph.types import Ref
from trimtab.hardware.detect import fingerprint
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

    def __post_init__(self) -> None:
        for name, least in (("examples", 0), ("calls", 2)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"`Settings({name}=...)` of {getattr(self, name)}",
                    rule=f"it must be at least {least}",
                    remedy="give a larger number",
                )


@final
class _Verify:
    settings = Settings
    gives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ("data", "machine", "threads", "latency")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Compare graph and module bit by bit, whole and cut in the middle.

        Raises:
            ExecutionError: they differ.
        """
        context.progress(0.0, "capturing")
        graph = capture(
            context.network, context.inputs, context.keywords, name=context.name
        )
        executor = Executor(graph, weights_of(context.network, graph))
        cases = [context.inputs]
        plain = len(context.inputs) == 1 and not context.keywords
        if context.data is not None and plain:
            held_out = context.data.test[0][: settings.examples]
            if tuple(held_out.shape[1:]) == tuple(context.inputs[0].shape[1:]):
                cases += [(example[None],) for example in held_out]
        fastpath = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad():
                for index, case in enumerate(cases):
                    _compare(executor, context, case, index)
                    context.progress(0.6 * (index + 1) / len(cases), "comparing")
        finally:
            torch.backends.mha.set_fastpath_enabled(fastpath)
        cut = _compare_cut(executor, context)
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
        here = context.machine.fingerprint == fingerprint()
        measured = profile(
            executor,
            _values(executor, context),
            threads=context.threads,
            calls=settings.calls,
            progress=lambda done, text: context.progress(0.7 + 0.29 * done, text),
        )
        return StageResult(
            network=context.network,
            summary=summary,
            observed_summary=f"measured {format_duration(measured.latency_s)}"
            + (
                f", predicted {format_duration(estimate.latency_s)}"
                if here
                else f" on this host, which is not {context.machine.name}"
            ),
            sections=tuple(sections),
            observed={
                "latency": {
                    "measured_s": measured.latency_s,
                    **(_predicted(context, estimate.latency_s) if here else {}),
                    "threads": measured.threads,
                }
            },
            observed_sections=(
                measured_section(graph, estimate, measured, context.machine),
            )
            if here
            else (),
        )


def _predicted(context: Context, latency_s: float) -> dict[str, float]:
    """Return what was predicted, and by what that was corrected already."""
    model = context.latency
    factor = model.factor if isinstance(model, Corrected) else 1.0
    return {"predicted_s": latency_s, "corrected_by": factor}


def _leaves(value: object) -> list[torch.Tensor]:
    leaves, _ = torch.utils._pytree.tree_flatten(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors have the same values; NaN is the same as NaN."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(((left == right) | ((left != left) & (right != right))).all())


def _values(executor: Executor, context: Context) -> dict[Ref, Any]:
    graph = executor.graph
    leaves = flatten((context.inputs, dict(context.keywords)), graph.input_tree)
    return {
        Ref(leaf.name): value for leaf, value in zip(graph.inputs, leaves, strict=True)
    }


def _compare(
    executor: Executor, context: Context, case: tuple[Any, ...], index: int
) -> None:
    found = _leaves(executor(*case, **context.keywords))
    try:
        expected = _leaves(context.network(*case, **context.keywords))
    except SystemExit as error:
        raise ExecutionError(
            f"network {context.name!r}",
            rule="its forward() ended the program",
            where=f"verification input {index}",
            remedy="remove sys.exit() from it",
        ) from error
    same = len(found) == len(expected) and all(map(_equal, found, expected))
    if not same:
        raise ExecutionError(
            f"graph of {executor.graph.name!r}",
            rule="its output differs from the module's",
            where=f"verification input {index}",
            remedy="make forward() compute the same at each call; if it does, report "
            "this network: capture changed its meaning",
        )


def _compare_cut(executor: Executor, context: Context) -> int:
    """Return how many cuts were tried, spread over the graph."""
    values = _values(executor, context)
    whole = executor.run(values)
    nodes = executor.graph.nodes
    positions = sorted({len(nodes) * part // 8 for part in range(1, 8)} - {0})
    for position in positions:
        half = executor.run(values, 0, position)
        joined = executor.run(half, position)
        if not all(_equal(whole[ref], joined[ref]) for ref in whole):
            raise ExecutionError(
                f"graph of {executor.graph.name!r} cut at node {position}",
                rule="joined again it gives another output",
                where=f"node {nodes[position].name!r}",
                remedy="report this network: the cut changed its meaning",
            )
    return len(positions)


STAGE = _Verify()
