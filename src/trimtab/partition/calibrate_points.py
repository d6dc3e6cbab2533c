"""Measured points of a test-bed, and what they correct of predicted times.

A prediction is a sum of edge, link and cloud. Each is compared with what was measured
of it, so that the errors of one do not hide in another:

    edge   = edge_scale x predicted
    cloud  = cloud_scale x predicted
    link   = link_scale x (round trip + bytes / goodput) + link_s

No parameter is below 0. They are fitted by relative errors, of which large ones count
less (Huber 1964), to the points that say ``fit``; the error is that of the others, with
``test``, which should have been measured under other conditions.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, with_config
from scipy.optimize import nnls

from trimtab import files
from trimtab.errors import DataError
from trimtab.partition.conditions import Conditions
from trimtab.partition.space import Space

__all__ = ["Calibrated", "Fit", "Point", "calibrated", "noise_of", "read"]

_MOST_BYTES: Final = 64 * 2**20
_LEAST: Final = 3  # points to fit
_HUBER: Final = 0.1  # relative error, beyond which it counts by its size only
_ROUNDS: Final = 20
_SMALL_S: Final = 1e-4  # a component below it shows its clock more than its speed

Floats = NDArray[np.float64]
Above = Annotated[float, Field(gt=0)]
NotBelow = Annotated[float, Field(ge=0)]


@final
@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One cut under one condition, measured several times.

    The file is a JSON list of such objects, in the order they were measured, which
    should be a random one.

    Attributes:
        network: name of its graph.
        position: nodes before it ran on the edge.
        codec: that values were sent with.
        uplink_bytes_per_s: as achieved.
        rtt_s: as achieved.
        edge_slowdown: as set; 1 for none.
        cloud_slowdown: as set.
        latency_s: from end to end, of each repeat.
        edge_s: of it on the edge, by its own clock.
        cloud_s: of it in the cloud; empty or 0 where nothing ran there.
        used_for: ``fit`` or ``test``.
    """

    network: str
    position: Annotated[int, Field(ge=0)]
    codec: str
    uplink_bytes_per_s: Above
    rtt_s: NotBelow
    edge_slowdown: Annotated[float, Field(ge=1)]
    cloud_slowdown: Annotated[float, Field(ge=1)]
    latency_s: Annotated[list[Above], Field(min_length=1)]
    edge_s: list[NotBelow]
    cloud_s: list[NotBelow]
    used_for: Literal["fit", "test"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What measured times are of predicted ones.

    Attributes:
        edge_scale: time on the edge over the predicted one.
        cloud_scale: the same of the cloud.
        link_scale: the same of the link.
        link_s: of each request on the link beyond that.
    """

    edge_scale: float = 1.0
    cloud_scale: float = 1.0
    link_scale: float = 1.0
    link_s: float = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A fit, and how well it predicts points it has not seen.

    Attributes:
        network: name of its graph.
        fit: the parameters.
        fitted: points it was fitted to.
        tested: other points.
        median_error_frac: of end-to-end latency, of the other points.
        p90_error_frac: that nine in ten of them are below.
        before_median_error_frac: the same without a fit.
        noise_frac: deviation of the logarithm of a repeat.
    """

    network: str
    fit: Fit
    fitted: int
    tested: int
    median_error_frac: float
    p90_error_frac: float
    before_median_error_frac: float
    noise_frac: float


_ADAPTER: Final[TypeAdapter[list[Point]]] = TypeAdapter(list[Point])


def read(path: Path) -> tuple[Point, ...]:
    """Return the points in a file.

    Raises:
        DataError: it is absent or has something else; the first problem is named with
            its place.
    """
    wrong = functools.partial(_wrong, str(path))
    found = files.read(_ADAPTER, path, wrong, most_bytes=_MOST_BYTES)
    return tuple(found)


def noise_of(points: Sequence[Point]) -> float:
    """Return the deviation of the logarithm of a repeat; the median over points.

    Points with one repeat say nothing of it; without any others it is 0.
    """
    spreads = [
        statistics.stdev(np.log(each.latency_s).tolist())
        for each in points
        if len(each.latency_s) > 1
    ]
    return statistics.median(spreads) if spreads else 0.0


def calibrated(space: Space, points: Sequence[Point]) -> Calibrated:
    """Fit a network's predictions to its points, and judge them by the others.

    Args:
        space: with the profiles of the machines that were measured, and every cut and
            codec of the points.
        points: of this network; others are left out.

    Raises:
        DataError: a cut or codec that the space has not, or too few points.
    """
    name = space.graph.name
    mine = [each for each in points if each.network == name]
    fitting = [each for each in mine if each.used_for == "fit"]
    testing = [each for each in mine if each.used_for == "test"]
    if len(fitting) < _LEAST or not testing:
        raise _wrong(
            f"{len(fitting)} points to fit and {len(testing)} to test of {name!r}",
            f"a fit takes {_LEAST} at least, and its error one that it has not seen",
        )
    parts = np.array([_predicted(space, each) for each in fitting])
    edge = np.array([_median(each.edge_s) for each in fitting])
    cloud = np.array([_median(each.cloud_s) for each in fitting])
    latency = np.array([_median(each.latency_s) for each in fitting])
    away = np.array([not _is_local(space, each) for each in fitting])
    link = latency - edge - cloud
    sent = away & (link > 0)
    ones = np.ones(int(sent.sum()))
    link_scale, link_s = _fitted(
        np.column_stack([parts[sent, 1], ones]), link[sent], (1.0, 0.0)
    )
    fit = Fit(
        edge_scale=_scale(parts[:, 0], edge),
        cloud_scale=_scale(parts[:, 2], cloud),
        link_scale=link_scale,
        link_s=link_s,
    )
    after, before = (
        _errors(space, testing, each) for each in (fit, Fit())
    )  # fmt: skip
    return Calibrated(
        network=name,
        fit=fit,
        fitted=len(fitting),
        tested=len(testing),
        median_error_frac=float(np.median(after)),
        p90_error_frac=float(np.quantile(after, 0.9)),
        before_median_error_frac=float(np.median(before)),
        noise_frac=noise_of(mine),
    )


def _errors(space: Space, points: Sequence[Point], fit: Fit) -> Floats:
    """Return relative errors of end-to-end latency."""
    found = []
    for each in points:
        edge, link, cloud = _predicted(space, each)
        predicted = fit.edge_scale * edge
        if not _is_local(space, each):
            predicted += fit.cloud_scale * cloud + fit.link_scale * link + fit.link_s
        found.append(abs(predicted / _median(each.latency_s) - 1))
    return np.array(found)


def _predicted(space: Space, point: Point) -> tuple[float, float, float]:
    """Return the predicted times of a point: edge, link, cloud."""
    row = _row(space, point)
    at = Conditions(
        uplink_bytes_per_s=point.uplink_bytes_per_s,
        downlink_bytes_per_s=point.uplink_bytes_per_s,
        rtt_s=point.rtt_s,
        edge_slowdown=point.edge_slowdown,
        cloud_slowdown=point.cloud_slowdown,
    )
    edge, link, cloud = (float(each[row]) for each in space.parts(at))
    return edge, link, cloud


def _row(space: Space, point: Point) -> int:
    for row, position in enumerate(space.positions):
        if position == point.position and (
            space.local[row] or space.codecs[row] == point.codec
        ):
            return row
    raise _wrong(
        f"a point of {point.network!r} at position {point.position} with "
        f"{point.codec!r}",
        "the network has no such cut with such a codec",
    )


def _is_local(space: Space, point: Point) -> bool:
    return bool(space.local[_row(space, point)])


def _scale(predicted: Floats, measured: Floats) -> float:
    seen = (predicted > _SMALL_S) & (measured > 0)
    return _fitted(predicted[seen][:, None], measured[seen], (1.0,))[0]


def _fitted(
    columns: Floats, measured: Floats, without: tuple[float, ...]
) -> tuple[float, ...]:
    """Return factors of columns, not below 0, that robustly give what was measured.

    By least squares of relative errors, weighed anew as Huber's loss says; `without`
    where there are too few points.
    """
    if len(measured) < _LEAST:
        return without
    relative = columns / measured[:, None]
    weights = np.ones(len(measured))
    found = np.array(without)
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        found, _ = nnls(relative * root[:, None], root)
        errors = np.abs(relative @ found - 1)
        weights = np.minimum(1.0, _HUBER / np.maximum(errors, 1e-12))
    return tuple(float(each) for each in found)


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _wrong(asked: str, rule: str) -> DataError:
    return DataError(
        f"measured points: {asked}",
        rule=rule,
        where="--calibration",
        remedy="give a JSON list of points as trimtab.partition.calibrate_points has "
        "them",
    )
