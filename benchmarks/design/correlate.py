"""Rank correlation of score, costs and proxies with published accuracy.

The networks of a table are drawn with replacement; the interval of a difference is of
the same draws for both, for they are of the same networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trimtab import stats

__all__ = ["COLUMNS", "correlated", "figures"]

Records = Sequence[Mapping[str, Any]]

COLUMNS = {
    "torchvision_v1": ("imagenet",),
    "torchvision_v2": ("imagenet",),
    "nasbench101": ("cifar10",),
    "nasbench201": ("cifar10", "cifar100", "ImageNet16-120"),
    "nasbench201_others": (
        "cifar10-test-200ep-mean", "cifar10-test", "cifar100-test", "imagenet-test",
    ),
}  # fmt: skip
"""By table, the columns of accuracy."""

_RESAMPLES = 1000
_FLOOR = -1e9
# The score of a network that sees nothing: below all others.


def _finite(value: float) -> float:
    return _FLOOR if value == -math.inf else value


def figures(record: Mapping[str, Any], column: str) -> dict[str, float]:
    """Return what may tell the accuracy of a network, by name."""
    found = {
        "S": record["score"],
        "parameters": record["parameters"],
        "FLOPs": record["multiply_adds"],
        "entropy": record["entropy"],
    }
    for name, value in record["proxies"].items():
        proxy, _, of = name.partition(" ")
        if of in ("", column):
            shown = f"{proxy} of the table" if proxy in ("params", "flops") else proxy
            found[shown] = value
    return {name: _finite(value) for name, value in found.items()}


def correlated(records: Records, column: str) -> dict[str, Any]:
    """Return Spearman and Kendall of every figure, and what S is ahead of each.

    Args:
        records: of the networks of a table.
        column: of accuracy.
    """
    accuracy = np.array([each["accuracy"][column] for each in records])
    every = [figures(each, column) for each in records]
    columns = {name: np.array([each[name] for each in every]) for name in every[0]}
    rows = np.arange(len(records), dtype=np.float64)

    def spearman(name: str) -> Callable[[np.ndarray], float]:
        def of(at: np.ndarray) -> float:
            chosen = at.astype(np.intp)
            return _spearman(columns[name][chosen], accuracy[chosen])

        return of

    def interval(statistic: Callable[[np.ndarray], float]) -> list[float]:
        found = stats.bootstrap_interval(
            rows, statistic, resamples=_RESAMPLES, seed=0, method="percentile"
        )
        return [found.value, found.low, found.high]

    found = {}
    mine = spearman("S")
    for name, values in columns.items():
        theirs = spearman(name)

        def ahead(
            at: np.ndarray, theirs: Callable[[np.ndarray], float] = theirs
        ) -> float:
            return mine(at) - theirs(at)

        kendall = stats.kendall(values, accuracy, resamples=_RESAMPLES)
        found[name] = {
            "spearman": interval(theirs),
            "kendall": [kendall.value, kendall.low, kendall.high],
            "ahead": interval(ahead),
        }
    return found


def _spearman(one: np.ndarray, two: np.ndarray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(two)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
