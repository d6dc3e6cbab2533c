"""Operators that no family computes: a default schedule, or PyTorch if it is faster.

Both times are estimates from the work of the operator (`trimtab.cost`); nothing is run.
A default schedule moves elements as fast as any, but has neither register tile nor
packed operands: an operation of a sum or a product is taken to wait for the one before,
a function such as `exp` is a call of the C library. PyTorch has good kernels, but to
call one from Python costs as much as a small operator, and its results are new memory
that is copied to where the network wants it. So small operators, and those that only
move or compare elements, get a kernel; products, norms and functions of large tensors
stay with PyTorch, as does what has no kernel at all. Either is told by name, with its
share of the time.

What a call costs is the machine's: `dispatch_s`, three times. The rates, in bytes and
operations a cycle, were rounded from 45 calls of the vocabulary on one core (AMD Zen 3)
and are assumed for all others. They are worth a factor of two there, as the estimate of
the work is, and so is the decision; on a core that differs, less is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

from trimtab.compiler.model import Timing
from trimtab.cost import rules as _rules  # fills the table of rules
from trimtab.cost.work import Work, work_of
from trimtab.frozen import FrozenDict
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.tree import LEAF, Tree
from trimtab.graph.types import Argument, Graph, Input, Node, Ref, TensorType

assert _rules

__all__ = ["Alternatives", "Default", "Operator", "alternatives", "operator_of"]

_DISPATCHES = 3
"""Of a call through Python: arguments and results become tensors, the operator starts,
its results are copied. On Zen 3 they take 60 us, where one takes 20."""
_PYTORCH_BYTES = 4  # a cycle, read or written, much of it for the first time
_DEFAULT_BYTES = 16  # a cycle, read or written
_DEPENDENT_CYCLES = 2.5  # of an operation that waits for another one
_VECTOR_CYCLES = 0.5  # of an operation that does not
_MOVING = (Family.MOVE, Family.RESAMPLE, Family.CREATE, Family.VIEW)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One call of an operator, wherever it stands; equal ones share a kernel.

    Attributes:
        text: all about it; numbers that are equal but of other types differ here.
        node: the call, whose tensors are called x0, x1 ...
        types: of these tensors, in order.
    """

    text: str
    node: Node = field(compare=False)
    types: Mapping[Ref, TensorType] = field(compare=False)

    @property
    def graph(self) -> Graph:
        """The operator as a network."""
        inputs = tuple(
            Input(name=ref.name, type=kind) for ref, kind in self.types.items()
        )
        results = tuple(
            Ref(self.node.name, index)
            for index, kind in enumerate(self.node.outputs)
            if kind is not None
        )
        return Graph(
            name=self.node.op,
            inputs=inputs,
            constants=(),
            nodes=(self.node,),
            outputs=results,
            input_tree=Tree(kind="tuple", children=(LEAF,) * len(inputs)),
            output_tree=Tree(kind="tuple", children=(LEAF,) * len(results)),
        )


def operator_of(node: Node, types: Mapping[Ref, TensorType]) -> Operator:
    """Return a node's call of its operator.

    Args:
        node: of a graph.
        types: of the tensors it reads, and perhaps of others.

    Example:
        >>> x, kind = Ref("conv1"), TensorType((2, 3), "int64")
        >>> node = Node(name="n7", op="aten.relu.default", outputs=(kind,),
        ...             arguments=FrozenDict({"self": x}))
        >>> print(operator_of(node, {x: kind}).text)
        aten.relu.default(self=%x0) of int64[2,3] gives int64[2,3]
    """
    names = {ref: Ref(f"x{i}") for i, ref in enumerate(dict.fromkeys(node.inputs))}

    def renamed(argument: Argument) -> Argument:
        if isinstance(argument, Ref):
            return names[argument]
        if isinstance(argument, tuple):
            return tuple(map(renamed, argument))
        return argument

    def word(argument: Argument) -> str:
        if isinstance(argument, tuple):
            return f"({', '.join(map(word, argument))})"
        return str(argument) if isinstance(argument, Ref) else repr(argument)

    arguments = FrozenDict({k: renamed(each) for k, each in node.arguments.items()})
    given = FrozenDict({new: types[old] for old, new in names.items()})
    words = ", ".join(f"{key}={word(each)}" for key, each in arguments.items())
    return Operator(
        text=f"{node.op}({words}) of {', '.join(map(str, given.values()))} gives "
        f"{', '.join(map(str, node.outputs))}",
        node=replace(
            node, name="operator", arguments=arguments, module="", module_type="",
            view_of=None,
        ),
        types=given,
    )  # fmt: skip


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alternatives:
    """Times of an operator without a kernel of a family.

    Attributes:
        default_s: with a default schedule.
        pytorch_s: as PyTorch does it.

    Example:
        >>> few = Alternatives(default_s=1e-6, pytorch_s=6e-5)
        >>> few.default_is_faster
        True
    """

    default_s: float
    pytorch_s: float

    @property
    def default_is_faster(self) -> bool:
        """Whether a default schedule takes no longer."""
        return self.default_s <= self.pytorch_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What becomes of an operator that no family computes.

    Attributes:
        function: name of its kernel; empty where PyTorch does it.
        reason: why PyTorch does it; empty where it has a kernel.
        latency_s: what it is expected to take.
        times: of both ways, which were compared.
        parameter_bytes: sizes of what the kernel's pointers are to: the tensors the
            operator reads, working memory, results.
        scratch_bytes: sizes of the working memory, one a pointer.
        code: the kernel's object file.
    """

    function: str
    reason: str
    latency_s: float
    times: Alternatives
    parameter_bytes: tuple[int, ...] = ()
    scratch_bytes: tuple[int, ...] = ()
    code: bytes = b""


def alternatives(
    operator: Operator, timing: Timing, *, dispatch_s: float
) -> Alternatives:
    """Return what an operator is expected to take, on one core.

    Args:
        operator: without a kernel of a family.
        timing: of the core.
        dispatch_s: what PyTorch takes to start an operator, `Machine.dispatch_s`.

    Raises:
        UnknownWorkError: the operator has no rule of its work.
    """
    node = operator.node
    made = [kind for kind in node.outputs if kind is not None]
    written = sum(kind.size_bytes for kind in made)
    work = work_of(operator.graph, node)
    if not work.traffic_bytes:  # a view, which has to copy here
        work = Work(read_bytes=written, write_bytes=written)
    family = OPERATORS[node.op].family
    if family in _MOVING:
        cycles = work.flops * _VECTOR_CYCLES
    elif family is Family.ELEMENTWISE:  # what is one operation is one of a vector
        more = max(work.flops - sum(kind.elements for kind in made), 0)
        cycles = more * _DEPENDENT_CYCLES
    else:
        cycles = work.flops * _DEPENDENT_CYCLES
    default = work.traffic_bytes / _DEFAULT_BYTES + cycles
    traffic_bytes = work.traffic_bytes + 2 * written
    pytorch = traffic_bytes / _PYTORCH_BYTES + work.flops / timing.lanes
    return Alternatives(
        default_s=default / timing.frequency_hz,
        pytorch_s=_DISPATCHES * dispatch_s + pytorch / timing.frequency_hz,
    )
