"""Batches of any size on a network compiled for a few: parts, and rows of zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.types import Graph, Ref, TensorType
from trimtab.runtime.program import Program

__all__ = [
    "BatchPlan",
    "Bucket",
    "batched_inputs",
    "count_rows",
    "plan_batches",
    "require_buckets",
    "take_rows",
]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The network compiled for one batch size.

    Attributes:
        batch: rows of a batch.
        program: what to run.
        graph: that was compiled: fallbacks are its nodes.
    """

    batch: int
    program: Program
    graph: Graph


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


def require_buckets(buckets: Sequence[Bucket], *, any_batch: bool) -> None:
    """Raise unless the buckets are one network for distinct batch sizes.

    Raises:
        UsageError: they are not, or a single shape is to take any batch.
    """
    sizes = [each.batch for each in buckets]
    if not sizes or len(set(sizes)) != len(sizes) or sizes[0] < 1:
        raise UsageError(
            f"batch sizes {sizes}",
            rule="there is at least one, each once, none below 1",
            where="compiled network",
            remedy="give each batch size once",
        )
    if len(sizes) > 1 and not any_batch:
        raise UsageError(
            f"batch sizes {sizes} for a network of fixed shapes",
            rule="it has one",
            where="compiled network",
            remedy="set any_batch, or compile for one batch size",
        )
    trees = {(each.graph.input_tree, each.graph.output_tree) for each in buckets}
    kinds = {tuple(leaf.value for leaf in each.graph.inputs) for each in buckets}
    if len(trees) != 1 or len(kinds) != 1:
        raise UsageError(
            f"batch sizes {sizes}",
            rule="the network takes other arguments for one of them",
            where="compiled network",
            remedy="compile it for one batch size",
        )
    for each in buckets:
        given = tuple(leaf.type for leaf in each.graph.inputs if leaf.type is not None)
        made = tuple(
            each.graph.type_of(value)
            for value in each.graph.outputs
            if isinstance(value, Ref)
        )
        for what, have, want in (
            ("inputs", each.program.inputs, given),
            ("outputs", each.program.outputs, made),
        ):
            if have != want:
                raise UsageError(
                    f"a program with the {what} {_texts(have)}",
                    rule=f"its graph has {_texts(want)}",
                    where=f"compiled network, batch {each.batch}",
                    remedy="compile the network again",
                )


def _texts(kinds: Sequence[TensorType]) -> str:
    return ", ".join(map(str, kinds)) or "none"
