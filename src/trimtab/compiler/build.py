"""A network compiled: groups, tasks, schedules, machine code, one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from trimtab.compiler.groups import group
from trimtab.compiler.loops import Kernel
from trimtab.compiler.memory import Arena, Lifetime, arrange
from trimtab.compiler.model import timing_of
from trimtab.compiler.plan import FallbackTask, Packing, Plan, Task, Value, plan
from trimtab.compiler.tune import Ranking, family_of, rank
from trimtab.graph.execute import run_node
from trimtab.graph.types import ITEM_BYTES, Graph, Ref
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Argument, Call, Fallback, Program

__all__ = ["Built", "Chosen", "build"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The schedule of one work.

    Attributes:
        work: what it computes.
        function: name of the kernel.
        point: the schedule.
        ranking: of all schedules.
        kernel: its loops.
        scratch_bytes: of working memory the kernel takes before its output.
    """

    work: Any
    function: str
    point: Any
    ranking: Ranking
    kernel: Kernel
    scratch_bytes: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came out.

    Attributes:
        plan: the tasks.
        chosen: schedules, by work.
        program: to run.
        constants: packed, by name.
        modules: of machine code.
    """

    plan: Plan
    chosen: Mapping[Any, Chosen]
    program: Program
    constants: Mapping[str, torch.Tensor]
    modules: Sequence[Any]


def known_values(
    graph: Graph, weights: Mapping[str, torch.Tensor]
) -> dict[Ref, torch.Tensor]:
    """Return what does not depend on the input: constants and what follows from them."""
    from trimtab.graph.execute import Executor

    executor = Executor(graph, weights)
    found = dict(executor.constants)
    for node in graph.nodes:
        reads = node.inputs
        if Ref(node.name) in found or not reads or any(r not in found for r in reads):
            continue
        results = run_node(node, found)
        found.update((Ref(node.name, i), each) for i, each in enumerate(results))
    return found


def build(
    graph: Graph,
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    *,
    threads: int = 1,
    progress: Callable[[float, str], None] = lambda done, text: None,
) -> Built:
    """Return a network compiled for a machine."""
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    timing = timing_of(machine)
    grouping = group(graph, known_values(graph, weights))
    planned = plan(graph, grouping, lanes=timing.lanes)
    works: dict[Any, None] = {}
    for task in planned.tasks:
        if isinstance(task, Task):
            works.setdefault(task.work, None)
    target = target_of(machine.core.llvm_cpu)
    chosen: dict[Any, Chosen] = {}

    def make(item: tuple[int, Any]) -> tuple[Chosen, Any]:
        index, work = item
        ranking = rank(work, machine, threads=threads, timing=timing)
        point = ranking.points[ranking.order[0]]
        family = family_of(point)
        name = f"{family.name}_{index}"
        kernel = family.kernel(
            work, point, lanes=timing.lanes, threads=threads, name=name
        )
        module = compile_kernels([kernel], target).module
        scratch = family.scratch(work, point, lanes=timing.lanes, threads=threads)
        found = Chosen(
            work=work,
            function=name,
            point=point,
            ranking=ranking,
            kernel=kernel,
            scratch_bytes=4 * scratch,
        )
        return found, module

    modules = []
    with ThreadPoolExecutor(2) as pool:
        for found, module in pool.map(make, enumerate(works)):
            chosen[found.work] = found
            modules.append(module)
    constants: dict[str, torch.Tensor] = {}
    program = _program(planned, chosen, constants)
    return Built(
        plan=planned,
        chosen=chosen,
        program=program,
        constants=constants,
        modules=modules,
    )


def _program(
    planned: Plan, chosen: Mapping[Any, Chosen], constants: dict[str, torch.Tensor]
) -> Program:
    arena = _arena(planned, chosen)

    def argument(value: Value | Packing, point: Any) -> Argument:
        if isinstance(value, Packing):
            name = f"{value.key}|{value.order(point)}"
            if name not in constants:
                constants[name] = value.make(point)
            return Argument(kind="constant", name=name)
        memory = value.memory
        if memory.kind == "workspace":
            return Argument(kind="workspace", offset_bytes=arena.offsets[memory.key])
        return Argument(kind=memory.kind, index=memory.index)

    steps: list[Call | Fallback] = []
    for index, task in enumerate(planned.tasks):
        if isinstance(task, FallbackTask):
            steps.append(
                Fallback(
                    node=task.node.name,
                    reads=tuple(
                        (str(ref), argument(value, None)) for ref, value in task.reads
                    ),
                    writes=tuple(argument(value, None) for value in task.writes),
                )
            )
            continue
        picked = chosen[task.work]
        arguments = [argument(value, picked.point) for value in task.parameters]
        if picked.scratch_bytes:
            offset = arena.offsets[_scratch(index)]
            arguments.insert(-1, Argument(kind="workspace", offset_bytes=offset))
        steps.append(
            Call(
                function=picked.function,
                arguments=tuple(arguments),
                nodes=task.nodes,
            )
        )
    return Program(
        inputs=planned.inputs,
        outputs=planned.outputs,
        workspace_bytes=arena.size_bytes,
        zeroed=arena.zeroed,
        steps=tuple(steps),
    )


def _scratch(index: int) -> int:
    """Return the key of the working memory of a step; values have positive keys."""
    return -1 - index


def _arena(planned: Plan, chosen: Mapping[Any, Chosen]) -> Arena:
    lives: dict[int, Lifetime] = {}
    for index, task in enumerate(planned.tasks):
        if isinstance(task, Task) and chosen[task.work].scratch_bytes:
            key = _scratch(index)
            size = chosen[task.work].scratch_bytes
            lives[key] = Lifetime(key=key, size_bytes=size, first=index, last=index)
        values = (
            task.parameters
            if isinstance(task, Task)
            else (*(value for _, value in task.reads), *task.writes)
        )
        for value in values:
            if not isinstance(value, Value) or value.memory.kind != "workspace":
                continue
            memory = value.memory
            if memory.key in lives:
                lives[memory.key] = replace(lives[memory.key], last=index)
            else:
                lives[memory.key] = Lifetime(
                    key=memory.key,
                    size_bytes=memory.elements * ITEM_BYTES[memory.dtype],
                    first=index,
                    last=index,
                    kind=memory.halo,
                )
    return arrange(list(lives.values()))
