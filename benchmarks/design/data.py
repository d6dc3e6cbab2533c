"""CIFAR-10 (JPEG): the images of the data folder as arrays.

They are lossy copies: accuracies on them compare with nothing published.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from benchmarks.jobs import cache_folder
from trimtab.training.data import Dataset

__all__ = ["cifar10"]

_FILE = "cifar10/cifar10_jpeg.tar.xz"
_MEAN, _STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


def cifar10() -> Dataset:
    """Return 50,000 images to train on and 10,000 to test on, normalised."""
    path = cache_folder("design") / "cifar10_jpeg.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.npz")
        arrays: Any = _decoded()
        np.savez(draft, **arrays)
        draft.replace(path)
    stored = np.load(path)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (_MEAN, _STD))

    def part(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.from_numpy(stored[f"x_{name}"]).permute(0, 3, 1, 2)
        x = ((images.float() / 255 - mean) / std).contiguous()
        return x, torch.from_numpy(stored[f"y_{name}"]).long()

    return Dataset(
        name="CIFAR-10 (JPEG)", train=part("train"), test=part("test"), classes=10
    )


def _decoded() -> dict[str, np.ndarray]:
    from PIL import Image

    folder = os.environ.get("TRIMTAB_DATA")
    path = Path(folder or "") / _FILE
    if not folder or not path.exists():
        raise SystemExit(f"{_FILE} is not in the folder that TRIMTAB_DATA names")
    found: dict[str, list[tuple[str, str, np.ndarray]]] = {"train": [], "test": []}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or len(parts) < 3 or not member.name.endswith(".jpg"):
                continue
            with Image.open(io.BytesIO(file.read())) as image:
                pixels = np.asarray(image.convert("RGB"))
            found[parts[-3]].append((parts[-2], parts[-1], pixels))
    names = sorted({name for name, _, _ in found["train"]})
    arrays = {}
    for part, images in found.items():
        images.sort(key=lambda each: each[:2])
        arrays[f"x_{part}"] = np.stack([pixels for _, _, pixels in images])
        arrays[f"y_{part}"] = np.array([names.index(name) for name, _, _ in images])
    return arrays
