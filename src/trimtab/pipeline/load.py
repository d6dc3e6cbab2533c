"""Bundle -> something to call."""

from __future__ import annotations

from pathlib import Path

import torch

from trimtab.bundle.store import read
from trimtab.graph.execute import Executor
from trimtab.hardware.measure import median_time_s
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.runtime.store import Request, is_compiled
from trimtab.runtime.store import load as load_compiled
from trimtab.zoo.inputs import example_arguments

__all__ = ["load", "measured_latency_s"]


def load(
    path: str | Path, *, device: str = "cpu", trust: bool = False
) -> Executor | CompiledNetwork:
    """Return the network of a bundle, ready to call; its source is not needed.

    Machine code of a bundle is foreign code, unless this user made it on this machine:
    then the network is compiled again from the graph and the weights of the bundle, and
    that is said on the log.

    Args:
        path: folder of the bundle.
        device: where to run; elsewhere than on the CPU through PyTorch.
        trust: run the machine code of the bundle, whoever made it.

    Returns:
        The compiled network where the bundle holds one, else one that PyTorch runs.

    Raises:
        BundleError: there is no bundle, it is damaged, or its machine code is for
            another processor.
        GraphError: its graph breaks a rule.
        ExecutionError: its weights do not belong to its graph.
    """
    bundle = read(Path(path))
    if device == "cpu" and is_compiled(bundle):
        return load_compiled(bundle, trust=trust, recompile=_again)
    return Executor(bundle.graph, bundle.weights(), device=device)


def _again(request: Request) -> CompiledNetwork:
    from trimtab.compiler.compile import compile_again  # takes TVM

    return compile_again(request)


def measured_latency_s(network: CompiledNetwork) -> float:
    """Return the median time of a call of a compiled network on this machine.

    CPU time of the thread where it uses one, else by the wall.
    """
    args, kwargs = example_arguments(network.graph)
    with torch.inference_mode():
        return median_time_s(
            lambda: network(*args, **kwargs), threads=network.target.threads
        )
