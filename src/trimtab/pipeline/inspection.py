"""Graph and estimate as rows, totals and figures: for `inspect` and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.bundle.section import Bars, Line, Section, Series, Table
from trimtab.cost.estimate import NetworkEstimate, NodeEstimate
from trimtab.cost.latency import efficiency_class
from trimtab.graph.liveness import activation_sizes, peak_activation
from trimtab.graph.types import ConstantKind, Graph, Node
from trimtab.hardware.machine import Machine

if TYPE_CHECKING:
    from trimtab.hardware.measure import Profile

__all__ = ["Row", "cost_section", "measured_section", "rows", "totals"]

_LAYERS_DRAWN = 40
# More bars cannot be told apart; the rest is one bar of its own.


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer: the nodes that a module ran in a row.

    Attributes:
        layer: path of the module, or the operator where the network itself called it.
        kind: class of the module, or the operator.
        shape: of the last output.
        parameters: numbers the layer owns, those of earlier rows not again.
        multiply_adds: of its nodes.
        flops: of its nodes.
        traffic_bytes: read and written.
        latency_s: predicted.
        bottleneck: of its slowest node.
        share_frac: of the predicted time of the network.
        measured_s: None where it was not measured.
    """

    layer: str
    kind: str
    shape: str
    parameters: int
    multiply_adds: int
    flops: int
    traffic_bytes: int
    latency_s: float
    bottleneck: str
    share_frac: float
    measured_s: float | None


def _groups(graph: Graph) -> list[list[Node]]:
    """Return consecutive nodes of the same module together."""
    found: list[list[Node]] = []
    for node in graph.nodes:
        if found and node.module and found[-1][-1].module == node.module:
            found[-1].append(node)
        else:
            found.append([node])
    return found


def rows(
    graph: Graph,
    estimate: NetworkEstimate,
    measured: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """Return the layers of a graph in execution order.

    Args:
        graph: the network.
        estimate: of the same graph.
        measured: seconds per node, by name.
    """
    parts: dict[str, NodeEstimate] = {each.name: each for each in estimate.nodes}
    total = estimate.latency_s or 1.0
    counted: set[str] = set()
    inner = {
        node.module[:index]
        for node in graph.nodes
        for index, letter in enumerate(node.module)
        if letter == "."
    }
    found: list[Row] = []
    for group in _groups(graph):
        estimates = [parts[node.name] for node in group]
        latency = math.fsum(each.estimate.latency_s for each in estimates)
        slowest = max(estimates, key=lambda each: each.estimate.latency_s)
        output = group[-1].outputs[0] if group[-1].outputs else None
        operator = group[0].op.split(".")[1]
        # A block that calls operators itself is named with the operator.
        leaf = group[0].module and group[0].module not in inner
        found.append(
            Row(
                layer=group[0].module if leaf else _joined(group[0].module, operator),
                kind=group[0].module_type if leaf else operator,
                shape="x".join(map(str, output.shape)) if output else "-",
                parameters=_owned(graph, group, counted),
                multiply_adds=sum(each.work.multiply_adds for each in estimates),
                flops=sum(each.work.flops for each in estimates),
                traffic_bytes=sum(each.work.traffic_bytes for each in estimates),
                latency_s=latency,
                bottleneck=str(slowest.estimate.bottleneck),
                share_frac=latency / total,
                measured_s=None
                if measured is None
                else math.fsum(measured[node.name] for node in group),
            )
        )
    unused = graph.parameters - sum(row.parameters for row in found)
    if unused:
        found.append(
            Row(
                layer="(not used by the call)",
                kind="",
                shape="-",
                parameters=unused,
                multiply_adds=0,
                flops=0,
                traffic_bytes=0,
                latency_s=0.0,
                bottleneck="",
                share_frac=0.0,
                measured_s=None if measured is None else 0.0,
            )
        )
    return tuple(found)


def _joined(module: str, operator: str) -> str:
    return f"{module}.{operator}" if module else operator


def _owned(graph: Graph, group: list[Node], counted: set[str]) -> int:
    total = 0
    for node in group:
        for ref in node.inputs:
            constant = graph.constant(ref)
            if (
                constant is not None
                and constant.kind is ConstantKind.PARAMETER
                and constant.shares not in counted
            ):
                counted.add(constant.shares)
                total += constant.type.elements
    return total


def totals(graph: Graph, estimate: NetworkEstimate) -> dict[str, float]:
    """Return the quantities of the whole network, by name."""
    work = estimate.work
    peak = peak_activation(graph)
    return {
        "nodes": len(graph.nodes),
        "parameters": graph.parameters,
        "weight_bytes": graph.weight_bytes,
        "multiply_adds": work.multiply_adds,
        "flops": work.flops,
        "traffic_bytes": work.traffic_bytes,
        "peak_bytes": peak.size_bytes,
        "latency_s": estimate.latency_s,
    }


def cost_section(graph: Graph, estimate: NetworkEstimate, machine: Machine) -> Section:
    """Return where time and memory go, by analysis."""
    layers = rows(graph, estimate)
    slow = sorted(layers, key=lambda row: -row.latency_s)[:_LAYERS_DRAWN]
    drawn = [row for row in layers if row in slow]
    rest = math.fsum(row.latency_s for row in layers) - math.fsum(
        row.latency_s for row in drawn
    )
    labels = [row.layer for row in drawn] + (["all others"] if rest > 0 else [])
    bounds = sorted({row.bottleneck for row in drawn})
    parts = [
        (
            bound,
            tuple(row.latency_s if row.bottleneck == bound else 0.0 for row in drawn)
            + ((0.0,) if rest > 0 else ()),
        )
        for bound in bounds
    ]
    if rest > 0:
        parts.append(("others", (*[0.0] * len(drawn), rest)))
    by_limit = ", ".join(
        f"{limit} {100 * seconds / estimate.latency_s:.0f} %"
        for limit, seconds in estimate.by_bottleneck().items()
    )
    return Section(
        name="inspect",
        title="Where time and memory go",
        text=f"Predicted from the graph and the description of {machine.title}, "
        f"nothing was run. What bounds the time: {by_limit}.",
        figures=(
            Bars(
                title="Predicted time by layer, coloured by what bounds it",
                value_title="predicted time",
                value_unit="s",
                labels=tuple(labels),
                parts=tuple(parts),
            ),
            _roofline(graph, estimate, machine),
            _memory(graph),
            Table(
                title="Layers",
                columns=(
                    "layer",
                    "kind",
                    "output",
                    "parameters",
                    "multiply-adds",
                    "traffic",
                    "time",
                    "bound by",
                    "share",
                ),
                units=("", "", "", "count", "count", "bytes", "s", "", "frac"),
                rows=tuple(
                    (
                        row.layer,
                        row.kind,
                        row.shape,
                        row.parameters,
                        row.multiply_adds,
                        row.traffic_bytes,
                        row.latency_s,
                        row.bottleneck,
                        row.share_frac,
                    )
                    for row in layers
                ),
            ),
        ),
    )


def _roofline(graph: Graph, estimate: NetworkEstimate, machine: Machine) -> Series:
    cores = machine.cores_for(estimate.threads)
    peak, bandwidth = machine.peak_flops_per_s(cores), machine.memory_bandwidth(cores)
    points: dict[str, list[tuple[float, float, str]]] = {}
    for node, each in zip(graph.nodes, estimate.nodes, strict=True):
        if each.work.flops and each.work.traffic_bytes:
            points.setdefault(efficiency_class(graph, node), []).append(
                (
                    each.work.flops / each.work.traffic_bytes,
                    each.work.flops / each.estimate.latency_s,
                    node.module or node.name,
                )
            )
    intensities = [point[0] for group in points.values() for point in group] or [1.0]
    ridge = peak / bandwidth
    low, high = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 2
    return Series(
        title="Roofline",
        x_title="arithmetic intensity (flops per byte)",
        y_title="performance",
        y_unit="flops/s",
        x_scale="log",
        y_scale="log",
        lines=(
            Line(
                name=f"peak and memory of {machine.name}",
                x=(low, ridge, high),
                y=(low * bandwidth, peak, peak),
            ),
            *(
                Line(
                    name=name,
                    x=tuple(point[0] for point in group),
                    y=tuple(point[1] for point in group),
                    labels=tuple(point[2] for point in group),
                    mode="markers",
                )
                for name, group in sorted(points.items())
            ),
        ),
    )


def _memory(graph: Graph) -> Series:
    sizes = [float(size) for size in activation_sizes(graph)]
    return Series(
        title="Activations alive while each operator runs",
        x_title="operator, in order",
        y_title="alive",
        y_unit="bytes",
        lines=(
            Line(
                name="alive",
                x=tuple(float(index) for index in range(len(sizes))),
                y=tuple(sizes),
                labels=tuple(node.module or node.name for node in graph.nodes),
            ),
        ),
    )


def _equal(values: list[float]) -> Line:
    """Return the line on which both are the same."""
    ends = (min(values, default=1.0), max(values, default=1.0))
    return Line(name="equal", x=ends, y=ends)


def measured_section(
    graph: Graph, estimate: NetworkEstimate, measured: Profile, machine: Machine
) -> Section:
    """Return predicted beside measured, layer by layer."""
    layers = [
        row
        for row in rows(graph, estimate, measured.nodes_s)
        if row.latency_s and row.measured_s
    ]
    error = estimate.latency_s / measured.latency_s - 1
    return Section(
        name="measured",
        title="Predicted beside measured",
        text=f"Measured on this host with {measured.threads} thread(s), "
        f"{measured.clock}, median of {measured.calls} calls. "
        f"The prediction is {100 * error:+.0f} % off.",
        figures=(
            Bars(
                title="Whole network",
                value_title="time",
                value_unit="s",
                labels=("predicted", "measured"),
                parts=(
                    (
                        machine.name,
                        (estimate.latency_s, measured.latency_s),
                    ),
                ),
            ),
            Series(
                title="Every layer",
                x_title="measured",
                y_title="predicted",
                x_unit="s",
                y_unit="s",
                x_scale="log",
                y_scale="log",
                lines=(
                    _equal([row.latency_s for row in layers]),
                    Line(
                        name="layer",
                        x=tuple(row.measured_s or 0.0 for row in layers),
                        y=tuple(row.latency_s for row in layers),
                        labels=tuple(row.layer for row in layers),
                        mode="markers",
                    ),
                ),
            ),
        ),
    )
