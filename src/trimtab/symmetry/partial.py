"""Invariance that holds in part: tied weights, and free ones beside them.

Every weight is the sum of a tensor that a scheme ties and one that shares nothing, each
with a prior precision of its own, which evidence fits (after residual pathway priors,
Finzi et al., arXiv 2112.01388, whose variances are set by hand). The free part begins
small; data move it as far as it pays. Of weights a small part is enough to break an
invariance, so that the *degree* is one of scores: the share of their variance that is
between examples, and not between an example and what the scheme makes of it. It is 1
where the invariance holds exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from trimtab.bundle.stage import Data
from trimtab.symmetry.evidence.laplace import Training
from trimtab.symmetry.layers import TiedTensor
from trimtab.symmetry.network import Symmetric, retie, tied, transformed
from trimtab.symmetry.schemes import Scheme
from trimtab.symmetry.train import Recipe

__all__ = ["Loosened", "Partial", "degree", "fit_partial"]

_SOME: Final = 100  # examples that the degree is taken on
_MOST: Final = 32  # elements that they are moved by
_FREE: Final = 0.3  # of the standard deviation that tied values are drawn with


@final
class Loosened(nn.Module):
    """A tensor that is tied, plus one that is not.

    Args:
        shared: tied by a scheme.
        generator: of the free values.
    """

    def __init__(self, shared: TiedTensor, generator: torch.Generator) -> None:
        super().__init__()
        self.shared = shared
        self.free = TiedTensor(shared.family, shared.axes, std=_FREE * shared.std)
        self.free.retie(shared.family.schemes[0], generator)

    def forward(self) -> Tensor:
        """Return the tensor, of the shape of its axes."""
        whole: Tensor = self.shared() + self.free()
        return whole


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partial:
    """A network that an invariance holds for in part.

    Attributes:
        scheme: of the tied part.
        degree: share of the variance of scores that is between examples, 0 to 1.
        log_evidence: nats; compared with those of the posterior it says whether the
            part that is free pays.
        network: in evaluation mode; `trimtab.symmetry.collapse` makes it plain.
    """

    scheme: Scheme
    degree: float
    log_evidence: float
    network: Symmetric


def fit_partial(
    network: Symmetric,
    data: Data,
    scheme: Scheme,
    *,
    recipe: Recipe | None = None,
    block: int | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda done: None,
) -> Partial:
    """Return how far a scheme holds, from one training with its evidence.

    Args:
        network: of tied layers; it is not changed.
        data: what it learns.
        scheme: of its family, or of its group.
        recipe: of the training.
        block: as in `trimtab.symmetry.evidence.laplace`.
        seed: of values and order of examples.
        progress: told the share that is done.

    Example:
        >>> from trimtab.symmetry.backbone import tied_mlp
        >>> from trimtab.symmetry.schemes import flips
        >>> from trimtab.training.data import Dataset
        >>> x, y = torch.randn(20, 1, 4, 4), torch.arange(20) % 2
        >>> data = Dataset(name="noise", train=(x, y), test=(x, y), classes=2)
        >>> net = tied_mlp(flips(), (1, 4, 4), 2, channels=4)
        >>> found = fit_partial(net, data, flips()["hflip"], recipe=Recipe(steps=20))
        >>> 0 < found.degree <= 1
        True
    """
    recipe = recipe or Recipe()
    made = loosened(retie(network, scheme, seed=seed), seed=seed)
    training = Training(made, data, recipe, seed=seed)
    training.advance(recipe.rounds, progress=progress)
    return Partial(
        scheme=scheme,
        degree=degree(made.eval(), scheme, data.train[0]),
        log_evidence=training.evidence(block=block).value,
        network=made.eval(),
    )


@torch.no_grad()
def degree(network: Symmetric, scheme: Scheme, x: Tensor) -> float:
    """Return the share of the variance of scores that is between examples.

    Args:
        network: in evaluation mode.
        scheme: whose elements move the examples.
        x: examples (n, ...), of which some from all over are taken.
    """
    x = x[:: -(-len(x) // _SOME)]
    elements = sorted(scheme.elements)
    elements = elements[:: -(-len(elements) // _MOST)]
    scores = torch.stack(
        [
            network(transformed(network.family, each, x, network.inputs))
            for each in elements
        ]
    ).double()
    within = float(((scores - scores.mean(0)) ** 2).mean())
    whole = float(((scores - scores.mean((0, 1))) ** 2).mean())
    return 1.0 - within / whole if whole else 1.0


def loosened(network: Symmetric, *, seed: int) -> Symmetric:
    """Let every weight of a network have a free part, in place; return it."""
    generator = torch.Generator().manual_seed(seed)
    for path, tensor in list(tied(network)):
        if tensor.std:  # biases and norms begin at zero and stay tied
            owner, _, name = path.rpartition(".")
            setattr(network.get_submodule(owner), name, Loosened(tensor, generator))
    network.scheme = network.family.schemes[0]  # nothing is exact any more
    return network
