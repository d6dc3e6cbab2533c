"""Invariances learned from data alone, as a posterior over schemes of weight sharing.

Inspired by "A Bayesian Approach to Invariant Deep Neural Networks" (arXiv 2107.09301),
of which the abstract is certain: the rest is ours.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from trimtab import symmetry
    >>> from trimtab.training.data import Dataset
    >>> family = symmetry.flips()
    >>> cnn = nn.Sequential(
    ...     nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
    ...     nn.Flatten(), nn.Linear(8, 2),
    ... )
    >>> x, y = torch.rand(40, 1, 6, 6), torch.arange(40) % 2
    >>> data = Dataset(name="noise", train=(x, y), test=(x, y), classes=2)
    >>> net = symmetry.symmetrize(cnn, family, x[:1])
    >>> search = symmetry.Search(recipe=symmetry.Recipe(steps=8, rounds=2))
    >>> posterior = symmetry.fit(net, data, search=search)
    >>> plain = posterior.collapse()
    >>> any(isinstance(each, nn.Conv2d) for each in plain.modules())
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.symmetry.backbone import group_cnn, tied_mlp
    from trimtab.symmetry.fitting import Search, fit
    from trimtab.symmetry.gates import relax
    from trimtab.symmetry.layers import (
        GroupConv2d,
        InvariantHead,
        LiftConv2d,
        TiedConv2d,
        TiedLinear,
        TiedNorm,
    )
    from trimtab.symmetry.network import Symmetric
    from trimtab.symmetry.partial import fit_partial
    from trimtab.symmetry.posterior import Posterior
    from trimtab.symmetry.resampling import polar, polar_layers
    from trimtab.symmetry.schemes import (
        Family,
        Scheme,
        flips,
        permutations,
        product,
        rotations,
        shifts,
        subgroups,
    )
    from trimtab.symmetry.train import Recipe
    from trimtab.symmetry.tying import symmetrize

_HOMES = {
    "backbone": ("group_cnn", "tied_mlp"),
    "fitting": ("Search", "fit"),
    "gates": ("relax",),
    "layers": (
        "GroupConv2d", "InvariantHead", "LiftConv2d", "TiedConv2d", "TiedLinear",
        "TiedNorm",
    ),
    "network": ("Symmetric",),
    "resampling": ("polar", "polar_layers"),
    "partial": ("fit_partial",),
    "posterior": ("Posterior",),
    "schemes": (
        "Family", "Scheme", "flips", "permutations", "product", "rotations", "shifts",
        "subgroups",
    ),
    "tying": ("symmetrize",),
    "train": ("Recipe",),
}  # fmt: skip

__all__ = [
    "Family",
    "GroupConv2d",
    "InvariantHead",
    "LiftConv2d",
    "Posterior",
    "Recipe",
    "Scheme",
    "Search",
    "Symmetric",
    "TiedConv2d",
    "TiedLinear",
    "TiedNorm",
    "fit",
    "fit_partial",
    "flips",
    "group_cnn",
    "permutations",
    "polar",
    "polar_layers",
    "product",
    "relax",
    "rotations",
    "shifts",
    "subgroups",
    "symmetrize",
    "tied_mlp",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: to enter the room takes no torch.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"trimtab.symmetry.{home}"), name)
    raise AttributeError(f"module 'trimtab.symmetry' has no attribute {name!r}")
