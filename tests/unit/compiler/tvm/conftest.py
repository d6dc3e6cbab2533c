"""Single operators, compiled with a default schedule and compared with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from trimtab.errors import ExecutionError
from trimtab.frozen import FrozenDict
from trimtab.graph.operators import OPERATORS
from trimtab.graph.types import Node, Ref, TensorType, Token
from trimtab.hardware.detect import present
from trimtab.runtime.kernels import ModuleLibrary
from trimtab.runtime.memory import block, place


def type_of(tensor: Tensor) -> TensorType:
    return TensorType(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


@dataclass
class Call:
    """One call of an operator.

    Attributes:
        node: the call in a graph.
        types: of the tensors it reads.
        values: the tensors.
        results: what PyTorch makes of them.
    """

    node: Node
    types: dict[Ref, TensorType]
    values: dict[Ref, Tensor]
    results: list[Tensor]


def call(op: str, *arguments: Any, **keywords: Any) -> Call:
    """Return a call of an operator, arguments in the order of its schema."""
    name, overload = op.split(".")
    function = getattr(getattr(torch.ops.aten, name), overload)
    values: dict[Ref, Tensor] = {}

    def taken(value: Any) -> Any:
        if isinstance(value, Tensor):
            ref = Ref(f"x{len(values)}")
            values[ref] = value
            return ref
        if isinstance(value, list | tuple):
            return tuple(map(taken, value))
        if isinstance(value, torch.dtype):
            return Token("dtype", str(value).removeprefix("torch."))
        return value

    declared = function._schema.arguments
    given = {
        each.name: value for each, value in zip(declared, arguments, strict=False)
    } | keywords
    for each in declared:
        if each.name not in given and each.has_default_value():
            given[each.name] = each.default_value
    found = function(*arguments, **keywords)
    results = list(found) if isinstance(found, list | tuple) else [found]
    node = Node(
        name="node",
        op=f"aten.{op}",
        arguments=FrozenDict({key: taken(value) for key, value in given.items()}),
        outputs=tuple(map(type_of, results)),
    )
    assert node.op in OPERATORS
    return Call(node, {r: type_of(v) for r, v in values.items()}, values, results)


def computed(kernel: Any, values: Mapping[Ref, Tensor], likes: list[Tensor]) -> Any:
    """Return what a kernel makes, its working memory filled with what is no number."""
    from trimtab.compiler.tvm.lower import compile_functions, target_of

    target = target_of(present().core.llvm_cpu)
    compiled = compile_functions({kernel.name: kernel.function}, target)
    library = ModuleLibrary([compiled.module], {kernel.name: kernel.parameter_bytes})
    reads = place({str(ref): values[ref] for ref in kernel.reads})
    scratch = [block(size).fill_(255) for size in kernel.scratch_bytes]
    made = list(place({str(i): each for i, each in enumerate(likes)}).values())
    for each in made:
        each.view(-1).view(torch.uint8).fill_(255)
    tensors = [*reads.values(), *scratch, *made]
    sizes = [each.numel() * each.element_size() for each in tensors]
    assert sizes == list(kernel.parameter_bytes)
    binding = library.bind([kernel.name])
    for position, each in enumerate(tensors):
        binding.set(position, each.data_ptr())
    binding.run(0, 1)
    return made


def require_close(found: Tensor, expected: Tensor, limit: float) -> None:
    if not expected.is_floating_point():
        assert torch.equal(found, expected)
        return
    found, expected = found.double(), expected.double()
    assert torch.equal(found.isnan(), expected.isnan())
    number = ~expected.isnan() & ~expected.isinf()
    assert torch.equal(found[expected.isinf()], expected[expected.isinf()])
    found, expected = found[number], expected[number]
    if expected.numel():
        scale = expected.abs().clamp(min=max(expected.abs().mean().item(), 1e-30))
        assert float(((found - expected).abs() / scale).max()) <= limit


class Defaults:
    """Default kernels, checked."""

    def call(self, op: str, *arguments: Any, **keywords: Any) -> Call:
        return call(op, *arguments, **keywords)

    def kernel(self, made: Call, threads: int = 1) -> Any:
        from trimtab.compiler.tvm.default import default_kernel

        return default_kernel(made.node, made.types, name="kernel", threads=threads)

    def agrees(
        self,
        op: str,
        *arguments: Any,
        limit: float = 1e-5,
        threads: int = 1,
        **keywords: Any,
    ) -> Any:
        """Return a kernel whose results are PyTorch's."""
        made = call(op, *arguments, **keywords)
        kernel = self.kernel(made, threads)
        assert not isinstance(kernel, str), kernel
        found = computed(kernel, made.values, made.results)
        for each, expected in zip(found, made.results, strict=True):
            require_close(each, expected, limit)
        return kernel

    def settled(self, op: str, *arguments: Any, limit: float = 1e-5) -> str:
        """Return why there is no kernel; empty where there is one, which agrees."""
        found = self.kernel(call(op, *arguments))
        if isinstance(found, str):
            return found
        self.agrees(op, *arguments, limit=limit)
        return ""

    def refused(self, op: str, *arguments: Any, **keywords: Any) -> str:
        """Return why there is no kernel."""
        found = self.kernel(call(op, *arguments, **keywords))
        assert isinstance(found, str)
        return found

    def error(self, made: Call, **values: Tensor) -> ExecutionError:
        """Return what a kernel says to other values than PyTorch was given."""
        kernel = self.kernel(made)
        changed = {**made.values, **{Ref(key): each for key, each in values.items()}}
        with pytest.raises(ExecutionError) as caught:
            computed(kernel, changed, made.results)
        return caught.value


@pytest.fixture
def defaults() -> Defaults:
    torch.manual_seed(0)
    return Defaults()
