"""Five trainings: networks, data, and how many gradients each is given."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.jobs import cache_folder

__all__ = ["TASKS", "Split", "Task"]

_HELD: Final = 5_000  # examples of the large tasks that configurations are chosen by
_NOISE: Final = 0.2
_APART: Final = 12_345

Pair = tuple[Tensor, Tensor]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Examples to learn from, to choose by, and to judge by once."""

    train: Pair
    valid: Pair
    test: Pair


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A training that every method gets as many gradients for.

    Attributes:
        make: draws the network.
        split: of a seed.
        gradients: minibatch gradients of one training.
        batch: examples of each, drawn with replacement.
        decay: of the weights, of every method.
        seeds: of the comparison.
        tuning: seeds that configurations are chosen by, others than these.
        small: whether eight configurations a method can be tried, not four.
    """

    make: Callable[[], nn.Module]
    split: Callable[[int], Split]
    gradients: int
    batch: int
    decay: float
    seeds: int
    tuning: tuple[int, ...]
    small: bool


def _mlp(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.BatchNorm2d(20), nn.ReLU(), nn.MaxPool2d(3),
        nn.Conv2d(20, 50, 5), nn.BatchNorm2d(50), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(200, 500), nn.BatchNorm1d(500), nn.ReLU(),
        nn.Linear(500, 10),
    )  # fmt: skip


def _all_cnn() -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for channels, size, stride in (
        (24, 3, 1), (24, 3, 2), (48, 3, 1), (48, 3, 2), (48, 3, 1), (48, 1, 1),
    ):  # fmt: skip
        layers += [
            nn.Conv2d(before, channels, size, stride, size // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        before = channels
    layers += [nn.Conv2d(before, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers)


def _digits(seed: int, *, noise: float = 0.0) -> Split:
    """Return the 1,797 digits of scikit-learn: 60, 20 and 20 % of them."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    found = load_digits()
    x = torch.from_numpy(found.data).float() / 16
    y = torch.from_numpy(found.target).long()
    # One test part for all seeds: nothing is ever chosen by any of it.
    apart = torch.randperm(len(x), generator=torch.Generator().manual_seed(_APART))
    first, second = round(0.6 * len(x)), round(0.8 * len(x))
    drawn = torch.Generator().manual_seed(seed)
    rest = apart[:second][torch.randperm(second, generator=drawn)]
    rows = torch.cat([rest, apart[second:]])
    x, y = x[rows], y[rows]
    learned = y[:first].clone()
    if noise:  # of what is learned from alone
        wrong = torch.rand(first, generator=drawn) < noise
        other = torch.randint(10, (first,), generator=drawn)
        learned[wrong] = other[wrong]
    return Split(
        train=(x[:first], learned),
        valid=(x[first:second], y[first:second]),
        test=(x[second:], y[second:]),
    )


def _mnist(seed: int) -> Split:
    folder = os.environ.get("TRIMTAB_DATA", "")
    path = Path(folder) / "mnist" / "mnist.npz"
    if not path.exists():
        raise SystemExit("mnist/mnist.npz is not in the folder that TRIMTAB_DATA names")
    z = np.load(path)
    return _held(
        torch.from_numpy(z["x_train"])[:, None], torch.from_numpy(z["y_train"]),
        torch.from_numpy(z["x_test"])[:, None], torch.from_numpy(z["y_test"]), seed,
    )  # fmt: skip


def _cifar(seed: int) -> Split:
    """Return CIFAR-10 from JPEG, which loses something: not to compare with others."""
    kept = cache_folder("relax") / "cifar10_jpeg.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(".making.npz")
        np.savez(draft, **_decoded())  # type: ignore[arg-type]
        draft.replace(kept)
    z = np.load(kept)
    x, y, xt, yt = (torch.from_numpy(z[name]) for name in ("x", "y", "xt", "yt"))
    return _held(x, y, xt, yt, seed)


def _decoded() -> dict[str, np.ndarray]:
    from PIL import Image

    folder = os.environ.get("TRIMTAB_DATA", "")
    path = Path(folder) / "cifar10" / "cifar10_jpeg.tar.xz"
    if not path.exists():
        raise SystemExit("cifar10 is not in the folder that TRIMTAB_DATA names")
    images: dict[str, list[tuple[str, str, np.ndarray]]] = {"train": [], "test": []}
    with tarfile.open(path) as archive:
        for member in archive:
            if not member.name.endswith(".jpg"):
                continue
            part, name, number = member.name.split("/")[-3:]
            content = archive.extractfile(member)
            assert content is not None
            pixels = np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"))
            images[part].append((name, number, pixels.transpose(2, 0, 1)))
    classes = sorted({name for name, _, _ in images["train"]})
    found = {}
    for part, (x, y) in {"train": ("x", "y"), "test": ("xt", "yt")}.items():
        rows = sorted(images[part], key=lambda each: each[:2])
        found[x] = np.stack([pixels for _, _, pixels in rows])
        found[y] = np.array([classes.index(name) for name, _, _ in rows])
    return found


def _held(x: Tensor, y: Tensor, xt: Tensor, yt: Tensor, seed: int) -> Split:
    """Return a split with 5,000 of the training examples held out."""
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=drawn)
    first = x[rows[_HELD:]].float() / 255
    axes = (0, 2, 3)
    mean, std = first.mean(axes, keepdim=True), first.std(axes, keepdim=True)

    def pair(x: Tensor, y: Tensor) -> Pair:
        return (x.float() / 255 - mean) / std, y.long()

    return Split(
        train=((first - mean) / std, y[rows[_HELD:]].long()),
        valid=pair(x[rows[:_HELD]], y[rows[:_HELD]]),
        test=pair(xt, yt),
    )


def _small(noise: float) -> Task:
    return Task(
        make=lambda: _mlp(64, 100, 100, 10),
        split=lambda seed: _digits(seed, noise=noise),
        gradients=2_000, batch=64, decay=0.0, seeds=10, tuning=(100, 101, 102),
        small=True,
    )  # fmt: skip


def _large(
    make: Callable[[], nn.Module],
    split: Callable[[int], Split],
    gradients: int,
    *,
    batch: int = 128,
    decay: float = 0.0,
) -> Task:
    return Task(
        make=make, split=split, gradients=gradients, batch=batch, decay=decay, seeds=5,
        tuning=(100,), small=False,
    )  # fmt: skip


TASKS: Final[Mapping[str, Task]] = {
    "digits": _small(0.0),
    "digits, a fifth of labels wrong": _small(_NOISE),
    "mnistfc": _large(lambda: _mlp(784, 1024, 1024, 10), _mnist, 2_000),
    "lenet": _large(_lenet, _mnist, 1_500),
    "all-cnn": _large(_all_cnn, _cifar, 1_500, batch=64, decay=5e-4),
}
"""By name; the last is small, and learns CIFAR-10 from JPEG."""
