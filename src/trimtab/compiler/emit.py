"""Tasks and their schedules as a program: pointers, steps, packed constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from trimtab.compiler.fallback import Default, Operator
from trimtab.compiler.loops import Kernel
from trimtab.compiler.memory import ALIGNMENT, Arena, Lifetime, arrange
from trimtab.compiler.tasks import FallbackTask, Packing, Plan, Task, Value
from trimtab.frozen import FrozenDict
from trimtab.graph.types import ITEM_BYTES, Ref
from trimtab.runtime.program import Argument, Call, Fallback, Program

__all__ = ["Chosen", "constant_name", "emit"]

_NONE: Mapping[Operator, Default] = FrozenDict()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The kernel of one work.

    Attributes:
        function: its name.
        point: the schedule.
        kernel: its loops.
        scratch_bytes: of working memory the kernel takes before its output.
    """

    function: str
    point: Any
    kernel: Kernel
    scratch_bytes: int


def constant_name(packing: Packing, point: Any) -> str:
    """Return the name of a constant in the order that a schedule reads it."""
    order = packing.order(point)
    return f"{packing.key}|{order}" if order else packing.key


def emit(
    planned: Plan,
    chosen: Mapping[Any, Chosen],
    constants: dict[str, torch.Tensor],
    defaults: Mapping[Operator, Default] = _NONE,
) -> Program:
    """Return the program of a plan.

    Args:
        planned: the tasks.
        chosen: kernels, by work.
        constants: packed ones, by name; missing ones are added.
        defaults: kernels of operators that no family computes; what is not among them
            is left to PyTorch.
    """
    arena = _arena(planned, chosen, defaults)

    def argument(value: Value | Packing, point: Any) -> Argument:
        if isinstance(value, Packing):
            name = constant_name(value, point)
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
            default = _default(task, defaults)
            if default is not None:
                values: dict[Ref, Value | Packing] = {
                    **dict(task.reads),
                    **dict(task.constants),
                }
                offset = arena.offsets.get(_scratch(index), 0)
                scratch = []
                for size in default.scratch_bytes:
                    scratch.append(Argument(kind="workspace", offset_bytes=offset))
                    offset += _aligned(size)
                steps.append(
                    Call(
                        function=default.function,
                        arguments=(
                            *(
                                argument(values[ref], None)
                                for ref in dict.fromkeys(task.node.inputs)
                            ),
                            *scratch,
                            *(argument(value, None) for value in task.writes),
                        ),
                        nodes=(task.node.name,),
                    )
                )
                continue
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


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _default(
    task: FallbackTask, defaults: Mapping[Operator, Default]
) -> Default | None:
    """Return the kernel of an operator, or None where PyTorch does it."""
    found = None if task.operator is None else defaults.get(task.operator)
    return found if found is not None and found.function else None


def _arena(
    planned: Plan,
    chosen: Mapping[Any, Chosen],
    defaults: Mapping[Operator, Default],
) -> Arena:
    lives: dict[int, Lifetime] = {}
    for index, task in enumerate(planned.tasks):
        if isinstance(task, Task):
            size = chosen[task.work].scratch_bytes
        else:
            default = _default(task, defaults)
            size = sum(map(_aligned, default.scratch_bytes)) if default else 0
        if size:
            key = _scratch(index)
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
