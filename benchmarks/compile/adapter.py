"""The only place here that knows how the compiler is called.

`compiled` is the function users call. `space` opens one operator up: the schedules it
may choose from, what it predicts of them, what it chooses, and any of them as calls.
"""

from __future__ import annotations

import ctypes
import itertools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import nn

from benchmarks.compile.rank import Kernel, Space
from benchmarks.compile.workloads import Workload
from trimtab.hardware.load import machine, machine_names
from trimtab.hardware.machine import Machine

__all__ = ["TARGETS", "compiled", "llvm_cpu", "space"]

_COUNTED = 3_000_000
# Combinations that are counted one by one, in seconds. More are refused: what is drawn
# evenly from all families takes the true counts.


def compiled(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    threads: int,
    *,
    cache: bool = False,
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the compiled network and notes for the results.

    The note ``winograd`` says whether a convolution was computed that way: it loosens
    the bound of the error.
    """
    import trimtab

    found = trimtab.compile(
        module, inputs, machine="this", threads=threads, cache=cache
    )
    tasks = found.report["tasks"]
    return found, {
        "winograd": any(task["family"] == "winograd" for task in tasks),
        "tasks": len(tasks),
        "through_pytorch": sorted({task["op"] for task in tasks if task["op"]}),
        "predicted_s": found.report["latency_s"],
    }


def _in_catalogue() -> Machine:
    """Return the machine of the catalogue whose core the present one has, or Milan."""
    for name in machine_names():
        found = machine(name)
        if found.core.llvm_cpu == llvm_cpu() and found.core.isa.startswith("x86-64"):
            return found
    return machine("milan")


def _avx2() -> Machine:
    """Return the catalogue's machine without the vectors of 512 bits."""
    found = _in_catalogue()
    core = replace(found.core, isa="x86-64-v3", simd_bits=256, vector_registers=16)
    return replace(found, core=core)


def _sse42() -> Machine:
    """Return the catalogue's machine with vectors of 128 bits; the code has no FMA."""
    found = _in_catalogue()
    core = replace(found.core, isa="x86-64-v2", simd_bits=128, vector_registers=16)
    return replace(found, core=core)


TARGETS: Mapping[str, tuple[str, Callable[[], Machine], str]] = {
    "this": ("this machine, calibrated", lambda: machine("this"), ""),
    "avx2": ("AVX2 by the catalogue", _avx2, "x86-64-v3"),
    "sse42": ("SSE4.2 by the catalogue", _sse42, "x86-64-v2"),
}
"""What code is generated for: title, the description that decides, and LLVM's name.

That of the catalogue has the present core where the catalogue knows it, but nothing of
it was measured here. A name is given where the core has instructions that the code is
to do without.
"""


def llvm_cpu() -> str:
    """Return LLVM's name of the present core."""
    return machine("this").core.llvm_cpu


def space(workload: Workload, target: str) -> Space:
    """Return the schedules of an operator for one of `TARGETS`."""
    _, described, cpu = TARGETS[target]
    return _Ours(workload, described(), cpu)


@final
class _Ours:
    """The space of the compiler for the one task of an operator."""

    def __init__(self, workload: Workload, chosen_for: Machine, cpu: str = "") -> None:
        from trimtab.compiler.build import known_values
        from trimtab.compiler.groups import group
        from trimtab.compiler.model import timing_of
        from trimtab.compiler.plan import plan
        from trimtab.compiler.target import target_for
        from trimtab.compiler.tasks import Task
        from trimtab.compiler.tune import families_of
        from trimtab.compiler.tvm.lower import target_of
        from trimtab.graph.capture import capture, weights_of

        module, inputs = workload.module()
        graph = capture(module, inputs, name=workload.name)
        weights = weights_of(module, graph)
        known = known_values(graph, weights)
        self._graph, self._weights = graph, weights
        self._machine = chosen_for
        self._timing = timing_of(chosen_for)
        planned = plan(graph, group(graph, known), lanes=self._timing.lanes)
        tasks = [each for each in planned.tasks if isinstance(each, Task)]
        self._task = max(tasks, key=lambda each: each.work.flops)
        code = target_for(chosen_for, threads=1)
        self._code = replace(code, llvm_cpu=cpu or code.llvm_cpu)
        self._target = target_of(self._code.llvm_cpu)
        self._spaces = [
            each.knobs(self._task.work, lanes=self._timing.lanes, threads=1)
            for each in families_of(self._task.work)
        ]
        self._counts: list[int] = []
        self._buffers: dict[tuple[int, int], torch.Tensor] = {}

    def legal(self) -> int:
        """Return how many schedules are legal, of all families that can compute it."""
        if not self._counts:
            self._counts = [_count(knobs) for knobs in self._spaces]
        return sum(self._counts)

    def sample(self, count: int, seed: int) -> list[Any]:
        """Return different legal schedules, drawn evenly from all of every family."""
        self.legal()
        draw = random.Random(seed)
        found: dict[Any, None] = {}
        for _ in range(1000 * count):
            if len(found) == count:
                break
            (knobs,) = draw.choices(self._spaces, self._counts)
            point = knobs.make(*(draw.choice(each) for each in knobs.choices.values()))
            while not knobs.legal(point):
                point = knobs.make(
                    *(draw.choice(each) for each in knobs.choices.values())
                )
            found[point] = None
        return list(found)

    def predicted_s(self, points: Sequence[Any], *, cold: bool) -> list[float]:
        """Return the predicted times of schedules, their assembly read."""
        from trimtab.compiler.build import assess

        return assess(self._task.work, points, self._machine, self._code, cold=cold)

    def first_pick(self) -> tuple[Any, float]:
        """Return the schedule that the compiler takes, and the seconds of compiling.

        They are of the whole operator: all its tasks, assembly read, code linked.
        """
        from trimtab.compiler.build import build

        start = time.perf_counter()
        built = build(
            {1: self._graph},
            self._weights,
            self._machine,
            self._code,
        )
        point = built.tuned[self._task.work].chosen.point
        return point, time.perf_counter() - start

    def build(self, point: Any) -> Kernel:
        """Return a schedule as machine code."""
        return _OurKernel(self._task, point, *self._function(point), self._buffers)

    def _function(self, point: Any) -> tuple[Any, Any]:
        from trimtab.compiler.tune import family_of
        from trimtab.compiler.tvm.lower import compile_kernels

        kernel = family_of(self._task.work, point).kernel(
            self._task.work,
            point,
            lanes=self._timing.lanes,
            threads=1,
            name="candidate",
        )
        module = compile_kernels([kernel], self._target).module
        return kernel, module["candidate"]


def _count(knobs: Any) -> int:
    if knobs.size > _COUNTED:
        raise ValueError(
            f"a space of {knobs.size} combinations: at most {_COUNTED} are counted"
        )
    combinations = itertools.product(*knobs.choices.values())
    return sum(bool(knobs.legal(knobs.make(*each))) for each in combinations)


@final
class _OurKernel:
    """Machine code of one schedule and buffers for it."""

    def __init__(
        self,
        task: Any,
        point: Any,
        kernel: Any,
        function: Any,
        shared: dict[tuple[int, int], torch.Tensor],
    ) -> None:
        from trimtab.compiler.tasks import Packing

        self._function = function
        generator = torch.Generator().manual_seed(0)
        self._buffers: list[torch.Tensor] = []
        self._constants: list[int] = []
        # Working memory of a kernel comes before what it writes.
        scratch = len(kernel.parameters) - len(task.parameters)
        values = (*task.parameters[:-1], *[None] * scratch, task.parameters[-1])
        for index, (buffer, value) in enumerate(
            zip(kernel.parameters, values, strict=True)
        ):
            if isinstance(value, Packing):
                self._constants.append(index)
                self._buffers.append(value.make(point))
            else:
                # The same for all schedules: where two buffers lie to each other in
                # the caches makes more of a difference than many schedules do.
                key = index - len(kernel.parameters), buffer.elements
                if key not in shared:
                    shared[key] = torch.randn(buffer.elements, generator=generator)
                self._buffers.append(shared[key])
        self.weight_bytes = sum(
            self._buffers[index].nbytes for index in self._constants
        )

    def calls(self, copies: int) -> list[Callable[[], object]]:
        """Return calls that differ in the copy of the constants they read."""
        found: list[Callable[[], object]] = []
        for copy in range(copies):
            buffers = list(self._buffers)
            if copy:
                for index in self._constants:
                    buffers[index] = buffers[index].clone()
            pointers = [ctypes.c_void_p(each.data_ptr()) for each in buffers]

            def call(
                function: Any = self._function,
                pointers: list[ctypes.c_void_p] = pointers,
                _alive: list[torch.Tensor] = buffers,
            ) -> None:
                function(*pointers)

            found.append(call)
        return found
