"""What a study has to show of all networks together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.bundle.section import Bars, Heatmap, Section, Table
from trimtab.partition.answers import PAIRS, Answers, Effect
from trimtab.partition.calibrate_points import Calibrated
from trimtab.partition.conditions import Objective
from trimtab.partition.factors import FACTORS
from trimtab.partition.sensitivity import HIGHER, Spread
from trimtab.partition.study import AXES
from trimtab.units import format_percent

__all__ = ["calibration_section", "objective_section"]

Floats = NDArray[np.float64]


def objective_section(objective: Objective, found: Sequence[Answers]) -> Section:
    """Return the answers of all networks for one objective.

    Args:
        objective: that they are for.
        found: answers, one for each network.
    """
    return Section(
        name=f"study-{objective}",
        title=f"All networks, best in {objective}",
        text=_words(objective, found),
        figures=(
            _best(found),
            _ratios(found),
            _variance(found),
            _conditions(found),
            _elasticities("best cut everywhere", found, fixed=False),
            _elasticities("cut of the baseline", found, fixed=True),
            Heatmap(
                title="How often the best cut differs from a level to the next",
                x_title="condition",
                y_title="network",
                value_title="share of neighbouring conditions",
                x=FACTORS,
                y=tuple(each.network for each in found),
                values=tuple(
                    tuple(_effect(each, name).changes_frac for name in FACTORS)
                    for each in found
                ),
                value_unit="frac",
            ),
            _corrected(found),
        ),
    )


def calibration_section(found: Sequence[Calibrated]) -> Section:
    """Return how well predictions meet points they were not fitted to."""
    return Section(
        name="study-calibration",
        title="Predicted against measured",
        text="Parameters are fitted to some of the measured points; errors are those "
        "of end-to-end latency at the others.",
        figures=(
            Table(
                title="Fit and error of each network",
                columns=("network", "edge scale", "cloud scale", "link scale", "link",
                         "fitted", "tested", "median error", "p90 error",
                         "median without fit", "noise of a repeat"),
                units=("", "", "", "", "s", "", "", "frac", "frac", "frac", "frac"),
                rows=tuple(
                    (x.network, round(x.fit.edge_scale, 3), round(x.fit.cloud_scale, 3),
                     round(x.fit.link_scale, 3), x.fit.link_s, x.fitted, x.tested,
                     x.median_error_frac, x.p90_error_frac, x.before_median_error_frac,
                     x.noise_frac)
                    for x in found
                ),
            ),
        ),
    )  # fmt: skip


def _effect(found: Answers, name: str) -> Effect:
    return found.effects[AXES.index(name)]


def _words(objective: str, found: Sequence[Answers]) -> str:
    """Return the four answers in sentences, each from the numbers of this study."""
    changed = sorted(each.shares.changed_frac for each in found)
    stay = max(found, key=lambda each: each.shares.stay_ratio.mean)
    leading: dict[str, int] = {}
    for each in found:
        name = max(FACTORS, key=lambda name: each.conditions[name])
        leading[name] = leading.get(name, 0) + 1
    order = sorted(leading.items(), key=lambda item: -item[1])
    alone = sorted(sum(each.conditions[name] for name in FACTORS) for each in found)
    taus = [each.machines_tau.mean for each in found if each.machines_tau is not None]
    text = (
        f"Is the best cut sensitive? It is not that of the baseline in "
        f"{format_percent(changed[0])} to {format_percent(changed[-1])} of the "
        f"conditions. How much? Staying with the baseline's cut costs up to "
        f"{stay.shares.stay_ratio.mean:.2f} times the best on average "
        f"({stay.network}). On the same machines, what explains most: "
        + ", ".join(f"{name} ({count} of {len(found)})" for name, count in order)
        + f".\n\nSingle or combined? Conditions each alone explain "
        f"{format_percent(alone[0])} to {format_percent(alone[-1])} of the variance of "
        "ln(cost) on the same machines; the rest takes two or more together."
    )
    if taus:
        text += (
            " Hardware? Kendall's tau of the rankings of cuts, between pairs of "
            f"machines in the baseline, is {min(taus):.2f} to {max(taus):.2f}."
        )
    wins = [each for each in found if each.compressed_frac is not None]
    if wins and objective in ("latency", "p95"):
        least = min(each.compressed_frac or 0.0 for each in wins)
        most = max(each.compressed_frac or 0.0 for each in wins)
        text += (
            "\n\nWithout any cut, an input that is compressed as an image and sent to "
            f"the cloud beats the best cut in {format_percent(least)} to "
            f"{format_percent(most)} of the conditions."
        )
    return text


def _best(found: Sequence[Answers]) -> Table:
    return Table(
        title="Where the best cut is",
        columns=("network", "edge only", "between", "cloud only", "cuts",
                 "changed", "ambiguous"),
        units=("", "frac", "frac", "frac", "", "frac", "frac"),
        rows=tuple(
            (x.network, x.shares.edge_frac, x.shares.between_frac, x.shares.cloud_frac,
             x.shares.cuts, x.shares.changed_frac, x.ambiguous_frac)
            for x in found
        ),
    )  # fmt: skip


def _ratios(found: Sequence[Answers]) -> Table:
    return Table(
        title="What other choices cost over the best cut, times",
        columns=("network", "baseline", "its p95", "static", "better end",
                 "edge only", "cloud only", "compressed"),
        units=("", "", "", "", "", "", "", ""),
        rows=tuple(
            (x.network, _mean(x.shares.stay_ratio), round(x.shares.stay_ratio.p95, 3),
             _mean(x.shares.static_ratio), _mean(x.shares.ends_ratio),
             _mean(x.edge_ratio), _mean(x.cloud_ratio), _mean(x.compressed_ratio))
            for x in found
        ),
    )  # fmt: skip


def _mean(each: Spread | None) -> float | None:
    return None if each is None else round(each.mean, 3)


def _variance(found: Sequence[Answers]) -> Bars:
    """Return shares of the variance: of hardware, conditions, and both together."""
    hardware = AXES[: len(AXES) - len(FACTORS)]

    def pairs(each: Answers, conditions: int) -> float:
        return sum(
            share
            for one, other, share in each.pairs
            if (one in FACTORS) + (other in FACTORS) == conditions
        )

    parts = [
        (name, tuple(_effect(each, name).variance_best_frac for each in found))
        for name in hardware
    ]
    conditions = tuple(
        sum(_effect(each, name).variance_best_frac for name in FACTORS)
        for each in found
    )
    return Bars(
        title="What explains the variance of ln(cost), best cut everywhere",
        value_title="share of the variance",
        labels=tuple(each.network for each in found),
        parts=(
            *parts,
            ("conditions, each alone", conditions),
            ("two conditions", tuple(pairs(each, 2) for each in found)),
            ("hardware and a condition", tuple(pairs(each, 1) for each in found)),
            ("two of hardware and codec", tuple(pairs(each, 0) for each in found)),
            ("three and more", tuple(each.higher_frac for each in found)),
        ),
        value_unit="frac",
    )


def _conditions(found: Sequence[Answers]) -> Bars:
    return Bars(
        title="The same of conditions alone, on the same machines with the same codec",
        value_title="share of the variance",
        labels=tuple(each.network for each in found),
        parts=tuple(
            (title, tuple(each.conditions[name] for each in found))
            for name, title in (
                *((name, name) for name in FACTORS),
                (PAIRS, "two together"),
                (HIGHER, "three and more"),
            )
        ),
        value_unit="frac",
    )


def _elasticities(which: str, found: Sequence[Answers], *, fixed: bool) -> Heatmap:
    def mean(effect: Effect) -> float:
        each = effect.elasticity_fixed if fixed else effect.elasticity_best
        return float("nan") if each is None else round(each.mean, 3) + 0.0  # no -0

    return Heatmap(
        title=f"Elasticity d ln(cost) / d ln(level), {which}",
        x_title="condition",
        y_title="network",
        value_title="elasticity",
        x=FACTORS,
        y=tuple(each.network for each in found),
        values=tuple(
            tuple(mean(_effect(each, name)) for name in FACTORS) for each in found
        ),
    )


def _corrected(found: Sequence[Answers]) -> Table:
    return Table(
        title="Gain of the best cut over the baseline's, as noisy measurements have it",
        columns=("network", "noise", "conditions", "naive", "corrected", "low", "high",
                 "true", "attainable"),
        units=("", "frac", "", "", "", "", "", "", ""),
        rows=tuple(
            (x.network, x.gain.noise_frac, x.gain.conditions, round(x.gain.naive, 3),
             round(x.gain.corrected.value, 3), round(x.gain.corrected.low, 3),
             round(x.gain.corrected.high, 3), round(x.gain.true, 3),
             round(x.gain.attainable, 3))
            for x in found
        ),
    )  # fmt: skip
