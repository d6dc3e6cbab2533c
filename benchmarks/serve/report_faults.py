"""Jobs and rows of live servers: what faults do to them, and what a referee says."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.jobs import NOT_MEASURED, Job, Store
from benchmarks.results import Row
from benchmarks.serve.referee import NETWORKS, WAYS

__all__ = ["jobs", "rows"]

_FAULTS: Final = {
    "killed": ("workers killed under load", 90),
    "stopped": ("workers that stand still under load", 90),
    "overload": ("ten times what the workers can do", 40),
    "malformed": ("bodies that lie, three of four", 60),
}
_SOAK_S: Final = 600
_GROWTH_BYTES: Final = 16 * 2**20
_BROKEN: Final = ("lost", "duplicated", "wrong", "untyped")


def jobs() -> list[Job]:
    """Return the jobs of faults, soak and referee."""
    faults, referee = "benchmarks.serve.faults", "benchmarks.serve.referee"
    return [
        *[
            Job(key=f"faults/{name}", module=faults, arguments=(name, str(seconds)),
                cap_s=3600.0)
            for name, (_, seconds) in _FAULTS.items()
        ],
        Job(key="soak/mixed", module="benchmarks.serve.soak", arguments=(str(_SOAK_S),),
            cap_s=3600.0),
        *[
            Job(key=f"referee/{each}", module=referee, arguments=(each,), cap_s=5400.0)
            for each in NETWORKS
        ],
    ]  # fmt: skip


def rows(store: Store) -> list[Row]:
    """Return their rows, measured or not."""
    rows = [
        _ends(store, f"faults/{name}", title) for name, (title, _) in _FAULTS.items()
    ]
    rows.append(_ends(store, "soak/mixed", "ten minutes of all of these, and swaps"))
    rows.append(_growth(store))
    rows += [_referee(store, network, way) for network in NETWORKS for way in WAYS]
    return rows


def _found(store: Store, key: str) -> dict[str, Any] | None:
    found = store.get(key)
    return None if found is None or "failed" in found else found


def _ends(store: Store, key: str, title: str) -> Row:
    """Return how many queries ended as none may."""
    found = _found(store, key)
    name = f"{title}: queries lost, answered twice or wrongly, or without a reason"
    if found is None:
        return Row(id=f"serve/{key}", name=name, value=None, unit="count", op="==",
                   goal=0, note=NOT_MEASURED)  # fmt: skip
    more = [
        f"{found[each]} {text}"
        for each, text in (("restarts", "workers started anew"),
                           ("again", "batches done again"),
                           ("swaps", "schedules"))
        if each in found
    ]  # fmt: skip
    note = (
        f"of {found['sent']} sent: {found['answered']} answered once, {found['shed']} "
        f"shed, {found['refused']} refused for what they were; {', '.join(more)}"
    )
    if any(found[each] for each in _BROKEN):
        broken = ", ".join(f"{found[each]} {each}" for each in _BROKEN)
        told = found.get("over_http", found).get("odd", ())
        note += f"; {broken}; among them over HTTP: {'; '.join(sorted(set(told)))}"
    if "grown_bytes" in found:
        note += f"; the server grew by {found['grown_bytes'] / 2**20:.0f} MiB at most"
    return Row(
        id=f"serve/{key}", name=name, unit="count", op="==", goal=0, note=note,
        value=sum(found[each] for each in _BROKEN),
    )  # fmt: skip


def _growth(store: Store) -> Row:
    found = _found(store, "soak/mixed")
    name = "ten minutes of all of these: memory of the server gained, by the slope"
    if found is None:
        return Row(id="serve/soak/growth", name=name, value=None, unit="bytes",
                   op="<=", goal=_GROWTH_BYTES, note=NOT_MEASURED)  # fmt: skip
    value, low, high = found["grown"]
    return Row(
        id="serve/soak/growth", name=name, value=value, unit="bytes", op="<=",
        goal=_GROWTH_BYTES, interval=(low, high),
        note=f"in {found['judged_s']:.0f} s after the first fifth; "
        f"{found['most_bytes'] / 2**20:.0f} MiB at most, asking threads too; "
        f"a worker {found['worker_bytes'] / 2**20:.0f} MiB",
    )  # fmt: skip


def _referee(store: Store, network: str, way: str) -> Row:
    """Return whether LoadGen calls the claimed rate VALID."""
    found = _found(store, f"referee/{network}")
    how = "in shared memory" if way == "memory" else "over HTTP"
    name = f"{network}, two workers, {how}: LoadGen calls the claimed rate VALID"
    row_id = f"serve/referee/{network}/{way}"
    if found is None:
        return Row(id=row_id, name=name, value=None, unit="", op="==", goal=1,
                   note=NOT_MEASURED)  # fmt: skip
    row = found["rows"][way]
    within = f"p{100 * found['share']:g} within {1e3 * found['target_s']:g} ms"
    if row["claimed_per_s"] is None:
        last = row["tried"][-1]
        return Row(
            id=row_id, name=name, value=None, unit="", op="==", goal=1,
            note=f"nothing is claimed: our own load finds no valid rate for {within}, "
            f"at {last['rate_per_s']:.3g}/s: {'; '.join(last['reasons'])}",
        )  # fmt: skip
    return Row(
        id=row_id, name=name, value=float(row["valid"]), unit="", op="==", goal=1,
        note=f"{row['claimed_per_s']:.3g} queries a second, {within}; LoadGen: "
        f"{row['said']}, p95 {1e3 * row['latency_s']['p95']:.3g} ms, "
        f"{sum(row['ends'].values())} queries",
    )  # fmt: skip
