"""Training as a partial differential equation, drop-in.

After "Deep relaxation: partial differential equations for optimizing deep neural
networks" (arXiv 1704.04932), from its equations.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from trimtab import relax
    >>> net = nn.Linear(4, 2)
    >>> opt = relax.Relaxed(
    ...     net.parameters(), relaxation="local-entropy", steps=5, scope=1.0
    ... )
    >>> for _ in range(10):
    ...     opt.zero_grad()
    ...     net(torch.randn(8, 4)).square().mean().backward()
    ...     opt.step()
    >>> opt.rounds, opt.evaluations
    (2, 10)
    >>> with opt.at_iterate():
    ...     kept = {key: each.clone() for key, each in net.state_dict().items()}
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.relax import pde
    from trimtab.relax.exchange import Processes, Together
    from trimtab.relax.norms import reestimate
    from trimtab.relax.parle import Parle, consensus, load_consensus
    from trimtab.relax.relaxed import Relaxed
    from trimtab.relax.rounds import Equilibrated
    from trimtab.relax.scopes import Constant, Exponential, Linear
    from trimtab.relax.workers import Fitted, fit_on_ray

_HOMES = {
    "exchange": ("Processes", "Together"),
    "norms": ("reestimate",),
    "parle": ("Parle", "consensus", "load_consensus"),
    "relaxed": ("Relaxed",),
    "rounds": ("Equilibrated",),
    "scopes": ("Constant", "Exponential", "Linear"),
    "workers": ("Fitted", "fit_on_ray"),
}

__all__ = [
    "Constant",
    "Equilibrated",
    "Exponential",
    "Fitted",
    "Linear",
    "Parle",
    "Processes",
    "Relaxed",
    "Together",
    "consensus",
    "fit_on_ray",
    "load_consensus",
    "pde",
    "reestimate",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: to enter the room takes no torch.
    if name == "pde":
        return importlib.import_module("trimtab.relax.pde")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"trimtab.relax.{home}"), name)
    raise AttributeError(f"module 'trimtab.relax' has no attribute {name!r}")
