"""Why a number of a bundle is what it is; over 400 lines: each kind has its parts.

Everything is computed again from the graph, the machine and the files in the bundle, so
that an explanation and the number it explains cannot drift apart: where they differ,
that is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from trimtab.bundle import observations
from trimtab.bundle.store import Bundle
from trimtab.cost.estimate import Limit, NodeEstimate
from trimtab.cost.latency import Roofline, efficiency_class
from trimtab.cost.work import RULES, Work, work_of
from trimtab.errors import UsageError
from trimtab.graph.liveness import activations, peak_activation
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import ConstantKind, Graph, Node, TensorType
from trimtab.hardware.load import machine as machine_of
from trimtab.hardware.machine import Machine, numbers_of
from trimtab.pipeline.bought import FILE, QUANTITIES
from trimtab.pipeline.observed import correction
from trimtab.runtime import record as records
from trimtab.runtime.store import PROGRAM
from trimtab.units import format_bytes, format_duration, format_value

__all__ = ["Figure", "Part", "Why", "quantities", "why"]

_MACHINE: Final = "machine.toml"
_MOST_JSON: Final = 1 << 24
_TOLERANCE: Final = 1e-9

_UNITS: Final[Mapping[str, str]] = {
    **{name: unit for name, (_, unit) in QUANTITIES.items()},
    "flops": "count",
    "traffic_bytes": "bytes",
    "nodes": "count",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One summand, or one ground, of a number.

    Attributes:
        what: layer, tensor or stage.
        value: its share of the number, in the unit of the whole; None of a ground.
        rule: that it follows by.
        inputs: of the rule.
    """

    what: str
    value: float | None
    rule: str
    inputs: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of the machine that something rests on.

    Attributes:
        path: dotted, as in the machine's file.
        value: in SI base units.
        origin: how it came to be known.
        source: where.
    """

    path: str
    value: float
    origin: str
    source: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Where a number comes from.

    Attributes:
        quantity: its name in the manifest.
        value: as the manifest has it.
        unit: of it.
        rule: how the parts make it, a sentence.
        parts: in the order of the network, or of the stages.
        figures: of the machine.
        notes: what was observed, and what cannot be explained.
    """

    quantity: str
    value: float
    unit: str
    rule: str
    parts: tuple[Part, ...]
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


def quantities(bundle: Bundle) -> tuple[str, ...]:
    """Return the numbers of a bundle that can be asked for."""
    return tuple(bundle.manifest.values)


def why(bundle: Bundle, quantity: str) -> Why:
    """Return where a number of a bundle comes from.

    Args:
        bundle: that was read.
        quantity: its name in the manifest, or the beginning of it: ``latency``.

    Raises:
        UsageError: the bundle has no such number, or several.
        TrimtabError: the bundle is damaged.
    """
    name = _named(bundle, quantity)
    value = bundle.manifest.values[name]
    found = _explained(bundle, name, value)
    if found.parts and all(part.value is not None for part in found.parts):
        total = math.fsum(part.value or 0.0 for part in found.parts)
        if not math.isclose(total, value, rel_tol=_TOLERANCE):
            note = (
                f"its parts sum up to {format_value(total, found.unit)}: the run asked "
                "another model, or another version"
            )
            return _with(found, (*found.notes, note))
    return found


def _with(found: Why, notes: tuple[str, ...]) -> Why:
    return Why(
        quantity=found.quantity, value=found.value, unit=found.unit, rule=found.rule,
        parts=found.parts, figures=found.figures, notes=notes,
    )  # fmt: skip


def _named(bundle: Bundle, quantity: str) -> str:
    known = quantities(bundle)
    if quantity in known:
        return quantity
    found = [each for each in known if quantity and each.startswith(quantity)]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"why {quantity!r}",
        rule=f"it could be {' or '.join(found)}"
        if found
        else "the bundle has no such number",
        where=str(bundle.path),
        remedy=f"ask for one of {', '.join(known)}",
    )


def _explained(bundle: Bundle, name: str, value: float) -> Why:
    unit = _UNITS.get(name, "")
    if name == "latency_s":
        compiled = PROGRAM in bundle.manifest.files
        return (_of_kernels if compiled else _of_operators)(bundle, value)
    if name in ("parameters", "weight_bytes"):
        return _of_weights(bundle.graph, name, value, unit)
    if name in ("multiply_adds", "flops", "traffic_bytes"):
        return _of_work(bundle.graph, name, value, unit)
    if name == "peak_bytes":
        return _of_memory(bundle.graph, value)
    if name == "nodes":
        return Why(
            quantity=name, value=value, unit=unit, parts=(),
            rule="operators of the captured graph: trimtab show --graph",
        )  # fmt: skip
    return _of_stage(bundle, name, value, unit)


# ------------------------------------------------------------------- latency


def _of_operators(bundle: Bundle, value: float) -> Why:
    """Explain the time that the roofline gives PyTorch."""
    graph, manifest = bundle.graph, bundle.manifest
    machine = _machine(bundle)
    estimate = Roofline().estimate(graph, machine, manifest.threads)
    parts, used = [], set[str]()
    for node, each in zip(graph.nodes, estimate.nodes, strict=True):
        bound = each.estimate.bottleneck
        used |= _paths(graph, node, each, machine)
        parts.append(
            Part(
                what=_place(node),
                value=each.estimate.latency_s,
                rule=f"{bound} bounds it: "
                + _limits(each.estimate.limits_s, each.estimate.overhead_s),
                inputs=_work(each.work),
            )
        )
    return Why(
        quantity="latency_s",
        value=value,
        unit="s",
        rule="the sum over operators, each the largest of its limits and what it takes "
        f"to start it (roofline of PyTorch on {machine.title}, {manifest.threads} "
        "thread(s))",
        parts=tuple(parts),
        figures=_figures(machine, used),
        notes=_observed(bundle, code=False),
    )


def _of_kernels(bundle: Bundle, value: float) -> Why:
    """Explain the time that the compiler predicts of its kernels."""
    machine = _machine(bundle)
    report = records.loads(
        bundle.content(PROGRAM, records.MAX_BYTES), str(bundle.path / PROGRAM)
    ).report
    parts, used = [], {"core.frequency_hz", "core.simd_bits", "core.fma_units"}
    for task in report["tasks"]:
        limits = {name: float(each) for name, each in task["limits_s"].items()}
        rest = task["latency_s"] - max(limits.values(), default=0.0)
        for limit in limits:
            used |= _LEVELS.get(str(limit), set())
        words = " ".join(f"{k}={v}" for k, v in (task["schedule"] or {}).items())
        parts.append(
            Part(
                what=str(task["module"] or ", ".join(task["nodes"])),
                value=float(task["latency_s"]),
                rule=f"{task['bottleneck']} bounds it: {_limits(limits, rest)}",
                inputs=f"{task['family']} {words}".strip(),
            )
        )
    return Why(
        quantity="latency_s",
        value=value,
        unit="s",
        rule="the sum over kernels of the smallest batch size, each by the closed form "
        f"of its schedule and its machine code on {machine.title}; none was run "
        "(trimtab compile --explain shows one kernel whole)",
        parts=tuple(parts),
        figures=_figures(machine, used),
        notes=_observed(bundle, code=True),
    )


def _limits(limits: Mapping[Any, float], overhead_s: float) -> str:
    pairs = sorted(limits.items(), key=lambda pair: -pair[1])
    words = [f"{name} {format_duration(each)}" for name, each in pairs if each]
    if overhead_s > 0:
        words.append(f"plus {format_duration(overhead_s)} to start it")
    return ", ".join(words) or "nothing moves"


_LEVELS: Final[Mapping[str, set[str]]] = {
    "L2": {"caches.2.bandwidth_bytes_per_s", "caches.2.size_bytes"},
    "L3": {"caches.3.bandwidth_bytes_per_s", "caches.3.size_bytes"},
    "memory": {
        "memory.core_bandwidth_bytes_per_s",
        "memory.bandwidth_bytes_per_s",
    },
    "cold weights": {
        "caches.2.bandwidth_bytes_per_s",
        "caches.3.bandwidth_bytes_per_s",
        "memory.core_bandwidth_bytes_per_s",
    },
}
# What each limit is made of, beside the work.


def _paths(graph: Graph, node: Node, each: NodeEstimate, machine: Machine) -> set[str]:
    """Return the numbers of a machine that the estimate of a node rests on."""
    found = {"dispatch_s"}
    for limit in each.estimate.limits_s:
        found |= _LEVELS.get(str(limit), set())
    if Limit.COMPUTE in each.estimate.limits_s:
        found |= {"core.frequency_hz", "core.simd_bits", "core.fma_units"}
        found.add(f"efficiency_frac.{efficiency_class(graph, node)}")
    if OPERATORS[node.op].family is Family.CONVOLUTION:
        found |= {"convolution_setup_s", "repack_bytes_per_s"}
    return found & set(numbers_of(machine))


def _figures(machine: Machine, used: set[str]) -> tuple[Figure, ...]:
    numbers = numbers_of(machine)
    found = []
    for path in sorted(used & set(numbers)):
        source = machine.sources.get(path)
        found.append(
            Figure(
                path=path,
                value=float(numbers[path]),
                origin="unknown" if source is None else str(source.origin),
                source="" if source is None else source.text,
            )
        )
    return tuple(found)


def _machine(bundle: Bundle) -> Machine:
    """Return the machine of a bundle; by its name where it has no description."""
    if _MACHINE in bundle.manifest.files:
        bundle.content(_MACHINE, _MOST_JSON)  # checked
        return machine_of(bundle.path / _MACHINE)
    return machine_of(bundle.manifest.machine)


def _observed(bundle: Bundle, *, code: bool) -> tuple[str, ...]:
    """Return what was observed of the bundle, and what that makes of the estimate."""
    seen = observations.read(bundle.path)
    value = bundle.manifest.values["latency_s"]
    notes = []
    for host in dict.fromkeys(each.host for each in seen):
        found = correction(seen, host=host, threads=bundle.manifest.threads, code=code)
        if found is not None:
            notes.append(
                f"corrected it is {format_duration(found.factor * value)}: {found}"
            )
    if not notes:
        what = "machine code" if code else "network in PyTorch"
        notes.append(f"no observation of its {what} corrects it")
    return tuple(notes)


# -------------------------------------------------------- weights, work, memory


def _of_weights(graph: Graph, name: str, value: float, unit: str) -> Why:
    in_bytes = name == "weight_bytes"
    return Why(
        quantity=name,
        value=value,
        unit=unit,
        rule="the sum over parameters, buffers and constants of their bytes"
        if in_bytes
        else "the sum over parameters of their elements, tied ones once",
        parts=tuple(
            Part(
                what=each.shares or each.name,
                value=float(each.type.size_bytes if in_bytes else each.type.elements),
                rule="product of its shape"
                + (" times bytes of its type" if in_bytes else ""),
                inputs=_type(each.type),
            )
            for each in graph.tensors
            if in_bytes or each.kind is ConstantKind.PARAMETER
        ),
    )


def _of_work(graph: Graph, name: str, value: float, unit: str) -> Why:
    parts = []
    for node in graph.nodes:
        amount = float(getattr(work_of(graph, node), name))
        if not amount:
            continue
        rule = RULES.get(node.op)
        words = ((rule.__doc__ if rule is not None else "") or "").strip()
        parts.append(
            Part(
                what=_place(node),
                value=amount,
                rule=f"{node.op}: {words.splitlines()[0]}" if words else node.op,
                inputs=_shapes(graph, node),
            )
        )
    return Why(
        quantity=name,
        value=value,
        unit=unit,
        rule="the sum over operators, each by its rule in trimtab/cost/rules.py",
        parts=tuple(parts),
    )


def _of_memory(graph: Graph, value: float) -> Why:
    peak = peak_activation(graph)
    if not graph.nodes:
        return Why(
            quantity="peak_bytes", value=value, unit="bytes", rule="its inputs",
            parts=(),
        )  # fmt: skip
    index = [node.name for node in graph.nodes].index(peak.node)
    places = {node.name: _place(node) for node in graph.nodes}
    alive = sorted(activations(graph)[index], key=lambda ref: (ref.name, ref.output))
    return Why(
        quantity="peak_bytes",
        value=value,
        unit="bytes",
        rule=f"what is alive while {_place(graph.nodes[index])} runs, the moment when "
        "most is",
        parts=tuple(
            Part(
                what=places.get(ref.name, ref.name),
                value=float(graph.type_of(ref).size_bytes),
                rule="read or made then, or needed later",
                inputs=_type(graph.type_of(ref)),
            )
            for ref in alive
        ),
    )


# --------------------------------------------------------------- found by stages


def _of_stage(bundle: Bundle, name: str, value: float, unit: str) -> Why:
    """Explain what no graph says: which stage found it, from what."""
    manifest = bundle.manifest
    tables = manifest.plan.get("stages", {})
    finder = _finder(bundle, name)
    parts = []
    for stage, sentence in manifest.stages:
        table = tables.get(stage, {}) if isinstance(tables, Mapping) else {}
        settings = ", ".join(f"{key} = {each!r}" for key, each in table.items())
        said = "found by" if stage == finder else "before it" if finder else "stage"
        parts.append(
            Part(
                what=stage,
                value=None,
                rule=f"{said}: {sentence}",
                inputs=settings or "defaults",
            )
        )
        if stage == finder:
            break
    notes = [
        f"{what} {digest[:16]} (SHA-256)" for what, digest in manifest.inputs.items()
    ]
    notes.append(f"seed {manifest.seed}")
    seen = [
        (each, found)
        for each in observations.read(bundle.path)
        if (found := each.values.get(name)) is not None
    ]
    notes += [
        f"observed {format_value(found, unit)} on host {each.host}, {each.date}"
        for each, found in seen[-3:]
    ]
    return Why(
        quantity=name,
        value=value,
        unit=unit,
        rule=f"found by stage [{finder}]" if finder else "found by a stage of the run",
        parts=tuple(parts),
        notes=tuple(notes),
    )


def _finder(bundle: Bundle, name: str) -> str:
    """Return the last stage that found a number; "" if unknown."""
    if FILE not in bundle.manifest.files:
        return ""
    stands: Sequence[Any] = json.loads(bundle.content(FILE, _MOST_JSON))
    found = [each["stage"] for each in stands if name in each.get("found", ())]
    return str(found[-1]) if found else ""


# ------------------------------------------------------------------------- words


def _place(node: Node) -> str:
    return node.module or node.name


def _type(kind: TensorType) -> str:
    return f"{kind.dtype}[{','.join(map(str, kind.shape))}]"


def _shapes(graph: Graph, node: Node) -> str:
    given = ", ".join(_type(graph.type_of(ref)) for ref in dict.fromkeys(node.inputs))
    made = ", ".join(_type(kind) for kind in node.outputs if kind is not None)
    return f"{given} -> {made}"


def _work(work: Work) -> str:
    return (
        f"{format_value(work.flops, 'count')} flops, reads "
        f"{format_bytes(work.read_bytes)} and {format_bytes(work.weight_bytes)} of "
        f"weights, writes {format_bytes(work.write_bytes)}"
    )
