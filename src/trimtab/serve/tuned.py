"""A schedule that was found, and for what: a file that a server starts with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, final

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from trimtab.errors import DataError, TrimtabError, UsageError
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
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"schedule {str(path)!r}",
            rule="its folder does not exist",
            where="-o",
            remedy="make the folder, or give another place",
        )


def dumps(tuned: Tuned) -> str:
    """Return a schedule as the text of a file."""
    return json.dumps(asdict(tuned), indent=1) + "\n"


def write_tuned(tuned: Tuned, path: Path) -> None:
    """Write a schedule as JSON, whole or not at all.

    Raises:
        UsageError: the folder does not exist.
    """
    check_place(path)
    draft = path.with_name(f".{path.name}.making")
    draft.write_text(dumps(tuned), "utf-8")
    draft.replace(path)


def read_tuned(path: Path) -> Tuned:
    """Return the schedule in a file.

    Raises:
        DataError: it is absent or none; the first problem is named.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _none(path, f"it is larger than {_MOST_BYTES} bytes")
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise _none(path, error.strerror or "it cannot be read") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _none(path, f"{place}: {first['msg']}"[:300]) from None
    except TrimtabError as error:  # numbers that no schedule has
        if isinstance(error, DataError):
            raise
        raise _none(path, str(error)[:300]) from None


def _none(path: Path, rule: str) -> DataError:
    return DataError(
        f"schedule {str(path)!r}", rule=rule, where="--schedule",
        remedy="make it with trimtab serve tune -o",
    )  # fmt: skip
