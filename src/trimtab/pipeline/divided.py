"""Parts of a divided network as machine code for this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import final

from torch import Tensor

from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS, machine, to_toml
from trimtab.partition.live.segments import Function
from trimtab.runtime.store import versions

__all__ = ["Compiler"]


@final
class Compiler:
    """Compiles parts; each kernel is taken from the cache where it can be.

    Args:
        threads: of a call, at most.
        progress: told the name of each part.

    Attributes:
        identity: of all that decides the bits: machine, threads, versions.

    Raises:
        MissingExtraError: TVM is not installed: the extra ``compile``.
    """

    def __init__(
        self, threads: int, progress: Callable[[str], None] = lambda name: None
    ) -> None:
        from trimtab.compiler.keys import sources_digest
        from trimtab.compiler.target import target_for

        self._threads, self._progress = threads, progress
        self._machine = machine(THIS)
        target_for(self._machine, threads=threads)  # refuses what it must, at once
        decides = to_toml(self._machine), threads, versions(), sources_digest()
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        self.identity = f"compiled {digest.hexdigest()[:16]}"

    def __call__(self, graph: Graph, weights: Mapping[str, Tensor]) -> Function:
        """Return a part as machine code."""
        from trimtab.compiler.compile import compile_graphs
        from trimtab.compiler.target import target_for, useful_threads

        self._progress(graph.name)
        count = useful_threads([graph], self._machine, self._threads)
        target = target_for(self._machine, threads=count)
        found: Function = compile_graphs({1: graph}, weights, self._machine, target)
        return found
