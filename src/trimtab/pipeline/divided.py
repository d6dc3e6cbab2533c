"""Parts of a divided network as machine code for this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS, machine
from trimtab.partition.live.segments import Function, Make

__all__ = ["compiler_of"]


def compiler_of(
    threads: int, progress: Callable[[str], None] = lambda name: None
) -> Make:
    """Return what compiles a part; each kernel is taken from the cache where it can be.

    Args:
        threads: of a call, at most.
        progress: told the name of each part.

    Raises:
        MissingExtraError: TVM is not installed: the extra ``compile``.
    """
    from trimtab.compiler.compile import compile_graphs
    from trimtab.compiler.target import target_for, useful_threads

    here = machine(THIS)
    target_for(here, threads=threads)  # refuses what it must before there is work

    def make(graph: Graph, weights: Mapping[str, Tensor]) -> Function:
        progress(graph.name)
        count = useful_threads([graph], here, threads)
        target = target_for(here, threads=count)
        found: Function = compile_graphs({1: graph}, weights, here, target)
        return found

    return make
