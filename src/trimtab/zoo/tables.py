"""Tables of recommendation networks in files, so that processes share one copy.

A folder (best in ``/dev/shm``) holds one file a table: float32 in the order of rows,
nothing else, named as `trimtab.zoo.preset.AbstractSizes.table_shapes` names it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from trimtab.errors import UsageError
from trimtab.zoo._rec_layers import TableSource

__all__ = ["mapped_tables", "write_tables"]

Progress = Callable[[float, str], None]

_CHUNK: Final = 1 << 24  # numbers drawn at once: 64 MB
_BOUND: Final = 0.05  # as trimtab.zoo._rec_layers.random_table
_FLOAT_BYTES: Final = 4


def write_tables(
    shapes: Mapping[str, tuple[int, int]],
    folder: Path,
    *,
    seed: int,
    progress: Progress = lambda done, text: None,
) -> None:
    """Write random tables, each whole or not at all.

    Args:
        shapes: rows and columns by name.
        folder: exists.
        seed: decides the numbers.
        progress: told the share that is done.

    Raises:
        UsageError: the folder has too little room.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tables({"tables": (3, 2)}, Path(folder), seed=0)
        ...     mapped_tables(Path(folder))("tables", 3, 2).shape
        torch.Size([3, 2])
    """
    total = sum(rows * columns for rows, columns in shapes.values())
    free_bytes = shutil.disk_usage(folder).free
    if total * _FLOAT_BYTES > free_bytes:
        raise UsageError(
            f"tables of {total * _FLOAT_BYTES} bytes",
            rule=f"the folder has room for {free_bytes}",
            where=str(folder),
            remedy="name another folder, or take the preset `small`",
        )
    done = 0
    for place, (name, (rows, columns)) in enumerate(sorted(shapes.items())):
        random = np.random.default_rng((seed, place))
        path = _file(folder, name)
        draft = path.with_name(f".{path.name}.making")
        try:
            with draft.open("wb") as file:
                for start in range(0, rows * columns, _CHUNK):
                    size = min(_CHUNK, rows * columns - start)
                    numbers = random.random(size, dtype=np.float32)
                    numbers -= np.float32(0.5)
                    numbers *= np.float32(2 * _BOUND)
                    file.write(numbers.data)
                    done += size
                    progress(done / total, name)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def mapped_tables(folder: Path) -> TableSource:
    """Return a source of tables that maps the files of a folder.

    All processes that map a file share its memory. A process that writes to a table
    changes its own copy of that page only.

    Args:
        folder: that `write_tables` wrote.

    Returns:
        For `trimtab.zoo.recommend.build`. It raises UsageError where a file is missing
        or has another size than the network's table.
    """

    def source(name: str, rows: int, columns: int) -> Tensor:
        path = _file(folder, name)
        expected = rows * columns * _FLOAT_BYTES
        found = path.stat().st_size if path.is_file() else None
        if found != expected:
            raise UsageError(
                f"table {name} of {rows} x {columns}",
                rule="there is no such file"
                if found is None
                else f"the file has {found} bytes instead of {expected}",
                where=str(path),
                remedy="write the tables of this preset with write_tables",
            )
        flat = torch.from_file(
            str(path), shared=False, size=rows * columns, dtype=torch.float32
        )
        return flat.view(rows, columns)

    return source


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.f32"
