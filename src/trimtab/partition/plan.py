"""Which cut and codec is best under given conditions, beside what it must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from trimtab.graph.types import Graph
from trimtab.partition.conditions import Conditions, Objective
from trimtab.partition.cuts import least_latency
from trimtab.partition.space import Choice, Space, private_position
from trimtab.units import format_duration, format_percent

__all__ = ["IMAGE_BYTES", "Plan", "image_bytes", "plan"]

IMAGE_BYTES: Final = 0.2
"""Bytes a number of an image as JPEG: 30 kB of 224 x 224 in three colours."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is best, and what it is compared with.

    Attributes:
        objective: that is best.
        best: of all that keep to the limits.
        runner_up: the best at another cut, or None.
        edge_only: without a link.
        cloud_only: with the input as it is.
        cloud_compressed: with the input compressed as images are, which needs no cut.
        choices: all that keep to the limits, best first.
        bound_s: that no division of the operators stays below, prefix or not, with
            values as they are computed; None for other objectives than latency, and
            under limits of bytes.
        why: in words.
    """

    objective: Objective
    best: Choice
    runner_up: Choice | None
    edge_only: Choice | None
    cloud_only: Choice | None
    cloud_compressed: Choice | None
    choices: tuple[Choice, ...]
    bound_s: float | None
    why: str


def image_bytes(graph: Graph) -> int | None:
    """Return bytes of the input as a compressed image; None where it is no image."""
    tensors = [leaf.type for leaf in graph.inputs if leaf.type]
    if len(tensors) != 1:
        return None
    shape = tensors[0].shape
    if len(shape) != 4 or shape[1] not in (1, 3):
        return None
    return round(IMAGE_BYTES * tensors[0].elements)


def plan(
    space: Space,
    at: Conditions,
    *,
    objective: Objective = "latency",
    compressed_input_bytes: int | None = None,
) -> Plan:
    """Return the best cut and codec, and what it is compared with.

    Args:
        space: of cuts and codecs.
        at: conditions.
        objective: what is to be best.
        compressed_input_bytes: of the input as an image would be sent; None where it is
            no image.
    """
    costs = space.costs(at, objective)
    order = np.argsort(costs, kind="stable")
    choices = tuple(space.choice(int(index), at) for index in order)
    best = choices[0]
    other = [each for each in choices if each.cut.position != best.cut.position]
    edge_only = next((each for each in choices if each.name == "edge only"), None)
    raw = [
        each for each in choices if each.name == "cloud only" and each.codec == "raw"
    ]
    cloud_only = raw[0] if raw else None
    compressed = None
    if cloud_only is not None and compressed_input_bytes is not None:
        compressed = _with_bytes(cloud_only, compressed_input_bytes, at)
    why = _why(best, other[0] if other else None, objective, at)
    if compressed is not None and _value(compressed, objective) < _value(
        best, objective
    ):
        why += (
            "; without any cut, an input compressed as images are is better still: "
            f"{format_duration(compressed.latency_s)}"
        )
    return Plan(
        objective=objective,
        best=best,
        runner_up=other[0] if other else None,
        edge_only=edge_only,
        cloud_only=cloud_only,
        cloud_compressed=compressed,
        choices=choices,
        bound_s=_bound(space, at) if objective == "latency" else None,
        why=why,
    )


def _bound(space: Space, at: Conditions) -> float | None:
    """Return what no division stays below: a minimum cut, and the edge alone."""
    limits = space.limits
    if (limits.most_bytes, limits.edge_bytes, limits.cloud_bytes) != (None,) * 3:
        return None
    found = least_latency(
        space.graph,
        at.edge_slowdown * space.edge.seconds,
        at.cloud_slowdown * space.cloud.seconds,
        1.0 / at.uplink_bytes_per_s,
        forced=private_position(space.graph, limits.private_layers),
    )
    divided = found.latency_s + at.sent_s(0) + at.queue_s
    divided += space.result_bytes / at.downlink_bytes_per_s
    alone = at.edge_slowdown * float(space.edge.seconds.sum())
    return min(divided, alone)


def _with_bytes(choice: Choice, size: int, at: Conditions) -> Choice:
    """Return a choice that sends another number of bytes, coding left out."""
    saved = (choice.bytes - size) / at.uplink_bytes_per_s
    low = (choice.bytes - size) * at.fading / at.uplink_bytes_per_s
    link = choice.link_s - saved
    busy = max(choice.edge_s, link - at.rtt_s, choice.cloud_s, 1e-12)
    return Choice(
        name="cloud only, compressed input",
        cut=choice.cut,
        codec="image",
        bytes=size,
        edge_s=choice.edge_s,
        link_s=link,
        cloud_s=choice.cloud_s,
        latency_s=choice.latency_s - saved,
        p95_s=choice.p95_s - low,
        throughput_per_s=1.0 / busy,
        energy_s=choice.energy_s - saved,
    )


def _value(choice: Choice, objective: Objective) -> float:
    return {
        "latency": choice.latency_s,
        "p95": choice.p95_s,
        "throughput": 1.0 / choice.throughput_per_s,
        "energy": choice.energy_s,
    }[objective]


def _why(
    best: Choice, other: Choice | None, objective: Objective, at: Conditions
) -> str:
    parts = {"edge": best.edge_s, "link": best.link_s, "cloud": best.cloud_s}
    largest = max(parts, key=lambda name: parts[name])
    text = (
        f"{best.name}: {format_duration(best.edge_s)} on the edge, "
        f"{format_duration(best.link_s)} on the link, "
        f"{format_duration(best.cloud_s)} in the cloud, so that the {largest} decides"
    )
    if other is None:
        return f"{text}; no other cut keeps to the limits"
    ratio = _value(other, objective) / max(_value(best, objective), 1e-12)
    text += f"; {other.name} is {format_percent(ratio - 1)} worse in {objective}"
    rate = _break_even(best, other, at) if objective == "latency" else None
    if rate is None:
        return text
    where = "below" if rate < at.uplink_bytes_per_s else "above"
    return f"{text}, and better {where} {8 * rate / 1e6:.3g} Mbit/s"


def _break_even(best: Choice, other: Choice, at: Conditions) -> float | None:
    """Return the goodput, bytes/s, at which two choices take as long, if they do."""
    more = best.bytes - other.bytes
    rest = (other.latency_s - best.latency_s) + more / at.uplink_bytes_per_s
    return more / rest if rest * more > 0 else None
