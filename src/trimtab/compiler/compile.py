"""nn.Module in, compiled network out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from trimtab._version import __version__
from trimtab.compiler.build import Built, build
from trimtab.compiler.report import report_of
from trimtab.compiler.target import target_for
from trimtab.errors import UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Graph
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.runtime.compiled import Bucket, CompiledNetwork
from trimtab.runtime.program import Target

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compile", "compile_graphs"]

Progress = Callable[[float, str], None]


def compile(  # noqa: A001 - it is what users call it: trimtab.compile
    model: nn.Module,
    example_inputs: Sequence[Any],
    example_keywords: Mapping[str, Any] | None = None,
    *,
    machine: str | Machine = "this",
    threads: int = 1,
    batch_sizes: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress = lambda done, text: None,
) -> CompiledNetwork:
    """Return a network as machine code whose schedules were chosen by analysis.

    Nothing is run to find out what is fast. The result is called like the module, with
    tensors of the shapes of the example inputs; nothing is copied on the way in.

    Args:
        model: in evaluation mode.
        example_inputs: positional arguments; their values do not matter.
        example_keywords: keyword arguments.
        machine: to decide for: a name of the catalogue, a file, or a description.
        threads: of a call.
        batch_sizes: to compile for; then any batch is taken, filled up to the next size
            or done in parts. The first axis of every tensor that has the batch size of
            the first example input is the batch.
        seed: of the search, where a space is too large to judge whole.
        progress: told the share that is done and what is done now.

    Returns:
        A `trimtab.runtime.compiled.CompiledNetwork`.

    Raises:
        CaptureError: the module is in training mode or cannot be captured.
        MachineError: the machine is no CPU, or of an architecture without kernels.
        MissingExtraError: TVM is not installed: the extra ``compile``.
        UsageError: a batch size is below 1, or no input has a batch.

    Example:
        >>> layer = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()).eval()
        >>> fast = compile(layer, (torch.zeros(2, 8),))  # doctest: +SKIP
        >>> fast(torch.ones(2, 8)).shape  # doctest: +SKIP
        torch.Size([2, 4])

    References:
        Tuna (arXiv 2104.14641): no candidate is run; features of loops and assembly.
    """
    found = machine if isinstance(machine, Machine) else find_machine(machine)
    target = target_for(found, threads=threads)
    keywords = dict(example_keywords or {})
    progress(0.0, "capturing")
    graphs: dict[int, Graph] = {}
    if batch_sizes is None:
        graphs[_batch_of(example_inputs)] = capture(model, example_inputs, keywords)
    else:
        for size in _checked(batch_sizes):
            args = tuple(_resized(each, example_inputs, size) for each in example_inputs)
            kwargs = {
                name: _resized(each, example_inputs, size)
                for name, each in keywords.items()
            }
            graphs[size] = capture(model, args, kwargs)
    weights = weights_of(model, next(iter(graphs.values())))
    return compile_graphs(
        graphs,
        weights,
        found,
        target,
        any_batch=batch_sizes is not None,
        seed=seed,
        progress=progress,
    )


def compile_graphs(
    graphs: Mapping[int, Graph],
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    target: Target,
    *,
    any_batch: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, text: None,
) -> CompiledNetwork:
    """Return a compiled network for graphs that were captured before.

    Args:
        graphs: the network, by batch size.
        weights: by target, one set for all.
        machine: to decide for.
        target: to make code for.
        any_batch: whether other batch sizes are padded or done in parts.
        seed: of the search.
        progress: told the share that is done.

    Raises:
        MissingExtraError: TVM is not installed.
        UsageError: linking failed, or the network cannot be padded.
    """
    built = build(graphs, weights, machine, target, seed=seed, progress=progress)
    progress(1.0, "done")
    return CompiledNetwork(
        buckets=[
            Bucket(batch=batch, program=built.programs[batch], graph=graph)
            for batch, graph in graphs.items()
        ],
        weights=weights,
        target=target,
        constants=built.constants,
        code=built.code,
        any_batch=any_batch,
        report=report_of(built, machine, target),
        versions={"trimtab": __version__},
    )


def _batch_of(inputs: Sequence[Any]) -> int:
    """Return the batch size of example inputs; 1 where they have none."""
    for each in inputs:
        if isinstance(each, torch.Tensor) and each.dim():
            return max(int(each.shape[0]), 1)
    return 1


def _checked(sizes: Sequence[int]) -> list[int]:
    found = sorted({int(size) for size in sizes})
    if not found or found[0] < 1:
        raise UsageError(
            f"batch sizes {list(sizes)}",
            rule="there is at least one, none below 1",
            remedy="give sizes such as 1, 16, 64",
        )
    return found


def _resized(value: Any, inputs: Sequence[Any], size: int) -> Any:
    """Return an example input for another batch size."""
    batch = _batch_of(inputs)
    if not isinstance(value, torch.Tensor) or not value.dim():
        return value
    if value.shape[0] != batch:
        return value
    times = -(-size // batch)
    return value.repeat(times, *([1] * (value.dim() - 1)))[:size].contiguous()


assert Built
