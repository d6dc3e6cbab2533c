"""JSON files of records: read as hostile, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import TrimtabError, UsageError

__all__ = ["check_place", "dumps", "parse", "read", "write"]

T = TypeVar("T")


def parse(
    adapter: TypeAdapter[T], content: bytes, wrong: Callable[[str], TrimtabError]
) -> T:
    """Return the record that JSON is.

    Args:
        adapter: of the record.
        content: JSON.
        wrong: returns the error for what it is not.

    Raises:
        TrimtabError: it is not the record; the first problem is named with its place.

    Example:
        >>> parse(TypeAdapter(list[int]), b"[1, 2]", UsageError)
        [1, 2]
    """
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise wrong(f"{place}: {first['msg'].lower()}"[:300]) from error


def read(
    adapter: TypeAdapter[T],
    path: Path,
    wrong: Callable[[str], TrimtabError],
    *,
    most_bytes: int,
) -> T:
    """Return the record in a file.

    Args:
        adapter: of the record.
        path: of the file.
        wrong: returns the error for what is not such a file.
        most_bytes: that it may have; no more are read.

    Raises:
        TrimtabError: it is absent, too large or not the record.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise wrong(error.strerror or str(error)) from error
    if len(content) > most_bytes:
        raise wrong(f"it is larger than {most_bytes} bytes")
    return parse(adapter, content, wrong)


def check_place(path: Path, what: str) -> None:
    """Refuse a file whose folder does not exist, before there is work.

    Args:
        path: to be written.
        what: it will be.

    Raises:
        UsageError: the folder does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"{what} {str(path)!r}",
            rule="its folder does not exist",
            where="-o",
            remedy="make the folder, or give another place",
        )


def dumps(record: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a record as the text of a file: JSON, and the end of its last line.

    Example:
        >>> dumps({"batch": 8}).rstrip()
        '{"batch": 8}'
    """
    return json.dumps(record, indent=indent) + "\n"


def write(
    record: Mapping[str, Any], path: Path, what: str, *, indent: int | None = None
) -> None:
    """Write a record as JSON, whole or not at all.

    Args:
        record: as JSON takes it.
        path: of the file.
        what: it is.
        indent: spaces a level; None for one line.

    Raises:
        UsageError: the folder does not exist.
    """
    check_place(path, what)
    draft = path.with_name(f".{path.name}.making")
    draft.write_text(dumps(record, indent=indent), "utf-8")
    draft.replace(path)
