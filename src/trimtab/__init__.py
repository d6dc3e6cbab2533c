"""trimtab: from a PyTorch network to serving inside hard budgets, by analysis."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__

if TYPE_CHECKING:
    from trimtab.compiler.compile import compile
    from trimtab.cost.latency import Roofline
    from trimtab.cost.verdict import Budget
    from trimtab.graph.capture import capture
    from trimtab.graph.execute import Executor
    from trimtab.hardware.load import machine
    from trimtab.pipeline.load import load

__all__ = [
    "Budget",
    "Executor",
    "Roofline",
    "__version__",
    "capture",
    "compile",
    "load",
    "machine",
]

_HOMES = {
    "Budget": "trimtab.cost.verdict",
    "Executor": "trimtab.graph.execute",
    "Roofline": "trimtab.cost.latency",
    "capture": "trimtab.graph.capture",
    "compile": "trimtab.compiler.compile",
    "load": "trimtab.pipeline.load",
    "machine": "trimtab.hardware.load",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `import trimtab` takes no torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
