"""NCF and DIN, trained on MovieLens-100K: will this user like this film?

    python examples/movielens.py ml-100k.inter          # about three minutes

The data are GroupLens's and do not come with trimtab: give `u.data` of their archive,
or `ml-100k.inter`, which stands in the wheel of recbole 1.2.1 below
recbole/dataset_example/ml-100k (`pip download --no-deps recbole==1.2.1`, then unzip).

A rating of 4 or 5 is a like, as in the experiments of DIN's paper. Each user's ratings
are split 8 : 1 : 1 into training, validation (which picks the epoch) and test, by time
or at random. Test AUC by time, mean of three seeds: NCF 0.799, DIN 0.784; baselines:
share of likes among the film's ratings 0.736, number of its ratings 0.670. For
comparison: in RecBole, split at random, a user has about 0.78 with DCN, which sees age,
occupation and genre as well (RUCAIBox/RecBole, issue 2117).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import typer
from scipy.stats import rankdata
from torch import Tensor, nn

from trimtab.errors import DataError
from trimtab.zoo.preset import AbstractSizes, DinSizes, NcfSizes, TableGroup
from trimtab.zoo.queries import check_inputs
from trimtab.zoo.recommend import build

MOST_BYTES = 1 << 24  # the file has two million
MOST_ID = 100_000
HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
LIKED = 4
HISTORY = 50
DIM = 16
PATIENCE = 3  # epochs without a better validation

Ints = npt.NDArray[np.int64]


class Split(enum.StrEnum):
    """How a user's ratings are parted."""

    TIME = "time"
    RANDOM = "random"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """Ratings (n,), each user's in order of time; ids from 1."""

    user: Ints
    item: Ints
    liked: Ints

    @property
    def users(self) -> int:
        """Rows of a table of users."""
        return int(self.user.max()) + 1

    @property
    def items(self) -> int:
        """Rows of a table of items."""
        return int(self.item.max()) + 1


def read(path: Path) -> Ratings:
    """Return the ratings of a file of four columns: user, item, rating, time.

    Raises:
        DataError: no such file, too large, or a line that is no rating.
    """
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise DataError(
            f"ratings {path.name!r}",
            rule=f"there is no such file, or it has more than {MOST_BYTES} bytes",
            where=str(path),
            remedy="give u.data or ml-100k.inter of MovieLens-100K",
        )
    lines = path.read_text("utf-8", errors="replace").splitlines()
    first = 1 if lines and lines[0] == HEADER else 0
    rows = []
    for number, line in enumerate(lines[first:], first + 1):
        fields = line.split("\t")
        good = len(fields) == 4 and all(
            field.isascii() and field.isdigit() and len(field) < 12 for field in fields
        )
        row = [int(field) for field in fields] if good else [0]
        if not (good and 0 < row[0] < MOST_ID and 0 < row[1] < MOST_ID):
            good = False
        if not good or not 1 <= row[2] <= 5:
            raise DataError(
                f"ratings {path.name!r}",
                rule="a line is user, item, rating from 1 to 5 and seconds, with tabs",
                where=f"{path}:{number}",
                remedy="fetch the file again",
            )
        rows.append(row)
    if len(rows) < 100:
        raise DataError(
            f"{len(rows)} ratings",
            rule="training needs 100 at least",
            where=str(path),
            remedy="give the whole file",
        )
    table = np.array(rows, np.int64)
    user, item, rating, _ = table[np.lexsort((table[:, 3], table[:, 0]))].T
    return Ratings(user=user, item=item, liked=(rating >= LIKED).astype(np.int64))


def parts(ratings: Ratings, split: Split, seed: int) -> Ints:
    """Return 0 for training, 1 for validation, 2 for test, for every rating."""
    random = np.random.default_rng(seed)
    part = np.zeros(len(ratings.user), np.int64)
    for user in np.unique(ratings.user):
        (mine,) = np.nonzero(ratings.user == user)
        if split is Split.RANDOM:
            random.shuffle(mine)
        tenth = len(mine) // 10
        part[mine[len(mine) - 2 * tenth :]] = 1
        part[mine[len(mine) - tenth :]] = 2
    return part


def histories(ratings: Ratings, part: Ints) -> Ints:
    """Return what the user liked before each rating, of the training part only."""
    found = np.zeros((len(ratings.user), HISTORY), np.int64)
    likes: list[int] = []
    for place, user in enumerate(ratings.user):
        if place == 0 or user != ratings.user[place - 1]:
            likes = []
        last = likes[-HISTORY:]
        found[place, : len(last)] = last
        if part[place] == 0 and ratings.liked[place]:
            likes.append(int(ratings.item[place]))
    return found


def auc(scores: npt.NDArray[Any], liked: Ints) -> float:
    """Return the chance that a like scores higher than a dislike; ties are half."""
    likes = int(liked.sum())
    ranks = rankdata(scores)[liked == 1].sum()
    pairs = likes * (len(liked) - likes)
    return float((ranks - likes * (likes + 1) / 2) / pairs)


def score(net: nn.Module, inputs: tuple[Tensor, ...]) -> npt.NDArray[np.float32]:
    """Return the chance of a like for each row."""
    net.eval()
    with torch.inference_mode():
        chunks = zip(*(each.split(4096) for each in inputs), strict=True)
        return np.concatenate([net(*chunk)[:, -1].numpy() for chunk in chunks])


def train(
    sizes: AbstractSizes,
    inputs: tuple[Tensor, ...],
    liked: Ints,
    part: Ints,
    *,
    epochs: int,
    seed: int,
    progress: Callable[[float], None],
) -> float:
    """Return the test AUC of the epoch that is best on the validation part."""
    torch.manual_seed(seed)
    check_inputs(sizes.inputs, [each.numpy() for each in inputs])
    net = build(sizes)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-5)
    target = torch.from_numpy(liked).float()
    learned = torch.from_numpy(np.flatnonzero(part == 0))
    judged = [torch.from_numpy(np.flatnonzero(part == which)) for which in (1, 2)]
    best, best_epoch = (0.0, 0.0), 0
    for epoch in range(epochs):
        net.train()
        for rows in learned[torch.randperm(len(learned))].split(512):
            chance = net(*(each[rows] for each in inputs))[:, -1]
            optimizer.zero_grad()
            F.binary_cross_entropy(chance, target[rows]).backward()
            optimizer.step()
        valid, test = (
            auc(score(net, tuple(each[rows] for each in inputs)), liked[rows.numpy()])
            for rows in judged
        )
        if valid > best[0]:
            best, best_epoch = (valid, test), epoch
        progress((epoch + 1) / epochs)
        if epoch - best_epoch == PATIENCE:
            break
    return best[1]


def main(
    data: Annotated[
        Path, typer.Argument(envvar="TRIMTAB_MOVIELENS", help="u.data or .inter file.")
    ],
    split: Annotated[Split, typer.Option(help="Of each user's ratings.")] = Split.TIME,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 15,
) -> None:
    """Train both networks with several seeds and compare them with two baselines."""
    ratings = read(data)
    user, item, liked = ratings.user, ratings.item, ratings.liked
    ncf = NcfSizes(dim=DIM, users=ratings.users, items=ratings.items, mlp=(64, 32, 16))
    din = DinSizes(
        dim=DIM,
        items=ratings.items,
        profile=(TableGroup(count=1, rows=ratings.users),),
        history=HISTORY,
        attention=(36,),
        top=(64, 32, 2),
    )
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        part = parts(ratings, split, seed)
        known, asked = part == 0, part == 2
        count = np.bincount(item[known], minlength=ratings.items)
        likes = np.bincount(item[known], liked[known], minlength=ratings.items)
        share = (likes + liked[known].mean()) / (count + 1)
        pair = torch.from_numpy(np.stack((user, item), 1)[:, :, None])
        past = torch.from_numpy(histories(ratings, part))
        networks: dict[str, tuple[AbstractSizes, tuple[Tensor, ...]]] = {
            "NCF": (ncf, (pair,)),
            "DIN": (din, (pair.flip(1), past)),
        }
        results = {
            "popularity": auc(count[item[asked]], liked[asked]),
            "share of likes": auc(share[item[asked]], liked[asked]),
        }
        for name, (sizes, inputs) in networks.items():
            results[name] = train(
                sizes,
                inputs,
                liked,
                part,
                epochs=epochs,
                seed=seed,
                progress=lambda done, name=name, seed=seed: print(
                    f"\rseed {seed} {name} {done:4.0%} ", end="", flush=True
                ),
            )
        for name, value in results.items():
            found.setdefault(name, []).append(value)
    print(f"\rtest AUC on {data.name}, split by {split}, {seeds} seeds")
    for name, values in found.items():
        each = " ".join(f"{value:.4f}" for value in values)
        print(f"{name:15} {np.mean(values):.4f}  ({each})")


if __name__ == "__main__":
    typer.run(main)
