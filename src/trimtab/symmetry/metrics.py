"""How good predicted probabilities are: likelihood, calibration, doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from trimtab.errors import UsageError

__all__ = ["Quality", "auroc", "calibration_error", "entropy", "quality"]

_LEAST = 1e-12  # of a probability in a logarithm


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good predictions are.

    Attributes:
        accuracy_frac: share right.
        nll: mean negative log likelihood, nats.
        ece: expected calibration error, see `calibration_error`.
        brier: mean squared distance from the one-hot truth, 0 to 2.
        entropy: mean of the predictions, nats.
    """

    accuracy_frac: float
    nll: float
    ece: float
    brier: float
    entropy: float


def quality(p: Tensor, y: Tensor) -> Quality:
    """Return how good probabilities (n, classes) are for classes (n,).

    Raises:
        UsageError: no examples, or not as many of both.

    Example:
        >>> p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
        >>> found = quality(p, torch.tensor([0, 1]))
        >>> found.brier, round(found.nll, 4)
        (0.25, 0.3466)
    """
    if len(p) == 0 or len(p) != len(y):
        raise UsageError(
            f"quality of {len(p)} predictions and {len(y)} targets",
            rule="there must be as many of both, at least one",
            where="trimtab.symmetry.metrics",
            remedy="give the predictions with their targets",
        )
    truth = torch.nn.functional.one_hot(y, p.shape[1]).to(p.dtype)
    return Quality(
        accuracy_frac=float((p.argmax(1) == y).double().mean()),
        nll=-float(p[torch.arange(len(y)), y].clamp(min=_LEAST).log().mean()),
        ece=calibration_error(p, y),
        brier=float(((p - truth) ** 2).sum(1).mean()),
        entropy=float(entropy(p).mean()),
    )


def calibration_error(p: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width.

    After Guo et al., "On Calibration of Modern Neural Networks" (arXiv 1706.04599): the
    gap between mean confidence and accuracy in each bin, weighted by its examples.
    """
    confidence, predicted = p.max(1)
    right = (predicted == y).double()
    which = (confidence * bins).long().clamp(0, bins - 1)
    total = 0.0
    for number in range(bins):
        mask = which == number
        if bool(mask.any()):
            gap = float(right[mask].mean()) - float(confidence[mask].double().mean())
            total += abs(gap) * float(mask.double().mean())
    return total


def entropy(p: Tensor) -> Tensor:
    """Return the entropy of each prediction (n,), nats."""
    return -(p * p.clamp(min=_LEAST).log()).sum(1)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Return how well a score tells examples of two kinds apart: 0.5 is not at all.

    Args:
        inside: scores of the kind that should have low ones.
        outside: of the other.

    Example:
        >>> auroc(torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.2]))
        0.875
    """
    both = np.concatenate([inside.numpy(), outside.numpy()])
    ranks = rankdata(both)[len(inside) :]
    count = len(outside)
    return float((ranks.sum() - count * (count + 1) / 2) / (len(inside) * count))
