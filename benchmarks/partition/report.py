"""Jobs, and the rows of all results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.partition import fit, policies
from benchmarks.partition.calibrate import FIT, NETWORKS, TEST
from benchmarks.partition.decisions import policy_rows, study_rows
from benchmarks.partition.faults import SCENARIOS
from benchmarks.results import Row
from trimtab.partition.live.cloud import Quotas

__all__ = ["all_rows", "jobs", "quick_jobs"]

_MODULE: Final = "benchmarks.partition"
_REQUESTS: Final = 3_000  # of a scenario
_FRAMES: Final = 100_000
_TRANSFER_S: Final = 600_000 * 8 / 100e6  # of an activation at 100 Mbit/s
_POINTS: Final = 20


def jobs() -> list[Job]:
    """Return all jobs; what is timed first."""
    return [
        Job(key="wire/loopback", module=f"{_MODULE}.wire"),
        *(
            Job(key=f"calibrate/{name}", module=f"{_MODULE}.calibrate",
                arguments=(name, str(_POINTS)), cap_s=1800.0)
            for name in NETWORKS
        ),
        *(
            Job(key=f"faults/{name}", module=f"{_MODULE}.faults",
                arguments=(name, str(_REQUESTS)))
            for name in SCENARIOS
        ),
        Job(key="fuzz/frames", module=f"{_MODULE}.fuzz", arguments=(str(_FRAMES),)),
        *(
            Job(key=f"memory/{name}", module=f"{_MODULE}.memory", arguments=(name,))
            for name in NETWORKS
        ),
        *(
            Job(key=f"policies/{name}/{trace}/{seed}", module=f"{_MODULE}.policies",
                arguments=(name, trace, str(seed)))
            for seed in range(policies.SEEDS)
            for name in policies.NETWORKS
            for trace in policies.TRACES
        ),
        Job(key="study/networks", module=f"{_MODULE}.study"),
    ]  # fmt: skip


def quick_jobs() -> list[Job]:
    """Return a job of each kind, in a short form."""
    return [
        Job(key="wire/loopback", module=f"{_MODULE}.wire"),
        Job(key="calibrate/lenet5", module=f"{_MODULE}.calibrate",
            arguments=("lenet5", "8")),
        Job(key="faults/switching", module=f"{_MODULE}.faults",
            arguments=("switching", "300")),
        Job(key="fuzz/frames", module=f"{_MODULE}.fuzz", arguments=("5000",)),
        Job(key="memory/lenet5", module=f"{_MODULE}.memory", arguments=("lenet5",)),
    ]  # fmt: skip


def all_rows(store: Store) -> list[Row]:
    """Return every row, measured or not."""
    return [
        *_wire(store), *_faults(store), *_calibrate(store), *policy_rows(store),
        *study_rows(store), *_memory(store),
    ]  # fmt: skip


def _found(store: Store, kind: str) -> dict[str, dict[str, Any]]:
    """Return what is stored of a kind of jobs, without failures, by their last name."""
    return {
        key.split("/", 1)[1]: each
        for key, each in store.all(f"{kind}/").items()
        if "failed" not in each
    }


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def _wire(store: Store) -> Iterator[Row]:
    found = _found(store, "wire").get("loopback")
    wall = cpu = None
    note = own = NOT_MEASURED
    if found is not None:
        p50, p95 = np.quantile(found["wall_s"], (0.5, 0.95))
        wall = float(p50) / _TRANSFER_S
        edge, cloud = float(np.median(found["edge_cpu_s"])), found["cloud_cpu_s"]
        cpu = (edge + cloud) / _TRANSFER_S
        note = (
            f"median {_ms(p50)}, 0.95 quantile {_ms(p95)}, of {_ms(_TRANSFER_S)}; "
            f"{len(found['wall_s'])} requests one after the other"
        )
        own = f"edge {_ms(edge)}, cloud {_ms(cloud)}"
    yield Row(
        id="partition/wire/wall",
        name="600 kB over loopback with mutual TLS: time of the wire, of the transfer "
        "at 100 Mbit/s",
        value=wall, unit="frac", op="<=", goal=0.10, note=note,
    )  # fmt: skip
    yield Row(
        id="partition/wire/cpu", name="the same, processor time of both sides",
        value=cpu, unit="frac", note=own,
    )  # fmt: skip


_COUNTED: Final = {
    "lost": "requests without an answer",
    "wrong": "answers that are not the bits of the network that is not divided",
    "duplicate": "answers that came twice",
}


def _faults(store: Store) -> Iterator[Row]:
    found = _found(store, "faults")
    fuzzed = _found(store, "fuzz").get("frames")
    every = {**found, **({"fuzz": fuzzed} if fuzzed else {})}
    whole = len(every) == len(SCENARIOS) + 1

    def summed(count: Callable[[Mapping[str, Any]], float]) -> float | None:
        return float(sum(map(count, every.values()))) if whole else None

    asked = sum(each["asked"] for each in every.values())
    for key, name in _COUNTED.items():
        yield Row(
            id=f"partition/faults/{key}",
            name=f"under all faults: {name}",
            value=summed(lambda each, key=key: each[key]),  # type: ignore[misc]
            unit="", op="==", goal=0,
            note=f"of {asked}" if whole else
            f"{len(every)} of {len(SCENARIOS) + 1} scenarios are measured",
        )  # fmt: skip
    grown = [
        each["resident_bytes"][1] - each["resident_bytes"][0] for each in every.values()
    ]
    yield Row(
        id="partition/faults/memory",
        name="under all faults: what the cloud's memory grew by, at most",
        value=float(max(grown)) if whole else None,
        unit="bytes", op="<=", goal=Quotas().held_bytes,
        note="the goal is its quota for values on their way; "
        "with what the first request takes" if whole else NOT_MEASURED,
    )  # fmt: skip
    for name, scenario in SCENARIOS.items():
        yield _scenario(name, scenario, found.get(name))
    yield from _outsiders(found, fuzzed)


def _scenario(
    name: str, scenario: Callable[..., Any], found: Mapping[str, Any] | None
) -> Row:
    what = str(scenario.__doc__).splitlines()[0].rstrip(".").lower()
    return Row(
        id=f"partition/faults/back/{name}",
        name=f"{what}: until the cloud serves again",
        value=found["back_s"] if found else None,
        unit="s", op="<=", goal=30.0,
        note=NOT_MEASURED if found is None else
        f"{found['asked']} requests: {found['edge']['remote']} by the cloud, "
        f"{found['edge']['local']} by the edge, "
        f"{found['edge']['fallback'] + found['edge']['hedge_won']} finished by the "
        f"edge; {found['link']}",
    )  # fmt: skip


def _outsiders(
    found: Mapping[str, Mapping[str, Any]], fuzzed: Mapping[str, Any] | None
) -> Iterator[Row]:
    stranger, slow = found.get("certificate"), found.get("slow_loris")
    yield Row(
        id="partition/faults/let-in",
        name="clients without a certificate of the authority that are let in",
        value=float(stranger["let_in"]) if stranger else None,
        unit="", op="==", goal=0, note="" if stranger else NOT_MEASURED,
    )  # fmt: skip
    yield Row(
        id="partition/faults/shown-out",
        name="clients that say a byte now and then, and stay",
        value=float(slow["lorises"] - slow["shown_out"]) if slow else None,
        unit="", op="==", goal=0,
        note=f"of {slow['lorises']}" if slow else NOT_MEASURED,
    )  # fmt: skip
    yield Row(
        id="partition/faults/frames",
        name="fuzzed frames that a live cloud read",
        value=float(fuzzed["frames"]) if fuzzed else None,
        unit="", op=">=", goal=_FRAMES,
        note=f"{fuzzed['harmful']} that break the rules, {fuzzed['ended']} connections "
        f"ended by them; {fuzzed['cloud_cpu_s']:.1f} s of the cloud's processor"
        if fuzzed else NOT_MEASURED,
    )  # fmt: skip
    yield Row(
        id="partition/faults/harmful",
        name="frames that break the rules and did not end their connection",
        value=float(fuzzed["harmful"] - fuzzed["ended"]) if fuzzed else None,
        unit="", op="==", goal=0, note="" if fuzzed else NOT_MEASURED,
    )  # fmt: skip


def _calibrate(store: Store) -> Iterator[Row]:
    found = _found(store, "calibrate")
    every: list[float] = []
    rows = []
    least: list[int] = []
    for name in NETWORKS:
        row_id = f"partition/calibrate/error/{name}"
        title = f"{name}: predicted against measured latency, points not fitted to"
        if name not in found:
            rows.append(
                Row(id=row_id, name=title, value=None, unit="frac", op="<=", goal=0.25,
                    note=NOT_MEASURED)
            )  # fmt: skip
            continue
        records = found[name]["records"]
        used = {
            use: [each for each in records if each["used_for"] == use]
            for use in (FIT, TEST)
        }
        least.append(min(map(len, used.values())))
        errors = fit.errors(used[TEST], fit.factors(used[FIT]))
        every += map(float, errors)
        rows.append(
            Row(
                id=row_id, name=title, value=float(np.median(errors)), unit="frac",
                op="<=", goal=0.25, samples=[round(float(each), 4) for each in errors],
                note=f"{len(errors)} points, {np.quantile(errors, 0.9):.0%} at the 0.9 "
                f"quantile; the formula fitted to nothing: "
                f"{np.median(fit.plain(used[TEST])):.0%}; "
                f"load of the machine {found[name]['load']:.1f}",
            )
        )  # fmt: skip
    whole = len(found) == len(NETWORKS)
    note = "" if whole else f"{len(found)} of {len(NETWORKS)} networks are measured"
    yield Row(
        id="partition/calibrate/points",
        name="points of a network to fit, and as many to predict, at least",
        value=float(min(least)) if whole else None,
        unit="", op=">=", goal=_POINTS, note=note,
    )  # fmt: skip
    yield Row(
        id="partition/calibrate/error",
        name="predicted against measured latency, points not fitted to, all networks",
        value=float(np.median(every)) if whole else None,
        unit="frac", op="<=", goal=0.15, note=note,
    )  # fmt: skip
    yield from rows


def _memory(store: Store) -> Iterator[Row]:
    found = _found(store, "memory")
    for name in NETWORKS:
        slower = {
            level: seconds / found[name]["cpu_s"]["nothing"]
            for level, seconds in found.get(name, {}).get("cpu_s", {}).items()
        }
        yield Row(
            id=f"partition/memory/{name}",
            name=f"{name}: time while the other core writes 1 GiB, over that while it "
            "computes",
            value=slower["1 GiB"] / slower["arithmetic"] if slower else None,
            unit="x",
            note=", ".join(f"{level} {each:.2f}" for level, each in slower.items())
            or NOT_MEASURED,
        )
