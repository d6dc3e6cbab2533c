"""The network and the data of movielens.toml: NCF, and who likes which film.

`TRIMTAB_MOVIELENS` names `u.data` or `ml-100k.inter` (see movielens.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from movielens import Split, parts, read
from torch import Tensor, nn

from trimtab.errors import DataError
from trimtab.training.data import Dataset
from trimtab.zoo.preset import NcfSizes
from trimtab.zoo.recommend import build

LEAST = 1e-6  # of a chance: its logarithm stays finite


class Likes(nn.Module):
    """NCF with the logarithms of both chances, dislike and like, as scores."""

    def __init__(self, sizes: NcfSizes) -> None:
        super().__init__()
        self.net = build(sizes)

    def forward(self, ids: Tensor) -> Tensor:
        """Take users and films (n, 2, 1), return scores (n, 2)."""
        like = self.net(ids)
        return torch.cat((1 - like, like), 1).clamp(min=LEAST).log()


def ratings():
    path = os.environ.get("TRIMTAB_MOVIELENS")
    if not path:
        raise DataError(
            "ratings of MovieLens-100K",
            rule="TRIMTAB_MOVIELENS names no file",
            where="examples/recommend.py",
            remedy="set it to u.data or ml-100k.inter, see examples/movielens.py",
        )
    return read(Path(path))


def network() -> nn.Module:
    found = ratings()
    return Likes(
        NcfSizes(dim=16, users=found.users, items=found.items, mlp=(64, 32, 16))
    )


def example_inputs() -> Tensor:
    return torch.ones(1, 2, 1, dtype=torch.int64)


def data() -> Dataset:
    found = ratings()
    part = parts(found, Split.TIME, 0)
    x = torch.from_numpy(np.stack((found.user, found.item), 1)[:, :, None])
    y = torch.from_numpy(found.liked)
    learned, asked = (torch.from_numpy(part == which) for which in (0, 2))
    return Dataset(
        name="movielens",
        train=(x[learned], y[learned]),
        test=(x[asked], y[asked]),
        classes=2,
        class_names=("dislike", "like"),
    )
