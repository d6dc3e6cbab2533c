"""Arrival times that were recorded, hostile until read."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError

__all__ = ["read_times"]

Floats = NDArray[np.float64]

_MOST_BYTES: Final = 256 * 2**20
_MOST_ARRIVALS: Final = 20_000_000
_UNREADABLE: Final = (
    OSError, EOFError, ValueError, RuntimeError, csv.Error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
# What a damaged file is told by; RuntimeError is zipfile's word for an encrypted one.


def read_times(path: Path) -> Floats:
    """Return arrival times in a file, in seconds after its first one.

    A ``.csv`` has a heading and, in its first column, seconds or moments such as
    ``2023-11-16 18:15:46.68``; an ``.npz`` has an array ``at_s``. The mean gap is put
    before the first arrival, so that n arrivals span n gaps.

    Raises:
        DataError: it is absent, too large, or its times are not finite and ascending.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _no_trace(path, f"it is larger than {_MOST_BYTES} bytes")
        at = _of_npz(path) if path.suffix == ".npz" else _of_csv(path)
    except DataError:
        raise
    except _UNREADABLE as error:
        raise _no_trace(path, str(error) or type(error).__name__) from error
    if at.ndim != 1 or not 2 <= at.size <= _MOST_ARRIVALS:
        raise _no_trace(path, "it has not between 2 and 20 million arrivals")
    if not np.isfinite(at).all():
        raise _no_trace(path, "a time is not finite")
    gaps = np.diff(at)
    if gaps.min() < 0:
        row = int(np.argmax(gaps < 0)) + 1
        raise _no_trace(path, f"arrival {row + 1} is before arrival {row}")
    span = float(at[-1] - at[0])
    if span <= 0:
        raise _no_trace(path, "all arrivals are at the same time")
    return np.asarray(at - at[0] + span / (at.size - 1), dtype=np.float64)


def _of_csv(path: Path) -> Floats:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        texts = [row[0] for row in rows if row]
    for convert in (_seconds, _moments):
        try:
            return convert(texts)
        except ValueError:
            continue
    raise _no_trace(path, "its first column is neither seconds nor moments")


def _seconds(texts: list[str]) -> Floats:
    return np.array(texts, dtype=np.float64)


def _moments(texts: list[str]) -> Floats:
    at = np.array(texts, dtype="datetime64[ns]")
    return (at - at[0]).astype(np.float64) * 1e-9 if at.size else np.empty(0)


def _of_npz(path: Path) -> Floats:
    with zipfile.ZipFile(path) as archive:
        if "at_s.npy" not in archive.namelist():
            raise _no_trace(path, "it has no array at_s")
        with archive.open("at_s.npy") as file:  # the header, before the numbers
            headers = np.lib.format
            first = headers.read_magic(file) == (1, 0)
            shape, _, kind = (
                headers.read_array_header_1_0(file)
                if first
                else headers.read_array_header_2_0(file)
            )
        if len(shape) != 1 or shape[0] > _MOST_ARRIVALS or kind.kind not in "fiu":
            raise _no_trace(path, "at_s is not a row of at most 20 million numbers")
        with archive.open("at_s.npy") as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
    return np.asarray(found, dtype=np.float64)


def _no_trace(path: Path, rule: str) -> DataError:
    return DataError(
        f"trace {str(path)!r}",
        rule=rule,
        where="trimtab.serve.recorded",
        remedy="give a .csv or .npz with ascending arrival times",
    )
