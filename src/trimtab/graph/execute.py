"""Run a graph, whole or any range of nodes, through `torch.ops`.

Only operators of the vocabulary are looked up, and opaque ones that are pure, so a
graph from a file can compute but not act. Cut anywhere and joined again it computes the
same bits on the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch

from trimtab.errors import ExecutionError
from trimtab.graph.liveness import fixed_names, live_sets
from trimtab.graph.opaque import opaque_function
from trimtab.graph.operators import OPERATORS, is_opaque
from trimtab.graph.tree import flatten, unflatten
from trimtab.graph.types import (
    Argument,
    Constant,
    ConstantKind,
    Graph,
    Node,
    Ref,
    Token,
)

__all__ = ["Executor", "bind_node", "decode", "run_node"]

Value = Any  # a tensor, or what stands in its place: a number, text, None
_Step = tuple[
    Callable[..., Any], list[Argument], dict[str, Argument], Node, tuple[Ref, ...]
]

_FAILURES = (RuntimeError, TypeError, ValueError, IndexError, OverflowError)
# What PyTorch raises for arguments that an operator does not take.


class Executor:
    """A graph bound to its weights, ready to run.

    Calls do not change the executor: many threads may call one at once.

    Args:
        graph: what to run.
        weights: parameters and buffers by target, tied ones under the target they
            share; moved to `device` where they are not there.
        device: where to run.
        part: positions of the nodes that will run; only their weights are asked for.

    Raises:
        ExecutionError: a weight is missing or of the wrong shape, or an operator is
            not in the vocabulary.

    Example:
        >>> from trimtab.graph.capture import capture, weights_of
        >>> layer = torch.nn.Linear(3, 2).eval()
        >>> graph = capture(layer, (torch.zeros(1, 3),))
        >>> run = Executor(graph, weights_of(layer, graph))
        >>> torch.equal(run(torch.ones(1, 3)), layer(torch.ones(1, 3)))
        True
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, torch.Tensor],
        *,
        device: str | torch.device = "cpu",
        part: range | None = None,
    ) -> None:
        self.graph = graph
        self.part = range(len(graph.nodes)) if part is None else part
        try:
            self.device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise ExecutionError(
                f"device {str(device)!r}",
                rule=str(error).splitlines()[0],
                where=f"graph {graph.name!r}",
                remedy="name a device that this build of torch has, such as cpu",
            ) from error
        read = fixed_names(graph, self.part)
        self._constants = {
            Ref(constant.name): self._constant(constant, weights)
            for constant in graph.constants
            if constant.name in read
        }
        self._live = live_sets(graph)
        last = _last_uses(graph)
        self._steps: list[_Step] = [
            (*bind_node(node, self.device), node, last[index])
            for index, node in enumerate(graph.nodes)
        ]
        static = [step for step in self._steps if step[3].name in graph.static & read]
        _compute(static, self._constants, lambda node: None)

    def _constant(
        self, constant: Constant, weights: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        if constant.kind is ConstantKind.TENSOR:
            return decode(constant).to(self.device)
        tensor = weights.get(constant.shares)
        dtype = getattr(torch, constant.type.dtype)
        if (
            tensor is None
            or tuple(tensor.shape) != constant.type.shape
            or tensor.dtype != dtype
            or (tensor.is_meta and self.device.type != "meta")
        ):
            have = "none"
            if tensor is not None:
                have = f"{tensor.dtype}{list(tensor.shape)} on {tensor.device}"
            raise ExecutionError(
                f"weight {constant.shares!r}",
                rule=f"the graph needs {constant.type}, got {have}",
                where=f"graph {self.graph.name!r}",
                remedy="give the weights that belong to this graph",
            )
        tensor = tensor.detach().to(self.device)
        # PyTorch picks the kernel of a product by whether the weight asks for a
        # gradient, even where none is recorded.
        learned = constant.kind is ConstantKind.PARAMETER and not constant.frozen
        return tensor.requires_grad_(learned and dtype.is_floating_point)

    @property
    def constants(self) -> Mapping[Ref, torch.Tensor]:
        """The constants of the graph, and views of them."""
        return self._constants

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Return what the network returns for these arguments.

        Raises:
            UsageError: the arguments nest otherwise than the example inputs did.
            ExecutionError: a tensor has another shape or dtype than at capture.
        """
        return self.results(self.run(self.bind(*args, **kwargs)))

    def bind(self, *args: object, **kwargs: object) -> dict[Ref, Value]:
        """Return the values of the inputs, as `run` takes them.

        Raises:
            UsageError: the arguments nest otherwise than the example inputs did.
            ExecutionError: a tensor has another shape or dtype than at capture.
        """
        leaves = list(flatten((args, kwargs), self.graph.input_tree))
        values: dict[Ref, Value] = {}
        for leaf, value in zip(self.graph.inputs, leaves, strict=True):
            if leaf.type is None:
                # By type and text: 2 is not 2.0, a NaN is a NaN, a tensor is neither.
                if (type(value), repr(value)) != (type(leaf.value), repr(leaf.value)):
                    raise ExecutionError(
                        f"argument {leaf.name!r} = {_short(value)}",
                        rule=f"it was {leaf.value!r} at capture and is baked in",
                        where=f"graph {self.graph.name!r}",
                        remedy="capture the network again with this argument",
                    )
            elif (
                not isinstance(value, torch.Tensor)
                or tuple(value.shape) != leaf.type.shape
                or str(value.dtype).removeprefix("torch.") != leaf.type.dtype
            ):
                tensor = isinstance(value, torch.Tensor)
                have = _short(value) if tensor else type(value).__name__
                raise ExecutionError(
                    f"argument {leaf.name!r} of type {have}",
                    rule=f"the network was captured with {leaf.type}",
                    where=f"graph {self.graph.name!r}",
                    remedy="convert the tensor, or capture the network for this shape",
                )
            values[Ref(leaf.name)] = value
        return values

    def results(self, values: Mapping[Ref, Value]) -> Any:
        """Return what the network returns, of the values live at its end.

        Args:
            values: as `run` returns them.
        """
        computed = {**self._constants, **values}
        results = (
            computed[each] if isinstance(each, Ref) else each
            for each in self.graph.outputs
        )
        return unflatten(results, self.graph.output_tree)

    def run(
        self,
        values: Mapping[Ref, Value],
        start: int = 0,
        stop: int | None = None,
        *,
        watch: Callable[[Node], None] | None = None,
    ) -> dict[Ref, Value]:
        """Run nodes ``start <= position < stop``, return what is live after them.

        Args:
            values: every value that is live before `start`
                (`trimtab.graph.liveness.live_sets`): the inputs for 0.
            start: position of the first node.
            stop: position after the last node, the end by default.
            watch: called after every node.

        Raises:
            ExecutionError: a value is missing, or an operator fails.
        """
        stop = len(self._steps) if stop is None else stop
        if not self.part.start <= start <= stop <= self.part.stop:
            raise ExecutionError(
                f"nodes {start} to {stop}",
                rule=f"the graph has {len(self._steps)} nodes, here are "
                f"{self.part.start} to {self.part.stop}",
                where=f"graph {self.graph.name!r}",
                remedy="give a range within these",
            )
        for ref in self._live[start]:
            if ref not in values:
                raise ExecutionError(
                    f"value {ref}",
                    rule="it is needed and was not given",
                    where=f"before node {start} of graph {self.graph.name!r}",
                    remedy="give every value that is live at the start",
                )
        alive = {**self._constants, **values}

        _compute(self._steps[start:stop], alive, watch or (lambda node: None))
        return {ref: alive[ref] for ref in self._live[stop]}


def _compute(
    steps: list[_Step], alive: dict[Ref, Value], watch: Callable[[Node], None]
) -> None:
    """Run the steps on the values in `alive`, and put there what they make."""

    def fill(argument: Argument) -> object:
        if isinstance(argument, Ref):
            return alive[argument]
        if isinstance(argument, tuple):
            return [fill(each) for each in argument]
        return argument

    with torch.no_grad():
        for function, positional, keywords, node, dying in steps:
            try:
                result = function(
                    *map(fill, positional),
                    **{key: fill(value) for key, value in keywords.items()},
                )
            except _FAILURES as error:
                raise ExecutionError(
                    f"operator {node.op}",
                    rule=(str(error).splitlines() or [type(error).__name__])[0],
                    where=f"node {node.name!r}, module {node.module!r}",
                    remedy="check the values of the inputs, and that the graph was "
                    "captured, not written",
                ) from error
            results = result if isinstance(result, tuple | list) else (result,)
            if len(results) != len(node.outputs):
                raise ExecutionError(
                    f"operator {node.op}",
                    rule=f"it gave {len(results)} results, the graph has "
                    f"{len(node.outputs)}",
                    where=f"node {node.name!r}, module {node.module!r}",
                    remedy="capture the network again",
                )
            alive.update(
                (Ref(node.name, index), each) for index, each in enumerate(results)
            )
            del result, results  # or a result that nobody needs outlives its node
            for ref in dying:
                alive.pop(ref, None)
            watch(node)


def run_node(
    node: Node, values: Mapping[Ref, Value], device: str = "cpu"
) -> list[Value]:
    """Return the results of one node.

    Args:
        node: of a graph.
        values: of what it reads.
        device: where; tensors of `values` are there.

    Raises:
        ExecutionError: the operator is unknown or refuses its arguments.
    """
    step = (*bind_node(node, torch.device(device)), node, ())
    alive = dict(values)
    _compute([step], alive, lambda node: None)
    return [alive[Ref(node.name, index)] for index in range(len(node.outputs))]


def _short(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)}".removeprefix("torch.")
    return repr(value)[:100]


def _last_uses(graph: Graph) -> list[tuple[Ref, ...]]:
    """Return per node the values that nothing needs after it."""
    kept = {each for each in graph.outputs if isinstance(each, Ref)}
    last: dict[Ref, int] = {}
    for index, node in enumerate(graph.nodes):
        for output in range(len(node.outputs)):
            last[Ref(node.name, output)] = index
        for ref in node.inputs:
            last[ref] = index
    dying: list[list[Ref]] = [[] for _ in graph.nodes]
    for ref, index in last.items():
        if ref not in kept and ref.name not in graph.static:
            dying[index].append(ref)
    return [tuple(each) for each in dying]


def decode(constant: Constant) -> torch.Tensor:
    """Return a tensor that stands in the graph itself."""
    dtype = cast(torch.dtype, getattr(torch, constant.type.dtype))
    if not constant.type.elements:
        return torch.empty(constant.type.shape, dtype=dtype)
    raw = torch.from_numpy(np.frombuffer(constant.data or b"", dtype=np.uint8).copy())
    return raw.view(dtype).reshape(constant.type.shape)


def _function(op: str) -> Any:
    """Return PyTorch's function of an operator; None for what no graph may run."""
    if is_opaque(op):
        return opaque_function(op)
    if op not in OPERATORS:
        return None
    _, name, overload = op.split(".")
    return getattr(getattr(torch.ops.aten, name), overload)


def bind_node(
    node: Node, device: torch.device
) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """Return the function of a node and its arguments, tokens resolved.

    Args:
        node: of a graph; references stay in the arguments.
        device: where tensors are made.

    Raises:
        ExecutionError: the operator is not in the vocabulary, or does not have one of
            the arguments.
    """
    function = _function(node.op)
    if function is None:
        raise ExecutionError(
            f"operator {node.op!r}",
            rule="it is not in the vocabulary of graphs",
            where=f"node {node.name!r}",
            remedy="capture the network with this version of trimtab",
        )

    def resolve(argument: Argument) -> Any:
        if isinstance(argument, Token):
            if argument.kind == "device":
                return device
            found = vars(torch).get(argument.name)  # getattr would import modules
            if not isinstance(found, torch.dtype | torch.layout | torch.memory_format):
                raise ExecutionError(
                    f"word {argument.name!r}",
                    rule=f"PyTorch knows no {argument.kind} of that name",
                    where=f"node {node.name!r}",
                    remedy="capture the network again",
                )
            return found
        if isinstance(argument, tuple):
            return tuple(map(resolve, argument))
        return argument

    known = {argument.name for argument in function._schema.arguments}
    unknown = set(node.arguments) - known
    if unknown:
        raise ExecutionError(
            f"argument {sorted(unknown)[0]!r} of operator {node.op}",
            rule=f"its arguments are {', '.join(sorted(known))}",
            where=f"node {node.name!r}",
            remedy="capture the network again",
        )
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    skipped = False
    for declared in function._schema.arguments:
        if declared.name not in node.arguments:
            skipped = True  # what comes after must go by name
            continue
        value = resolve(node.arguments[declared.name])
        if declared.kwarg_only or skipped:
            keywords[declared.name] = value
        else:
            positional.append(value)
    return function, positional, keywords
