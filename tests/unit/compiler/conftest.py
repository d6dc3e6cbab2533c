"""Small networks, planned, compiled and compared with PyTorch in float64.

Schedules are the best of those with little code, unread: what is tested is the plan. A
work that was compiled once is not compiled again, however many networks have it.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trimtab.compiler.build import known_values
from trimtab.compiler.emit import Chosen, emit
from trimtab.compiler.groups import Grouping, group
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Expr,
    If,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Number,
    Prefetch,
    Select,
    Statement,
    Store,
    Var,
)
from trimtab.compiler.model import timing_of
from trimtab.compiler.plan import plan
from trimtab.compiler.spaces import contraction
from trimtab.compiler.tasks import Plan, Task
from trimtab.compiler.tune import family_of, rank
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Graph
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.runtime.executor import ProgramExecutor
from trimtab.runtime.kernels import ModuleLibrary
from trimtab.runtime.memory import place

LANES = 8


class Network(nn.Module):
    """A module around a function of itself and its inputs."""

    def __init__(
        self, function: Callable[..., Any], **parts: nn.Module | Tensor
    ) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def prepared(net: nn.Module) -> nn.Module:
    """Return the network in evaluation mode; its batch norms do something."""
    generator = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=generator)
    return net.eval()


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors of nested outputs, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in tensors(each)]
    return []


def widened(value: Any) -> Any:
    """Return inputs with their floating-point tensors in float64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    return value


def close(found: Tensor, expected: Tensor, limit: float = 1e-5) -> None:
    """Assert that a result is within a fraction of the largest value expected."""
    assert found.shape == expected.shape
    if not found.is_floating_point():
        assert torch.equal(found, expected)
        return
    found, expected = found.double(), expected.double()
    finite = expected.isfinite()
    assert torch.equal(found.isnan(), expected.isnan())
    infinite = expected.isinf()
    assert torch.equal(found[infinite], expected[infinite])
    if finite.any():
        error = (found - expected)[finite].abs().max().item()
        scale = expected[finite].abs().max().item()
        assert error <= limit * max(scale, 1e-30), f"{error} of {scale}"


@dataclass
class Planned:
    """A network as a plan.

    Attributes:
        graph: the network.
        weights: of it.
        grouping: its groups.
        plan: its tasks.
    """

    graph: Graph
    weights: Mapping[str, Tensor]
    grouping: Grouping
    plan: Plan

    @property
    def kinds(self) -> list[str]:
        """What tasks are: the class of their work, or the operator PyTorch does."""
        return [
            type(each.work).__name__ if isinstance(each, Task) else each.node.op
            for each in self.plan.tasks
        ]


def planned(net: nn.Module, *inputs: Any, lanes: int = LANES) -> Planned:
    """Return the plan of a network."""
    net = prepared(net)
    graph = capture(net, inputs)
    weights = weights_of(net, graph)
    grouping = group(graph, known_values(graph, weights))
    return Planned(graph, weights, grouping, plan(graph, grouping, lanes=lanes))


def _short(point: Any) -> bool:
    """Whether a schedule makes little code, which compiles in little time."""
    if not isinstance(point, contraction.Point):
        return True
    return point.rows * point.columns * point.vectors * point.unroll <= 8


@dataclass
class Workshop:
    """Compiles plans, each work once."""

    machine: Machine
    chosen: dict[Any, Chosen] = field(default_factory=dict)
    functions: dict[str, Any] = field(default_factory=dict)
    signatures: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def get_function(self, name: str) -> Any:
        """Return a kernel, as a module of TVM does."""
        return self.functions[name]

    def executor(self, made: Planned) -> ProgramExecutor:
        """Return what runs a plan."""
        from trimtab.compiler.tvm.link import signatures_of
        from trimtab.compiler.tvm.lower import compile_kernels, target_of

        timing = timing_of(self.machine)
        fresh = []
        for task in made.plan.tasks:
            if not isinstance(task, Task) or task.work in self.chosen:
                continue
            ranking = rank(task.work, self.machine, timing=timing)
            point = next(
                found
                for place in ranking.order
                if (found := ranking.points[place]) and _short(found)
            )
            family = family_of(task.work, point)
            kernel = family.kernel(
                task.work,
                point,
                lanes=timing.lanes,
                threads=1,
                name=f"k{len(self.chosen)}",
            )
            scratch = family.scratch(task.work, point, lanes=timing.lanes, threads=1)
            self.chosen[task.work] = Chosen(
                function=kernel.name,
                point=point,
                kernel=kernel,
                scratch_bytes=4 * scratch,
            )
            fresh.append(kernel)
        if fresh:
            module = compile_kernels(fresh, target_of("x86-64-v3")).module
            self.functions |= {each.name: module[each.name] for each in fresh}
            self.signatures |= signatures_of(fresh)
        constants: dict[str, Tensor] = {}
        program = emit(made.plan, self.chosen, constants)
        return ProgramExecutor(
            program,
            ModuleLibrary([self], self.signatures),
            place(constants),
            graph=made.graph,
            weights=made.weights,
        )


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    return Workshop(find_machine("milan"))


@pytest.fixture(name="networks")
def _networks() -> Any:
    """Return `Network` and what makes plans of networks; no code is made."""
    return SimpleNamespace(Network=Network, planned=planned, prepared=prepared)


@pytest.fixture
def same(workshop: Workshop) -> Callable[..., Planned]:
    """Return ``same(net, *inputs)``: the compiled network gives what PyTorch does.

    It runs twice, since the second call finds what the first left in memory, and
    returns the plan.
    """

    def check(
        net: nn.Module, *inputs: Any, limit: float = 1e-5, exact: Any = None
    ) -> Planned:
        made = planned(net, *inputs)
        executor = workshop.executor(made)
        given = [each for each in inputs if isinstance(each, Tensor)]
        with torch.no_grad():
            outputs = [executor.run(given) for _ in range(2)]
            if exact is None:
                wide = copy.deepcopy(net).double()
                exact = wide(*(widened(each) for each in inputs))
        expected = tensors(exact)
        for found in outputs:
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                close(one, other, limit)
        return made

    return check


# ---------------------------------------------------------------- loops, step by step


class Interpreter:
    """Runs a kernel by what its loops say, in double precision, slowly.

    Attributes:
        memory: arrays by name of the buffer, flat.
        stores: how often each element of a buffer was written.
    """

    def __init__(self, kernel: Kernel, memory: dict[str, np.ndarray]) -> None:
        self.memory = dict(memory)
        self.stores = {name: np.zeros(len(each), int) for name, each in memory.items()}
        self.run(kernel.body, {})

    def run(self, statements: Sequence[Statement], names: dict[Var, Any]) -> None:
        names = dict(names)
        for each in statements:
            match each:
                case Loop(var, extent, body, _):
                    for index in range(extent):
                        self.run(body, {**names, var: index})
                case If(condition, body):
                    if self.value(condition, names):
                        self.run(body, names)
                case Let(var, value):
                    names[var] = self.value(value, names)
                case Local(buffer):
                    self.memory[buffer.name] = np.full(buffer.elements, np.nan)
                    self.stores[buffer.name] = np.zeros(buffer.elements, int)
                case Store(buffer, indices, value):
                    at = self.place(buffer, indices, names)
                    self.memory[buffer.name][at] = self.value(value, names)
                    self.stores[buffer.name][at] += 1
                case Prefetch():
                    pass  # it may point anywhere
                case _:
                    raise TypeError(f"statement {each!r}")

    def place(self, buffer: Buffer, indices: Any, names: Mapping[Var, Any]) -> int:
        place = 0
        for size, index in zip(buffer.shape, indices, strict=True):
            at = self.value(index, names)
            assert 0 <= at < size, f"{buffer}[{at}]"
            place = place * size + at
        return place

    def value(self, value: Expr, names: Mapping[Var, Any]) -> Any:
        match value:
            case Var():
                return names[value]
            case Number(number):
                return number
            case Binary(op, a, b):
                return OPERATIONS[op](self.value(a, names), self.value(b, names))
            case Select(condition, a, b):
                return self.value(a if self.value(condition, names) else b, names)
            case Load(buffer, indices):
                return self.memory[buffer.name][self.place(buffer, indices, names)]
            case Call(name, arguments):
                found = [self.value(each, names) for each in arguments]
                return FUNCTIONS[name](*found)
        raise TypeError(f"expression {value!r}")


OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "<": operator.lt, ">=": operator.ge,
    "==": operator.eq, "and": lambda a, b: a and b, "or": lambda a, b: a or b,
    # As machines do it: the second where either is not a number.
    "min": lambda a, b: a if a < b else b, "max": lambda a, b: a if a > b else b,
}  # fmt: skip

FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "exp": math.exp, "erf": math.erf, "tanh": math.tanh, "sqrt": math.sqrt,
    "abs": abs, "floor": math.floor,
}  # fmt: skip


@pytest.fixture
def interpret() -> type[Interpreter]:
    """Return what runs a kernel without any code generator."""
    return Interpreter
