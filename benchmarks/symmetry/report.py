"""The rows of all jobs, and the tables of README.md between their markers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.results import Row
from benchmarks.symmetry.tasks import TASKS, key_of
from trimtab import stats

__all__ = ["SEEDS", "all_rows", "jobs"]

SEEDS: Final = 5
COUNTS: Final = (300, 1000)
HOLDS: Final = ("turned", "flipped", "turned and flipped")
RIVALLED: Final[dict[str, tuple[str, ...]]] = {
    "mnist": (*HOLDS, "upright", "orientation"),
    "fashion": ("turned",),
}
LILA: Final = ("plain", "turned 90", "turned 180", "translated", "scaled")
LILA_SEEDS: Final = 3  # as many as its own protocol has
LILA_COUNTS: Final = (312, 1250, 5000)


def jobs() -> list[Job]:
    """Return all jobs, seed by seed, so that what is stored is paired."""
    return [
        Job(
            key="cost/fit",
            module="benchmarks.symmetry.compare",
            arguments=("cost",),
            threads=2,
            cap_s=3600.0,
        ),
        *(_job(key) for seed in range(SEEDS) for key in _of_seed(seed)),
    ]


def _sizes(source: str, task: str) -> tuple[int, ...]:
    return (*COUNTS, 5000) if (source, task) == ("mnist", "turned") else COUNTS


def _of_seed(seed: int) -> Iterator[tuple[object, ...]]:
    for source in ("mnist", "fashion"):
        for task in TASKS if source == "mnist" else RIVALLED[source]:
            for count in _sizes(source, task):
                yield ("recover", source, task, count, seed)
    for source, tasks in RIVALLED.items():
        for task, count in itertools.product(tasks, COUNTS):
            yield ("rivals", source, task, count, seed)
    for count in COUNTS:
        yield ("unseen", count, seed)
    if seed < LILA_SEEDS:
        for kind, count in itertools.product(LILA, LILA_COUNTS):
            yield ("lila", kind, count, seed)


def _job(key: tuple[object, ...]) -> Job:
    recover = key[0] == "recover"
    return Job(
        key=key_of(*key),
        module=f"benchmarks.symmetry.{'recover' if recover else 'compare'}",
        arguments=tuple(map(str, key[1:] if recover else key)),
        cap_s=7200.0,
    )


def _stored(store: Store, *parts: object) -> list[dict[str, Any]]:
    """Return what is stored of a job, seed by seed, without failures."""
    found = [store.get(key_of(*parts, seed)) for seed in range(SEEDS)]
    return [each for each in found if each and "failed" not in each]


def _lost(store: Store, *parts: object) -> int:
    """Return how many seeds of a job failed."""
    found = [store.get(key_of(*parts, seed)) for seed in range(SEEDS)]
    return sum(each is not None and "failed" in each for each in found)


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    rows = [*_recovery(store), *_cost(store)]
    for source, tasks in RIVALLED.items():
        for task, count in itertools.product(tasks, COUNTS):
            rows += _against(store, source, task, count)
    for count in COUNTS:
        rows += _unseen(store, count)
    for kind, count in itertools.product(LILA, LILA_COUNTS):
        rows.append(_lila(store, kind, count))
    return rows


def _recovery(store: Store) -> list[Row]:
    rows, right, total, sure, wrong = [], 0, 0, 0, 0
    # By whether there is a symmetry: times that it wins, and of how many.
    control = {True: [0, 0], False: [0, 0]}
    # Garments are all but mirror images of themselves, so that of theirs it is not
    # known what holds.
    source = "mnist"
    for task in TASKS:
        truth = TASKS[task].truth
        for count in _sizes(source, task):
            found = _stored(store, "recover", source, task, count)
            lost = _lost(store, "recover", source, task, count)
            chosen = [one["chosen"] for one in found]
            hits = sum(one == truth for one in chosen)
            right, total = right + hits, total + len(found) + lost
            control[truth != "none"][1] += len(found)
            control[truth != "none"][0] += sum(
                one["random_partition"]["log_evidence_nats"]
                > max(row["log_evidence_nats"] for row in one["schemes"])
                for one in found
            )
            decided = [
                one
                for one in found
                if all(each["verdict"] != "undecided" for each in one["findings"])
            ]
            sure += len(decided)
            wrong += sum(one["chosen"] != truth for one in decided)
            note = NOT_MEASURED
            if found:
                ahead = stats.median([_ahead(one, truth) for one in found])
                note = (
                    f"{len(found)} seeds: {', '.join(chosen)}"
                    f"{f'; {lost} failed' if lost else ''}; {len(decided)} without "
                    f"doubt; ahead of the best other by {ahead:+.0f} nats (median)"
                )
            rows.append(
                Row(
                    id=f"symmetry/recovery/{source}/{task}/{count}",
                    name=f"{source}, {task}, N = {count}: {truth} is chosen",
                    value=hits / len(found) if found else None,
                    unit="frac",
                    note=note,
                )
            )
    heads = [
        Row(
            id="symmetry/recovery/all",
            name="tasks, sizes and seeds whose scheme is found",
            value=right / total if total else None,
            unit="frac",
            op=">=",
            goal=0.9,
            note=f"{right} of {total} by the largest posterior; {sure} with every "
            f"finding decided, {wrong} of them wrong"
            if total
            else NOT_MEASURED,
        ),
        Row(
            id="symmetry/recovery/control",
            name="times that a random partition of the same orbit sizes wins",
            value=control[True][0] if control[True][1] else None,
            unit="",
            op="<=",
            goal=0,
            note=f"of {control[True][1]}, where there is a symmetry"
            if control[True][1]
            else NOT_MEASURED,
        ),
        Row(
            id="symmetry/recovery/control/none",
            name="where there is none: times that a random partition as small as D4's "
            "beats all schemes",
            value=control[False][0] if control[False][1] else None,
            unit="",
            note=f"of {control[False][1]}: fewer values cost less evidence, and no "
            "scheme may have them without an invariance"
            if control[False][1]
            else NOT_MEASURED,
        ),
    ]
    return [*heads, *rows]


def _ahead(found: dict[str, Any], truth: str) -> float:
    """Return log evidence of the true scheme over the best other, nats."""
    values = {row["scheme"]: row["log_evidence_nats"] for row in found["schemes"]}
    mine = float(values.pop(truth))
    return mine - max(map(float, values.values()))


def _cost(store: Store) -> list[Row]:
    found = store.get("cost/fit") or {}
    times = found.get("call_s")
    ratio = None
    if times:
        ratio = stats.median(times["averaged"]) / stats.median(times["plain"])
    return [
        Row(
            id="symmetry/cost/fit",
            name="seven schemes, N = 1000, CNN, two threads",
            value=found.get("wall_s"),
            unit="s",
            op="<=",
            goal=300.0,
            note="" if times else NOT_MEASURED,
        ),
        Row(
            id="symmetry/cost/call",
            name="the plain network against averaging over four turns",
            value=ratio,
            unit="",
            op=">=",
            goal=3.0,
            note="256 images, one thread" if times else NOT_MEASURED,
        ),
    ]


def _difference(
    found: Sequence[dict[str, Any]], one: str, two: str, key: str
) -> tuple[float, float, float] | None:
    if len(found) < 2:
        return None
    first = [each["quality"][one][key] for each in found]
    second = [each["quality"][two][key] for each in found]
    mean = stats.paired_difference(first, second).mean
    return mean.value, mean.low, mean.high


def _against(store: Store, source: str, task: str, count: int) -> list[Row]:
    pairs = [
        (store.get(key_of("recover", source, task, count, seed)),
         store.get(key_of("rivals", source, task, count, seed)))
        for seed in range(SEEDS)
    ]  # fmt: skip
    found = [
        {"quality": {**fitted["quality"], **rivals["quality"]}}
        for fitted, rivals in pairs
        if fitted and rivals and "failed" not in fitted and "failed" not in rivals
    ]
    where = f"{source}, {task}, N = {count}"
    base = f"symmetry/against/{source}/{task}/{count}"
    if not found:
        return [Row(id=base, name=where, value=None, unit="frac", note=NOT_MEASURED)]
    rows = []
    for method in found[0]["quality"]:
        each = [one["quality"][method] for one in found]
        note = (
            f"{stats.median([one['nll'] for one in each]):.3f} nats, calibration error "
            f"{100 * stats.median([one['ece'] for one in each]):.1f} %"
        )
        difference = _difference(found, "learned", method, "accuracy_frac")
        if method != "learned" and difference is not None:
            points = [f"{100 * end:+.1f}" for end in difference]
            note += f"; learned is ahead by {points[0]} [{points[1]}, {points[2]}]"
        rows.append(
            Row(
                id=f"{base}/{method}",
                name=f"{where}: {method}",
                value=stats.median([one["accuracy_frac"] for one in each]),
                unit="frac",
                note=note,
            )
        )
    # Not worse than by a point, three hundredths of a nat, two points of calibration.
    rival = "oracle" if task in HOLDS else "cnn"
    margins = (("accuracy_frac", -0.01, 1), ("nll", 0.03, 2), ("ece", 0.02, 2))
    goals = [(rival, key, margin, end) for key, margin, end in margins]
    if task in HOLDS:  # equal free parameters, and equal training compute
        goals += [
            ("cnn, equal values, augmented", "accuracy_frac", 0.0, 1),
            ("cnn, augmented", "accuracy_frac", 0.0, 1),
        ]
    for other, key, margin, end in goals:
        difference = _difference(found, "learned", other, key)
        if difference is None:
            continue
        what = {"accuracy_frac": "points", "nll": "nats", "ece": "points of error"}
        scale = 1.0 if key == "nll" else 100.0
        rows.append(
            Row(
                id=f"{base}/goal/{other}/{key}",
                name=f"{where}: learned less {other}, "
                f"{'lower' if end == 1 else 'upper'} end of the interval",
                value=scale * difference[end],
                unit=what[key],
                op=">=" if end == 1 else "<=",
                goal=scale * margin,
                note="not worse by more" if margin else "certainly better",
            )
        )
    return rows


def _unseen(store: Store, count: int) -> list[Row]:
    found = _stored(store, "unseen", count)
    base = f"symmetry/unseen/{count}"
    name = f"trained upright, tested turned, N = {count}"
    if not found:
        return [Row(id=base, name=name, value=None, unit="frac", note=NOT_MEASURED)]
    rows = []
    for strength in found[0]["strengths"]:
        each = [one["strengths"][strength] for one in found]
        upright = stats.median([one["upright"]["accuracy_frac"] for one in each])
        rows.append(
            Row(
                id=f"{base}/{strength}",
                name=f"{name}: {strength} nats a doubling",
                value=stats.median([one["turned"]["accuracy_frac"] for one in each]),
                unit="frac",
                note=f"upright {100 * upright:.1f} %; "
                f"{', '.join(one['chosen'] for one in each)}",
            )
        )
    return rows


def _lila(store: Store, kind: str, count: int) -> Row:
    found = _stored(store, "lila", kind, count)
    name, row_id = f"fashion, {kind}, N = {count}", f"symmetry/lila/{kind}/{count}"
    if not found:
        return Row(id=row_id, name=name, value=None, unit="frac", note=NOT_MEASURED)
    values = [each["quality"]["accuracy_frac"] for each in found]
    return Row(
        id=row_id,
        name=name,
        value=stats.median(values),
        unit="frac",
        interval=(min(values), max(values)),
        note=f"{len(found)} seeds; {', '.join(each['chosen'] for each in found)}",
    )
