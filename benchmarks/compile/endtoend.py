"""Latency of whole networks: ours against every peer, alternating in one run.

One thread is compared by the CPU time of the process, which other programs on the
machine do not stretch, and which counts helper threads too; several threads by the
wall. Of each round an engine has its median; a ratio is that of two medians of a round.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.compile.alternate import alternate
from benchmarks.compile.networks import NETWORKS, prepared
from benchmarks.compile.peak import peak_flops_per_s
from benchmarks.jobs import NOT_MEASURED, Job
from benchmarks.results import Row
from trimtab import stats

__all__ = ["PEERS", "best_peer", "clock", "jobs", "latency_s", "ratios", "rows"]

PEERS = ("eager", "torch.compile", "onnxruntime", "openvino")
OURS = "ours"
_BUSY = 0.1  # processors
_RESAMPLES = 2000
_BOUND, _WINOGRAD_BOUND = 1e-4, 1e-3
_COMPILE_CAP_S = 360.0  # for torch.compile


def clock(threads: int) -> str:
    """Return which samples count."""
    return "cpu_s" if threads == 1 else "wall_s"


def latency_s(engine: Mapping[str, Any], threads: int) -> float:
    """Return the median of the medians of the rounds."""
    return statistics.median(_medians(engine, threads))


def _medians(engine: Mapping[str, Any], threads: int) -> list[float]:
    return [statistics.median(each) for each in engine[clock(threads)]]


def best_peer(engines: Mapping[str, Mapping[str, Any]], threads: int) -> str | None:
    """Return the fastest peer that ran; None where none did."""
    ran = [name for name in PEERS if _ran(engines.get(name, {}))]
    return min(ran, key=lambda name: latency_s(engines[name], threads), default=None)


def _ran(engine: Mapping[str, Any]) -> bool:
    return bool(engine.get("wall_s"))


def ratios(
    peer: Mapping[str, Any], ours: Mapping[str, Any], threads: int
) -> list[float]:
    """Return, per round, how many times as fast ours is as the peer."""
    pairs = zip(_medians(peer, threads), _medians(ours, threads), strict=True)
    return [theirs / mine for theirs, mine in pairs]


def rows(
    results: Mapping[str, Mapping[str, Any]],
    networks: Sequence[str] = tuple(NETWORKS),
    threads: Sequence[int] = (1, 2),
) -> list[Row]:
    """Return the rows of stored results, by key ``e2e/NETWORK/THREADS``."""
    found: list[Row] = []
    for count in threads:
        details: list[Row] = []
        speeds: dict[str, float] = {}
        for network in networks:
            stored = results.get(f"e2e/{network}/{count}", {"failed": NOT_MEASURED})
            made, ratio = _network_rows(network, count, stored)
            details += made
            if ratio is not None:
                speeds[network] = ratio
        found += [_mean(speeds, networks, count), *details]
    return found


def _mean(speeds: Mapping[str, float], networks: Sequence[str], threads: int) -> Row:
    slower = [f"{name} {each:.2f}" for name, each in speeds.items() if each < 1]
    note = "1.3 is the mark" if speeds else NOT_MEASURED
    if 0 < len(speeds) < len(networks):
        note += (
            f"; {len(speeds)} of {len(networks)} networks are measured, their mean is "
            f"{stats.geometric_mean(list(speeds.values())):.2f}"
        )
    if slower:
        note += f"; slower: {', '.join(slower)}"
    whole = len(speeds) == len(networks)
    return Row(
        id=f"compile/e2e/{threads}/mean",
        name=f"speed against the best peer of each network, geometric mean, {threads} "
        f"thread{'s' * (threads > 1)}",
        value=stats.geometric_mean(list(speeds.values())) if whole else None,
        unit="x",
        op=">=",
        goal=1.0,
        note=note,
    )


def _network_rows(
    network: str, threads: int, stored: Mapping[str, Any]
) -> tuple[list[Row], float | None]:
    failed = {"failed": stored.get("failed", "not run")}
    engines = stored.get("engines") or dict.fromkeys((OURS, *PEERS), failed)
    where = f"{network}, {threads} thread{'s' * (threads > 1)}"
    base = f"compile/e2e/{threads}/{network}"
    samples = f"samples/e2e.{network}.{threads}.json"
    peer, ours = best_peer(engines, threads), engines.get(OURS, {})
    ratio = None
    values: dict[str, Any] = {"note": _why_not(ours, peer)}
    if peer is not None and _ran(ours):
        of_rounds = ratios(engines[peer], ours, threads)
        interval = stats.bootstrap_interval(
            of_rounds, np.median, resamples=_RESAMPLES, seed=0
        )
        ratio = interval.value
        values = {
            "value": ratio,
            "interval": (interval.low, interval.high),
            "peer": peer,
            "peer_value": 1.0,
            "note": f"ours {1e3 * latency_s(ours, threads):.3g} ms, {peer} "
            f"{1e3 * latency_s(engines[peer], threads):.3g} ms{_beside(stored)}",
        }
    fields: dict[str, Any] = {"value": None, "samples": samples, **values}
    made = [
        Row(
            id=f"{base}/speed",
            name=f"{where}: speed against the best peer",
            unit="x",
            op=">=",
            goal=1.0,
            **fields,
        ),
        _error_row(base, where, ours),
        _roofline_row(base, where, stored, ours, threads),
    ]
    for engine in (OURS, *PEERS):
        one = engines.get(engine, {"failed": "not run"})
        made.append(_latency_row(base, where, engine, one, threads, samples))
    return made, ratio


def _beside(stored: Mapping[str, Any]) -> str:
    """Return what else ran on the machine, where it is worth a word."""
    others = stored["others_processors"]
    if others < _BUSY:
        return ""
    return f"; other programs kept {others:.1f} processors busy meanwhile"


def _why_not(ours: Mapping[str, Any], peer: str | None) -> str:
    if not _ran(ours):
        return str(ours.get("failed", "not run"))
    return "" if peer else "no peer ran"


def _error_row(base: str, where: str, ours: Mapping[str, Any]) -> Row:
    ran = _ran(ours)
    winograd = ran and bool(ours["notes"].get("winograd"))
    outputs = ", ".join(f"{each:.1e}" for each in ours["errors"]) if ran else ""
    return Row(
        id=f"{base}/error",
        name=f"{where}: largest error against float64, relative to the largest output",
        value=max(ours["errors"]) if ran else None,
        unit="",
        op="<=",
        goal=_WINOGRAD_BOUND if winograd else _BOUND,
        note=("with Winograd; " if winograd else "")
        + (f"by output: {outputs}" if ran else str(ours.get("failed", "not run"))),
    )


def _roofline_row(
    base: str,
    where: str,
    stored: Mapping[str, Any],
    ours: Mapping[str, Any],
    threads: int,
) -> Row:
    value, note = None, str(ours.get("failed", "not run"))
    if _ran(ours):
        flops, peak = stored["flops"], stored["peak_flops_per_s"]
        value = flops / peak / latency_s(ours, threads)
        note = (
            f"{flops / 1e9:.3g} GFLOP at {peak / 1e9:.0f} GFLOP/s, measured by "
            "multiply-adds on registers in the same run"
        )
    return Row(
        id=f"{base}/roofline",
        name=f"{where}: share of the arithmetic roofline of direct convolution",
        value=value,
        unit="frac",
        note=note,
    )


def _latency_row(
    base: str,
    where: str,
    engine: str,
    one: Mapping[str, Any],
    threads: int,
    samples: str,
) -> Row:
    row_id, name = f"{base}/latency/{engine}", f"{where}: latency of {engine}"
    if not _ran(one):
        note = str(one.get("failed", "not run"))
        return Row(id=row_id, name=name, value=None, unit="s", note=note)
    medians = _medians(one, threads)
    interval = stats.bootstrap_interval(
        medians, np.median, resamples=_RESAMPLES, seed=0
    )
    wall = statistics.median([statistics.median(each) for each in one["wall_s"]])
    note = f"{one['version']}, {one['variant']}; error {max(one['errors']):.1e}"
    if threads == 1:
        note += f"; wall {1e3 * wall:.3g} ms"
    if one["notes"].get("through_pytorch"):
        note += f"; through PyTorch: {', '.join(one['notes']['through_pytorch'])}"
    if "compile_s" in one["notes"]:
        note += f"; compiled in {one['notes']['compile_s']:.1f} s"
    return Row(
        id=row_id,
        name=name,
        value=interval.value,
        unit="s",
        interval=(interval.low, interval.high),
        samples=samples,
        note=note,
    )


def jobs(
    networks: Sequence[str],
    threads: Sequence[int],
    engines: Sequence[str],
    rounds: int,
) -> list[Job]:
    """Return one job a network and number of threads."""
    return [
        Job(
            key=f"e2e/{network}/{count}",
            module="benchmarks.compile.endtoend",
            arguments=(network, str(count), ",".join(engines), str(rounds)),
            threads=count,
            cap_s=900.0 + _COMPILE_CAP_S,
        )
        for count in threads
        for network in networks
    ]


def main() -> None:
    """Measure the network of the command line; print the result."""
    network, threads, engines, rounds = sys.argv[1:5]
    flops = prepared(network).flops
    measured, others = alternate(
        network,
        int(threads),
        engines.split(","),
        rounds=int(rounds),
        caps_s={"torch.compile": _COMPILE_CAP_S},
    )
    found = {
        "flops": flops,
        "peak_flops_per_s": peak_flops_per_s(int(threads)),
        "others_processors": others,
        "engines": measured,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
