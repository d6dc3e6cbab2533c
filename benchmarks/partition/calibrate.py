"""Requests over emulated links, with slower machines: points to fit, points to predict.

    python -m benchmarks.partition.calibrate mobilenet_v1

Rate, round trip, the share of a core that either side has, cut and codec are drawn by
Latin hypercubes, one for the fit and one for what is predicted, and asked in random
order. Link and profile are taken as they were measured, shares as they were set.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, Final, final

import numpy as np
import torch
from scipy.stats import qmc

from benchmarks.jobs import cache_folder
from benchmarks.partition.bed import CloudProcess, environment
from benchmarks.partition.side import profile_of, space_of
from trimtab.partition.conditions import Conditions
from trimtab.partition.live.emulate import ADDRESS, Network, Shape, unavailable
from trimtab.partition.live.pressure import CpuQuota, no_quota

__all__ = ["NETWORKS", "Point", "main", "points"]

NETWORKS: Final = (
    "lenet5", "alexnet", "vgg16", "vgg19", "resnet50", "resnet50_v2", "mobilenet_v1",
    "densenet121",
)  # fmt: skip
"""The eight of the paper."""

FIT, TEST = "fit", "test"
_EACH: Final = 20  # points of a network to fit, and as many to predict
_REPEATS: Final = 5
_LOCAL: Final = 0.1  # share of points of the edge alone
_MOST_S: Final = 8.0  # that the repeats of a point may take
_SENT_S: Final = 4.0  # that a request may be on its way: else its link is faster
_RANGES: Final = (  # logarithms are spread evenly
    (2e6 / 8, 100e6 / 8),  # uplink, bytes per second
    (0.002, 0.1),  # round trip
    (1.0, 6.0),  # of the edge, times that it is slower
    (1.0, 4.0),  # of the cloud
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Conditions, a cut and a codec.

    Attributes:
        index: of cut and codec in the space.
        uplink_bytes_per_s: that is asked.
        rtt_s: that is asked.
        edge_slowdown: of a core's time.
        cloud_slowdown: the same.
        used_for: ``fit`` or ``test``.
    """

    index: int
    uplink_bytes_per_s: float
    rtt_s: float
    edge_slowdown: float
    cloud_slowdown: float
    used_for: str


def points(choices: int, each: int, *, seed: int) -> list[Point]:
    """Return points to fit and points to predict, in random order.

    Args:
        choices: cuts and codecs that there are.
        each: points of either use.
        seed: of all that is drawn.
    """
    found = []
    for number, use in enumerate((FIT, TEST)):
        drawn = qmc.LatinHypercube(len(_RANGES) + 1, rng=seed * 2 + number).random(each)
        for row in drawn:
            values = [
                math.exp(math.log(low) + share * math.log(high / low))
                for share, (low, high) in zip(row, _RANGES, strict=False)
            ]
            found.append(
                Point(
                    index=_index(float(row[-1]), choices),
                    uplink_bytes_per_s=values[0],
                    rtt_s=values[1],
                    edge_slowdown=values[2],
                    cloud_slowdown=values[3],
                    used_for=use,
                )
            )
    random.Random(seed).shuffle(found)
    return found


def _index(share: float, choices: int) -> int:
    """Return a choice; the last one is the edge alone, and more frequent."""
    if share < _LOCAL:
        return choices - 1
    return min(choices - 2, int((share - _LOCAL) / (1 - _LOCAL) * (choices - 1)))


def _told(process: subprocess.Popen[str], said: dict[str, Any] | None) -> Any:
    """Return what a side answers to a line."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    if said is not None:
        stdin.write(json.dumps(said) + "\n")
        stdin.flush()
    return json.loads(_line(stdout))


def _line(output: IO[str]) -> str:
    line = output.readline()
    if not line:
        raise RuntimeError("the edge ended")
    return line


def _measured(network: str, each: int) -> dict[str, Any]:
    path = cache_folder("partition") / f"{network}.profile.json"
    path.unlink(missing_ok=True)  # of this run: the machine may be another one
    graph, profile = profile_of(network, path)
    space = space_of(graph, profile)
    chosen = points(len(space.cuts), each, seed=NETWORKS.index(network))
    module = [sys.executable, "-m", "benchmarks.partition.side"]
    records = []
    with ExitStack() as ends:
        link = ends.enter_context(Network())
        cloud = CloudProcess(
            link.command("cloud", *module, "cloud", network, ADDRESS["cloud"])
        )
        ends.callback(cloud.kill)
        edge = subprocess.Popen(
            link.command("edge", *module, "edge", network, ADDRESS["cloud"],
                         str(cloud.port), str(path)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        ends.enter_context(edge)
        ends.callback(edge.kill)
        _told(edge, None)
        # Whoever measures and delays is not held up by what else runs here, either.
        every = {"edge": edge.pid, "cloud": cloud.process.pid, "link": link.process,
                 "this": os.getpid()}  # fmt: skip
        shares = {name: ends.enter_context(CpuQuota(1.0)) for name in every}
        for name, process in every.items():
            shares[name].add(process)
        for number, point in enumerate(chosen):
            least = float(space.sizes[point.index]) / _SENT_S
            rate = max(point.uplink_bytes_per_s, least)
            link.set(Shape(uplink_bytes_per_s=rate, rtt_s=point.rtt_s))
            got = link.verify(bulk_s=max(0.5, 8 * point.rtt_s))
            shares["edge"].set(1 / point.edge_slowdown)
            shares["cloud"].set(1 / point.cloud_slowdown)
            found = _told(
                edge, {"index": point.index, "repeats": _REPEATS, "most_s": _MOST_S}
            )
            records.append(
                {
                    "network": network,
                    "position": int(space.positions[point.index]),
                    "codec": space.codecs[point.index],
                    "uplink_bytes_per_s": got.uplink_bytes_per_s,
                    "rtt_s": got.rtt_s,
                    "edge_slowdown": point.edge_slowdown,
                    "cloud_slowdown": point.cloud_slowdown,
                    **found,
                    "used_for": point.used_for,
                    "parts": _parts(space, point, got.uplink_bytes_per_s, got.rtt_s),
                }
            )
            took = float(np.median(found["latency_s"]))
            print(f"  {network} {number + 1}/{len(chosen)}: {took:.3f} s",
                  file=sys.stderr)  # fmt: skip
    return {"records": records, "whole_s": float(profile.seconds.sum()),
            "load": os.getloadavg()[2]}  # fmt: skip


def _parts(space: Any, point: Point, rate: float, rtt_s: float) -> Sequence[float]:
    """Return what the formula has for a point: seconds on edge, link and cloud."""
    at = Conditions(
        uplink_bytes_per_s=rate, rtt_s=rtt_s, edge_slowdown=point.edge_slowdown,
        cloud_slowdown=point.cloud_slowdown,
    )  # fmt: skip
    return [float(each[point.index]) for each in space.parts(at)]


def main(network: str, each: str = str(_EACH)) -> None:
    """Measure a network; print the result."""
    why = unavailable() or no_quota()
    if why:
        raise SystemExit(f"points need emulated links and quotas: {why}")
    begun = time.monotonic()
    found = _measured(network, int(each))
    print(json.dumps({**found, "took_s": time.monotonic() - begun}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
