"""What was observed of a bundle, beside it: one JSON object a line, only ever appended.

A bundle never changes; what a machine was seen to do with it is dated and belongs to a
host. The file stands beside the bundle under its name with `SUFFIX`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import BundleError

__all__ = ["SUFFIX", "Observation", "append", "read", "sidecar"]

SUFFIX = ".observations.jsonl"
"""Behind the name of the bundle."""

_MAX_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something seen, once, on one host.

    Attributes:
        kind: of what was seen, ``latency``, ``training``.
        date: ISO 8601, UTC.
        host: fingerprint of the machine.
        values: quantities by name, units in the names.
    """

    kind: str
    date: str
    host: str
    values: dict[str, float]


_ADAPTER: TypeAdapter[Observation] = TypeAdapter(Observation)


def sidecar(bundle: Path) -> Path:
    """Return where the observations of a bundle stand.

    Example:
        >>> sidecar(Path("runs/digits.trimtab")).name
        'digits.trimtab.observations.jsonl'
    """
    return bundle.with_name(bundle.name + SUFFIX)


def append(
    bundle: Path, kind: str, values: Mapping[str, float], *, date: str, host: str
) -> None:
    """Write one observation behind the others.

    Args:
        bundle: folder of the bundle.
        kind: of what was seen.
        values: quantities by name, units in the names.
        date: ISO 8601, UTC.
        host: fingerprint of the machine.

    Raises:
        BundleError: a value is not finite: JSON has no word for it.
    """
    observation = Observation(kind=kind, date=date, host=host, values=dict(values))
    path = sidecar(bundle)
    try:
        line = json.dumps(asdict(observation), allow_nan=False) + "\n"
    except ValueError as error:
        raise BundleError(
            f"observation {kind!r}",
            rule=f"its values must be finite: {observation.values}",
            where=str(path),
            remedy="leave the value out",
        ) from error
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # concurrent appends do not mix
        file.truncate(_end_of_last_line(file))
        file.write(line.encode())


def _end_of_last_line(file: BinaryIO) -> int:
    """Return where the last whole line ends; a killed writer leaves part of one."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read(bundle: Path) -> list[Observation]:
    """Return the observations of a bundle, oldest first; none where there is no file.

    A last line without its end, left by a killed writer, is passed over.

    Raises:
        BundleError: a line is no observation.
    """
    path = sidecar(bundle)
    if not path.exists():
        return []
    if path.stat().st_size > _MAX_BYTES:
        raise BundleError(
            f"observations of {path.stat().st_size} bytes",
            rule=f"at most {_MAX_BYTES} are read",
            where=str(path),
            remedy="move the old ones away",
        )
    found = []
    lines = path.read_bytes().split(b"\n")[:-1]  # the last one has no end
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_ADAPTER.validate_json(line))
        except ValidationError as error:
            raise BundleError(
                "observation",
                rule=error.errors()[0]["msg"],
                where=f"{path}, line {number}",
                remedy="remove the line",
            ) from error
    return found
