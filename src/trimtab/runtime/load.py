"""Bundle -> something to call."""

from __future__ import annotations

from pathlib import Path

from trimtab.bundle.store import read
from trimtab.graph.execute import Executor

__all__ = ["load"]


def load(path: str | Path, *, device: str = "cpu") -> Executor:
    """Return the network of a bundle, ready to call; its source is not needed.

    Args:
        path: folder of the bundle.
        device: where to run.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        GraphError: its graph breaks a rule.
        ExecutionError: its weights do not belong to its graph.
    """
    bundle = read(Path(path))
    return Executor(bundle.graph, bundle.weights(), device=device)
