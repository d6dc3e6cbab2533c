"""Runs a compiled program: kernels on raw pointers, without copies.

A call takes a workspace from a pool, or makes one: so many threads may call at once.
The pointers of a workspace are written down once; a call fills in those of its inputs
and outputs and does all kernels between two fallbacks in one go.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch

from trimtab.errors import ExecutionError
from trimtab.graph.execute import Executor, run_node
from trimtab.graph.types import ITEM_BYTES, Graph, Node, Ref, TensorType
from trimtab.runtime.check import check_program, reads_of
from trimtab.runtime.kernels import AbstractBinding, AbstractLibrary, start_pool
from trimtab.runtime.memory import ALIGNMENT, aligned, block
from trimtab.runtime.program import Argument, Call, Fallback, Program
from trimtab.runtime.workers import worker

__all__ = ["ProgramExecutor"]


@final
class ProgramExecutor:
    """A program bound to its library and constants, ready to run.

    Args:
        program: what to do.
        library: with its kernels.
        constants: packed, by name; dense and aligned (`trimtab.runtime.memory.place`).
        threads: of a parallel loop; with more than one, kernels run on a thread of
            their own, one call after another.
        graph: that fallbacks are nodes of.
        weights: of that graph, by target.

    Raises:
        ExecutionError: the program reaches beyond its memory, or a constant is not
            aligned.
        MissingExtraError: more than one thread takes TVM's runtime library, which is
            not installed.
    """

    def __init__(
        self,
        program: Program,
        library: AbstractLibrary,
        constants: Mapping[str, torch.Tensor],
        *,
        threads: int = 1,
        graph: Graph | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        for name, constant in constants.items():
            _require_usable(name, constant)
        check_program(
            program,
            signatures=library.signatures,
            constants={
                name: each.numel() * each.element_size()
                for name, each in constants.items()
            },
            graph=graph,
        )
        self.program = program
        self._library = library
        self._constants = dict(constants)
        self._threads = threads
        self._inputs = [(_dtype(kind), kind.shape) for kind in program.inputs]
        self._outputs = [_maker(kind) for kind in program.outputs]
        self._segments = _segments(program)
        self._nodes: dict[int, _Node] = {}
        if graph is not None:
            self._nodes = _nodes(program, graph, weights or {})
        if threads > 1:
            library.use_pool()
            worker(threads, lambda: start_pool(threads))
        # Append and pop of a deque are atomic. More calls at once than there are
        # processors wait for each other anyway: what they took is given back.
        self._free: deque[_Workspace] = deque(
            [_Workspace(self)], maxlen=len(os.sched_getaffinity(0))
        )

    def run(
        self,
        inputs: Sequence[torch.Tensor],
        *,
        watch: Callable[[int], None] | None = None,
    ) -> list[torch.Tensor]:
        """Return the outputs for these inputs, as new tensors.

        Args:
            inputs: in the order of the program's.
            watch: called after every step with its index; kernels are called one by
                one then.

        Raises:
            ExecutionError: an input is of another type or would need a gradient, or a
                kernel failed.
        """
        tensors = self._checked(inputs)
        outputs = [make() for make in self._outputs]
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = _Workspace(self)
        # Whatever a failed call left in a workspace goes with it.
        workspace.run(tensors, outputs, watch)
        self._free.append(workspace)
        return outputs

    @property
    def workspaces(self) -> int:
        """How many wait: those of calls at once, at most as many as processors."""
        return len(self._free)

    def _checked(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if len(inputs) != len(self._inputs):
            raise ExecutionError(
                f"{len(inputs)} inputs",
                rule=f"the network takes {len(self._inputs)}",
                where="compiled network",
                remedy="give as many tensors as at compilation",
            )
        gradients = torch.is_grad_enabled()
        found = []
        for index, (tensor, (dtype, shape)) in enumerate(
            zip(inputs, self._inputs, strict=True)
        ):
            if not (
                isinstance(tensor, torch.Tensor)
                and tensor.dtype is dtype
                and tensor.shape == shape
                and tensor.is_cpu
                and tensor.layout is torch.strided
                and _has_memory(tensor)
            ):
                raise _wrong_input(index, tensor, self.program.inputs[index])
            if gradients and tensor.requires_grad:
                raise ExecutionError(
                    f"a gradient for input {index}",
                    rule="compiled kernels record none",
                    where="compiled network",
                    remedy="call under torch.inference_mode(), or give tensor.detach()",
                )
            if tensor.is_conj() or tensor.is_neg():
                tensor = tensor.resolve_conj().resolve_neg()
            found.append(aligned(tensor))
        return found


@final
class _Workspace:
    """Working memory, and all pointers into it."""

    def __init__(self, executor: ProgramExecutor) -> None:
        program = executor.program
        self._executor = executor
        self._memory = block(program.workspace_bytes)  # zeroed, what must be and more
        calls = [step for step in program.steps if isinstance(step, Call)]
        self._binding: AbstractBinding = executor._library.bind(
            [call.function for call in calls]
        )
        self._moving: list[tuple[int, bool, int, int]] = []
        position = 0
        for call in calls:
            for argument in call.arguments:
                self._point(position, argument)
                position += 1

    def _point(self, position: int, argument: Argument) -> None:
        offset = argument.offset_bytes
        if argument.kind == "workspace":
            self._binding.set(position, self._memory.data_ptr() + offset)
        elif argument.kind == "constant":
            constant = self._executor._constants[argument.name]
            self._binding.set(position, constant.data_ptr() + offset)
        else:
            given = argument.kind == "input"
            self._moving.append((position, given, argument.index, offset))

    def run(
        self,
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        watch: Callable[[int], None] | None,
    ) -> None:
        executor, binding = self._executor, self._binding
        sources = [each.data_ptr() for each in inputs]
        targets = [each.data_ptr() for each in outputs]
        for position, given, index, offset in self._moving:
            base = sources[index] if given else targets[index]
            binding.set(position, base + offset)
        for step, first, last in executor._segments:
            if step in executor._nodes:
                self._fall_back(executor._nodes[step], inputs, outputs)
                if watch:
                    watch(step)
            elif watch:
                for index in range(first, last):
                    self._call(index, index + 1, (inputs, outputs))
                    watch(step + index - first)
            else:
                self._call(first, last, (inputs, outputs))

    def _call(self, first: int, last: int, tensors: object) -> None:
        threads = self._executor._threads
        if threads == 1:
            self._binding.run(first, last)
        else:
            one = worker(threads, lambda: start_pool(threads))
            # A caller who is interrupted goes, and the job goes on: it keeps the
            # workspace and all tensors that its pointers point into.
            one.run(functools.partial(self._do, first, last, tensors))

    def _do(self, first: int, last: int, _: object) -> None:
        self._binding.run(first, last)

    def _fall_back(
        self,
        node: _Node,
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
    ) -> None:
        def view(argument: Argument, kind: TensorType) -> torch.Tensor:
            memory = self._memory
            if argument.kind == "constant":
                memory = self._executor._constants[argument.name]
            elif argument.kind != "workspace":
                found = inputs if argument.kind == "input" else outputs
                memory = found[argument.index]
            raw = memory.detach().reshape(-1).view(torch.uint8)
            part = raw[argument.offset_bytes : argument.offset_bytes + kind.size_bytes]
            return part.view(_dtype(kind)).view(kind.shape)

        with torch.no_grad():
            values = {
                **node.known,
                **{ref: view(place, kind) for ref, place, kind in node.reads},
            }
            results = [
                each
                for each, kind in zip(
                    run_node(node.node, values), node.node.outputs, strict=True
                )
                if kind is not None
            ]
            kinds = [kind for kind in node.node.outputs if kind is not None]
            for result, place, kind in zip(results, node.writes, kinds, strict=True):
                if tuple(result.shape) != kind.shape or result.dtype != _dtype(kind):
                    raise ExecutionError(
                        f"node {node.node.name!r}",
                        rule=f"it gave {result.dtype}{list(result.shape)}, "
                        f"the graph has {kind}",
                        where="compiled network",
                        remedy="compile the network again",
                    )
                view(place, kind).copy_(result)


@final
class _Node:
    """A node that runs through PyTorch, and where its values stand."""

    def __init__(
        self, step: Fallback, graph: Graph, known: Mapping[Ref, torch.Tensor]
    ) -> None:
        self.node: Node = graph.node(step.node)
        self.reads = [
            (ref, place, graph.type_of(ref))
            for ref, place in reads_of(step, graph).items()
        ]
        self.writes = step.writes
        given = {ref for ref, _, _ in self.reads}
        # Copies, as the packed constants are: both keep the weights of compilation.
        self.known = {
            ref: known[ref].detach().clone()
            for ref in self.node.inputs
            if ref not in given
        }


def _nodes(
    program: Program, graph: Graph, weights: Mapping[str, torch.Tensor]
) -> dict[int, _Node]:
    """Return the fallbacks by step, the constants they read beside them."""
    steps = {
        index: step
        for index, step in enumerate(program.steps)
        if isinstance(step, Fallback)
    }
    if not steps:
        return {}
    known = dict(Executor(graph, weights).constants)
    producers = {node.name: node for node in graph.nodes}

    def require(ref: Ref, reader: Node) -> None:
        """Compute what follows from constants alone."""
        if ref in known:
            return
        if ref.name not in producers:
            raise ExecutionError(
                f"value {ref}",
                rule="the program does not say where it stands",
                where=f"node {reader.name!r}",
                remedy="compile the network again",
            )
        node = producers[ref.name]
        for each in node.inputs:
            require(each, reader)
        results = run_node(node, known)
        known.update((Ref(node.name, i), each) for i, each in enumerate(results))

    for step in steps.values():
        node, given = graph.node(step.node), reads_of(step, graph)
        for ref in node.inputs:
            if ref not in given:
                require(ref, node)
    return {index: _Node(step, graph, known) for index, step in steps.items()}


def _segments(program: Program) -> list[tuple[int, int, int]]:
    """Return runs of calls and single fallbacks: first step, and which calls."""
    found: list[tuple[int, int, int]] = []
    calls, open_run = 0, False
    for index, step in enumerate(program.steps):
        if isinstance(step, Fallback):
            found.append((index, calls, calls))
            open_run = False
            continue
        if open_run:
            start, first, _ = found[-1]
            found[-1] = (start, first, calls + 1)
        else:
            found.append((index, calls, calls + 1))
        calls += 1
        open_run = True
    return found


def _dtype(kind: TensorType) -> torch.dtype:
    found: torch.dtype = getattr(torch, kind.dtype)
    return found


def _maker(kind: TensorType) -> Callable[[], torch.Tensor]:
    """Return what makes dense tensors of a type, as fast as PyTorch can be asked to."""
    none = torch.empty(0, dtype=_dtype(kind), device="cpu")
    strides = torch.empty(kind.shape, device="meta").stride()
    return functools.partial(none.new_empty_strided, kind.shape, strides)


def _require_usable(name: str, constant: torch.Tensor) -> None:
    if (
        constant.is_cpu
        and constant.is_contiguous()
        and constant.data_ptr() % ALIGNMENT == 0
        and str(constant.dtype).removeprefix("torch.") in ITEM_BYTES
    ):
        return
    raise ExecutionError(
        f"constant {name!r}",
        rule=f"kernels read dense memory on cpu, aligned to {ALIGNMENT} bytes",
        where="compiled network",
        remedy="pass the constants through trimtab.runtime.memory.place",
    )


def _has_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor is more than a stand-in, as tracers and transforms use."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        return False
    try:
        return tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:
        return False


def _wrong_input(index: int, tensor: object, kind: TensorType) -> ExecutionError:
    have = type(tensor).__name__
    if isinstance(tensor, torch.Tensor):
        have = f"{tensor.dtype}{list(tensor.shape)}".removeprefix("torch.")
        if not tensor.is_cpu or tensor.layout is not torch.strided:
            have += f" on {tensor.device} with layout {tensor.layout}"
    return ExecutionError(
        f"input {index} of type {have}",
        rule=f"the network was compiled for {kind}, dense, on cpu",
        where="compiled network",
        remedy="convert the tensor, or compile the network for this shape",
    )
