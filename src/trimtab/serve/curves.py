"""Seconds that a batch takes, by its size: on one worker, on all at once, elsewhere.

A curve is measured, or it is the prior that a model of latency gives from captures at a
few batch sizes. Between sizes it is linear, which never leaves the points beside it;
points that fall by the noise of a measurement are raised to the one before.
"""

from __future__ import annotations

import functools
import importlib.resources
import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from pydantic import ConfigDict, TypeAdapter, with_config

from trimtab import files
from trimtab.cost.latency import LatencyModel
from trimtab.errors import DataError, UsageError
from trimtab.graph.types import Graph
from trimtab.hardware.machine import Machine

__all__ = [
    "ServiceCurve",
    "accelerated",
    "accelerator_names",
    "contended",
    "curve_names",
    "estimated",
    "item_bytes",
    "named",
    "read",
    "target_s",
    "write",
]

FORMAT: Final = 1
_MOST_BYTES: Final = 2**20
_MOST_SIZES: Final = 4096
_MOST_ITEMS: Final = 65_536


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCurve:
    """How long a worker takes for a batch.

    Attributes:
        format: of the file.
        network: for people.
        source: where the numbers are from.
        sizes: items of a batch, ascending, from 1.
        seconds: of a batch of each size, with the other workers idle.
        workers: that are busy in `busy_seconds`.
        busy_seconds: of each size, with all of them busy; empty where workers do not
            slow each other.
        dispatch_s: of handing a batch to a worker, beside its own time.

    Raises:
        DataError: numbers out of order or bounds.

    Example:
        >>> curve = ServiceCurve(
        ...     network="example", source="made up", sizes=(1, 11), seconds=(1.0, 2.0)
        ... )
        >>> curve.batch_s(6), curve.batch_s(21)
        (1.5, 3.0)
    """

    network: str
    source: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    workers: int = 1
    busy_seconds: tuple[float, ...] = ()
    dispatch_s: float = 0.0
    format: int = FORMAT

    def __post_init__(self) -> None:
        wrong = _wrong(self)
        if wrong:
            raise DataError(
                f"service curve of {self.network[:80]!r}",
                rule=wrong,
                where="trimtab.serve.curves",
                remedy="measure it again",
            )

    def batch_s(self, items: int, busy: int = 1) -> float:
        """Return the time of a batch while so many workers are busy, it included.

        Beyond the largest size the slope of the last two goes on; between one worker
        and all of them the time grows evenly.
        """
        return self.table(items, busy)[items]

    def table(self, most: int, busy: int = 1) -> list[float]:
        """Return the times of batches of 0 to `most` items, for look-ups by size."""
        return list(_table(self, most, busy))


@functools.lru_cache(maxsize=256)
def _table(curve: ServiceCurve, most: int, busy: int) -> tuple[float, ...]:
    alone = _filled(curve.sizes, curve.seconds, most)
    if curve.busy_seconds and curve.workers > 1:
        share = min(1.0, (busy - 1) / (curve.workers - 1))
        full = np.maximum(_filled(curve.sizes, curve.busy_seconds, most), alone)
        alone = alone + share * (full - alone)
    return 0.0, *(alone[1:] + curve.dispatch_s).tolist()


def _filled(sizes: Sequence[int], seconds: Sequence[float], most: int) -> Any:
    rising = np.maximum.accumulate(seconds)
    items = np.arange(most + 1)
    found = np.interp(items, sizes, rising)
    if most > sizes[-1]:
        slope = rising[-1] / sizes[-1]
        if len(sizes) > 1:
            slope = (rising[-1] - rising[-2]) / (sizes[-1] - sizes[-2])
        beyond = items > sizes[-1]
        found[beyond] = rising[-1] + slope * (items[beyond] - sizes[-1])
    return found


def estimated(
    captured: Mapping[int, Graph], machine: Machine, latency: LatencyModel
) -> ServiceCurve:
    """Return the prior: what a model says of captures at a few batch sizes.

    Args:
        captured: graphs of the same network by batch size; 1 is among them.
        machine: that serves.
        latency: the model; one thread is used, as by a worker.

    Raises:
        DataError: size 1 is missing.
    """
    sizes = tuple(sorted(captured))
    times = tuple(
        math.fsum(
            each.estimate.latency_s
            for each in latency.estimate(captured[size], machine, 1).nodes
        )
        for size in sizes
    )
    return ServiceCurve(
        network=next((captured[size].name for size in sizes), ""),
        source=f"estimated of {machine.title}",
        sizes=sizes,
        seconds=times,
    )


def contended(
    curve: ServiceCurve,
    *,
    workers: int,
    item_bytes: float,
    bandwidth_bytes_per_s: float,
) -> ServiceCurve:
    """Return a curve whose workers share a memory.

    Where all of them at their own pace would read more than the memory gives, all take
    as much longer. Only `item_bytes` are counted, so that it is a lower bound.

    Args:
        curve: of one worker alone.
        workers: that share the memory.
        item_bytes: that one item reads beyond the caches.
        bandwidth_bytes_per_s: of the memory.
    """
    busy = tuple(
        max(time, workers * item_bytes * size / bandwidth_bytes_per_s)
        for size, time in zip(curve.sizes, curve.seconds, strict=True)
    )
    return replace(curve, workers=workers, busy_seconds=busy)


def curve_names() -> tuple[str, ...]:
    """Return the networks whose curves are shipped.

    Example:
        >>> "rmc1" in curve_names()
        True
    """
    return tuple(_catalogue("curves.toml")["network"])


def accelerator_names() -> tuple[str, ...]:
    """Return the accelerators that are known as latency tables.

    Example:
        >>> accelerator_names()
        ('gtx-1080ti',)
    """
    return tuple(_catalogue("accelerators.toml"))


def named(spec: str) -> ServiceCurve:
    """Return the curve of a file that ends in ``.json``, or one that is shipped.

    Raises:
        UsageError: neither a file nor a network with a shipped curve.
        DataError: the file is no curve.

    Example:
        >>> named("zoo:din").batch_s(1) == named("din").batch_s(1) == 0.23e-3
        True
    """
    if spec.endswith(".json"):
        return read(Path(spec))
    shipped = _catalogue("curves.toml")
    found = shipped["network"].get(spec.removeprefix("zoo:"))
    if found is None:
        raise UsageError(
            f"service curve {spec!r}",
            rule=f"it is a .json file or one of {', '.join(curve_names())}",
            where="trimtab.serve.curves",
            remedy="measure one, or name one of these",
        )
    return ServiceCurve(
        network=found["title"],
        source=shipped["source"],
        sizes=tuple(shipped["sizes"]),
        seconds=tuple(time * 1e-3 for time in found["ms"]),
    )


def accelerated(
    name: str, network: str, cpu: ServiceCurve, *, threads: int = 1
) -> ServiceCurve:
    """Return the latency table of an accelerator for whole queries of a network.

    Published are speed-ups over a processor, not times, and not how many threads that
    had: with one thread its time is the curve's; with several a query is taken to be
    divided evenly over them.

    Args:
        name: of the accelerator.
        network: whose speed-ups are taken.
        cpu: curve of the processor that speed-ups are over.
        threads: that the processor is taken to have had.

    Returns:
        A `ServiceCurve`, between the published sizes linear in their logarithm.

    Raises:
        UsageError: an accelerator or a network that is not known.

    Example:
        >>> cpu = named("wnd")
        >>> gpu = accelerated("gtx-1080ti", "wnd", cpu)
        >>> round(cpu.batch_s(256) / gpu.batch_s(256), 2)
        3.29
    """
    known = _catalogue("accelerators.toml")
    network = network.removeprefix("zoo:")
    if name not in known or network not in known[name]["speed_up"]:
        raise UsageError(
            f"accelerator {name!r} for {network!r}",
            rule=f"known are {', '.join(known)} for {', '.join(curve_names())}",
            where="trimtab.serve.curves",
            remedy="name one of these, or give the JSON of a measured curve",
        )
    device = known[name]
    sizes = sorted({*device["sizes"], *_FINE})
    faster = np.interp(
        np.log(sizes), np.log(device["sizes"]), device["speed_up"][network]
    )
    times = [
        cpu.batch_s(-(-size // threads)) / float(ratio)
        for size, ratio in zip(sizes, faster, strict=True)
    ]
    return ServiceCurve(
        network=cpu.network,
        source=f"{device['title']}: {device['source']}; taken as over {threads} "
        f"thread{'s' if threads > 1 else ''}",
        sizes=tuple(sizes),
        seconds=tuple(times),
    )


_FINE: Final = (
    1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 896, 1024,
)  # fmt: skip
# Sizes that an accelerator's table has, beside the published ones.


def item_bytes(network: str) -> float:
    """Return the bytes of tables that an item of a shipped network reads."""
    found = _catalogue("curves.toml")["network"][network.removeprefix("zoo:")]
    return float(found["item_bytes"])


def target_s(network: str) -> float:
    """Return the limit on p95 that the paper has for a shipped network."""
    found = _catalogue("curves.toml")["network"][network.removeprefix("zoo:")]
    return float(found["target_ms"]) * 1e-3


@functools.cache
def _catalogue(name: str) -> dict[str, Any]:
    folder = importlib.resources.files("trimtab.serve") / "catalogue"
    return tomllib.loads((folder / name).read_text(encoding="utf-8"))


_ADAPTER: Final[TypeAdapter[ServiceCurve]] = TypeAdapter(ServiceCurve)


def write(curve: ServiceCurve, path: Path) -> None:
    """Write a curve as JSON, whole or not at all.

    Raises:
        UsageError: the folder does not exist.
    """
    files.write(asdict(curve), path, "service curve")


def read(path: Path) -> ServiceCurve:
    """Return the curve in a file.

    Raises:
        DataError: it is absent or no curve; each problem is named.
    """
    wrong = functools.partial(_no_curve, path)
    try:
        return files.read(_ADAPTER, path, wrong, most_bytes=_MOST_BYTES)
    except DataError as error:  # numbers that no curve has do not name the file
        raise wrong(error.rule) from error


def _wrong(curve: ServiceCurve) -> str:
    """Return what is wrong with a curve, or nothing."""
    sizes, count = curve.sizes, len(curve.sizes)
    if curve.format != FORMAT:
        return f"its format is {curve.format}, this reads {FORMAT}"
    if not 1 <= count <= _MOST_SIZES or sizes[0] != 1 or sizes[-1] > _MOST_ITEMS:
        return f"its sizes do not begin at 1 and end below {_MOST_ITEMS}"
    if any(a >= b for a, b in itertools.pairwise(sizes)):
        return "its sizes do not ascend"
    if len(curve.seconds) != count or len(curve.busy_seconds) not in (0, count):
        return "there is not one time for each size"
    times = (*curve.seconds, *curve.busy_seconds)
    if not all(math.isfinite(each) and each > 0 for each in times):
        return "a time is not above 0"
    if not 0 <= curve.dispatch_s < math.inf or curve.workers < 1:
        return "a dispatch time is below 0 or workers are below 1"
    return ""


def _no_curve(path: Path, rule: str) -> DataError:
    return DataError(
        f"service curve {str(path)!r}",
        rule=rule,
        where="trimtab.serve.curves",
        remedy="measure it again",
    )
