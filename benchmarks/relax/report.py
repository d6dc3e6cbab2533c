"""Jobs, the choice of configurations, and the rows of all results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from scipy import stats as distributions

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.relax.compare import CHOSEN, RATES, chosen
from benchmarks.relax.cost import SIZES
from benchmarks.relax.methods import METHODS
from benchmarks.relax.tasks import TASKS
from benchmarks.results import Row
from trimtab import stats

__all__ = ["all_rows", "choose", "jobs", "key_of", "stale"]

MARGIN: Final = 0.5  # points of error that a default may be behind
PARLE: Final = ("digits", "digits, a fifth of labels wrong", "mnistfc")
UNTUNED_SEEDS: Final = 10
_POWER: Final = 0.8


def key_of(*parts: object) -> str:
    """Return the key of a job's result."""
    return "/".join(str(each).replace(",", "").replace(" ", "-") for each in parts)


def jobs() -> list[Job]:
    """Return all jobs; tests wait for configurations that are committed."""
    found = [
        Job(key="theory/all", module="benchmarks.relax.theory", cap_s=3600.0),
        Job(key="cost/step", module="benchmarks.relax.cost", cap_s=3600.0, threads=1),
    ]
    found += [_job("compare", "untuned", seed) for seed in range(UNTUNED_SEEDS)]
    found += [
        _job("compare", "tune", task, method) for task in TASKS for method in METHODS
    ]
    found += [
        _job("compare", "test", name, method, seed)
        for name, task in TASKS.items()
        for seed in (("all",) if task.small else range(task.seeds))
        for method in METHODS
    ]
    found += [
        Job(
            key=key_of("parle", name, seed),
            module="benchmarks.relax.replicas",
            arguments=(name, str(seed)),
            cap_s=7200.0,
        )
        for name in PARLE
        for seed in range(TASKS[name].seeds)
    ]
    return found


def _job(module: str, what: str, *rest: object) -> Job:
    return Job(
        key=key_of(what, *rest),
        module=f"benchmarks.relax.{module}",
        arguments=(what, *map(str, rest)),
        cap_s=7200.0,
    )


def choose(store: Store) -> list[str]:
    """Write what was best on examples held out for it; return what is missing."""
    found: dict[str, Any] = {}
    edges: dict[str, list[str]] = {}
    missing = []
    for task in TASKS:
        for method in METHODS:
            kept = store.get(key_of("tune", task, method))
            if kept is None or "failed" in kept:
                missing.append(f"{task}: {method}")
                continue
            best, edge = chosen(kept["rows"])
            found.setdefault(task, {})[method] = best
            if edge:
                edges.setdefault(task, []).append(method)
    record = {"chosen": found, "outermost": edges}
    CHOSEN.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return missing


def _errors(store: Store, task: str, method: str) -> dict[int, dict[str, Any]]:
    if TASKS[task].small:
        every = store.get(key_of("test", task, method, "all")) or {}
        return {int(seed): each for seed, each in every.get("seeds", {}).items()}
    found = {}
    for seed in range(TASKS[task].seeds):
        each = store.get(key_of("test", task, method, seed))
        if each is not None and "failed" not in each:
            found[seed] = each
    return found


def stale(store: Store) -> list[str]:
    """Return keys of tests of configurations that are not the chosen ones any more."""
    if not CHOSEN.exists():
        return []
    kept = json.loads(CHOSEN.read_text("utf-8"))["chosen"]
    found = []
    for task in TASKS:
        for method in METHODS:
            config = kept.get(task, {}).get(method)
            for seed in ("all", *range(TASKS[task].seeds)):
                key = key_of("test", task, method, seed)
                each = store.get(key)
                if each is None or "failed" in each:
                    continue
                of = [each, *each.get("seeds", {}).values()]
                if any(one.get("config", config) != config for one in of):
                    found.append(key)
    return found


def _points(found: dict[int, dict[str, Any]]) -> list[float]:
    return [100 * each["test"]["error_frac"] for each in found.values()]


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [
        *_compared(store),
        *_untuned(store),
        *_parle(store),
        *_theory(store),
        *_cost(store),
    ]


class _Comparison:
    """A method against SGD on a task, seed by seed.

    Attributes:
        p: of a paired t test, two-sided, before Holm's correction.
    """

    def __init__(self, task: str, method: str, mine: list[float], sgd: list[float]):
        self.task, self.method = task, method
        self.difference = stats.paired_difference(mine, sgd).mean
        apart = np.array(mine) - np.array(sgd)
        self.deviation, self.pairs = float(apart.std(ddof=1)), len(mine)
        self.p = 1.0
        if self.deviation:
            self.p = float(distributions.ttest_rel(mine, sgd).pvalue)
        elif apart.any():  # all the same: a test of signs
            self.p = 2.0 * 0.5**self.pairs

    def detectable(self, comparisons: int) -> float:
        """Return points that would have been found significant four times of five."""
        freedom = self.pairs - 1
        level = distributions.t.ppf(1 - 0.025 / comparisons, freedom)
        reach = level + distributions.t.ppf(_POWER, freedom)
        return float(reach * self.deviation / math.sqrt(self.pairs))


def _compared(store: Store) -> list[Row]:
    every: list[_Comparison] = []
    medians: dict[tuple[str, str], tuple[float, list[float]]] = {}
    for task in TASKS:
        base = _errors(store, task, "sgd")
        for method in METHODS:
            found = _errors(store, task, method)
            common = sorted(set(found) & set(base))
            if len(common) < 2:
                continue
            mine = _points({seed: found[seed] for seed in common})
            medians[task, method] = stats.median(mine), mine
            if method != "sgd":
                sgd = _points({seed: base[seed] for seed in common})
                every.append(_Comparison(task, method, mine, sgd))
    adjusted = stats.holm([each.p for each in every]) if every else ()
    by_name = {
        (each.task, each.method): (each, p)
        for each, p in zip(every, adjusted, strict=True)
    }
    rows = [_default(task, by_name) for task in TASKS]
    wins = [
        each for each, p in by_name.values() if p < 0.05 and each.difference.value < 0
    ]
    losses = [
        each for each, p in by_name.values() if p < 0.05 and each.difference.value > 0
    ]
    for name, some in (("better", wins), ("worse", losses)):
        rows.append(
            Row(
                id=f"relax/significant/{name}",
                name=f"comparisons with SGD, of {len(every)}, that are significantly "
                f"{name} after Holm's correction",
                value=float(len(some)) if every else None,
                unit="",
                note="; ".join(f"{each.task}: {each.method}" for each in some)
                if every
                else NOT_MEASURED,
            )
        )
    return rows + [
        _row(store, task, method, medians, by_name, len(every))
        for task in TASKS
        for method in METHODS
    ]


def _default(
    task: str, by_name: dict[tuple[str, str], tuple[_Comparison, float]]
) -> Row:
    """Return whether the default relaxation is not inferior to tuned SGD."""
    found = by_name.get((task, "local-entropy"))
    return Row(
        id=f"relax/default/{task}",
        name=f"{task}: error of local entropy less that of SGD, upper end",
        value=found[0].difference.high if found else None,
        unit="points",
        op="<=",
        goal=MARGIN,
        note=f"mean {found[0].difference.value:+.2f}" if found else NOT_MEASURED,
    )


def _row(
    store: Store,
    task: str,
    method: str,
    medians: dict[tuple[str, str], tuple[float, list[float]]],
    by_name: dict[tuple[str, str], tuple[_Comparison, float]],
    comparisons: int,
) -> Row:
    row_id, name = f"relax/equal/{task}/{method}", f"{task}: {method}"
    if (task, method) not in medians:
        return Row(id=row_id, name=name, value=None, unit="frac", note=NOT_MEASURED)
    value, samples = medians[task, method]
    found = list(_errors(store, task, method).values())
    broken = sum(bool(each.get("broke_down")) for each in found)
    loss = stats.median([each["train"]["loss_nats"] for each in found])
    top = stats.median([each["top_eigenvalue"] for each in found])
    energy = stats.median([each["local_energy"] for each in found])
    note = (
        f"loss in training {loss:.3g}, top eigenvalue {top:.3g}, local energy "
        f"{energy:.3f}"
    )
    if broken:
        note = f"{broken} broke down and count as guessing; {note}"
    if (task, method) in by_name:
        each, p = by_name[task, method]
        ends = each.difference
        note = (
            f"{ends.value:+.2f} [{ends.low:+.2f}, {ends.high:+.2f}] points to SGD, "
            f"{each.pairs} pairs, "
            f"corrected p {p:.2g}, {each.detectable(comparisons):.2f} would have "
            f"shown; {note}"
        )
    return Row(
        id=row_id,
        name=name,
        value=value / 100,
        unit="frac",
        samples=[round(each / 100, 6) for each in samples],
        note=note,
    )


def _untuned(store: Store) -> Iterator[Row]:
    found = [
        each
        for seed in range(UNTUNED_SEEDS)
        if (each := store.get(key_of("untuned", seed))) and "failed" not in each
    ]
    for rate in RATES:
        name = f"a fifth of labels wrong, rate {rate:g} for all: local entropy less SGD"
        row_id = f"relax/untuned/{rate:g}"
        if len(found) < 2:
            yield Row(
                id=row_id, name=name, value=None, unit="points", note=NOT_MEASURED
            )
            continue

        def of(method: str, rate: float = rate) -> list[float]:
            return [
                100 * each["methods"][method][str(rate)]["error_frac"] for each in found
            ]

        apart = _Comparison("untuned", "local-entropy", of("local-entropy"), of("sgd"))
        others = ", ".join(
            f"{method} {stats.median(of(method)):.1f}" for method in found[0]["methods"]
        )
        yield Row(
            id=row_id,
            name=name,
            value=apart.difference.value,
            unit="points",
            interval=(apart.difference.low, apart.difference.high),
            note=f"p {min(1.0, apart.p * len(RATES)):.2g} (times {len(RATES)}); median "
            f"errors, %: {others}",
        )


def _parle(store: Store) -> Iterator[Row]:
    for task in PARLE:
        found = [
            each
            for seed in range(TASKS[task].seeds)
            if (each := store.get(key_of("parle", task, seed))) and "failed" not in each
        ]
        name = f"{task}: three replicas"
        if len(found) < 2:
            yield Row(id=f"relax/parle/{task}", name=name, value=None, unit="frac",
                      note=NOT_MEASURED)  # fmt: skip
            continue
        mine = [100 * each["methods"]["parle"]["error_frac"] for each in found]
        parts = []
        for method in found[0]["methods"]:
            if method == "parle":
                continue
            theirs = [100 * each["methods"][method]["error_frac"] for each in found]
            ends = stats.paired_difference(mine, theirs).mean
            parts.append(
                f"{method} {stats.median(theirs):.2f} % (replicas less this "
                f"{ends.value:+.2f} [{ends.low:+.2f}, {ends.high:+.2f}])"
            )
        spent = found[0]["parle"]
        share = spent["communicated_bytes"] / (
            4 * spent["weights"] * TASKS[task].gradients
        )
        yield Row(
            id=f"relax/parle/{task}",
            name=name,
            value=stats.median(mine) / 100,
            unit="frac",
            note=f"{'; '.join(parts)}; {spent['communicated_bytes'] / 1e6:.1f} MB sent "
            f"by each, {100 * share:.1f} % of what a mean of every gradient sends",
        )


def _theory(store: Store) -> Iterator[Row]:
    found = store.get("theory/all") or {}
    for start, each in found.get("control", {}).items():
        yield Row(
            id=f"relax/control/{start}",
            name=f"from {start}: mean loss of walks left alone, less that of steered "
            "ones, less the price, lower end",
            value=each["gain"] - 1.96 * each["gain_error"],
            unit="",
            op=">=",
            goal=0.0,
            note=f"left alone {each['alone']:.3f}, steered {each['reached']:.3f}, "
            f"price {each['price']:.3f}; least cost {each['least']:.4f} on the grid, "
            f"{each['cost']:.4f} +- {1.96 * each['cost_error']:.4f} of walks",
        )
    if not found:
        yield Row(id="relax/control", name="steered walks", value=None, unit="",
                  op=">=", goal=0.0, note=NOT_MEASURED)  # fmt: skip
    fast = found.get("fast", {})
    yield Row(
        id="relax/fast/rate",
        name="power of eps by which a fast inner loop nears the path of local entropy",
        value=found.get("rate"),
        unit="",
        note="; ".join(
            f"eps {eps}: bias {each['bias']:+.3f} +- {1.96 * each['bias_error']:.3f}, "
            f"rms {each['rms']:.3f}"
            for eps, each in fast.items()
        )
        or NOT_MEASURED,
    )


def _cost(store: Store) -> Iterator[Row]:
    sizes = (store.get("cost/step") or {}).get("sizes", {})
    for size in SIZES:
        found = sizes.get(str(size))
        goal = 2.5 if size == 526_000 else None
        op = "<=" if goal else ""
        row_id = f"relax/cost/{size}"
        name = (
            f"step of local entropy without noise against SGD, {size / 1e6:g} M weights"
        )
        if not found:
            yield Row(id=row_id, name=name, value=None, unit="", op=op, goal=goal,
                      note=NOT_MEASURED)  # fmt: skip
            continue
        times = {mode: stats.median(each["step_s"]) for mode, each in found.items()}
        note = "; ".join(
            f"{mode} {1000 * times[mode]:.3g} ms, {each['state_copies']:.1f} copies"
            for mode, each in found.items()
        )
        yield Row(
            id=row_id,
            name=name,
            value=times["local-entropy"] / times["sgd"],
            unit="",
            op=op,
            goal=goal,
            note=note,
        )
