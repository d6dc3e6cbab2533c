"""Recorded and synthetic courses of a link and of loads, for a replay.

A recorded one is a CSV file with a heading:

| column | what |
| --- | --- |
| ``time_s`` | from any origin, ascending |
| ``uplink_mbit_s`` | goodput from edge to cloud from then on |
| ``rtt_ms`` | round trip; may be absent, then 40 |
| ``edge_load`` | times that the edge is slower; may be absent, then 1 |
| ``cloud_load`` | the same of the cloud; may be absent, then 1 |

Columns may be in any order, others are refused. Goodput below 0.01 Mbit/s counts as
that: an outage in which a request takes minutes, but ends.

Synthetic ones are made up, each to show one thing, and say so in their name.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError, UsageError

__all__ = ["SYNTHETIC", "Trace", "read", "synthetic", "trace_of"]

Floats = NDArray[np.float64]

_MARK: Final = "synthetic:"
_MOST_BYTES: Final = 64 * 2**20
_MOST_ROWS: Final = 1_000_000
_LEAST_MBIT_S: Final = 0.01
_DEFAULTS: Final = {"rtt_ms": 40.0, "edge_load": 1.0, "cloud_load": 1.0}
_NEEDED: Final = ("time_s", "uplink_mbit_s")
_LIMITS: Final = {
    "time_s": (-1e12, 1e12),
    "uplink_mbit_s": (0.0, 1e6),
    "rtt_ms": (0.0, 1e5),
    "edge_load": (0.01, 1e3),
    "cloud_load": (0.01, 1e3),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What a link and both machines are like, from each time on.

    Attributes:
        name: of the file, or of a synthetic one.
        time_s: from 0, ascending.
        uplink_bytes_per_s: goodput from edge to cloud.
        rtt_s: round trip of a small packet.
        edge_load: times that the edge is slower.
        cloud_load: times that the cloud is slower.
    """

    name: str
    time_s: Floats
    uplink_bytes_per_s: Floats
    rtt_s: Floats
    edge_load: Floats
    cloud_load: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def length_s(self) -> float:
        """Time that it covers; the last row holds as long as the one before."""
        if len(self) < 2:
            return 1.0
        return float(2 * self.time_s[-1] - self.time_s[-2])

    def rows(self, at_s: Floats) -> NDArray[np.intp]:
        """Return the row that holds at each time."""
        found = np.searchsorted(self.time_s, at_s, side="right") - 1
        return np.maximum(found, 0)


def trace_of(spec: str, *, seed: int = 0) -> Trace:
    """Return the trace in a file, or ``synthetic:NAME``.

    Raises:
        UsageError: no such synthetic one.
        DataError: no such file, or something else in it.
    """
    if spec.startswith(_MARK):
        return synthetic(spec.removeprefix(_MARK), seed=seed)
    return read(Path(spec))


def read(path: Path) -> Trace:
    """Return the trace in a CSV file.

    Raises:
        DataError: it is absent or something else; the line is named.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _wrong(path, 0, f"it is larger than {_MOST_BYTES} bytes")
        with path.open(encoding="utf-8", newline="") as file:
            found = np.array(list(_rows(path, csv.reader(file, strict=True))))
    except OSError as error:
        raise _wrong(path, 0, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _wrong(path, 0, "it is no UTF-8 text") from error
    columns = dict(zip(_LIMITS, found.T, strict=True))
    return Trace(
        name=path.name,
        time_s=columns["time_s"] - columns["time_s"][0],
        uplink_bytes_per_s=_bytes_per_s(columns["uplink_mbit_s"]),
        rtt_s=columns["rtt_ms"] / 1e3,
        edge_load=columns["edge_load"],
        cloud_load=columns["cloud_load"],
    )


def _rows(path: Path, lines: Iterator[list[str]]) -> Iterator[list[float]]:
    """Give the numbers of each line, in the order of `_LIMITS`."""
    names: list[str] = []
    before, count, number = -math.inf, 0, 0
    try:
        for number, cells in enumerate(lines, 1):
            if not names:
                names = _heading(path, number, cells)
                continue
            if not cells:
                continue
            if len(cells) != len(names):
                raise _wrong(
                    path, number, f"it has {len(cells)} cells, not {len(names)}"
                )
            values = dict(_DEFAULTS)
            for name, cell in zip(names, cells, strict=True):
                values[name] = _number(path, number, name, cell)
            if values["time_s"] <= before:
                raise _wrong(path, number, "its time is not after the one before")
            before, count = values["time_s"], count + 1
            if count > _MOST_ROWS:
                raise _wrong(path, number, f"there are more than {_MOST_ROWS} rows")
            yield [values[name] for name in _LIMITS]
    except csv.Error as error:
        raise _wrong(path, number + 1, str(error)) from error
    if not count:
        raise _wrong(path, number, "there is no row of numbers")


def _heading(path: Path, line: int, cells: list[str]) -> list[str]:
    names = [each.strip() for each in cells]
    wrong = [each for each in names if each not in _LIMITS or names.count(each) > 1]
    missing = [each for each in _NEEDED if each not in names]
    if wrong or missing:
        what = f"no column {missing[0]}" if missing else f"the column {wrong[0]!r}"
        raise _wrong(path, line, f"its heading has {what}; known are {list(_LIMITS)}")
    return names


def _number(path: Path, line: int, name: str, cell: str) -> float:
    low, high = _LIMITS[name]
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise _wrong(
            path, line, f"{name} is {cell[:40]!r}, not within {low:g} and {high:g}"
        )
    return value


def _wrong(path: Path, line: int, rule: str) -> DataError:
    return DataError(
        f"trace {str(path)!r}",
        rule=rule,
        where=f"line {line}" if line else "the file",
        remedy="give a CSV file with the columns time_s, uplink_mbit_s and, if known, "
        "rtt_ms, edge_load, cloud_load",
    )


def _bytes_per_s(mbit_s: Floats) -> Floats:
    found: Floats = np.maximum(mbit_s, _LEAST_MBIT_S) * 1e6 / 8
    return found


# Made up


def synthetic(name: str, *, seed: int = 0, length_s: int = 1200) -> Trace:
    """Return a synthetic trace with a row for each second.

    Args:
        name: of `SYNTHETIC`.
        seed: of what is drawn.
        length_s: that it covers.

    Raises:
        UsageError: there is none of the name.

    Example:
        >>> len(synthetic("flips", length_s=60))
        60
    """
    if name not in SYNTHETIC:
        raise UsageError(
            f"synthetic trace {name!r}",
            rule=f"known are {', '.join(SYNTHETIC)}",
            where="trimtab.partition.traces",
            remedy="choose one of these, or give a CSV file",
        )
    rng = np.random.default_rng(seed)
    mbit_s, rtt_s, cloud_load = SYNTHETIC[name](rng, length_s)
    return Trace(
        name=f"{_MARK}{name}",
        time_s=np.arange(length_s, dtype=np.float64),
        uplink_bytes_per_s=_bytes_per_s(mbit_s),
        rtt_s=rtt_s,
        edge_load=np.ones(length_s),
        cloud_load=cloud_load,
    )


Made = tuple[Floats, Floats, Floats]


def _walk(rng: np.random.Generator, length: int) -> Made:
    """Walk: a logarithm drawn back to 6 Mbit/s, from 0.5 to 60, as one moves in LTE."""
    at, found = 0.0, []
    for step in rng.normal(0.0, 0.15, length):
        at = 0.985 * at + step
        found.append(at)
    mbit_s = np.clip(6.0 * np.exp(found), 0.5, 60.0)
    return mbit_s, np.full(length, 0.05), np.ones(length)


def _regimes(rng: np.random.Generator, length: int) -> Made:
    """Regimes: WiFi, LTE and 3G in turn, each for 20 to 60 s."""
    which = _spells(rng, length, 3, (20, 60))
    jitter = np.exp(rng.normal(0.0, 0.1, length))
    mbit_s = np.array([50.0, 10.0, 1.5])[which] * jitter
    return mbit_s, np.array([0.01, 0.05, 0.1])[which], np.ones(length)


def _flips(rng: np.random.Generator, length: int) -> Made:
    """Flips: 40 and 2 Mbit/s, another each second."""
    mbit_s = np.where(np.arange(length) % 2, 2.0, 40.0)
    jitter = np.exp(rng.normal(0.0, 0.05, length))
    return mbit_s * jitter, np.full(length, 0.02), np.ones(length)


def _fade(rng: np.random.Generator, length: int) -> Made:
    """Fade: slowly from 1 to 100 Mbit/s and back, in four minutes."""
    wave = np.sin(2 * np.pi * np.arange(length) / 240 + rng.uniform(0, 2 * np.pi))
    jitter = np.exp(rng.normal(0.0, 0.05, length))
    return 10.0 * 10.0**wave * jitter, np.full(length, 0.03), np.ones(length)


def _cloud(rng: np.random.Generator, length: int) -> Made:
    """Load: a cloud that is 1, 4 or 20 times slower, each for 30 to 90 s."""
    which = _spells(rng, length, 3, (30, 90))
    jitter = np.exp(rng.normal(0.0, 0.05, length))
    load = np.array([1.0, 4.0, 20.0])[which]
    return 40.0 * jitter, np.full(length, 0.02), load


def _outages(rng: np.random.Generator, length: int) -> Made:
    """Outages: 30 Mbit/s, but 0.05 for 20 s of each minute."""
    jitter = np.exp(rng.normal(0.0, 0.05, length))
    out = np.arange(length) % 60 >= 40
    return np.where(out, 0.05, 30.0) * jitter, np.full(length, 0.03), np.ones(length)


def _spells(
    rng: np.random.Generator, length: int, kinds: int, lasting: tuple[int, int]
) -> NDArray[np.int64]:
    """Return a kind for each second, one after another that differs."""
    found: list[int] = []
    kind = int(rng.integers(kinds))
    while len(found) < length:
        found += [kind] * int(rng.integers(lasting[0], lasting[1] + 1))
        kind = (kind + int(rng.integers(1, kinds))) % kinds
    return np.array(found[:length])


SYNTHETIC: Final[dict[str, Callable[[np.random.Generator, int], Made]]] = {
    "4g-walk": _walk,
    "regimes": _regimes,
    "flips": _flips,
    "slow-fade": _fade,
    "cloud-load": _cloud,
    "outages": _outages,
}
"""Synthetic traces by name: uplink (Mbit/s), round trip (s), load of the cloud."""
