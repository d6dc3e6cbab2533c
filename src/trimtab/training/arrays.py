"""Arrays out of a .npz file that nobody vouches for.

Each header is looked at before its array is read: a few bytes in a zip can promise
terabytes, and numpy would ask for them.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError

__all__ = ["MOST_BYTES", "read_npz"]

MOST_BYTES: Final = 4 * 2**30  # of one data set in memory, as float32
_MOST_CLASSES: Final = 1_000_000
_CHANNELS: Final = (1, 3, 4)

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def read_npz(path: Path) -> list[tuple[Floats, Integers]]:
    """Return inputs and targets: of one part, or of a train and a test part.

    Inputs become float32. Bytes (uint8) are scaled to [0, 1]; as images (n, h, w) they
    are given a channel axis, and (n, h, w, channels) becomes (n, channels, h, w).

    Raises:
        DataError: no such file, not a zip of arrays, arrays that are missing, too
            large, or of the wrong type, rank or length.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "mine.npz"
        ...     np.savez(file, x=np.zeros((3, 8, 8), np.uint8), y=np.array([0, 1, 2]))
        ...     [(x, y)] = read_npz(file)
        >>> x.shape, x.dtype, y.dtype
        ((3, 1, 8, 8), dtype('float32'), dtype('int64'))
    """
    if not path.is_file():
        raise _error(path, "there is no such file", "check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            return [
                _pair(path, inputs, targets, _read(path, archive, (inputs, targets)))
                for inputs, targets in _names(path, archive)
            ]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise _error(
            path, f"it is not a readable .npz file: {error}", "write it again"
        ) from error
    except RuntimeError as error:  # of zipfile: encrypted, or packed in a rare way
        raise _error(path, str(error), "write it with numpy.savez") from error


def _names(path: Path, archive: zipfile.ZipFile) -> list[tuple[str, str]]:
    have = {name.removesuffix(".npy") for name in archive.namelist()}
    if {"x", "y"} <= have:
        return [("x", "y")]
    if {"x_train", "y_train"} <= have:
        test = {"x_test", "y_test"} & have
        if len(test) == 1:
            raise _error(path, f"{test.pop()} stands alone", "give x_test and y_test")
        parts = [("x_train", "y_train")]
        return [*parts, ("x_test", "y_test")] if test else parts
    shown = ", ".join(sorted(have)[:8])[:200] or "nothing"
    raise _error(
        path,
        f"it holds {shown}",
        "name the arrays x_train, y_train, x_test, y_test, or x, y",
    )


def _read(
    path: Path, archive: zipfile.ZipFile, names: tuple[str, str]
) -> tuple[Array, Array]:
    inputs, targets = (_array(path, archive, name) for name in names)
    return inputs, targets


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> Array:
    """Return one array, once its header is plausible."""
    member = archive.getinfo(f"{name}.npy")
    where = f"{path}: {name}"
    with archive.open(member) as file:
        try:
            shape, dtype, header_bytes = _header(file)
        except Exception as error:  # numpy parses it as Python: anything may come
            raise _error(
                where, f"its header is damaged: {error}", "write it again"
            ) from (error)
    if dtype.kind not in "biuf":
        rule = f"it holds {dtype}: objects and text are not read"
        raise _error(where, rule, "store plain numbers")
    size = math.prod(shape)
    if size * max(4, dtype.itemsize) > MOST_BYTES:
        rule = f"shape {shape} takes more than {MOST_BYTES // 2**30} GiB as float32"
        raise _error(where, rule, "give fewer or smaller examples")
    if header_bytes + size * dtype.itemsize != member.file_size:
        rule = f"shape {shape} of {dtype} does not have {member.file_size} bytes"
        raise _error(where, rule, "write it again")
    with archive.open(member) as file:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Return shape, type and size in bytes of the header.

    Raises:
        ValueError: not a header of the formats 1.0 and 2.0, or a negative length.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"format {version} is not known")
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    return shape, dtype, file.tell()


def _pair(
    path: Path, x_name: str, y_name: str, arrays: tuple[Array, Array]
) -> tuple[Floats, Integers]:
    x, y = arrays
    where = f"{path}: {x_name}, {y_name}"
    if y.ndim != 1 or y.dtype.kind not in "iu":
        rule = f"{y_name} is {y.dtype} of rank {y.ndim}: it must be whole numbers (n,)"
        raise _error(where, rule, "give one class number per example")
    if y.size and not 0 <= int(y.min()) <= int(y.max()) < _MOST_CLASSES:
        rule = f"{y_name} goes from {y.min()} to {y.max()}"
        raise _error(where, rule, "number the classes from 0")
    if len(x.shape) < 2 or len(x) != len(y):
        rule = f"{x_name} has the shape {x.shape}, {y_name} {y.shape}"
        raise _error(where, rule, "give one input of rank 1 or more per target")
    if x.dtype == np.uint8:
        x = _images(x)
    elif x.dtype.kind != "f":
        rule = f"{x_name} is {x.dtype}: inputs are float, or uint8 for images"
        raise _error(where, rule, "convert it")
    with np.errstate(over="ignore"):  # too large for float32 is refused below
        inputs = x.astype(np.float32)
    if not np.isfinite(inputs).all():
        raise _error(where, f"{x_name} has infinite or NaN values", "clean the data")
    return inputs, y.astype(np.int64)


def _images(x: Array) -> Array:
    """Return bytes scaled to [0, 1], images with the channels in front."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in _CHANNELS and x.shape[1] not in _CHANNELS:
        x = np.moveaxis(x, 3, 1)
    return np.ascontiguousarray(x).astype(np.float32) / np.float32(255)


def _error(where: Path | str, rule: str, remedy: str) -> DataError:
    return DataError("a .npz data set", rule=rule, where=str(where), remedy=remedy)
