"""What a division has to show."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.bundle.section import Bars, Line, Section, Series, Table
from trimtab.partition.conditions import Conditions, Objective
from trimtab.partition.plan import Plan
from trimtab.partition.quality import too_costly
from trimtab.partition.space import Choice, Space

__all__ = ["partition_section"]

_RATES = tuple(10 ** (5 + each / 6) / 8 for each in range(25))  # 0.1 to 1000 Mbit/s
_SHOWN = 10


def partition_section(
    space: Space, found: Plan, at: Conditions, objective: Objective
) -> Section:
    """Return the table of cuts, what they are compared with, and bandwidths.

    Args:
        space: of cuts.
        found: the plan.
        at: conditions it was made for.
        objective: that it is best in.
    """
    compared = [
        ("best", found.best),
        ("runner-up", found.runner_up),
        ("edge only", found.edge_only),
        ("cloud only", found.cloud_only),
        ("cloud only, compressed input", found.cloud_compressed),
    ]
    return Section(
        name="partition",
        title="Edge and cloud",
        text=f"Edge: {space.edge.machine} ({space.edge.source}). Cloud: "
        f"{space.cloud.machine} ({space.cloud.source}). Link: "
        f"{8 * at.uplink_bytes_per_s / 1e6:.3g} Mbit/s up, round trip "
        f"{1e3 * at.rtt_s:.3g} ms. Best in {objective}: {found.why}.",
        figures=(
            _table("What it is compared with", [
                (name, each) for name, each in compared if each is not None]),
            _bars(found.choices[:_SHOWN]),
            _table("Cuts", [("", each) for each in found.choices[: 2 * _SHOWN]]),
            *([_qualities(space)] if space.quality else []),
            _over_rates(space, at),
        ),
    )  # fmt: skip


def _table(title: str, rows: Sequence[tuple[str, Choice]]) -> Table:
    return Table(
        title=title,
        columns=("", "cut", "codec", "sent", "edge", "link", "cloud", "latency", "p95",
                 "requests/s"),
        units=("", "", "", "bytes", "s", "s", "s", "s", "s", ""),
        rows=tuple(
            (name, each.name, each.codec, each.bytes, each.edge_s, each.link_s,
             each.cloud_s, each.latency_s, each.p95_s, round(each.throughput_per_s, 1))
            for name, each in rows
        ),
    )  # fmt: skip


def _qualities(space: Space) -> Table:
    costly = too_costly(space.quality, space.limits.accuracy_loss_frac)
    return Table(
        title=f"What codecs do, on {space.quality[0].examples} examples",
        columns=("position", "codec", "compressed to", "same answer", "accuracy lost",
                 "deviation", "allowed"),
        units=("", "", "frac", "frac", "frac", "frac", ""),
        rows=tuple(
            (each.position, each.codec, each.ratio, each.agreement_frac,
             each.accuracy_loss_frac, each.error_frac,
             (each.position, each.codec) not in costly)
            for each in space.quality
        ),
    )  # fmt: skip


def _bars(choices: Sequence[Choice]) -> Bars:
    return Bars(
        title="Where the time goes",
        value_title="latency",
        labels=tuple(f"{each.name}, {each.codec}" for each in choices),
        parts=(
            ("edge", tuple(each.edge_s for each in choices)),
            ("link", tuple(each.link_s for each in choices)),
            ("cloud", tuple(each.cloud_s for each in choices)),
        ),
        value_unit="s",
    )


def _over_rates(space: Space, at: Conditions) -> Series:
    """Return latencies over the bandwidth: of the ends, and of the best cut."""
    from dataclasses import replace

    rows = []
    for rate in _RATES:
        there = replace(at, uplink_bytes_per_s=rate)
        rows.append(space.costs(there, "latency"))
    lines = []
    local = [index for index, here in enumerate(space.local) if here]
    remote = [index for index, where in enumerate(space.positions) if where == 0]
    x = tuple(8 * rate / 1e6 for rate in _RATES)
    if local:
        alone = tuple(float(row[local[0]]) for row in rows)
        lines.append(Line(name="edge only", x=x, y=alone))
    if remote:
        least = tuple(float(row[remote].min()) for row in rows)
        lines.append(Line(name="cloud only", x=x, y=least))
    lines.append(Line(name="best cut", x=x, y=tuple(float(row.min()) for row in rows)))
    return Series(
        title="Latency over the bandwidth",
        x_title="uplink (Mbit/s)",
        y_title="latency",
        x_scale="log",
        y_scale="log",
        y_unit="s",
        lines=tuple(lines),
    )
