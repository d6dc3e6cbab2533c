"""A function of tensors as kernels for one set of shapes; weights packed apart.

The kernels depend on shapes alone. So the constants of other weights, or of weights
that have changed, are packed in the orders these kernels read, and nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._dynamo.convert_frame import compile_lock

from trimtab.compiler.build import build, known_values
from trimtab.compiler.emit import Chosen, emit
from trimtab.compiler.fallback import Default, Operator
from trimtab.compiler.groups import group
from trimtab.compiler.model import timing_of
from trimtab.compiler.outputs import Outputs, observe
from trimtab.compiler.plan import plan
from trimtab.compiler.target import target_for, useful_threads
from trimtab.compiler.tasks import Task
from trimtab.errors import CaptureError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Graph
from trimtab.hardware.machine import Machine
from trimtab.runtime.cache import Cache
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import AbstractLibrary, load_code
from trimtab.runtime.memory import place
from trimtab.runtime.program import Call, Program, Target

__all__ = ["Specialised", "specialise"]


@final
class Specialised:
    """Kernels for one set of shapes.

    Args:
        graph: that was compiled.
        chosen: kernels, by work.
        defaults: what became of operators that no family computes.
        library: with their code.
        machine: they were chosen for.
        target: their code is for.
        outputs: how what is handed out is made from their results.
        names: of the weights, in order.
    """

    def __init__(
        self,
        *,
        graph: Graph,
        chosen: Mapping[Any, Chosen],
        defaults: Mapping[Operator, Default],
        library: AbstractLibrary,
        machine: Machine,
        target: Target,
        outputs: Outputs,
        names: Sequence[str],
    ) -> None:
        self.graph = graph
        self.outputs = outputs
        self._chosen = chosen
        self._defaults = defaults
        self._library = library
        self._lanes = timing_of(machine).lanes
        self.target = target
        self._names = tuple(names)

    @torch.inference_mode(mode=False)
    def pack(self, weights: Sequence[Tensor]) -> ProgramExecutor | None:
        """Return these kernels with other weights; None where others are needed.

        Args:
            weights: in order, of the shapes that were compiled.
        """
        with torch.no_grad():
            named = dict(zip(self._names, map(Tensor.detach, weights), strict=True))
            grouping = group(self.graph, known_values(self.graph, named))
            planned = plan(self.graph, grouping, lanes=self._lanes)
            works = (task.work for task in planned.tasks if isinstance(task, Task))
            if not all(work in self._chosen for work in works):
                return None
            constants: dict[str, Tensor] = {}
            program = emit(planned, self._chosen, constants, self._defaults)
            return self._executor(program, constants, named)

    def _executor(
        self,
        program: Program,
        constants: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
    ) -> ProgramExecutor:
        return ProgramExecutor(
            program,
            self._library,
            place(constants),
            threads=self.target.threads,
            graph=self.graph,
            weights=weights,
        )


@torch.inference_mode(mode=False)
def specialise(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    weights: Mapping[int, str],
    *,
    machine: Machine,
    threads: int = 1,
    fewer: bool = False,
    name: str = "function",
    seed: int = 0,
    cache: bool = True,
    winograd: bool = True,
) -> tuple[Specialised, ProgramExecutor]:
    """Return a function as kernels for the shapes of its arguments.

    Args:
        function: returns a tuple or list.
        arguments: of a call. Tensors are inputs, but for weights; only their types
            matter. Everything else becomes part of the code.
        weights: which arguments become constants, and their names.
        machine: to decide for.
        threads: of a call.
        fewer: whether one thread may do what is too small for several.
        name: for people.
        seed: of the search.
        cache: whether schedules and machine code of earlier calls are used.
        winograd: whether a convolution may be one of Winograd's.

    Returns:
        The kernels, and the same ready to run with these weights. It takes the tensors
        among the other arguments, in their order.

    Raises:
        CaptureError: the function cannot be captured, writes to its arguments, or has
            nothing to compute that a kernel could.
    """
    with torch.no_grad():
        inputs = tuple(
            torch.empty_strided(
                each.shape, each.stride(), dtype=each.dtype, device="cpu"
            )
            for index, each in enumerate(arguments)
            if isinstance(each, Tensor) and index not in weights
        )
        # What traces a function changes torch.nn for all threads, Dynamo's too.
        with compile_lock:
            outputs = observe(function, arguments)
            if not outputs.computed:
                raise CaptureError(
                    f"function {name!r}",
                    rule="it hands out its arguments, or views of them, and there is "
                    "nothing to compute",
                    remedy="nothing is lost: PyTorch does that",
                )
            module = _Module(function, arguments, weights, outputs.computed).eval()
            graph = capture(module, inputs, name=name)
        owned = weights_of(module, graph)
        if fewer:
            threads = useful_threads([graph], machine, threads)
        target = target_for(machine, threads=threads)
        built = build(
            {1: graph},
            owned,
            machine,
            target,
            seed=seed,
            cache=Cache() if cache else None,
            winograd=winograd,
        )
        program = built.programs[1]
        if not any(isinstance(step, Call) for step in program.steps):
            raise CaptureError(
                f"graph {name!r}",
                rule="no kernel could compute any of its operators",
                where=", ".join(sorted({node.op for node in graph.nodes})),
                remedy="nothing is lost: PyTorch computes them",
            )
        found = Specialised(
            graph=graph,
            chosen={work: each.chosen for work, each in built.tuned.items()},
            defaults=built.defaults,
            library=load_code(built.code),
            machine=machine,
            target=target,
            outputs=outputs,
            names=tuple(weights.values()),
        )
        return found, found._executor(program, built.constants, owned)


@final
class _Module(nn.Module):
    """A function with some arguments fixed, and only some of its outputs."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        weights: Mapping[int, str],
        wanted: Sequence[int],
    ) -> None:
        super().__init__()
        self._function = function
        self._fixed: list[Any] = [
            None if isinstance(each, Tensor) else each for each in arguments
        ]
        self._inputs = [
            index
            for index, each in enumerate(arguments)
            if isinstance(each, Tensor) and index not in weights
        ]
        self._weights = dict(weights)
        self._wanted = tuple(wanted)
        for index, name in weights.items():
            self.register_buffer(name, arguments[index].detach())

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        arguments = list(self._fixed)
        for index, tensor in zip(self._inputs, tensors, strict=True):
            arguments[index] = tensor
        for index, name in self._weights.items():
            arguments[index] = getattr(self, name)
        results = self._function(*arguments)
        return tuple(results[index] for index in self._wanted)
