"""What a replay has to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.bundle.section import Line, Section, Series, Table
from trimtab.partition.conditions import Objective
from trimtab.partition.replay import Ran
from trimtab.partition.traces import Trace
from trimtab.units import format_percent

__all__ = ["replay_section"]

_POINTS: Final = 400  # of a curve
_DRAWN: Final = ("optimum", "static", "adaptive", "p95")


def replay_section(
    network: str, trace: Trace, found: Sequence[Ran], objective: Objective
) -> Section:
    """Return the table of policies, and costs and the link over time.

    Args:
        network: name of the graph.
        trace: that was replayed.
        found: what came of each policy.
        objective: that costs are in.
    """
    return Section(
        name="replay",
        title=f"{network} on {trace.name}",
        text=_words(found),
        figures=(
            _table(found, objective),
            _over_time(trace, found, objective),
            _link(trace),
        ),
    )


def _words(found: Sequence[Ran]) -> str:
    by_name = {each.policy: each for each in found}
    adaptive, static = by_name.get("adaptive"), by_name.get("static")
    if adaptive is None:
        return "Ratios are to the best cut of every request."
    text = (
        f"Adapting costs {format_percent(adaptive.ratio - 1)} more than the best cut "
        f"of every request, with {adaptive.switches} changes of the cut"
    )
    if static is not None:
        more = adaptive.mean_s / static.mean_s - 1
        text += (
            f"; that is {format_percent(abs(more))} "
            f"{'more' if more > 0 else 'less'} than the best single cut, "
            f"{static.cut}, known in hindsight"
        )
    return f"{text}."


def _table(found: Sequence[Ran], objective: Objective) -> Table:
    return Table(
        title="Policies",
        columns=("policy", "cut", f"mean {objective}", "p95", "over the optimum",
                 "changes", "sent", "probes", "late", "recovery"),
        units=("", "", "s", "s", "frac", "", "bytes", "bytes", "frac", "s"),
        rows=tuple(
            (x.policy, x.cut, x.mean_s, x.p95_s, x.ratio - 1, x.switches, x.sent_bytes,
             x.probe_bytes, x.late_frac, x.recovery_s)
            for x in found
        ),
    )  # fmt: skip


def _over_time(trace: Trace, found: Sequence[Ran], objective: Objective) -> Series:
    lines = []
    for each in found:
        if each.policy in _DRAWN:
            means = _means(each.costs_s)
            step = trace.length_s / len(means)
            x = tuple(step * (at + 0.5) for at in range(len(means)))
            lines.append(Line(name=each.policy, x=x, y=tuple(map(float, means))))
    return Series(
        title=f"{objective.capitalize()} over time, means of neighbouring requests",
        x_title="time (s)",
        y_title=objective,
        y_unit="s",
        y_scale="log",
        lines=tuple(lines),
    )


def _link(trace: Trace) -> Series:
    rates = _means(8 * trace.uplink_bytes_per_s / 1e6)
    step = trace.length_s / len(rates)
    return Series(
        title="Uplink over time",
        x_title="time (s)",
        y_title="uplink (Mbit/s)",
        y_scale="log",
        lines=(
            Line(
                name="uplink",
                x=tuple(step * (at + 0.5) for at in range(len(rates))),
                y=tuple(map(float, rates)),
            ),
        ),
    )


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    parts = np.array_split(values, min(len(values), _POINTS))
    return np.array([each.mean() for each in parts])
