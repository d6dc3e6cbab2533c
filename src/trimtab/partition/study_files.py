"""The files of a study: answers, points and a page, each whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from trimtab.errors import UsageError
from trimtab.partition.answers import Answers
from trimtab.partition.factors import FACTORS
from trimtab.partition.study import AXES, Outcome, Simulation

__all__ = ["FILES", "arrays", "require_folder", "write"]

FILES: Final = ("study.json", "points.npz", "study.html")
"""What is written."""

_MOST_CELLS: Final = 2_000_000  # conditions in points.npz, of all networks


def require_folder(folder: Path) -> None:
    """Refuse a folder that has anything but files of a study.

    Raises:
        UsageError: it has, or is none.
    """
    strange = [folder.name] if folder.exists() else []
    if folder.is_dir():
        names = {each.name for each in folder.iterdir()}
        strange = sorted(names.difference(FILES, map(_draft, FILES)))
    if strange:
        raise UsageError(
            f"folder {str(folder)!r}",
            rule=f"there is something that no study left: {strange[0]}",
            where="-o",
            remedy="give a new folder, or one of an earlier study",
        )


def _draft(name: str) -> str:
    return f".{name}.making"


def arrays(
    simulations: Sequence[Simulation],
    results: Sequence[Sequence[tuple[Outcome, Answers]]],
) -> dict[str, Any]:
    """Return levels, and the best cut and its cost under each condition.

    Where there are too many, uplinks are left out: every second one, or more.

    Args:
        simulations: one for each network, on the same grid.
        results: outcomes and answers of each.
    """
    grid = simulations[0].grid
    cells = sum(outcome.best.size for mine in results for outcome, _ in mine)
    step = -(-cells // _MOST_CELLS)
    axis = AXES.index("uplink")
    some = (slice(None),) * axis + (slice(None, None, step),)
    found: dict[str, Any] = {"axes": np.array(AXES)}
    for name, levels in zip(FACTORS, grid.levels, strict=True):
        kept = levels[::step] if name == "uplink" else levels
        found[f"levels {name}"] = np.array(kept)
    for simulation, mine in zip(simulations, results, strict=True):
        name = simulation.space.graph.name
        found[f"{name} edge"] = np.array([x.name for x in simulation.edges])
        found[f"{name} cloud"] = np.array([x.name for x in simulation.clouds])
        found[f"{name} codec"] = np.array(simulation.codecs)
        for outcome, _ in mine:
            key = f"{name} {outcome.objective}"
            positions = simulation.space.positions[outcome.best[some]]
            found[f"{key} position"] = positions.astype(np.int16)
            found[f"{key} best_s"] = outcome.best_s[some].astype(np.float32)
    return found


def write(
    folder: Path, record: Mapping[str, Any], arrays: Mapping[str, Any], page: str
) -> None:
    """Write all files of a study, each whole or not at all.

    Args:
        folder: is made where it is absent.
        record: of ``study.json``.
        arrays: of ``points.npz``.
        page: of ``study.html``.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    contents = (text.encode(), packed.getvalue(), page.encode())
    drafts = [folder / _draft(name) for name in FILES]
    for draft, content in zip(drafts, contents, strict=True):
        draft.write_bytes(content)
    for draft, name in zip(drafts, FILES, strict=True):
        draft.replace(folder / name)
