"""Evidence of a scheme by what it predicts of examples that were held out.

No approximation to an integral, and no prior: what the other ways say is checked by it.
Evidence and held-out likelihood can disagree (van der Linden et al., "Equivariant Model
Selection Through the Lens of Uncertainty", 2025), and then nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.errors import UsageError
from trimtab.symmetry.evidence.laplace import Training
from trimtab.symmetry.network import Symmetric, retie
from trimtab.symmetry.schemes import Scheme
from trimtab.symmetry.train import Recipe
from trimtab.training.data import Dataset

__all__ = ["Heldout", "heldout"]

_BLOCK = 300  # examples whose information for the precisions is worked out at once


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Heldout:
    """What was predicted of examples held out.

    Attributes:
        each: (n,) log likelihoods, nats, in the order of `rows`.
        rows: which examples.
        accuracy_frac: share of them predicted right.
    """

    each: Tensor
    rows: Tensor
    accuracy_frac: float

    @property
    def mean(self) -> float:
        """Log likelihood of an example, nats."""
        return float(self.each.mean())

    @property
    def error(self) -> float:
        """Standard error of `mean`, nats; infinite of a single example."""
        if len(self.each) < 2:
            return math.inf
        return float(self.each.std()) / math.sqrt(len(self.each))


def heldout(
    network: Symmetric,
    scheme: Scheme,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    folds: int = 5,
    some: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Heldout:
    """Train without one part of the examples after another, and predict it.

    Args:
        network: that is tied, trained and thrown away for each part.
        scheme: of its family.
        data: its training examples are divided, for every scheme alike.
        recipe: of each training; precisions are fitted to what is not held out.
        seed: of the division, values and order of examples.
        folds: parts.
        some: how many of them are predicted, None for all.
        progress: told the share that is done.

    Raises:
        UsageError: fewer than two parts, or more than there are examples.
    """
    x, y = data.train
    if not 2 <= folds <= len(x):
        raise UsageError(
            f"{folds} parts of {len(x)} examples",
            rule="one part is predicted from the others, so there are at least two and "
            "at most as many as examples",
            where="trimtab.symmetry",
            remedy="give 5",
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    parts = torch.tensor_split(order, folds)[: some or folds]
    found, right = [], 0
    for number, part in enumerate(parts):
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[part] = False
        learned = Dataset(
            name=data.name,
            train=(x[rest], y[rest]),
            test=(x[part], y[part]),
            classes=int(y.max()) + 1,
        )
        made = retie(network, scheme, seed=seed)
        training = Training(made, learned, recipe, seed=seed, block=_BLOCK)
        training.advance(
            recipe.rounds,
            progress=lambda done, at=number: progress((at + done) / len(parts)),  # type: ignore[misc]
        )
        with torch.no_grad():
            scores = torch.cat([made(some) for some in torch.split(x[part], 500)])
        found.append(-F.cross_entropy(scores, y[part], reduction="none"))
        right += int((scores.argmax(1) == y[part]).sum())
    rows = torch.cat(list(parts))
    return Heldout(each=torch.cat(found), rows=rows, accuracy_frac=right / len(rows))
