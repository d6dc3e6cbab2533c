"""What a run shows while it is under way: every stage of the plan, and where it is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, final

from rich.console import Console

from trimtab.cli.output import plain, progress_bar

__all__ = ["View", "run_view"]

WAITS, RUNS, DONE, KEPT = "waits", "runs", "done", "kept"


class View(Protocol):
    """Shows how far a run is."""

    def expect(self, names: Sequence[str]) -> None:
        """Show stages ahead of their time."""

    def __call__(self, name: str, done: float, text: str) -> None:
        """Show how far a stage is; one that begins with ``kept:`` was not done."""


@final
class _Lines:
    """One line a stage, when it is done: where nobody watches."""

    def __init__(self, update: Any) -> None:
        self._update = update

    def expect(self, names: Sequence[str]) -> None:
        """Show nothing: lines come in order."""

    def __call__(self, name: str, done: float, text: str) -> None:
        self._update(name, done, text)


@final
class _Live:
    """All stages at once, in place."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def expect(self, names: Sequence[str]) -> None:
        """Show stages that wait."""
        for name in names:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(
                    f"{name:<10}", total=1.0, start=False, text="", state=WAITS
                )

    def __call__(self, name: str, done: float, text: str) -> None:
        self.expect([name])
        task = self._tasks[name]
        state = RUNS if done < 1 else KEPT if text.startswith("kept:") else DONE
        self._bars.start_task(task)
        self._bars.update(
            task, completed=done, state=state,
            text=plain(text).removeprefix("kept:").strip(),
        )  # fmt: skip
        if done >= 1:
            self._bars.stop_task(task)


@contextlib.contextmanager
def run_view(*, quiet: bool = False) -> Iterator[View]:
    """Give what shows a run, on stderr; lines where stderr is no terminal.

    Args:
        quiet: show nothing, for ``--json``.
    """
    stderr = Console(stderr=True, highlight=False)
    if quiet or not stderr.is_terminal:
        with progress_bar(quiet=quiet) as update:
            yield _Lines(update)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars = Progress(
        TextColumn("{task.fields[state]:<5}"),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=stderr,
    )
    with contextlib.redirect_stdout(sys.stderr), bars:
        yield _Live(bars)
