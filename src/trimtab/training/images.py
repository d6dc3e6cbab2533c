"""Images out of a folder with a folder per class, through Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trimtab.errors import DataError, MissingExtraError
from trimtab.training.arrays import MOST_BYTES

__all__ = ["read_folder"]

_FORMATS: Final = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
_GREY: Final = ("1", "L")
_MOST_PIXELS: Final = 2**24  # of one image
_MOST_FILES: Final = 2_000_000

Part = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def read_folder(folder: Path) -> tuple[list[Part], tuple[str, ...]]:
    """Return inputs (n, channels, h, w) in [0, 1] with targets, and class names.

    The folder holds ``train/CLASS/*`` and perhaps ``test/CLASS/*``, or ``CLASS/*``.
    Classes are numbered by name. Grey images have one channel, all others three; one
    colour image makes all of them colour. Hidden files are passed over.

    Raises:
        DataError: no images, a file that is none, sizes that differ, too many pixels.
        MissingExtraError: Pillow is not installed.
    """
    image = _pillow()
    roots = [folder / "train"] if (folder / "train").is_dir() else [folder]
    if roots[0] != folder and (folder / "test").is_dir():
        roots.append(folder / "test")
    names = tuple(path.name for path in _visible(roots[0]) if path.is_dir())
    if not names:
        raise _error(roots[0], "there is no folder per class", "make CLASS/IMAGE.png")
    listed = [_list(root, names) for root in roots]
    grey, size = _look(image, [path for files in listed for path, _ in files])
    parts = []
    for files in listed:
        mode = "L" if grey else "RGB"
        x = np.empty((len(files), size[1], size[0], len(mode)), np.float32)
        for row, (path, _) in enumerate(files):
            x[row] = _pixels(image, path, mode).reshape(x.shape[1:])
        x /= np.float32(255)
        y = np.array([label for _, label in files], np.int64)
        parts.append((np.ascontiguousarray(np.moveaxis(x, 3, 1)), y))
    return parts, names


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError(
            "a folder of images",
            rule="Pillow, which reads them, is not installed",
            remedy="install it with: pip install pillow",
        ) from None
    return Image


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _list(root: Path, names: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return each file with the number of its class."""
    folders = [path for path in _visible(root) if path.is_dir()]
    for path in folders:
        if path.name not in names:
            raise _error(path, "no class of that name to train on", "rename it")
    files: list[tuple[Path, int]] = []
    for path in folders:
        inside = _visible(path)
        if not inside:
            raise _error(path, "the class has no images", "add some, or remove it")
        files += [(file, names.index(path.name)) for file in inside]
    if not files or len(files) > _MOST_FILES:
        raise _error(root, f"it has {len(files)} images", "give 1 to 2,000,000")
    return files


def _look(image: Any, paths: Iterable[Path]) -> tuple[bool, tuple[int, int]]:
    """Return whether all are grey, and their size, from the headers of the files."""
    grey, count = True, 0
    size: tuple[int, int] | None = None
    for path in paths:
        with _opened(image, path) as opened:
            if size is None:
                size, first = opened.size, path
            if opened.size != size:
                rule = f"it has {_by(opened.size)} pixels, {first} has {_by(size)}"
                raise _error(path, rule, "bring all images to one size")
            grey &= opened.mode in _GREY
        count += 1
    assert size is not None
    channels = 1 if grey else 3
    if 4 * channels * size[0] * size[1] * count > MOST_BYTES:
        rule = f"{count} images of {_by(size)} pixels take more than "
        rule += f"{MOST_BYTES // 2**30} GiB"
        raise _error(first.parents[1], rule, "give fewer or smaller images")
    return grey, size


def _pixels(image: Any, path: Path, mode: str) -> npt.NDArray[np.uint8]:
    with _opened(image, path) as opened:
        try:
            return np.asarray(opened.convert(mode), np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise _error(path, f"damaged: {error}", "replace it") from error


def _opened(image: Any, path: Path) -> Any:
    """Return an image of which only the header is read, if its size is bearable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its size: that is looked at below
            opened = image.open(path, formats=_FORMATS)
    except image.DecompressionBombError as error:
        raise _error(path, str(error), "replace it") from error
    except (OSError, ValueError, SyntaxError) as error:
        rule = f"it is no {', '.join(_FORMATS)} image: {error}"
        raise _error(path, rule, "remove or convert it") from error
    if opened.width * opened.height > _MOST_PIXELS:
        opened.close()
        rule = f"{_by(opened.size)} pixels are more than {_MOST_PIXELS}"
        raise _error(path, rule, "give smaller images")
    return opened


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _error(where: Path, rule: str, remedy: str) -> DataError:
    return DataError("a folder of images", rule=rule, where=str(where), remedy=remedy)
