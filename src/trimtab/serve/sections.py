"""What reports show of serving: latency against load, predicted and observed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from trimtab.bundle.section import Line, Section, Series, Table
from trimtab.serve.capacity import Target
from trimtab.serve.host import Host
from trimtab.serve.schedule import Schedule
from trimtab.serve.simulate import simulate
from trimtab.serve.verdict import Report
from trimtab.serve.workload import Workload
from trimtab.units import format_duration

__all__ = ["Loaded", "curve_of", "observed_section", "predicted_section"]

_SHARES: Final = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)
_QUERIES: Final = 2_000  # of a simulation
_WARM: Final = 200  # of them
_PERCENTILES: Final = (0.5, 0.95, 0.99)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Latency at a rate, as a simulation has it.

    Attributes:
        rate_per_s: of queries.
        latency_s: percentile by name.
    """

    rate_per_s: float
    latency_s: dict[str, float]


def curve_of(
    host: Host,
    schedule: Schedule,
    work: Workload,
    rates: Sequence[float],
    *,
    seed: int,
) -> list[Loaded]:
    """Return what a simulation says of latency at some rates, on the same queries.

    Args:
        host: that serves.
        schedule: that it serves by.
        work: laws of the queries.
        rates: of queries, a second.
        seed: of the queries.

    Example:
        >>> from trimtab.serve.arrivals import parse_arrivals
        >>> from trimtab.serve.curves import ServiceCurve
        >>> from trimtab.serve.sizes import parse_sizes
        >>> curve = ServiceCurve(network="n", source="s", sizes=(1,), seconds=(0.001,))
        >>> work = Workload(
        ...     arrivals=parse_arrivals("constant"), sizes=parse_sizes("fixed:1")
        ... )
        >>> (found,) = curve_of(
        ...     Host(curve=curve, workers=1), Schedule(batch=1), work, [10.0], seed=0
        ... )
        >>> round(found.latency_s["p95"], 6)
        0.001
    """
    found = []
    for rate in rates:
        trace = work.trace(rate_per_s=rate, seed=seed, count=_QUERIES)
        outcome = simulate(host, schedule, trace)
        found.append(
            Loaded(
                rate_per_s=rate,
                latency_s={
                    f"p{100 * share:g}": outcome.quantile(share, skip=_WARM)
                    for share in _PERCENTILES
                },
            )
        )
    return found


def predicted_section(
    host: Host,
    schedule: Schedule,
    work: Workload,
    target: Target,
    *,
    capacity_per_s: float,
    at: Loaded,
    seed: int,
) -> Section:
    """Return the schedule and what is predicted of it, from the cost model alone.

    Args:
        host: its curve is the prior.
        schedule: that was chosen.
        work: laws of the queries.
        target: to keep.
        capacity_per_s: queries a second that are sustained within it.
        at: what is predicted at the rate that is planned for.
        seed: of the queries.
    """
    rates = [share * capacity_per_s for share in _SHARES]
    simulated = curve_of(host, schedule, work, rates, seed=seed)
    return Section(
        name="serve",
        title="Serving",
        text=f"Batches of {schedule.batch} sustain most within {target.name} of "
        f"{format_duration(target.latency_s)} in a simulation of {host.workers} "
        f"worker(s). Seconds of a batch are {host.curve.source}; nothing was run.",
        figures=(
            Table(
                title="Predicted",
                columns=("what", "rate", *at.latency_s),
                units=("", "1/s", *["s"] * len(at.latency_s)),
                rows=(
                    ("at the planned rate", at.rate_per_s, *at.latency_s.values()),
                    (
                        f"at most, within {target.name}",
                        capacity_per_s,
                        *simulated[-1].latency_s.values(),
                    ),
                ),
            ),
            _figure("Predicted latency against load", simulated, (), target),
        ),
    )


def observed_section(
    simulated: Sequence[Loaded],
    reports: Sequence[Report],
    target: Target,
    *,
    profiled: tuple[Sequence[int], Sequence[float], Sequence[float]],
) -> Section:
    """Return what was observed under load beside a simulation of profiled workers.

    Args:
        simulated: of the workers as they were profiled.
        reports: of runs under load.
        target: that was to be kept.
        profiled: batch sizes, their predicted and their measured seconds.
    """
    rows = [
        (
            "VALID" if each.valid else "INVALID",
            each.rate_per_s,
            *(each.latency_s[name].value for name in simulated[0].latency_s),
            "; ".join(each.reasons),
        )
        for each in reports
    ]
    sizes, predicted, measured = profiled
    return Section(
        name="served",
        title="Serving, observed",
        text="Queries came in an open loop: at times that were fixed before, whatever "
        "the server did. Worker processes and the load shared this host.",
        figures=(
            Table(
                title="Under load",
                columns=("verdict", "rate", *simulated[0].latency_s, "why"),
                units=("", "1/s", *["s"] * len(simulated[0].latency_s), ""),
                rows=tuple(rows),
            ),
            _figure("Latency against load", simulated, reports, target),
            Series(
                title="Seconds of a batch",
                x_title="items",
                y_title="time",
                x_scale="log",
                y_scale="log",
                y_unit="s",
                lines=(
                    Line(
                        name="predicted by the cost model",
                        x=tuple(map(float, sizes)),
                        y=tuple(predicted),
                        mode="lines+markers",
                    ),
                    Line(
                        name="measured, a worker alone",
                        x=tuple(map(float, sizes)),
                        y=tuple(measured),
                        mode="lines+markers",
                    ),
                ),
            ),
        ),
    )


def _figure(
    title: str, simulated: Sequence[Loaded], reports: Sequence[Report], target: Target
) -> Series:
    rates = tuple(each.rate_per_s for each in simulated)
    lines = [
        Line(
            name=f"{name}, simulated",
            x=rates,
            y=tuple(each.latency_s[name] for each in simulated),
            mode="lines+markers",
        )
        for name in simulated[0].latency_s
    ]
    lines.append(
        Line(
            name=f"target of {target.name}",
            x=(min(rates), max(rates)),
            y=(target.latency_s, target.latency_s),
        )
    )
    for name in simulated[0].latency_s if reports else ():
        seen = [(each.rate_per_s, each.latency_s[name].value) for each in reports]
        shown = [pair for pair in seen if math.isfinite(pair[1])]  # not answered: none
        lines.append(
            Line(
                name=f"{name}, observed",
                x=tuple(rate for rate, _ in shown),
                y=tuple(latency for _, latency in shown),
                mode="markers",
            )
        )
    return Series(
        title=title,
        x_title="queries a second",
        y_title="latency",
        y_scale="log",
        y_unit="s",
        lines=tuple(lines),
    )
