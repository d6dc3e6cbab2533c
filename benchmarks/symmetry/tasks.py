"""Data with a symmetry that is known, and data without.

Images are MNIST or Fashion-MNIST averaged to 14 x 14; each task moves training and test
examples by random elements of a group, or asks for the element itself.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trimtab.symmetry.backbone import group_cnn, tied_mlp
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.schemes import Family, shifts, subgroups
from trimtab.training.data import DIGITS_MEAN, DIGITS_STD, Dataset

__all__ = [
    "SAMPLES",
    "TASKS",
    "TEST",
    "Task",
    "data_of",
    "images",
    "key_of",
    "transformed_like_lila",
]

SAMPLES: Final = Path(__file__).parent / "samples"
"""Where results are stored."""

TEST: Final = 2_000
_FASHION: Final = Path("/usr/share/datasets/fashion-mnist")

Pair = tuple[Tensor, Tensor]
Moved = Callable[[Tensor, Tensor, torch.Generator], Pair]


def key_of(*parts: object) -> str:
    """Return the key of a job's result."""
    return "/".join(str(each).replace(" ", "-") for each in parts)


def images(name: str, *, size: int = 14) -> tuple[Pair, Pair]:
    """Return training and test examples of ``mnist`` or ``fashion``, from 0 to 1."""
    found = _mnist() if name == "mnist" else _fashion()
    step = 28 // size
    return tuple(  # type: ignore[return-value]
        (F.avg_pool2d(x.float()[:, None] / 255, step), y.long()) for x, y in found
    )


def _mnist() -> tuple[Pair, Pair]:
    folder = os.environ.get("TRIMTAB_DATA", "")
    path = Path(folder) / "mnist" / "mnist.npz"
    if not path.exists():
        raise SystemExit("mnist/mnist.npz is not in the folder that TRIMTAB_DATA names")
    z = np.load(path)
    return tuple(  # type: ignore[return-value]
        (torch.from_numpy(z[f"x_{part}"]), torch.from_numpy(z[f"y_{part}"]))
        for part in ("train", "test")
    )


def _fashion() -> tuple[Pair, Pair]:
    def read(name: str, skip: int, *shape: int) -> Tensor:
        paths = sorted(_FASHION.rglob(f"{name}*.gz"))
        if not paths:
            raise SystemExit("the Debian package dataset-fashion-mnist is missing")
        raw = gzip.decompress(paths[0].read_bytes())[skip:]
        return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8).copy()).view(*shape)

    return tuple(  # type: ignore[return-value]
        (
            read(f"{part}-images", 16, -1, 28, 28),
            read(f"{part}-labels", 8, -1),
        )
        for part in ("train", "t10k")
    )


def _upright(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    return x, y


def _elements(count: int, of: int, drawn: torch.Generator) -> list[int]:
    return torch.randint(0, of, (count,), generator=drawn).tolist()


def _turned(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    some = _elements(len(x), 4, drawn)
    return torch.stack(
        [torch.rot90(one, k, (1, 2)) for one, k in zip(x, some, strict=True)]
    ), y


def _flipped(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    some = _elements(len(x), 2, drawn)
    return torch.stack(
        [one.flip(2) if k else one for one, k in zip(x, some, strict=True)]
    ), y


def _both(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    return _flipped(*_turned(x, y, drawn), drawn)


def _shifted(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    """Rows as channels, columns shifted cyclically by any number."""
    some = _elements(len(x), x.shape[3], drawn)
    moved = [one[0].roll(k, 1) for one, k in zip(x, some, strict=True)]
    return torch.stack(moved), y


def _orientation(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    some = _elements(len(x), 4, drawn)
    moved = [torch.rot90(one, k, (1, 2)) for one, k in zip(x, some, strict=True)]
    return torch.stack(moved), torch.tensor(some)


def _digit_and_orientation(x: Tensor, y: Tensor, drawn: torch.Generator) -> Pair:
    keep = y < 3
    moved, turns = _orientation(x[keep], y[keep], drawn)
    return moved, y[keep] * 4 + turns


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Data of a known symmetry.

    Attributes:
        truth: the scheme that holds.
        moved: makes training and test examples of upright ones.
        classes: how many.
        family: whose schemes are compared.
        network: of tied layers.
    """

    truth: str
    moved: Moved
    classes: int
    family: Callable[[], Family] = lambda: subgroups("D4")
    network: Callable[[Family, int], Symmetric] = lambda family, classes: group_cnn(
        family, (1, 14, 14), classes
    )


TASKS: Final[Mapping[str, Task]] = {
    "upright": Task(truth="none", moved=_upright, classes=10),
    "turned": Task(truth="C4", moved=_turned, classes=10),
    "flipped": Task(truth="hflip", moved=_flipped, classes=10),
    "turned and flipped": Task(truth="D4", moved=_both, classes=10),
    "shifted": Task(
        truth="by 1",
        moved=_shifted,
        classes=10,
        family=lambda: shifts(14),
        network=lambda family, classes: tied_mlp(family, (14, 14), classes),
    ),
    "orientation": Task(truth="none", moved=_orientation, classes=4),
    "digit and orientation": Task(
        truth="none", moved=_digit_and_orientation, classes=12
    ),
}
"""By name; the last two are controls: an invariance would throw the answer away."""


def data_of(
    task: str,
    count: int,
    seed: int,
    *,
    source: str = "mnist",
    tested: str | None = None,
) -> Dataset:
    """Return examples of a task.

    Args:
        task: of `TASKS`.
        count: training examples.
        seed: of which, and of how they are moved.
        source: ``mnist`` or ``fashion``.
        tested: the task whose test examples are taken; by default the same.
    """
    train, test = images(source)
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(train[0]), generator=drawn)
    made = TASKS[task].moved(train[0][rows[: 4 * count]], train[1][rows[: 4 * count]],
                             drawn)  # fmt: skip
    some = torch.randperm(len(test[0]), generator=drawn)[: 4 * TEST]
    judged = TASKS[tested or task].moved(test[0][some], test[1][some], drawn)
    name = f"{source}, {task}" + (f", tested {tested}" if tested else "")
    return Dataset(
        name=name,
        train=_some(made, count),
        test=_some(judged, TEST),
        classes=TASKS[task].classes,
    )


def _some(pair: Pair, count: int) -> Pair:
    return (pair[0][:count] - DIGITS_MEAN) / DIGITS_STD, pair[1][:count]


def transformed_like_lila(x: Tensor, kind: str, *, train: bool) -> Tensor:
    """Return images (n, 1, 28, 28) of 0..1 moved once each, as LILA's protocol does.

    Immer et al., "Invariance Learning in Deep Neural Networks with Differentiable
    Laplace Approximations" (arXiv 2202.10638): angles uniform within 90 or 180 degrees,
    shifts of at most 8 pixels, scales of at most ln 2, bilinear, seed 1 for training
    and 0 for test, values cut to 8 bits.
    """
    if kind == "plain":
        return x
    drawn = torch.Generator().manual_seed(int(train))
    u = 2 * torch.rand(len(x), 2, generator=drawn) - 1
    matrix = torch.zeros(len(x), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1.0
    corners = False
    if kind in ("turned 90", "turned 180"):
        angle = u[:, 0] * torch.pi * (0.5 if kind == "turned 90" else 1.0)
        matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
        matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    elif kind == "translated":
        corners = True
        matrix[:, :, 2] = u * 8 / 14
    else:
        scale = (u[:, 0] * np.log(2.0)).exp()
        matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    grid = F.affine_grid(matrix, list(x.shape), align_corners=corners)
    moved = F.grid_sample(x, grid, align_corners=corners)
    return (moved * 255).byte().float() / 255
