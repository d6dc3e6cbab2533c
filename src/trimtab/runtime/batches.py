"""Batches of any size on a network compiled for a few: parts, and rows of zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.types import TensorType
from trimtab.runtime.program import Program

__all__ = ["BatchPlan", "batched_inputs", "count_rows", "plan_batches", "take_rows"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """How a batch is done.

    Attributes:
        buckets: batch sizes of the parts, in order.
        padded_rows: how many rows of the last are zeros.
    """

    buckets: tuple[int, ...]
    padded_rows: int


def plan_batches(batch: int, sizes: Sequence[int]) -> BatchPlan:
    """Return how a batch is done.

    Args:
        batch: its rows.
        sizes: that there is code for, ascending.

    Raises:
        UsageError: it has no rows.

    Example:
        >>> plan_batches(19, (1, 4, 8))
        BatchPlan(buckets=(8, 8, 4), padded_rows=1)
    """
    if batch < 1:
        raise UsageError(
            f"a batch of {batch} rows",
            rule="it has at least one row",
            where="compiled network",
            remedy="give at least one row",
        )
    whole, rest = divmod(batch, sizes[-1])
    last = [next(size for size in sizes if size >= rest)] if rest else []
    return BatchPlan(
        buckets=(sizes[-1],) * whole + tuple(last), padded_rows=sum(last) - rest
    )


def batched_inputs(programs: Mapping[int, Program]) -> tuple[bool, ...]:
    """Return which inputs have a row for each of the batch.

    Args:
        programs: by batch size.

    Raises:
        UsageError: none has, or an output has not: rows of zeros might change it.
    """
    found = {}
    for what in ("inputs", "outputs"):
        # One tensor for every batch size at a time.
        kinds = list(zip(*(getattr(each, what) for each in programs.values()),
                         strict=True))  # fmt: skip
        found[what] = [_by_rows(each, list(programs)) for each in kinds]
        for index, (some, by_rows) in enumerate(zip(kinds, found[what], strict=True)):
            if not by_rows and (what == "outputs" or len(set(some)) != 1):
                raise _cannot_pad(f"{what[:-1]} {index}", some)
    if not any(found["inputs"]):
        raise _cannot_pad("every input", next(iter(programs.values())).inputs)
    return tuple(found["inputs"])


def _by_rows(kinds: Sequence[TensorType], sizes: Sequence[int]) -> bool:
    return all(
        len(kind.shape) > 0
        and kind.shape[0] == size
        and kind.shape[1:] == kinds[0].shape[1:]
        and kind.dtype == kinds[0].dtype
        for kind, size in zip(kinds, sizes, strict=True)
    )


def _cannot_pad(what: str, kinds: Sequence[TensorType]) -> UsageError:
    texts = ", ".join(map(str, kinds)) or "none"
    return UsageError(
        f"any batch size for a network where {what} is {texts}",
        rule="its first dimension is not the batch, and rows of zeros might change it",
        where="compiled network",
        remedy="compile the network for one batch size",
    )


def count_rows(
    tensors: Sequence[Any], kinds: Sequence[TensorType], batched: Sequence[bool]
) -> int:
    """Return how many rows the inputs have; more about types the executor says.

    Args:
        tensors: given.
        kinds: types of the inputs for some batch size.
        batched: which of them have rows.

    Raises:
        ExecutionError: a row has another shape, or the numbers of rows differ.
    """
    sizes: set[int] = set()
    for index, (tensor, by_rows, kind) in enumerate(
        zip(tensors, batched, kinds, strict=True)
    ):
        if not by_rows:
            continue
        row = kind.shape[1:]
        if not isinstance(tensor, torch.Tensor) or tensor.shape[1:] != row:
            have = type(tensor).__name__
            if isinstance(tensor, torch.Tensor):
                have = f"{tensor.dtype}{list(tensor.shape)}".removeprefix("torch.")
            raise ExecutionError(
                f"input {index} of type {have}",
                rule="the network was compiled for "
                f"{kind.dtype}[{','.join(['any', *map(str, row)])}]",
                where="compiled network",
                remedy="convert the tensor, or compile the network for this shape",
            )
        sizes.add(tensor.shape[0])
    if len(sizes) != 1:
        raise ExecutionError(
            f"inputs of {' and '.join(map(str, sorted(sizes)))} rows",
            rule="all inputs of a batch have equally many",
            where="compiled network",
            remedy="give tensors with the same first dimension",
        )
    return sizes.pop()


def take_rows(tensor: torch.Tensor, start: int, taken: int, size: int) -> torch.Tensor:
    """Return rows of a tensor, filled up with zeros.

    Args:
        tensor: whole.
        start: the first row.
        taken: how many.
        size: how many the result has.
    """
    if taken == size:
        return tensor if tensor.shape[0] == size else tensor[start : start + size]
    padded = tensor.new_zeros((size, *tensor.shape[1:]))
    padded[:taken] = tensor[start:]
    return padded
