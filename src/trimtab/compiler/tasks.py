"""Tasks of a network: one call of a kernel each, over values in buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch

from trimtab.compiler.fallback import Operator
from trimtab.compiler.layout import Layout
from trimtab.graph.types import Node, Ref, TensorType

__all__ = ["FallbackTask", "Memory", "Packing", "Plan", "Task", "Value"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A buffer of a network.

    Attributes:
        key: unique.
        kind: an input or output of the network, or working memory.
        index: of the input or output.
        elements: how many it holds.
        dtype: of them.
        halo: the layout whose halo must stay zero, or None.
    """

    key: int
    kind: Literal["input", "output", "workspace"]
    index: int = 0
    elements: int
    dtype: str = "float32"
    halo: Layout | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor in a buffer."""

    memory: Memory
    layout: Layout


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A constant in the order a kernel reads it, which its schedule decides.

    Attributes:
        key: which constant.
        order: of a schedule, in words: equal words, equal arrays.
        make: the flat array for a schedule.
    """

    key: str
    order: Callable[[Any], str]
    make: Callable[[Any], torch.Tensor]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call of a kernel.

    Attributes:
        work: what to compute; equal work shares a kernel.
        parameters: of the kernel, in order; the last is what it writes.
        nodes: of the graph that it computes.
        module: path of the module that made the first of them.
    """

    work: Any
    parameters: tuple[Value | Packing, ...]
    nodes: tuple[str, ...]
    module: str

    @property
    def output(self) -> Value:
        """What it writes."""
        last = self.parameters[-1]
        assert isinstance(last, Value)
        return last


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackTask:
    """A node that no family computes.

    Attributes:
        node: of the graph.
        reads: where what it reads stands, row-major, constants not among it.
        writes: where its results go, row-major.
        constants: that it reads.
        operator: its call, for a default schedule; None to leave it to PyTorch.
    """

    node: Node
    reads: tuple[tuple[Ref, Value], ...]
    writes: tuple[Value, ...]
    constants: tuple[tuple[Ref, Packing], ...] = ()
    operator: Operator | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run.

    Attributes:
        tasks: in order.
        inputs: types of the tensor inputs.
        outputs: types of the tensor outputs, in the order of their memory's index.
    """

    tasks: tuple[Task | FallbackTask, ...]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
