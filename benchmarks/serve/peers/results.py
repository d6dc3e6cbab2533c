"""Jobs, rows and table of the comparison with peers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.results import Row
from trimtab.stats import geometric_mean

__all__ = ["NETWORKS", "jobs", "rows", "table"]

NETWORKS: Final = ("ncf", "wnd", "din")
"""What differs most: little to compute within 5 ms, so that the way to it counts; a
product of matrices where one large query takes longer than the target; and attention,
which is the dearer an item the larger the batch. Bodies are of 4, 600 and 550 kB."""

GOAL: Final = 1.5
_TITLES: Final = {
    "ours": "trimtab serve", "ray_serve": "Ray Serve", "litserve": "LitServe",
    "fastapi_torch": "FastAPI + torch",
}  # fmt: skip


def jobs(*, quick: bool = False) -> list[Job]:
    """Return a job for each network, or the short form of one."""
    return [
        Job(
            key=f"peers/{network}",
            module="benchmarks.serve.peers.compare",
            arguments=(network, *(["--quick"] if quick else [])),
            cap_s=3600.0,
        )
        for network in (NETWORKS[:1] if quick else NETWORKS)
    ]


def _found(store: Store) -> dict[str, dict[str, Any]]:
    kept = {network: store.get(f"peers/{network}") for network in NETWORKS}
    return {key: each for key, each in kept.items() if each and "failed" not in each}


def _best_peer(subjects: Mapping[str, Any]) -> str:
    peers = [each for each in subjects if each != "ours"]
    return max(peers, key=lambda each: float(subjects[each]["rate_per_s"]))


def _ratios(subjects: Mapping[str, Any]) -> list[float]:
    """Return ours over the best peer, a seed each; none where no peer can at all.

    The best peer is the one with the largest median, or its luck would be ours to beat.
    """
    peer = subjects[_best_peer(subjects)]["rates"]
    own = subjects["ours"]["rates"]
    if not min(peer):
        return []
    return [a / b for a, b in zip(own, peer, strict=True)]


def rows(store: Store) -> list[Row]:
    """Return the row of each network, and of their mean."""
    found = _found(store)
    of_each = [_row(network, found.get(network)) for network in NETWORKS]
    ratios = {key: _ratios(each["subjects"]) for key, each in found.items()}
    counted = {key: each for key, each in ratios.items() if each}
    alone = [key for key in found if key not in counted]
    missing = [key for key in NETWORKS if key not in found]
    parts = [
        ", ".join(
            f"{key} {statistics.median(each):.2f}" for key, each in counted.items()
        ),
        f"not counted, no peer keeps the target: {', '.join(alone)}" if alone else "",
        f"{NOT_MEASURED}: {', '.join(missing)}" if missing else "",
    ]
    note = "; ".join(filter(None, parts)) if found else NOT_MEASURED
    by_seed = [_mean(each) for each in zip(*counted.values(), strict=True)]
    return [
        Row(
            id="serve/peers", unit="x", op=">=", goal=GOAL, note=note,
            name="over HTTP, ours over the best peer: rate within the target, "
            "geometric mean",
            value=statistics.median(by_seed) if by_seed else None,
            interval=(min(by_seed), max(by_seed)) if by_seed else None,
            samples=by_seed or None,
        ),
        *of_each,
    ]  # fmt: skip


def _mean(ratios: tuple[float, ...]) -> float:
    return geometric_mean(ratios) if min(ratios) > 0 else 0.0


def _row(network: str, found: Mapping[str, Any] | None) -> Row:
    name = f"over HTTP, {network}: ours over the best peer"
    if found is None:
        return Row(
            id=f"serve/peers/{network}", name=name, value=None, unit="x",
            note=NOT_MEASURED,
        )  # fmt: skip
    subjects = found["subjects"]
    ratios = _ratios(subjects)
    said = ", ".join(
        f"{_TITLES[key]} {_rate(each['rate_per_s'])} ({each['title']})"
        for key, each in subjects.items()
    )
    return Row(
        id=f"serve/peers/{network}", name=name, unit="x",
        value=statistics.median(ratios) if ratios else None,
        interval=(min(ratios), max(ratios)) if ratios else None,
        samples=ratios or None,
        note=said if ratios else f"no peer keeps the target: {said}",
    )  # fmt: skip


def _rate(value: float) -> str:
    return f"{value:.3g}/s" if value else "none"


def table(store: Store) -> str:
    """Return what each server sustains, as Markdown: medians, and the range of seeds.

    A setting that lost was dropped at the first rate it did not keep.
    """
    lines = [
        "| network, target | server | setting | sustains q/s | seeds | over ours | "
        "unsure |",
        "|---|---|---|---|---|---|---|",
    ]
    for network, each in _found(store).items():
        own = each["subjects"]["ours"]["rate_per_s"]
        for key, one in each["subjects"].items():
            rates = one["rates"]
            share = f"{one['rate_per_s'] / own:.2f}" if own else ""
            lines.append(
                f"| {network}, {1e3 * each['target_s']:g} ms | {_TITLES[key]} | "
                f"{one['title']} | {_rate(one['rate_per_s'])} | "
                f"{min(rates):.3g} to {max(rates):.3g} | {share} | {one['unsure']} |"
            )
    return "\n".join(lines)
