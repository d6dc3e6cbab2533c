"""What a function hands out: fresh memory, or views of what it was given.

Kernels write every output into memory of its own. A function of PyTorch may return its
argument, a view of one, or two views of one tensor; who writes to one of them sees the
other change. `observe` finds that on tensors without memory, and `Outputs.assemble`
makes results that share memory in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from trimtab.errors import CaptureError

__all__ = ["Outputs", "observe"]

_Place = tuple[tuple[int, ...], tuple[int, ...], int]  # sizes, strides, offset


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    """Where one output comes from; what does not apply is None.

    Attributes:
        result: which of the results that were computed.
        strides: that the result is copied to.
        argument: which argument it is, or is a view of.
        memory: which memory it shares with other outputs.
        place: in the memory; for a view of an argument, counted from its beginning.
        value: a number, text or None.
    """

    result: int | None = None
    strides: tuple[int, ...] | None = None
    argument: int | None = None
    memory: int | None = None
    place: _Place | None = None
    value: Any = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """How the outputs of a function are made from results and arguments.

    Attributes:
        computed: which outputs must be computed, in the order of the results.
        outputs: all of them.
        memories: elements and dtype of memory that several outputs share.
    """

    computed: tuple[int, ...]
    outputs: tuple[_Output, ...]
    memories: tuple[tuple[int, torch.dtype], ...]

    @property
    def plain(self) -> bool:
        """Whether the results are the outputs."""
        return self.outputs == tuple(
            _Output(result=index) for index in range(len(self.computed))
        )

    def assemble(
        self, results: Sequence[Tensor], arguments: Sequence[Any]
    ) -> list[Any]:
        """Return the outputs.

        Args:
            results: new tensors, one for each of `computed`.
            arguments: of the call.
        """
        shared = [
            torch.empty(size, dtype=dtype, device="cpu")
            for size, dtype in self.memories
        ]
        found: list[Any] = []
        for each in self.outputs:
            if each.argument is not None:
                tensor = arguments[each.argument]
                if each.place is not None:
                    sizes, strides, offset = each.place
                    start = tensor.storage_offset() + offset
                    tensor = tensor.as_strided(sizes, strides, start)
                found.append(tensor)
            elif each.result is None:
                found.append(each.value)
            elif each.memory is not None and each.place is not None:
                view = shared[each.memory].as_strided(*each.place)
                found.append(view.copy_(results[each.result]))
            elif each.strides is not None:
                result = results[each.result]
                laid = torch.empty_strided(
                    result.shape, each.strides, dtype=result.dtype
                )
                found.append(laid.copy_(result))
            else:
                found.append(results[each.result])
        return found


def observe(function: Callable[..., Any], arguments: Sequence[Any]) -> Outputs:
    """Return how a function's outputs come about, without computing anything.

    Args:
        function: returns a tuple or list of tensors, numbers, text and None.
        arguments: of a call; of tensors only type and strides matter.

    Raises:
        CaptureError: it writes to an argument or to a constant, sizes or numbers depend
            on values, or its outputs share memory in a way that cannot be repeated.

    Example:
        >>> found = observe(lambda x: (x.t(), x + 1, x), [torch.zeros(2, 3)])
        >>> found.computed, found.plain
        ((1,), False)
        >>> x = torch.ones(2, 3)
        >>> view, new, same = found.assemble([torch.zeros(2, 3)], [x])
        >>> view.shape, view.data_ptr() == x.data_ptr(), same is x
        (torch.Size([3, 2]), True, True)
    """
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        given = [
            torch.empty_strided(
                each.shape, each.stride(), dtype=each.dtype, device="cpu"
            )
            if isinstance(each, Tensor)
            else each
            for each in arguments
        ]
        owners = {
            _storage(each): index
            for index, each in enumerate(given)
            if isinstance(each, Tensor)
        }
        try:
            with _Writes(owners):
                outputs = function(*given)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise _refused("its result depends on values", f"{error.func}") from error
    return _Reader(given, owners, outputs).outputs()


@final
class _Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses operators that write to what is not the function's own."""

    def __init__(self, owners: Mapping[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owners = owners

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = dict(kwargs or {})
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            for tensor in _written(schema, args, keywords):
                if not isinstance(tensor, FakeTensor):
                    raise _refused(f"{func} writes to a constant", "a constant")
                owner = self._owners.get(_storage(tensor))
                if owner is not None:
                    raise _refused(f"{func} writes to it", f"argument {owner}")
        return func(*args, **keywords)


def _written(
    schema: Any, args: Sequence[Any], keywords: Mapping[str, Any]
) -> Iterable[Tensor]:
    for index, declared in enumerate(schema.arguments):
        if declared.alias_info is None or not declared.alias_info.is_write:
            continue
        value = args[index] if index < len(args) else keywords.get(declared.name)
        yield from (
            each for each in pytree.tree_leaves(value) if isinstance(each, Tensor)
        )


class _Reader:
    """Reads off the outputs of one call how they came about."""

    def __init__(
        self, given: Sequence[Any], owners: Mapping[int, int], outputs: Sequence[Any]
    ) -> None:
        self.given = given
        self.owners = owners
        self.values = tuple(outputs)
        self.by_storage: dict[int, list[int]] = {}
        for index, value in enumerate(self.values):
            if isinstance(value, Tensor):
                self.by_storage.setdefault(_storage(value), []).append(index)
        self.computed: list[int] = []
        self.memories: dict[int, int] = {}
        self.kinds: list[tuple[int, torch.dtype]] = []

    def outputs(self) -> Outputs:
        found = tuple(
            self.tensor(index, value)
            if isinstance(value, Tensor)
            else self.value(index, value)
            for index, value in enumerate(self.values)
        )
        return Outputs(
            computed=tuple(self.computed), outputs=found, memories=tuple(self.kinds)
        )

    def value(self, index: int, value: object) -> _Output:
        if not isinstance(value, bool | int | float | str | None):
            raise _refused(f"it is a {type(value).__name__}", f"output {index}")
        return _Output(value=value)

    def tensor(self, index: int, tensor: Tensor) -> _Output:
        if type(tensor) is not FakeTensor:
            raise _refused("it is a constant or a subclass", f"output {index}")
        if tensor.layout is not torch.strided or tensor.is_neg() or tensor.is_conj():
            raise _refused("it is no plain dense tensor", f"output {index}")
        owner = self.owners.get(_storage(tensor))
        if owner is not None:
            return self.view(index, tensor, owner)
        sharing = self.by_storage[_storage(tensor)]
        result = len(self.computed)
        self.computed.append(index)
        if len(sharing) == 1:
            contiguous = tensor.is_contiguous() or not _permuted(tensor)
            strides = None if contiguous else tuple(tensor.stride())
            return _Output(result=result, strides=strides)
        return _Output(
            result=result, memory=self.memory(index, sharing), place=_place(tensor)
        )

    def view(self, index: int, tensor: Tensor, owner: int) -> _Output:
        """Return an output that is a view of an argument, or the argument."""
        for position, each in enumerate(self.given):
            if each is tensor:
                return _Output(argument=position)
        argument = self.given[owner]
        if argument.dtype != tensor.dtype:
            raise _refused("it views an argument as another dtype", f"output {index}")
        sizes, strides, offset = _place(tensor)
        start = offset - argument.storage_offset()
        return _Output(argument=owner, place=(sizes, strides, start))

    def memory(self, index: int, sharing: Sequence[int]) -> int:
        """Return the number of memory that several outputs share."""
        storage = _storage(self.values[index])
        if storage not in self.memories:
            views = [self.values[each] for each in sharing]
            if len({view.dtype for view in views}) > 1 or any(map(_overlaps, views)):
                raise _refused("they share memory, but not alike", f"outputs {sharing}")
            size = max(map(_end, views))
            self.memories[storage] = len(self.kinds)
            self.kinds.append((size, self.values[index].dtype))
        return self.memories[storage]


def _storage(tensor: Tensor) -> int:
    found: int = tensor.untyped_storage()._cdata
    return found


def _place(tensor: Tensor) -> _Place:
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


def _end(tensor: Tensor) -> int:
    """Return the elements of memory up to the tensor's last one."""
    if not tensor.numel():
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return int(tensor.storage_offset()) + last + 1


def _sorted(tensor: Tensor) -> list[tuple[int, int]]:
    """Return stride and size of the axes that have more than one element."""
    axes = zip(tensor.stride(), tensor.shape, strict=True)
    return sorted((stride, size) for stride, size in axes if size != 1)


def _permuted(tensor: Tensor) -> bool:
    """Whether the elements lie densely, the axes in another order."""
    expected = 1
    for stride, size in _sorted(tensor):
        if stride != expected:
            return False
        expected *= size
    return True


def _overlaps(tensor: Tensor) -> bool:
    """Whether two elements may be one in memory."""
    end = 0
    for stride, size in _sorted(tensor):
        if stride <= end:
            return True
        end += (size - 1) * stride
    return False


def _refused(rule: str, where: str) -> CaptureError:
    return CaptureError(
        "a function as kernels",
        rule=rule,
        where=where,
        remedy="return new tensors, and write to none that were given",
    )
