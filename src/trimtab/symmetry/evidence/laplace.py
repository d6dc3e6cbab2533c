"""Evidence of a scheme by Laplace's method with the generalised Gauss-Newton matrix.

At the maximum v* of the posterior, with a precision delta for each tied tensor,

    log Z = log p(D | v*) - 1/2 sum_l delta_l |v*_l|^2 - 1/2 logdet(I + K),
    K = sum_l A_l A_l' / delta_l,

where the rows of A are derivatives of the scores with respect to the values, times a
root of the Hessian of the loss in the scores (MacKay, "A Practical Bayesian Framework
for Backpropagation Networks", 1992; Immer et al., arXiv 2104.04975). Scores have one
direction that changes no probability, so each example gives one row less than there are
classes. K is worked out where it is smaller: between rows, or between values. Where
both are too many, Fischer's inequality bounds the determinant by that of blocks of
examples, the same ones for every scheme (as Immer et al., arXiv 2202.10638, do).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

from trimtab.bundle.stage import Data
from trimtab.symmetry.network import Symmetric, tied
from trimtab.symmetry.train import Precisions, Recipe, map_fit, prepared

__all__ = ["Evidence", "evidence_fit", "laplace", "rows_of", "updated"]

_CHUNK: Final = 20  # examples differentiated at once
_SOME: Final = 100  # examples that the precisions are updated by


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Log evidence and what it is made of, in nats.

    Attributes:
        value: of all.
        log_likelihood: of the data at the maximum.
        log_prior: of the values there, without what the determinant has in it.
        log_volume: half the logarithm of the determinant, with its sign.
        effective: values that the data determine, by path of their tensor.
        exact: whether the determinant is that of all examples together.
    """

    value: float
    log_likelihood: float
    log_prior: float
    log_volume: float
    effective: Mapping[str, float]
    exact: bool


def rows_of(network: Symmetric, x: Tensor) -> Tensor:
    """Return the rows of A, (n (classes - 1), values), for examples x.

    Values are in the order of `tied`.
    """
    parameters = {
        f"{path}.values": each.values.detach() for path, each in tied(network)
    }
    others = {
        name: each.detach()
        for name, each in [*network.named_parameters(), *network.named_buffers()]
        if name not in parameters
    }

    def scores(values: dict[str, Tensor], one: Tensor) -> Tensor:
        found: Tensor = functional_call(network, (values, others), (one[None],))
        return found[0]

    def weighted(values: dict[str, Tensor], one: Tensor, root: Tensor) -> Tensor:
        return root @ scores(values, one)

    jacobian = vmap(jacrev(weighted), in_dims=(None, 0, 0))
    found = []
    for some in torch.split(x, _CHUNK):
        with torch.no_grad():
            roots = _roots(F.softmax(network(some).double(), 1)).to(some.dtype)
        parts = jacobian(parameters, some, roots)
        found.append(torch.cat([parts[name].flatten(0, 1) for name in parameters], 1))
    return torch.cat(found)


def _roots(p: Tensor) -> Tensor:
    """Return R with R'R = diag(p) - pp' of each example, a row less than classes."""
    root = p.sqrt()
    whole = root[:, :, None] * (torch.eye(p.shape[1], dtype=p.dtype) - p[:, None, :])
    # A reflection that moves root(p), which whole sends to zero, to the first axis.
    mirror = root.clone()
    mirror[:, 0] += 1.0
    mirror = mirror / mirror.norm(dim=1, keepdim=True)
    whole = whole - 2.0 * mirror[:, :, None] * (mirror[:, None, :] @ whole)
    kept: Tensor = whole[:, 1:]
    return kept


def laplace(
    network: Symmetric,
    x: Tensor,
    y: Tensor,
    precisions: Precisions,
    *,
    block: int | None = None,
    share: float = 1.0,
) -> Evidence:
    """Return the log evidence at the values of a network, which are the maximum.

    Args:
        network: in evaluation mode, trained by `map_fit` with the same precisions.
        x: examples (n, ...).
        y: their classes (n,).
        precisions: of every tied tensor.
        block: examples of a block whose determinant is worked out alone; None for all.
        share: of the examples of the data that these are: 0.1 counts each for ten.

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
        likelihood = -float(F.cross_entropy(network(x).double(), y, reduction="sum"))
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
        log_determinant, determined = _determinant(rows_of(network, some) * scale)
        volume += log_determinant
        # Blocks determine a value together as far as their information adds up.
        gamma += determined / (1.0 - determined).clamp(min=1e-9)
    gamma = gamma / (1.0 + gamma)
    effective = {
        path: float(part.sum())
        for path, part in zip(tensors, torch.split(gamma, sizes), strict=True)
    }
    return Evidence(
        value=likelihood / share + prior - 0.5 * volume,
        log_likelihood=likelihood / share,
        log_prior=prior,
        log_volume=-0.5 * volume,
        effective=effective,
        exact=exact,
    )


def _determinant(rows: Tensor) -> tuple[float, Tensor]:
    """Return logdet(I + A'A) and how far the data determine each value, 0 to 1."""
    between_rows = rows.shape[0] <= rows.shape[1]
    gram = rows @ rows.T if between_rows else rows.T @ rows
    whole = gram.double()
    whole.diagonal().add_(1.0)
    factor, failed = torch.linalg.cholesky_ex(whole)
    if int(failed):  # rounding of single precision: as small as it takes
        whole.diagonal().add_(1e-5 * float(whole.diagonal().max()))
        factor = torch.linalg.cholesky(whole)
    volume = 2.0 * float(factor.diagonal().log().sum())
    if between_rows:
        # diag(A' (I + AA')^-1 A)
        solved = torch.linalg.solve_triangular(factor.float(), rows, upper=False)
        return volume, (solved**2).sum(0).double()
    inverse = torch.cholesky_inverse(factor)
    return volume, 1.0 - inverse.diagonal()


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
        network: tied by a scheme; its norms take their statistics from the data first.
        data: what it learns.
        recipe: of the training.
        seed: of the order of examples.
        block: as in `laplace`, for the last evidence. Those on the way, which only
            serve the precisions, are of some examples that stand for all.
        progress: told the share that is done.
    """
    x, y = data.train
    precisions = prepared(network, data, recipe)
    for number in range(recipe.rounds):
        map_fit(
            network,
            data,
            precisions,
            recipe.settings(len(x), seed=seed + number),
            progress=lambda now, number=number: progress(  # type: ignore[misc]
                (number + now.step / now.steps) / (recipe.rounds + 0.5)
            ),
        )
        if number + 1 < recipe.rounds:
            drawn = torch.Generator().manual_seed(seed + number)
            some = torch.randperm(len(x), generator=drawn)[:_SOME]
            share = len(some) / len(x)
            found = laplace(network, x[some], y[some], precisions, share=share)
            precisions = updated(network, found, precisions)
    return laplace(network, x, y, precisions, block=block), precisions
