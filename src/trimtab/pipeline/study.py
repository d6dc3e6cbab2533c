"""`trimtab partition study`; over 400 lines: what is studied, and what is written.

Networks and machines in, a folder with answers out. Nothing is written before all is
worked out; each file is replaced whole. The same plan and seed give the same bytes,
whatever the machine it runs on (but for ``this``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from trimtab._version import __version__
from trimtab.bundle.section import Section
from trimtab.cost.latency import Roofline
from trimtab.errors import UsageError
from trimtab.graph.store import digest
from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS
from trimtab.partition import calibrate_points
from trimtab.partition.answers import Answers, answers
from trimtab.partition.calibrate_points import Calibrated, Point, calibrated
from trimtab.partition.conditions import Limits, Objective
from trimtab.partition.cuts import candidates
from trimtab.partition.factors import FACTORS, Grid, grid_of, under_pressure
from trimtab.partition.network_sections import network_section
from trimtab.partition.plan import image_bytes
from trimtab.partition.space import Space, private_position
from trimtab.partition.study import Outcome, Side, Simulation
from trimtab.partition.study_files import arrays, require_folder, write
from trimtab.partition.study_sections import calibration_section, objective_section
from trimtab.pipeline.network import open_graph
from trimtab.pipeline.profiles import profile_of
from trimtab.report.html import render

__all__ = ["CLOUDS", "EDGES", "StudyPlan", "StudyResult", "study"]

EDGES: Final = ("raspberry-pi-4", "jetson-xavier", "graviton2", "skylake-sp")
"""Edges by default: a board, one with a GPU, and two servers near the edge."""

CLOUDS: Final = ("turin", "t4", "h100")
"""Clouds by default: a CPU, a small GPU and a large one."""

NOISE_FRAC: Final = 0.05
"""Of a measurement, where neither points nor the user say."""

_LEAST_UPLINKS: Final = 5
_MOST_UPLINKS: Final = 10_001

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """What is to be studied.

    Attributes:
        networks: as `trimtab.pipeline.network.open_graph` takes them.
        inputs: of each, as text; their own where empty.
        edges: machines or profiles, as `trimtab.pipeline.profiles.profile_of` takes
            them.
        clouds: the same.
        objectives: what is to be best.
        codecs: that are compared.
        private_layers: that must run on the edge.
        threads: that one call may use.
        points: to work out at least, of each objective.
        noise_frac: deviation of a measurement; None for that of the measured points.
        calibration: file of measured points, or None.
        measured_on: the machine they were measured on, as in `edges`.
        seed: of all that is drawn.
    """

    networks: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    edges: tuple[str, ...] = EDGES
    clouds: tuple[str, ...] = CLOUDS
    objectives: tuple[Objective, ...] = ("latency", "throughput")
    codecs: tuple[str, ...] = ("raw", "int8")
    private_layers: int = 0
    threads: int = 4
    points: int = 8_000_000
    noise_frac: float | None = None
    calibration: Path | None = None
    measured_on: str = THIS
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What a study found, and how long it took.

    Attributes:
        record: content of ``study.json``.
        found: answers of every network and objective.
        calibrations: of the networks with measured points.
        points: costs that were worked out, over all objectives.
        prepare_cpu_s: processor time to capture networks and profile machines.
        simulate_cpu_s: to work out all points.
        answer_cpu_s: for statistics.
    """

    record: dict[str, Any]
    found: tuple[Answers, ...]
    calibrations: tuple[Calibrated, ...]
    points: int
    prepare_cpu_s: float
    simulate_cpu_s: float
    answer_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    graph: Graph
    space: Space
    edges: tuple[Side, ...]
    clouds: tuple[Side, ...]
    calibrated: Calibrated | None


def study(
    plan: StudyPlan,
    folder: Path,
    progress: Progress,
    executor: Executor | None = None,
) -> StudyResult:
    """Answer the questions for every network, and write files into a folder.

    Args:
        plan: what is to be studied.
        folder: is made; what an earlier study left there is replaced.
        progress: told a piece of work, the share that is done and a text.
        executor: that networks are simulated by, such as that of a cluster; this
            process, one after the other, by default.

    Raises:
        UsageError: nothing to study, or a folder that has something else.
        DataError: a profile or measured points that do not fit.
        TrimtabError: what opening a network or a machine raises.
    """
    _require(plan, folder)
    points = (
        calibrate_points.read(plan.calibration) if plan.calibration is not None else ()
    )
    begun = time.process_time()
    prepared = []
    for number, spec in enumerate(plan.networks):
        progress("capture", number / len(plan.networks), spec)
        prepared.append(_prepare(spec, plan, points))
    _require_names(prepared)
    progress("capture", 1.0, f"{len(prepared)} networks")
    grid = _grid(plan, prepared)
    ready = time.process_time()
    simulations = [_simulation(each, grid) for each in prepared]
    simulate_cpu_s, answer_cpu_s = time.process_time() - ready, 0.0
    results: list[list[tuple[Outcome, Answers]]] = []
    asked = [
        (plan, simulation, _noise(plan, each))
        for each, simulation in zip(prepared, simulations, strict=True)
    ]
    coming = (
        map(_answered, asked) if executor is None else executor.map(_answered, asked)
    )
    for number, each in enumerate(prepared):
        progress("simulate", number / len(prepared), each.graph.name)
        mine, simulated_s, answered_s = next(coming)
        simulate_cpu_s += simulated_s
        answer_cpu_s += answered_s
        results.append(mine)
    total = sum(found.points for mine in results for _, found in mine)
    progress("simulate", 1.0, f"{total:,} points in {simulate_cpu_s:.2f} s of a core")
    record = _record(plan, grid, prepared, results)
    fits = tuple(x.calibrated for x in prepared if x.calibrated is not None)
    progress("write", 0.0, str(folder))
    sections = _sections(plan, simulations, results, fits)
    page = render("Where to cut", sections, [], _facts(plan, grid, total), "")
    write(folder, record, arrays(simulations, results), page)
    progress("write", 1.0, str(folder))
    return StudyResult(
        record=record,
        found=tuple(found for mine in results for _, found in mine),
        calibrations=fits,
        points=total,
        prepare_cpu_s=ready - begun,
        simulate_cpu_s=simulate_cpu_s,
        answer_cpu_s=answer_cpu_s,
    )


def _answered(
    asked: tuple[StudyPlan, Simulation, float],
) -> tuple[list[tuple[Outcome, Answers]], float, float]:
    """Return the answers of a network by objective, and what they took of a core."""
    plan, simulation, noise = asked
    simulate_s = answer_s = 0.0
    found = []
    for objective in plan.objectives:
        start = time.process_time()
        outcome = simulation.outcome(objective, alike_frac=noise, seed=plan.seed)
        between = time.process_time()
        found.append(
            (outcome, answers(simulation, outcome, noise_frac=noise, seed=plan.seed))
        )
        simulate_s += between - start
        answer_s += time.process_time() - between
    return found, simulate_s, answer_s


def _require(plan: StudyPlan, folder: Path) -> None:
    missing = [
        name
        for name in ("networks", "edges", "clouds", "objectives", "codecs")
        if not getattr(plan, name)
    ]
    if missing:
        raise UsageError(
            f"a study without {', '.join(missing)}",
            rule="it takes at least one of each",
            where="trimtab partition study",
            remedy="name one",
        )
    require_folder(folder)


def _require_names(prepared: Sequence[_Prepared]) -> None:
    names = [each.graph.name for each in prepared]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"network {twice[0]!r} twice",
            rule="answers are kept by the names of networks",
            where="trimtab partition study",
            remedy="name each once",
        )


# What is studied


def _prepare(spec: str, plan: StudyPlan, points: Sequence[Point]) -> _Prepared:
    graph = open_graph(spec, inputs=plan.inputs, device="meta").graph
    levels = grid_of(0)
    edges = tuple(
        _side(each, graph, plan.threads, levels.edge_memory) for each in plan.edges
    )
    clouds = tuple(
        _side(each, graph, plan.threads, levels.cloud_memory) for each in plan.clouds
    )
    limits = Limits(private_layers=plan.private_layers)
    least = private_position(graph, plan.private_layers)
    positions = {
        cut.position
        for side in edges
        for cut in candidates(graph, side.profiles[0].p50_s, least_position=least)
    }
    space = Space(
        graph, edges[0].profiles[0], clouds[0].profiles[0], codecs=plan.codecs,
        limits=limits, positions=positions,
    )  # fmt: skip
    return _Prepared(
        graph=graph,
        space=space,
        edges=edges,
        clouds=clouds,
        calibrated=_calibrated(graph, plan, points),
    )


def _side(spec: str, graph: Graph, threads: int, levels: Sequence[float]) -> Side:
    """Return a machine at each pressure on its memory."""
    profile, like = profile_of(spec, graph, threads=threads)
    return Side(
        name=like.name if profile.source == "estimated" else profile.machine,
        profiles=under_pressure(graph, profile, like, Roofline(), levels),
    )


def _calibrated(
    graph: Graph, plan: StudyPlan, points: Sequence[Point]
) -> Calibrated | None:
    mine = [each for each in points if each.network == graph.name]
    if not mine:
        return None
    profile = _side(plan.measured_on, graph, plan.threads, (1.0,)).profiles[0]
    space = Space(
        graph, profile, profile,
        codecs=tuple(dict.fromkeys(each.codec for each in mine)),
        positions={each.position for each in mine} | {len(graph.nodes)},
    )  # fmt: skip
    return calibrated(space, mine)


def _noise(plan: StudyPlan, each: _Prepared) -> float:
    if plan.noise_frac is not None:
        return plan.noise_frac
    measured = each.calibrated.noise_frac if each.calibrated is not None else 0.0
    return measured or NOISE_FRAC


def _simulation(each: _Prepared, grid: Grid) -> Simulation:
    return Simulation(
        each.space, each.edges, each.clouds, grid,
        compressed_bytes=image_bytes(each.graph),
        fit=each.calibrated.fit if each.calibrated is not None else None,
    )  # fmt: skip


def _grid(plan: StudyPlan, prepared: Sequence[_Prepared]) -> Grid:
    """Return the smallest grid with as many points, and a middle uplink."""
    pairs = len(plan.edges) * len(plan.clouds)
    others = grid_of(0).count // grid_of(0).shape[0]
    rows = 0
    for each in prepared:
        local = int(each.space.local.sum())
        away = len(each.space.local) - local
        rows += away + local * len(set(each.space.codecs))
    uplinks = -(-plan.points // (pairs * others * rows))
    uplinks = min(_MOST_UPLINKS, max(_LEAST_UPLINKS, uplinks))
    return grid_of(uplinks + (uplinks + 1) % 2)


# What is written


def _record(
    plan: StudyPlan,
    grid: Grid,
    prepared: Sequence[_Prepared],
    results: Sequence[Sequence[tuple[Outcome, Answers]]],
) -> dict[str, Any]:
    networks = {
        each.graph.name: {
            "graph": digest(each.graph),
            "cuts": sorted({int(where) for where in each.space.positions}),
            "noise_frac": _noise(plan, each),
            "calibration": None if each.calibrated is None else asdict(each.calibrated),
            "answers": {found.objective: asdict(found) for _, found in mine},
        }
        for each, mine in zip(prepared, results, strict=True)
    }
    return {
        "manifest": {
            "version": __version__,
            "seed": plan.seed,
            "networks": list(plan.networks),
            "edges": [each.name for each in prepared[0].edges],
            "clouds": [each.name for each in prepared[0].clouds],
            "threads": plan.threads,
            "codecs": list(plan.codecs),
            "objectives": list(plan.objectives),
            "private_layers": plan.private_layers,
            "conditions": grid.count,
            "points": sum(found.points for mine in results for _, found in mine),
            "levels": dict(zip(FACTORS, map(list, grid.levels), strict=True)),
            "units": {"uplink": "bytes/s", "rtt": "s"},
            "baseline": {
                name: levels[at]
                for name, levels, at in zip(
                    FACTORS, grid.levels, grid.baseline, strict=True
                )
            },
            "compressed_input": "0.2 bytes a number, coding not counted",
            "calibration": None if plan.calibration is None else plan.calibration.name,
        },
        "networks": networks,
    }


def _sections(
    plan: StudyPlan,
    simulations: Sequence[Simulation],
    results: Sequence[Sequence[tuple[Outcome, Answers]]],
    fits: Sequence[Calibrated],
) -> list[Section]:
    found = [
        objective_section(objective, [mine[at][1] for mine in results])
        for at, objective in enumerate(plan.objectives)
    ]
    if fits:
        found.append(calibration_section(fits))
    return found + [
        network_section(simulation, mine)
        for simulation, mine in zip(simulations, results, strict=True)
    ]


def _facts(plan: StudyPlan, grid: Grid, total: int) -> Mapping[str, str]:
    uplinks = [8 * each / 1e6 for each in grid.uplink_bytes_per_s]
    return {
        "points": f"{total:,} (condition x cut x network)",
        "conditions": f"{grid.count:,} on each pair of machines and with each codec",
        "edges": ", ".join(plan.edges),
        "clouds": ", ".join(plan.clouds),
        "uplink": f"{uplinks[0]:g} to {uplinks[-1]:g} Mbit/s, {len(uplinks)} levels",
        "round trip": ", ".join(f"{1e3 * each:g} ms" for each in grid.rtt_s),
        "loads and pressures": ", ".join(f"{each:g}" for each in grid.edge_load),
        "baseline": f"{uplinks[grid.baseline[0]]:.3g} Mbit/s, "
        f"{1e3 * grid.rtt_s[grid.baseline[1]]:g} ms, no load",
        "threads": str(plan.threads),
        "seed": str(plan.seed),
        "calibrated": plan.calibration.name if plan.calibration else "no",
        "version": __version__,
    }
