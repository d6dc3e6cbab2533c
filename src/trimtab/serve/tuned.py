"""A schedule that was found, and for what: a file that a server starts with."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, final

from pydantic import ConfigDict, TypeAdapter, with_config

from trimtab import files
from trimtab.errors import DataError, TrimtabError
from trimtab.serve.capacity import Target
from trimtab.serve.curves import ServiceCurve
from trimtab.serve.schedule import Schedule

__all__ = ["Tuned", "check_place", "dumps", "read_tuned", "write_tuned"]

_MOST_BYTES: Final = 2**20


@final
@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A schedule and where it is from.

    Attributes:
        network: for people.
        workers: that it was found with.
        target: that it keeps.
        schedule: itself.
        rate_per_s: at which a run under load was valid; 0 where none was.
        why: a sentence.
        curve: of a worker, as it was profiled.
        format: of the file.
    """

    network: str
    workers: int
    target: Target
    schedule: Schedule
    rate_per_s: float
    why: str
    curve: ServiceCurve
    format: Literal[1] = 1


_ADAPTER: Final[TypeAdapter[Tuned]] = TypeAdapter(Tuned)


def check_place(path: Path) -> None:
    """Refuse a file whose folder does not exist, before there is work.

    Raises:
        UsageError: it does not.
    """
    files.check_place(path, "schedule")


def dumps(tuned: Tuned) -> str:
    """Return a schedule as the text of a file."""
    return files.dumps(asdict(tuned), indent=1)


def write_tuned(tuned: Tuned, path: Path) -> None:
    """Write a schedule as JSON, whole or not at all.

    Raises:
        UsageError: the folder does not exist.
    """
    files.write(asdict(tuned), path, "schedule", indent=1)


def read_tuned(path: Path) -> Tuned:
    """Return the schedule in a file.

    Raises:
        DataError: it is absent or none; the first problem is named.
    """
    wrong = functools.partial(_none, path)
    try:
        return files.read(_ADAPTER, path, wrong, most_bytes=_MOST_BYTES)
    except DataError:
        raise
    except TrimtabError as error:  # numbers that no schedule has
        raise wrong(str(error)[:300]) from None


def _none(path: Path, rule: str) -> DataError:
    return DataError(
        f"schedule {str(path)!r}", rule=rule, where="--schedule",
        remedy="make it with trimtab serve tune -o",
    )  # fmt: skip
