"""The four questions of a study, answered for one network and objective.

They are those of "The Case for Adaptive Deep Neural Networks in Edge Computing" (arXiv
2008.01814), of whose text only the abstract is used: is the best cut sensitive to
conditions, how much, to one at a time or to several together, and does that depend on
the hardware. Measures are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.partition.conditions import Objective
from trimtab.partition.factors import FACTORS
from trimtab.partition.sensitivity import (
    HIGHER,
    Gain,
    Spread,
    anova,
    changes,
    elasticity,
    split_half,
    spread,
    tau,
)
from trimtab.partition.study import AXES, Outcome, Simulation

__all__ = ["PAIRS", "Answers", "Effect", "Machines", "Shares", "answers"]

PAIRS: Final = "pairs"
"""Name of what conditions explain two by two."""

_REPLICATES: Final = 4

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one factor does.

    Attributes:
        factor: of `AXES`.
        elasticity_fixed: d ln(cost) / d ln(level) with the cut of the baseline; None of
            what has no number: machines and codecs.
        elasticity_best: the same with the best cut everywhere.
        variance_fixed_frac: of ln(cost) with the cut of the baseline, by it alone.
        variance_best_frac: the same with the best cut everywhere.
        shared_best_frac: of the same, by it together with one other.
        changes_frac: how often the best cut differs from a level to the next.
        alone_ratio: cost at its worst level over that of the baseline, all others as
            there, with the best cut in both; None likewise.
        tau: of rankings of cuts, there and in the baseline; None likewise.
    """

    factor: str
    elasticity_fixed: Spread | None
    elasticity_best: Spread | None
    variance_fixed_frac: float
    variance_best_frac: float
    shared_best_frac: float
    changes_frac: float
    alone_ratio: float | None
    tau: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How often what is best, and what is lost without it.

    Attributes:
        edge_frac: of conditions in which all of it on the edge is best.
        cloud_frac: in which all of it in the cloud is.
        between_frac: in which a cut between them is.
        cuts: that are best somewhere.
        changed_frac: in which the best cut is not that of the baseline.
        stay_ratio: cost of the baseline's cut over the best one's.
        static_ratio: cost of the best single cut over the best one's.
        ends_ratio: cost of the better of both ends over the best one's, as far as they
            are allowed; None where neither is.
    """

    edge_frac: float
    cloud_frac: float
    between_frac: float
    cuts: int
    changed_frac: float
    stay_ratio: Spread
    static_ratio: Spread
    ends_ratio: Spread | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The same of one pair of machines.

    Attributes:
        edge: name.
        cloud: name.
        elasticities: mean, with the best cut, by factor.
        shares: what is best there.
    """

    edge: str
    cloud: str
    elasticities: dict[str, float]
    shares: Shares


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a study says of a network.

    Attributes:
        network: name of its graph.
        objective: what is best.
        points: costs that were worked out.
        effects: of each factor.
        pairs: shares of the variance of ln(cost), best cut, by two factors together,
            largest first.
        higher_frac: by three and more.
        conditions: shares of what varies on the same machines with the same codec, by
            each condition alone, by `PAIRS` of them, and by more (`HIGHER`).
        alone_product: of the ratios of conditions alone.
        together_ratio: with all conditions at their worst.
        shares: over all conditions, machines and codecs.
        codecs: the same of each codec.
        machines: the same of each pair of machines.
        machines_tau: of rankings of cuts in the baseline, between pairs of machines;
            None where there is one.
        alike: cuts that cannot be told apart from the best one, itself included.
        ambiguous_frac: how often there is another.
        edge_ratio: cost of the edge alone over the best one's; None where not allowed.
        cloud_ratio: of the cloud alone, likewise.
        compressed_ratio: of the cloud alone with a compressed input, likewise; below 1
            it is better than any cut.
        compressed_frac: how often it is; None likewise.
        gain: of the best cut over the baseline's, freed of the winner's curse.
    """

    network: str
    objective: Objective
    points: int
    effects: tuple[Effect, ...]
    pairs: tuple[tuple[str, str, float], ...]
    higher_frac: float
    conditions: dict[str, float]
    alone_product: float
    together_ratio: float
    shares: Shares
    codecs: dict[str, Shares]
    machines: tuple[Machines, ...]
    machines_tau: Spread | None
    alike: Spread
    ambiguous_frac: float
    edge_ratio: Spread | None
    cloud_ratio: Spread | None
    compressed_ratio: Spread | None
    compressed_frac: float | None
    gain: Gain


def answers(
    simulation: Simulation, outcome: Outcome, *, noise_frac: float, seed: int
) -> Answers:
    """Return the answers for a network.

    Args:
        simulation: it comes from.
        outcome: of an objective.
        noise_frac: deviation of a measurement, for what would be measured.
        seed: of that noise.
    """
    best_s = outcome.best_s
    parts = anova(np.log(best_s), AXES)
    pairs = sorted(
        ((*names, share) for names, share in parts.items() if len(names) == 2),
        key=lambda pair: -pair[2],
    )
    worst = _worst(simulation)
    alone = [_worse(simulation, best_s, {axis: worst[axis]}) for axis in range(6)]
    compressed = _ratio(outcome.compressed_s, best_s)
    everywhere = (slice(None),) * 3
    count = range(len(simulation.edges)), range(len(simulation.clouds))
    return Answers(
        network=simulation.space.graph.name,
        objective=outcome.objective,
        points=outcome.points,
        effects=_effects(simulation, outcome, parts, alone, worst),
        pairs=tuple(pairs),
        higher_frac=parts[(HIGHER,)],
        conditions=_within(best_s),
        alone_product=math.prod(alone),
        together_ratio=_worse(simulation, best_s, dict(enumerate(worst))),
        shares=_shares(simulation, outcome, everywhere),
        codecs={
            name: _shares(simulation, outcome, (slice(None), slice(None), at))
            for at, name in enumerate(simulation.codecs)
        },
        machines=tuple(
            _machines(simulation, outcome, edge, cloud)
            for edge in count[0]
            for cloud in count[1]
        ),
        machines_tau=_machines_tau(simulation, outcome.objective),
        alike=spread(outcome.alike.astype(np.float64)),
        ambiguous_frac=float((outcome.alike > 1).mean()),
        edge_ratio=_spread(_ratio(outcome.edge_s, best_s)),
        cloud_ratio=_spread(_ratio(outcome.cloud_s, best_s)),
        compressed_ratio=_spread(compressed),
        compressed_frac=None if compressed is None else float((compressed < 1).mean()),
        gain=split_half(
            outcome.drawn_s,
            outcome.drawn_stay,
            noise_frac=noise_frac,
            replicates=_REPLICATES,
            seed=seed,
        ),
    )


def _effects(
    simulation: Simulation,
    outcome: Outcome,
    parts: dict[tuple[str, ...], float],
    alone: list[float],
    worst: tuple[int, ...],
) -> tuple[Effect, ...]:
    grid, objective = simulation.grid, outcome.objective
    fixed = anova(np.log(outcome.stay_s), AXES)
    before = simulation.rankings(objective, grid.baseline)
    found = []
    for axis, name in enumerate(AXES):
        shared = math.fsum(
            share for names, share in parts.items() if len(names) == 2 and name in names
        )
        numbered = axis - (len(AXES) - len(FACTORS))
        slopes: tuple[Spread | None, Spread | None] = (None, None)
        ranks = None
        if numbered >= 0:
            levels = grid.levels[numbered]
            slopes = (
                elasticity(outcome.stay_s, axis, levels),
                elasticity(outcome.best_s, axis, levels),
            )
            there = list(grid.baseline)
            there[numbered] = worst[numbered]
            after = simulation.rankings(objective, tuple(there))
            ranks = float(tau(before, after).mean())
        found.append(
            Effect(
                factor=name,
                elasticity_fixed=slopes[0],
                elasticity_best=slopes[1],
                variance_fixed_frac=fixed[(name,)],
                variance_best_frac=parts[(name,)],
                shared_best_frac=shared,
                changes_frac=changes(_positions(simulation, outcome), axis)
                if outcome.best.shape[axis] > 1
                else 0.0,
                alone_ratio=alone[numbered] if numbered >= 0 else None,
                tau=ranks,
            )
        )
    return tuple(found)


def _within(best_s: Floats) -> dict[str, float]:
    """Return shares of the variance on each machines and codec, all pooled."""
    hardware = len(AXES) - len(FACTORS)
    found = dict.fromkeys((*FACTORS, PAIRS, HIGHER), 0.0)
    whole = 0.0
    for at in np.ndindex(*best_s.shape[:hardware]):
        logs = np.log(best_s[at])
        weight = float(logs.var())
        whole += weight
        for names, share in anova(logs, FACTORS).items():
            found[PAIRS if len(names) == 2 else names[0]] += weight * share
    return {name: each / whole if whole else 0.0 for name, each in found.items()}


def _positions(simulation: Simulation, outcome: Outcome) -> NDArray[np.int64]:
    """Return where the best cut is: the same cut with another codec is no change."""
    found: NDArray[np.int64] = simulation.space.positions[outcome.best]
    return found


def _worst(simulation: Simulation) -> tuple[int, ...]:
    """Return the level at which each condition is worst: the slowest uplink."""
    return (0, *(count - 1 for count in simulation.grid.shape[1:]))


def _worse(simulation: Simulation, costs: Floats, levels: dict[int, int]) -> float:
    """Return costs with some conditions at other levels over those of the baseline."""
    at = simulation.grid.baseline
    there = tuple(levels.get(axis, level) for axis, level in enumerate(at))
    flat = costs.reshape(-1, simulation.grid.count)
    shape = simulation.grid.shape
    ratio = flat[:, np.ravel_multi_index(there, shape)]
    ratio = ratio / flat[:, np.ravel_multi_index(at, shape)]
    return float(np.exp(np.log(ratio).mean()))


def _shares(
    simulation: Simulation, outcome: Outcome, at: tuple[slice | int, ...]
) -> Shares:
    space = simulation.space
    best, best_s = outcome.best[at], outcome.best_s[at]
    local = space.local[best]
    first = space.positions[best] == 0
    stay = space.positions[outcome.stay[at]]
    wider = stay.reshape(*stay.shape, *(1 for _ in FACTORS))
    ends = None if outcome.ends_s is None else outcome.ends_s[at]
    return Shares(
        edge_frac=float(local.mean()),
        cloud_frac=float((first & ~local).mean()),
        between_frac=float((~first & ~local).mean()),
        cuts=len(np.unique(space.positions[best])),
        changed_frac=float((space.positions[best] != wider).mean()),
        stay_ratio=spread(outcome.stay_s[at] / best_s, ratios=True),
        static_ratio=spread(outcome.static_s[at] / best_s, ratios=True),
        ends_ratio=_spread(_ratio(ends, best_s)),
    )


def _machines(
    simulation: Simulation, outcome: Outcome, edge: int, cloud: int
) -> Machines:
    axes = len(AXES) - len(FACTORS) - 2  # left of hardware: the codec
    best_s = outcome.best_s[edge, cloud]
    return Machines(
        edge=simulation.edges[edge].name,
        cloud=simulation.clouds[cloud].name,
        elasticities={
            name: elasticity(best_s, axes + number, levels).mean
            for number, (name, levels) in enumerate(
                zip(FACTORS, simulation.grid.levels, strict=True)
            )
        },
        shares=_shares(simulation, outcome, (edge, cloud)),
    )


def _machines_tau(simulation: Simulation, objective: Objective) -> Spread | None:
    costs = simulation.rankings(objective, simulation.grid.baseline)
    flat = costs.reshape(-1, costs.shape[-1])
    a, b = np.triu_indices(len(flat), k=1)
    return spread(tau(flat[a], flat[b])) if len(a) else None


def _ratio(costs: Floats | None, best_s: Floats) -> Floats | None:
    return None if costs is None else costs / best_s


def _spread(ratios: Floats | None) -> Spread | None:
    return None if ratios is None else spread(ratios, ratios=True)
