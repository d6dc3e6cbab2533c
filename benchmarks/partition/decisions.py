"""Rows of what was decided rather than measured: policies on traces, and the study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.partition import policies
from benchmarks.results import Row
from trimtab import stats

__all__ = ["policy_rows", "study_rows"]

_POINTS: Final = 8_000_000
_PROBES_S: Final = 4.0  # two periods


def policy_rows(store: Store) -> Iterator[Row]:
    """Return rows of all policies on traces."""
    over: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name in policies.NETWORKS:
        for trace in policies.TRACES:
            found = [
                each["policies"]
                for seed in range(policies.SEEDS)
                if (each := store.get(f"policies/{name}/{trace}/{seed}"))
                and "failed" not in each
            ]
            if found:
                over[name, trace] = found
    count = len(policies.NETWORKS) * len(policies.TRACES)
    whole = len(over) == count and all(
        len(each) == policies.SEEDS for each in over.values()
    )
    note = f"{len(over)} of {count} networks and traces are measured"

    def worst(traces: tuple[str, ...], value: Any) -> tuple[float | None, str]:
        if not whole:
            return None, note
        values = {
            key: stats.median([value(each) for each in found])
            for key, found in over.items()
            if key[1] in traces
        }
        at = max(values, key=lambda key: values[key])
        return values[at], f"{at[0]} on {at[1]}; median of {policies.SEEDS} seeds"

    value, why = worst(policies.SLOW, lambda each: each["adaptive"]["ratio"])
    yield Row(
        id="partition/policies/optimum",
        name="slow traces: adaptive over the best cut of each request, worst case",
        value=value, unit="x", op="<=", goal=1.05, note=why,
    )  # fmt: skip
    value, why = worst(
        policies.TRACES,
        lambda each: each["adaptive"]["mean_s"] / each["static"]["mean_s"],
    )
    yield Row(
        id="partition/policies/static",
        name="all traces: adaptive over the best static cut in hindsight, worst case",
        value=value, unit="x", op="<=", goal=1.05, note=why,
    )  # fmt: skip
    longest = [
        each["adaptive"]["recovery_s"]
        for found in over.values()
        for each in found
        if each["adaptive"]["recovery_s"] is not None
    ]
    yield Row(
        id="partition/policies/recovery",
        name="after the uplink rose: until requests cost about the optimum, longest",
        value=max(longest) if whole else None,
        unit="s", op="<=", goal=_PROBES_S,
        note="two probe periods" if whole else note,
    )  # fmt: skip
    for (name, trace), found in over.items():
        yield _course(name, trace, found)


def _course(name: str, trace: str, found: list[dict[str, Any]]) -> Row:
    def median(policy: str) -> str:
        values = [each[policy]["ratio"] for each in found if policy in each]
        return f"{stats.median(values):.2f}" if values else "none"

    others = ("static", "edge", "cloud", "compressed", "no-probes", "pause-0.6",
              "pause-6")  # fmt: skip
    return Row(
        id=f"partition/policies/{name}/{trace}",
        name=f"{name}, {trace}: adaptive over the optimum",
        value=stats.median([each["adaptive"]["ratio"] for each in found]),
        unit="x",
        note=", ".join(f"{each} {median(each)}" for each in others),
    )


def study_rows(store: Store) -> Iterator[Row]:
    """Return rows of the study."""
    found = store.get("study/networks") or {}
    seconds = found.get("simulate_cpu_s")
    points = found.get("points")
    yield Row(
        id="partition/study/points",
        name="points of condition, cut and network that are simulated",
        value=points, unit="", op=">=", goal=_POINTS,
        note=NOT_MEASURED if points is None else
        f"{len(found['calibrated'])} networks calibrated by measured points",
    )  # fmt: skip
    yield Row(
        id="partition/study/time",
        name="processor time to simulate them",
        value=seconds, unit="s", op="<=", goal=10.0,
        note=NOT_MEASURED if seconds is None else
        f"networks and machines {found['prepare_cpu_s']:.1f} s, statistics "
        f"{found['answer_cpu_s']:.1f} s",
    )  # fmt: skip
    for each in found.get("answers", []):
        shares, gain = each["shares"], each["gain"]
        low, high = gain["corrected"]["low"], gain["corrected"]["high"]
        leads = max(each["elasticity"], key=lambda name: abs(each["elasticity"][name]))
        explains = max(each["conditions"], key=lambda name: each["conditions"][name])
        yield Row(
            id=f"partition/study/{each['objective']}/{each['network']}",
            name=f"{each['network']}, {each['objective']}: conditions in which another "
            "cut than the baseline's is best",
            value=shares["changed_frac"], unit="frac",
            note=f"between the ends {shares['between_frac']:.0%}; staying costs "
            f"{shares['stay_ratio']['mean']:.2f}x, one cut for all "
            f"{shares['static_ratio']['mean']:.2f}x; repartitioning gains "
            f"{gain['corrected']['value']:.2f}x [{low:.2f}, {high:.2f}] corrected, "
            f"{gain['naive']:.2f}x naive; most elastic in {leads}, most variance by "
            f"{explains}; a compressed input is better in "
            f"{each['compressed_frac'] or 0:.0%}",
        )  # fmt: skip
