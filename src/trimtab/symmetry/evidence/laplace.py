"""Evidence by Laplace's method; over 400 lines: determinants, precisions, last layers.

The matrix is the generalised Gauss-Newton one.

At the maximum v* of the posterior, with a precision delta for each tied tensor,

    log Z = log p(D | v*) - 1/2 sum_l delta_l |v*_l|^2 - 1/2 logdet(I + K),
    K = sum_l A_l A_l' / delta_l,

where the rows of A are derivatives of the scores with respect to the values, times a
root of the Hessian of the loss in the scores (MacKay, "A Practical Bayesian Framework
for Backpropagation Networks", 1992; Immer et al., arXiv 2104.04975). K is worked out
where it is smaller: between rows, or between values. Where both are too many, Fischer's
inequality bounds the determinant by that of blocks of examples, the same ones for every
scheme (as Immer et al., arXiv 2202.10638, do).

The method takes scores to be linear in the values near the maximum. Networks with
factors that only their product matters of, such as a depthwise convolution between two
scales, are further from it, and then rank schemes worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.symmetry.evidence.derivatives import rows_of
from trimtab.symmetry.network import Symmetric, last_called, tied
from trimtab.symmetry.train import Precisions, Recipe, map_fit, prepared

__all__ = [
    "Evidence",
    "LastLayer",
    "Training",
    "evidence_fit",
    "laplace",
    "last_layer",
    "updated",
]

_SOME: Final = 100  # examples that the precisions are updated by on the way
_CALL: Final = 500  # examples of a call
_MOST_LAST: Final = 3_000  # values of a last layer whose posterior is worked out
_PARTS: Final = 8  # of a Gram matrix, of which half are worked out
_LARGE: Final = 3_000  # rows of a matrix of which sums are estimated
_PROBES: Final = 64


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Log evidence and what it is made of, in nats.

    Attributes:
        value: of all.
        log_likelihood: of the data at the maximum.
        log_prior: of the values there, without what the determinant has in it.
        log_volume: half the logarithm of the determinant, with its sign.
        effective: values that the data determine, by path of their tensor; empty where
            nobody asked.
        exact: whether the determinant is that of all examples together.
    """

    value: float
    log_likelihood: float
    log_prior: float
    log_volume: float
    effective: Mapping[str, float]
    exact: bool


def laplace(
    network: Symmetric,
    x: Tensor,
    y: Tensor,
    precisions: Precisions,
    *,
    block: int | None = None,
    share: float = 1.0,
    effective: bool = True,
) -> Evidence:
    """Return the log evidence at the values of a network, which are the maximum.

    Args:
        network: in evaluation mode, trained by `map_fit` with the same precisions.
        x: examples (n, ...).
        y: their classes (n,).
        precisions: of every tied tensor.
        block: examples of a block whose determinant is worked out alone; None for all.
        share: of the examples of the data that these are: 0.1 counts each for ten.
            Directions that no example touches then count as not determined, so that
            evidence is too high, the more so the more values there are: good enough
            for precisions on the way, not to compare schemes by.
        effective: whether to work out how many values the data determine, which takes
            as long again.

    Example:
        >>> from trimtab.symmetry.layers import TiedLinear
        >>> from trimtab.symmetry.orbits import channel, permuted
        >>> from trimtab.symmetry.schemes import shifts
        >>> family = shifts(4)
        >>> axes = (permuted("shift", 4),)
        >>> layer = TiedLinear(family, axes, (channel(2),), bias=False)
        >>> net = Symmetric(layer, family, axes).eval()
        >>> x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
        >>> found = laplace(net, x, y, {"body.weight": 1.0})
        >>> found.exact, found.log_volume < 0
        (True, True)
    """
    with torch.no_grad():
        likelihood = -sum(
            float(F.cross_entropy(network(some).double(), target, reduction="sum"))
            for some, target in zip(
                torch.split(x, _CALL), torch.split(y, _CALL), strict=True
            )
        )
    tensors = dict(tied(network))
    sizes = [each.values.numel() for each in tensors.values()]
    scale = torch.cat(
        [
            torch.full((size,), (share * precisions[path]) ** -0.5)
            for size, path in zip(sizes, tensors, strict=True)
        ]
    )
    prior = -0.5 * sum(
        precisions[path] * float((each.values.detach().double() ** 2).sum())
        for path, each in tensors.items()
    )
    exact = block is None or block >= len(x)
    volume, gamma = 0.0, torch.zeros(sum(sizes), dtype=torch.float64)
    if not exact:  # blocks of all classes: files are often sorted by them
        drawn = torch.Generator().manual_seed(0)
        x = x[torch.randperm(len(x), generator=drawn)]
    for some in torch.split(x, len(x) if block is None else block):
        log_determinant, determined = _determinant(
            rows_of(network, some).mul_(scale), effective=effective, sums=exact
        )
        volume += log_determinant
        if determined is None:
            continue
        if exact:
            gamma = determined
        else:  # blocks determine a value together as far as their information adds up
            gamma += determined / (1.0 - determined).clamp(min=1e-9)
    if not exact:
        gamma = gamma / (1.0 + gamma)
    parts = zip(tensors, torch.split(gamma, sizes), strict=True)
    return Evidence(
        value=likelihood / share + prior - 0.5 * volume,
        log_likelihood=likelihood / share,
        log_prior=prior,
        log_volume=-0.5 * volume,
        effective={path: float(each.sum()) for path, each in parts if effective},
        exact=exact,
    )


def _determinant(
    rows: Tensor, *, effective: bool, sums: bool
) -> tuple[float, Tensor | None]:
    """Return logdet(I + A'A), and how far the data determine each value, 0 to 1.

    Args:
        rows: A, of scaled values.
        effective: whether to work out the latter.
        sums: whether sums over many values are all that is asked of it: of a large
            matrix they are then estimated with random signs, single ones mean nothing.
    """
    between_rows = rows.shape[0] <= rows.shape[1]
    whole = _gram(rows if between_rows else rows.T).double()
    whole.diagonal().add_(1.0)
    factor, failed = torch.linalg.cholesky_ex(whole)
    if int(failed):  # rounding of single precision: as small as it takes
        whole.diagonal().add_(1e-5 * float(whole.diagonal().max()))
        factor = torch.linalg.cholesky(whole)
    del whole
    volume = 2.0 * float(factor.diagonal().log().sum())
    if not effective:
        return volume, None
    if sums and len(factor) > _LARGE:
        return volume, _probed(rows, factor, between_rows=between_rows)
    if between_rows:
        # diag(A' (I + AA')^-1 A)
        solved = torch.linalg.solve_triangular(factor.float(), rows, upper=False)
        return volume, (solved**2).sum(0).double()
    inverse = torch.cholesky_inverse(factor)
    return volume, 1.0 - inverse.diagonal()


def _probed(rows: Tensor, factor: Tensor, *, between_rows: bool) -> Tensor:
    """Return what sums to the effective values, by Hutchinson's estimate.

    With signs z, the mean of z (I - (I + A'A)^-1) z over some of the values. A tensor
    of a thousand effective ones is counted to half a percent, in a fortieth of the time
    that all diagonal entries take.
    """
    drawn = torch.Generator().manual_seed(0)
    signs = torch.randint(
        2, (rows.shape[1], _PROBES), generator=drawn, dtype=torch.float64
    ).mul_(2.0).sub_(1.0)  # fmt: skip
    if between_rows:
        solved = torch.cholesky_solve((rows @ signs.float()).double(), factor)
        moved = (rows.T @ solved.float()).double()
    else:
        moved = signs - torch.cholesky_solve(signs, factor)
    return (signs * moved).mean(1)


def _gram(rows: Tensor) -> Tensor:
    """Return the lower half of the products of all rows; above stands no matter what.

    A Cholesky factor is made of the lower half alone.
    """
    found = torch.zeros(len(rows), len(rows), dtype=rows.dtype)
    start = 0
    for part in torch.tensor_split(rows, _PARTS):
        end = start + len(part)
        torch.mm(part, rows[:end].T, out=found[start:end, :end])
        start = end
    return found


def updated(
    network: Symmetric, evidence: Evidence, precisions: Precisions
) -> dict[str, float]:
    """Return MacKay's next precisions: determined values over their squared length.

    None falls below a tenth of what values are drawn with, or changes more than tenfold
    at once: values are not at the maximum of the next posterior yet.
    """
    found = {}
    for path, each in tied(network):
        length = float((each.values.detach().double() ** 2).sum())
        least = 0.1 / each.std**2 if each.std else 0.01
        now = precisions[path]
        next_ = evidence.effective[path] / length if length > 0 else math.inf
        found[path] = max(min(max(next_, now / 10.0), now * 10.0, 1e8), least)
    return found


@final
class Training:
    """A network on its way to a maximum, round by round, its precisions in turns.

    Between rounds precisions follow from some examples that stand for all, before the
    last from all of them: with some alone, networks of many values would be given
    precisions too low, and their schemes evidence too low.

    Args:
        network: tied by a scheme, trained in place; its norms take their statistics
            from the data first.
        data: what it learns.
        recipe: of the training.
        seed: of the order of examples.
        block: as in `laplace`, for what is worked out of all examples.

    Attributes:
        precisions: of the prior of the round that was trained last.
        rounds: that were trained.
    """

    def __init__(
        self,
        network: Symmetric,
        data: Data,
        recipe: Recipe,
        *,
        seed: int,
        block: int | None = None,
    ) -> None:
        self.network, self.data, self.recipe, self.seed = network, data, recipe, seed
        self.block = block
        self.precisions = prepared(network, data, recipe)
        self.rounds = 0

    def advance(
        self, to: int, *, progress: Callable[[float], None] = lambda done: None
    ) -> None:
        """Train until so many rounds are done; between rounds precisions change."""
        x = self.data.train[0]
        first, rounds = self.rounds, to - self.rounds
        for number in range(self.rounds, to):
            if number:
                self._update()
            map_fit(
                self.network,
                self.data,
                self.precisions,
                self.recipe.settings(len(x), seed=self.seed + number),
                progress=lambda now, number=number: progress(  # type: ignore[misc]
                    (number - first + now.step / now.steps) / rounds
                ),
            )
            self.rounds = number + 1

    def _update(self) -> None:
        x, y = self.data.train
        if self.rounds == self.recipe.rounds - 1:
            found = laplace(self.network, x, y, self.precisions, block=self.block)
        else:
            drawn = torch.Generator().manual_seed(self.seed + self.rounds - 1)
            some = torch.randperm(len(x), generator=drawn)[:_SOME]
            share = len(some) / len(x)
            found = laplace(
                self.network, x[some], y[some], self.precisions, share=share
            )
        self.precisions = updated(self.network, found, self.precisions)

    def evidence(self, *, block: int | None = None) -> Evidence:
        """Return the log evidence where the training stands.

        Args:
            block: as in `laplace`; by default that of the training.
        """
        x, y = self.data.train
        return laplace(
            self.network, x, y, self.precisions,
            block=block or self.block, effective=False,
        )  # fmt: skip


def evidence_fit(
    network: Symmetric,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    block: int | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[Evidence, dict[str, float]]:
    """Train a network in place, its precisions in turns, and return its evidence.

    Args:
        network: tied by a scheme.
        data: what it learns.
        recipe: of the training.
        seed: of the order of examples.
        block: as in `laplace`.
        progress: told the share that is done.
    """
    training = Training(network, data, recipe, seed=seed, block=block)
    training.advance(recipe.rounds, progress=progress)
    return training.evidence(), dict(training.precisions)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LastLayer:
    """A Gaussian posterior of the last weight and what follows it, all else fixed.

    Attributes:
        paths: of its tensors.
        factor: lower Cholesky factor of the precision of all their values, float64.
    """

    paths: tuple[str, ...]
    factor: Tensor

    def draw(self, network: Symmetric, drawn: torch.Generator) -> dict[str, Tensor]:
        """Return values by path: those of the network, moved by a draw."""
        noise = torch.randn(len(self.factor), 1, generator=drawn, dtype=torch.float64)
        moves = torch.linalg.solve_triangular(self.factor.T, noise, upper=True)[:, 0]
        tensors = dict(tied(network))
        values = [tensors[path].values.detach() for path in self.paths]
        parts = torch.split(moves.float(), [len(each) for each in values])
        return {
            path: value + part
            for path, value, part in zip(self.paths, values, parts, strict=True)
        }


def last_layer(
    network: Symmetric, x: Tensor, precisions: Precisions
) -> LastLayer | None:
    """Return the posterior of the last layer, by Laplace's method.

    Args:
        network: in evaluation mode, trained by `map_fit` with the same precisions.
        x: the examples that it was trained on.
        precisions: of every tied tensor.

    Returns:
        It, or None where the layer has too many values.
    """
    tensors = dict(tied(network))
    paths = last_called(network, x[:1])
    count = sum(tensors[path].values.numel() for path in paths)
    if count > _MOST_LAST:
        return None
    diagonal = [
        torch.full((tensors[path].values.numel(),), precisions[path]) for path in paths
    ]
    whole = torch.cat(diagonal).double().diag()
    for some in torch.split(x, _CALL):
        rows = rows_of(network, some, paths).double()
        whole += rows.T @ rows
    return LastLayer(paths=paths, factor=torch.linalg.cholesky(whole))
