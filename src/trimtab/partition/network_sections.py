"""What a study has to show of one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.bundle.section import Figure, Heatmap, Line, Section, Series, Table
from trimtab.partition.answers import Answers
from trimtab.partition.conditions import Objective
from trimtab.partition.factors import FACTORS, Grid, grid_of
from trimtab.partition.sensitivity import Spread
from trimtab.partition.study import AXES, Outcome, Simulation

__all__ = ["network_section"]

Floats = NDArray[np.float64]

_COLUMNS: Final = 25  # uplinks in a map
_TRIPS_S: Final = (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.15)
_PAIRS: Final = 5


def network_section(
    simulation: Simulation, results: Sequence[tuple[Outcome, Answers]]
) -> Section:
    """Return what was found of a network, for each objective.

    Args:
        simulation: that it comes from.
        results: outcome and answers of each objective.
    """
    figures: list[Figure] = []
    for outcome, found in results:
        named = outcome.objective
        figures += [
            _cut_map(simulation, named),
            _over_uplinks(simulation.grid, outcome),
            _effects_table(named, found),
            _pairs_table(named, found),
            _machines_map(named, found),
            _machines_table(named, found),
        ]
    name = simulation.space.graph.name
    first = results[0][1]
    text = (
        f"{len(set(simulation.space.positions.tolist()))} cuts, "
        f"{' and '.join(simulation.codecs)}. An elasticity or a share is of the cost "
        "with the cut of the baseline (fixed) or the best one (best); means of ratios "
        "are geometric."
    )
    for _, found in results:
        text += (
            f" With all conditions at their worst {found.objective} costs "
            f"{found.together_ratio:.3g} times the baseline; the product of each alone "
            f"is {found.alone_product:.3g}."
        )
    if first.machines_tau is not None:
        text += (
            f" Rankings of cuts on two pairs of machines agree with a Kendall's tau "
            f"of {first.machines_tau.mean:.2f} on average, best in {first.objective}."
        )
    return Section(name=f"study-{name}", title=name, text=text, figures=tuple(figures))


def _cut_map(simulation: Simulation, objective: Objective) -> Heatmap:
    """Return how much of the edge's work is before the best cut, by link."""
    space = simulation.space
    grid = replace(grid_of(_COLUMNS), rtt_s=_TRIPS_S)
    fine = Simulation(
        space, simulation.edges[:1], simulation.clouds[:1], grid, fit=simulation.fit
    )
    best = fine.outcome(objective).best[0, 0, 0, :, :, 0, 0, 0, 0]
    head = space.head_s(fine.edges[0].profiles[0])
    values = np.minimum(1.0, head / max(float(head[space.local].max()), 1e-12))[best].T
    uplinks = (8 * each / 1e6 for each in grid.uplink_bytes_per_s)
    return Heatmap(
        title=f"Best in {objective}: share of the work on the edge, "
        f"{fine.edges[0].name} and {fine.clouds[0].name}, unloaded, {fine.codecs[0]}",
        x_title="uplink (Mbit/s)",
        y_title="round trip (ms)",
        value_title="share of the edge's time",
        x=tuple(f"{float(f'{each:.2g}'):g}" for each in uplinks),
        y=tuple(f"{1e3 * each:g}" for each in _TRIPS_S),
        values=tuple(tuple(map(float, row)) for row in values),
        value_unit="frac",
    )


def _over_uplinks(grid: Grid, outcome: Outcome) -> Series:
    """Return what choices cost over the best, by uplink; all else averaged."""
    x = tuple(8 * each / 1e6 for each in grid.uplink_bytes_per_s)
    uplink = AXES.index("uplink")
    rest = tuple(axis for axis in range(len(AXES)) if axis != uplink)
    lines = []
    for name, costs in (
        ("cut of the baseline", outcome.stay_s),
        ("best static cut", outcome.static_s),
        ("better end", outcome.ends_s),
        ("edge only", outcome.edge_s),
        ("cloud only", outcome.cloud_s),
        ("cloud only, compressed input", outcome.compressed_s),
    ):
        if costs is not None:
            ratio: Floats = np.exp(np.log(costs / outcome.best_s).mean(axis=rest))
            lines.append(Line(name=name, x=x, y=tuple(map(float, ratio))))
    return Series(
        title=f"Cost over that of the best cut, best in {outcome.objective}",
        x_title="uplink (Mbit/s)",
        y_title="ratio",
        x_scale="log",
        y_scale="log",
        lines=tuple(lines),
    )


def _effects_table(objective: str, found: Answers) -> Table:
    def digits(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    return Table(
        title=f"What each does to {objective}",
        columns=("factor", "elasticity fixed", "best", "variance fixed", "best",
                 "in pairs", "changes", "worst alone", "tau"),
        units=("", "", "", "frac", "frac", "frac", "frac", "", ""),
        rows=tuple(
            (x.factor, _mean(x.elasticity_fixed), _mean(x.elasticity_best),
             x.variance_fixed_frac, x.variance_best_frac, x.shared_best_frac,
             x.changes_frac, digits(x.alone_ratio), digits(x.tau))
            for x in found.effects
        ),
    )  # fmt: skip


def _pairs_table(objective: str, found: Answers) -> Table:
    return Table(
        title=f"Pairs that explain most of {objective} beyond each alone",
        columns=("one", "other", "variance"),
        units=("", "", "frac"),
        rows=tuple(found.pairs[:_PAIRS]),
    )


def _machines_map(objective: str, found: Answers) -> Heatmap:
    return Heatmap(
        title=f"Elasticities of {objective} by hardware, best cut everywhere",
        x_title="condition",
        y_title="edge and cloud",
        value_title="elasticity",
        x=FACTORS,
        y=tuple(f"{x.edge}, {x.cloud}" for x in found.machines),
        values=tuple(
            tuple(round(x.elasticities[name], 3) for name in FACTORS)
            for x in found.machines
        ),
    )


def _machines_table(objective: str, found: Answers) -> Table:
    return Table(
        title=f"Where the best cut is by hardware, best in {objective}",
        columns=("edge", "cloud", "edge only", "between", "cloud only",
                 "changed", "baseline costs", "static costs"),
        units=("", "", "frac", "frac", "frac", "frac", "", ""),
        rows=tuple(
            (x.edge, x.cloud, x.shares.edge_frac, x.shares.between_frac,
             x.shares.cloud_frac, x.shares.changed_frac, _mean(x.shares.stay_ratio),
             _mean(x.shares.static_ratio))
            for x in found.machines
        ),
    )  # fmt: skip


def _mean(each: Spread | None) -> float | None:
    return None if each is None else round(each.mean, 3) + 0.0  # no -0
