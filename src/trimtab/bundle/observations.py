"""What was observed of a bundle, beside it: one JSON object a line, only ever appended.

A bundle never changes; what a machine was seen to do with it is dated and belongs to a
host. The file stands beside the bundle under its name with `SUFFIX`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import BundleError

__all__ = ["SUFFIX", "Observation", "append", "read", "sidecar"]

SUFFIX = ".observations.jsonl"
"""Behind the name of the bundle."""

_MAX_BYTES = 64 << 20


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
    """
    observation = Observation(kind=kind, date=date, host=host, values=dict(values))
    line = json.dumps(asdict(observation), allow_nan=False) + "\n"
    with sidecar(bundle).open("a", encoding="utf-8") as file:
        file.write(line)  # one write of one line: concurrent appends do not mix


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
    for number, line in enumerate(path.read_text("utf-8").splitlines(True), start=1):
        if not line.endswith("\n"):
            break
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
