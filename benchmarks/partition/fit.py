"""Measured latencies as a sum of what the formula has, each part with a factor.

    latency = a edge + b cloud + c bytes / goodput + d rtt
              + e slowdown of the cloud + f slowdown of the edge

with another f where nothing is sent. Factors are at least 0, of one network on two
machines, and are found from the points that are for the fit alone; relative errors
count, so that short and long ones do alike. The last ones are what a request costs
beside the network: threads, frames, copies. `trimtab.partition.calibrate_points`, which
a study uses, fits edge, link and cloud each for itself and has no such cost that grows
with a slow-down: on synthetic records of a network of 3 ms its median error is 0.09
where this has 0.01; at 0.5 s they are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

__all__ = ["errors", "factors", "measured", "plain"]

Record = Mapping[str, Any]
Floats = NDArray[np.float64]


def measured(records: Sequence[Record]) -> Floats:
    """Return the median latency of each point."""
    return np.array([np.median(each["latency_s"]) for each in records])


def _row(each: Record) -> list[float]:
    edge, link, cloud = each["parts"]
    away = float(link > 0)
    rtt = each["rtt_s"] * away
    slow = each["edge_slowdown"]
    return [edge, cloud, link - rtt, rtt, away * each["cloud_slowdown"],
            away * slow, (1 - away) * slow]  # fmt: skip


def factors(records: Sequence[Record]) -> Floats:
    """Return the factors that points to fit have."""
    rows = np.array([_row(each) for each in records])
    found = measured(records)
    factors, _ = nnls(rows / found[:, None], np.ones(len(found)))
    return np.asarray(factors)


def errors(records: Sequence[Record], factors: Floats) -> Floats:
    """Return relative errors of points that are predicted, without sign."""
    predicted = np.array([_row(each) for each in records]) @ factors
    return np.abs(predicted / measured(records) - 1)


def plain(records: Sequence[Record]) -> Floats:
    """Return relative errors of the formula as it is, fitted to nothing."""
    predicted = np.array([sum(each["parts"]) for each in records])
    return np.abs(predicted / measured(records) - 1)
