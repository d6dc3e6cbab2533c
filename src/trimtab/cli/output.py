"""What all commands print with: JSON, tables, verdicts, errors, progress."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trimtab.errors import TrimtabError
from trimtab.units import format_value

if TYPE_CHECKING:
    from trimtab.cost.verdict import Verdict

__all__ = [
    "SCHEMA_VERSION",
    "console",
    "fail",
    "plain",
    "print_json",
    "progress_bar",
    "table",
    "verdict_records",
    "verdict_table",
]

SCHEMA_VERSION = 1
"""Of every JSON output; raised when a field changes its meaning or goes."""


def console() -> Console:
    """Return the console of standard output; not a terminal: wide, without colour."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=160, no_color=True)


def print_json(record: dict[str, Any]) -> None:
    """Print a record as JSON with the version of its form."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=2))


def fail(error: TrimtabError, *, as_json: bool, code: int) -> int:
    """Print an error where it is looked for, and return the exit code."""
    if as_json:
        print_json(error.to_dict())
    else:
        stderr = Console(stderr=True, highlight=False)
        stderr.print(f"[bold red]error[/]: {escape(plain(str(error)))}", soft_wrap=True)
    return code


def plain(text: str) -> str:
    r"""Return text without characters that control a terminal; line ends stay.

    Example:
        >>> plain("a\x1b[2Jb")
        'a?[2Jb'
    """
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "?" for letter in text
    )


def table(
    title: str,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[object]],
) -> Table:
    """Return a table; numbers are formatted by the unit of their column.

    Args:
        title: stands above.
        columns: heading and unit (`trimtab.units.format_value`); "" for text.
        rows: a cell per column; None is empty.
    """
    made = Table(title=plain(title), title_justify="left", header_style="bold")
    for heading, unit in columns:
        made.add_column(
            heading, justify="right" if unit else "left", overflow="fold", no_wrap=False
        )
    for row in rows:
        cells = []
        for (_, unit), cell in zip(columns, row, strict=True):
            if cell is None:
                cells.append("")
            elif unit and isinstance(cell, int | float):
                cells.append(format_value(cell, unit))
            else:
                cells.append(escape(plain(str(cell))))
        made.add_row(*cells)
    return made


def verdict_records(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts for JSON, with slack and outcome."""
    return [
        {**asdict(each), "slack": each.slack, "fits": each.fits} for each in verdicts
    ]


def verdict_table(verdicts: Sequence[Verdict], title: str = "Budget") -> Table:
    """Return how a result stands to its budget."""
    return table(
        title,
        [("limit on", ""), ("value", ""), ("limit", ""), ("slack", ""), ("fits", "")],
        [
            (
                each.name,
                format_value(each.value, each.unit),
                ("at least " if each.at_least else "at most ")
                + format_value(each.limit, each.unit),
                format_value(each.slack, each.unit),
                "yes" if each.fits else "NO",
            )
            for each in verdicts
        ],
    )


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Callable[[str, float, str], None]]:
    """Give a function that shows how far each named piece of work is, on stderr.

    Where stderr is no terminal, each piece leaves one line when it is done. What a
    user's own code prints meanwhile goes to stderr too: stdout is for the result.

    Args:
        quiet: show nothing, for ``--json``.
    """
    with contextlib.redirect_stdout(sys.stderr), _bar(quiet=quiet) as update:
        yield update


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[str, float, str], None]]:
    if quiet:
        yield lambda name, done, text: None
        return
    stderr = Console(stderr=True, highlight=False)
    if not stderr.is_terminal:
        finished: set[str] = set()

        def note(name: str, done: float, text: str) -> None:
            if done >= 1.0 and name not in finished:
                finished.add(name)
                print(f"{name}: {text}", file=sys.stderr, flush=True)

        yield note
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=stderr,
    ) as bars:
        tasks: dict[str, Any] = {}

        def update(name: str, done: float, text: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(f"{name:<10}", total=1.0, text="")
            bars.update(tasks[name], completed=done, text=text)

        yield update
