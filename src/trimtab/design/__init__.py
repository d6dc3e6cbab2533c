"""The 3D receptive field of a network, and a static optimizer that rewrites it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.design.analysis import analyze
    from trimtab.design.search import Problem, Result, optimize
    from trimtab.design.sliding import SlidingChannelConv2d

__all__ = ["Problem", "Result", "SlidingChannelConv2d", "analyze", "optimize"]

_HOMES = {
    "Problem": "trimtab.design.search",
    "Result": "trimtab.design.search",
    "SlidingChannelConv2d": "trimtab.design.sliding",
    "analyze": "trimtab.design.analysis",
    "optimize": "trimtab.design.search",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: to enter the room takes no torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'trimtab.design' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
