"""A compiled network: called like the module it was made from.

Compiled for several batch sizes it takes any: a batch between two sizes is filled up
with rows of zeros, which are cut off again, and one beyond the largest is done in
parts. How many rows were zeros is counted.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, final

import torch

from trimtab.errors import ExecutionError, UsageError
from trimtab.frozen import FrozenDict
from trimtab.graph.tree import Tree, flatten, unflatten
from trimtab.graph.types import Graph, Ref
from trimtab.runtime.arguments import as_captured
from trimtab.runtime.batches import (
    BatchPlan,
    Bucket,
    batched_inputs,
    count_rows,
    plan_batches,
    require_buckets,
    take_rows,
)
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import AbstractLibrary, load_code
from trimtab.runtime.memory import place
from trimtab.runtime.program import Call, Code, Fallback, Target
from trimtab.runtime.target import why_not_here
from trimtab.units import format_bytes

__all__ = ["CompiledNetwork", "Usage"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was asked of a network so far.

    Attributes:
        calls: how many.
        rows: of their batches together.
        padded_rows: of zeros that were computed beside them.
    """

    calls: int
    rows: int
    padded_rows: int


@final
class CompiledNetwork:
    """A network as machine code. Many threads may call it at once.

    For inference only: no gradient is recorded. One that was compiled for another
    machine can be looked at and saved, not called.

    Args:
        buckets: the network for each batch size, one for a network of fixed shapes.
        weights: parameters and buffers by target; kept for `save` and for nodes that
            no kernel computes.
        target: what the code was made for.
        constants: packed, shared by all buckets; copied.
        code: the library; `library` where that cannot be saved.
        library: the kernels, where they are loaded already.
        any_batch: whether batches of other sizes are padded or done in parts.
        report: what the compiler has to tell, as JSON.
        versions: of trimtab and TVM that made the code.
        seed: of the search that chose the kernels.
        parameters: of the module's ``forward`` that go by place and by name, in order.

    Raises:
        UsageError: buckets are missing, or the network cannot be padded.
        ExecutionError: a program reaches beyond its memory.
        BundleError: the library cannot be loaded.
    """

    def __init__(
        self,
        *,
        buckets: Sequence[Bucket],
        weights: Mapping[str, torch.Tensor],
        target: Target,
        constants: Mapping[str, torch.Tensor],
        code: Code | None = None,
        library: AbstractLibrary | None = None,
        any_batch: bool = False,
        report: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        seed: int = 0,
        parameters: Sequence[str] = (),
    ) -> None:
        found = sorted(buckets, key=lambda each: each.batch)
        require_buckets(found, any_batch=any_batch)
        if library is None and code is None:
            raise UsageError(
                "a compiled network without kernels",
                rule="it has neither code nor a library",
                remedy="give one of the two",
            )
        self._why_not = why_not_here(target)
        if library is None and code is not None and not self._why_not:
            library = load_code(code)
        self.buckets: Mapping[int, Bucket] = FrozenDict(
            {each.batch: each for each in found}
        )
        self.target = target
        self.code = code
        self.any_batch = any_batch
        self.seed = seed
        self.parameters = tuple(parameters)
        self.report: Mapping[str, Any] = dict(report or {})
        self.versions: Mapping[str, str] = FrozenDict(versions or {})
        self.weights: Mapping[str, torch.Tensor] = FrozenDict(weights)
        self._states = _states(weights)
        self.constants: Mapping[str, torch.Tensor] = FrozenDict(place(constants))
        self._executors = (
            []
            if library is None
            else [
                ProgramExecutor(
                    each.program,
                    library,
                    self.constants,
                    threads=target.threads,
                    graph=each.graph,
                    weights=weights,
                )
                for each in found
            ]
        )
        self._batched = (
            batched_inputs({each.batch: each.program for each in found})
            if any_batch
            else ()
        )
        self._sizes = tuple(self.buckets)
        self._positional = _positional(self.graph)
        self._returned = _returning(self.graph)
        self._calls = self._rows = self._padded_rows = 0

    @property
    def graph(self) -> Graph:
        """The network, as compiled for the smallest batch."""
        return next(iter(self.buckets.values())).graph

    @property
    def steps(self) -> Mapping[int, tuple[Call | Fallback, ...]]:
        """What is done, in order, for each batch size."""
        return {batch: each.program.steps for batch, each in self.buckets.items()}

    @property
    def usage(self) -> Usage:
        """How often it was called, and how much of that was padding."""
        with _counting:
            return Usage(
                calls=self._calls, rows=self._rows, padded_rows=self._padded_rows
            )

    def weights_changed(self) -> bool:
        """Whether a weight was written to since it was packed."""
        return any(
            _state(tensor) != self._states[name]
            for name, tensor in self.weights.items()
        )

    def plan_for(self, batch: int) -> BatchPlan:
        """Return how a batch of that many rows is done.

        Raises:
            UsageError: it has no rows, or only one size was compiled.
        """
        if not self.any_batch and batch != self._sizes[0]:
            raise UsageError(
                f"a batch of {batch} rows",
                rule=f"the network was compiled for {self._sizes[0]} rows only",
                where="compiled network",
                remedy="give a batch of that size, or compile with batch_sizes=[...]",
            )
        return plan_batches(batch, self._sizes)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Return what the network returns for these arguments.

        Raises:
            UsageError: the arguments nest otherwise than the example inputs did, or one
                is given by place and by name.
            ExecutionError: a tensor has another shape or dtype than at compilation, or
                asks for a gradient; or the code is for another machine.
        """
        if self._why_not:
            raise ExecutionError(
                f"a call of compiled network {self.graph.name!r}",
                rule=self._why_not,
                where=f"machine {self.target.machine!r}",
                remedy="save it and load it there, or compile it for this machine",
            )
        if len(args) == self._positional and not kwargs:
            tensors: list[Any] = list(args)
        else:
            tensors = self._tensors(args, kwargs)
        return self._returned(
            self._run_batch(tensors) if self._batched else self._run(tensors)
        )

    def _tensors(
        self, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> list[Any]:
        """Return the tensors among the arguments; others were baked in."""
        graph = self.graph
        tensors = []
        given = as_captured(args, kwargs, self.parameters, graph.input_tree)
        leaves = flatten(given, graph.input_tree)
        for leaf, value in zip(graph.inputs, leaves, strict=True):
            if leaf.type is not None:
                tensors.append(value)
            # By type and text: 2 is not 2.0, and a NaN is a NaN.
            elif (type(value), repr(value)) != (type(leaf.value), repr(leaf.value)):
                raise ExecutionError(
                    f"argument {leaf.name!r} = {value!r}"[:200],
                    rule=f"it was {leaf.value!r} at compilation and is baked in",
                    where=f"compiled network {graph.name!r}",
                    remedy="compile the network again with this argument",
                )
        return tensors

    def _run(self, tensors: list[Any]) -> list[torch.Tensor]:
        outputs = self._executors[0].run(tensors)
        self._count(self._sizes[0], 0)
        return outputs

    def _run_batch(self, tensors: list[Any]) -> list[torch.Tensor]:
        program = self.buckets[self._sizes[0]].program
        rows = count_rows(tensors, program.inputs, self._batched)
        plan = plan_batches(rows, self._sizes)
        parts = []
        start = 0
        for size in plan.buckets:
            taken = min(size, rows - start)
            given = [
                take_rows(tensor, start, taken, size) if batched else tensor
                for tensor, batched in zip(tensors, self._batched, strict=True)
            ]
            outputs = self._executors[self._sizes.index(size)].run(given)
            if taken < size:
                outputs = [each[:taken] for each in outputs]
            parts.append(outputs)
            start += taken
        self._count(rows, plan.padded_rows)
        if len(parts) == 1:
            return parts[0]
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _count(self, rows: int, padded_rows: int) -> None:
        with _counting:
            self._calls += 1
            self._rows += rows
            self._padded_rows += padded_rows

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a bundle that `trimtab.runtime.store.load` loads.

        Args:
            path: of the folder to make, by custom ``NAME.trimtab``.
            overwrite: whether a bundle that stands there may be replaced.

        Raises:
            BundleError: the place is taken.
            UsageError: the kernels cannot be written, or a weight has changed.
        """
        from trimtab.runtime.store import save

        save(self, Path(path), overwrite=overwrite)

    def __reduce__(self) -> Never:
        raise UsageError(
            "pickling or copying a compiled network",
            rule="its machine code is loaded into this process",
            where=repr(self.graph.name),
            remedy="share it among threads; for another process save it, and load it "
            "there with `trimtab.load`",
        )

    def __repr__(self) -> str:
        target = self.target
        kernels = [sum(isinstance(s, Call) for s in each) for each in self._steps()]
        others = [sum(isinstance(s, Fallback) for s in each) for each in self._steps()]
        sizes = "any batch through " if self.any_batch else "batch "
        workspace = max(each.program.workspace_bytes for each in self.buckets.values())
        constants = sum(
            each.numel() * each.element_size() for each in self.constants.values()
        )
        return (
            f"CompiledNetwork({self.graph.name!r}, "
            f"{sizes}{', '.join(map(str, self._sizes))}: "
            f"{max(kernels)} kernels, {max(others)} nodes through PyTorch, "
            f"{format_bytes(constants)} of constants, "
            f"{format_bytes(workspace)} of workspace; for {target.llvm_cpu} "
            f"({target.machine}), {target.threads} "
            f"thread{'s' if target.threads != 1 else ''})"
        )

    def _steps(self) -> Iterator[tuple[Call | Fallback, ...]]:
        return iter(self.steps.values())


_counting = threading.Lock()  # of all networks: it is held for three additions


def _forget() -> None:
    """In a forked process: the thread that held the lock is not there."""
    global _counting
    _counting = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _positional(graph: Graph) -> int:
    """Return how many plain tensors are all the arguments, or -1 for other forms."""
    args, kwargs = (
        graph.input_tree.children
        if len(graph.input_tree.children) == 2
        else (Tree(kind="tuple"), Tree(kind="tuple"))
    )
    plain = (
        args.kind == "tuple"
        and all(each.kind == "leaf" for each in args.children)
        and kwargs == Tree(kind="dict")
        and all(leaf.type is not None for leaf in graph.inputs)
    )
    return len(args.children) if plain else -1


def _returning(graph: Graph) -> Callable[[list[torch.Tensor]], Any]:
    """Return what makes the result of a call of its tensors."""
    tree = graph.output_tree
    if all(isinstance(each, Ref) for each in graph.outputs):
        if tree.kind == "leaf":
            return operator.itemgetter(0)
        if all(each.kind == "leaf" for each in tree.children):
            if tree.kind == "tuple":
                return tuple
            if tree.kind == "list":
                return list

    def nested(outputs: list[torch.Tensor]) -> Any:
        results = iter(outputs)
        leaves = (
            next(results) if isinstance(each, Ref) else each for each in graph.outputs
        )
        return unflatten(leaves, tree)

    return nested


def _states(weights: Mapping[str, torch.Tensor]) -> dict[str, object]:
    return {name: _state(tensor) for name, tensor in weights.items()}


def _state(tensor: torch.Tensor) -> object:
    """Return what changes when a tensor is written to."""
    version = None if tensor.is_inference() else tensor._version
    return (tensor.data_ptr(), version)
