"""Which parts a batch is done in, and which tensors have rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ExecutionError, UsageError
from trimtab.graph.types import TensorType
from trimtab.runtime.batches import (
    BatchPlan,
    batched_inputs,
    count_rows,
    plan_batches,
    take_rows,
)
from trimtab.runtime.program import Program


def _type(*shape: int) -> TensorType:
    return TensorType(shape, "float32")


def _program(inputs: list[TensorType], outputs: list[TensorType]) -> Program:
    return Program(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        workspace_bytes=0,
        zeroed=(),
        steps=(),
    )


@given(
    st.integers(1, 500),
    st.sets(st.integers(1, 100), min_size=1, max_size=4).map(sorted),
)
def test_parts_hold_the_batch_and_only_the_last_is_padded(
    batch: int, sizes: list[int]
) -> None:
    plan = plan_batches(batch, sizes)
    assert sum(plan.buckets) - plan.padded_rows == batch
    assert set(plan.buckets[:-1]) <= {sizes[-1]}
    rest = batch - sum(plan.buckets[:-1])
    assert plan.buckets[-1] == min(size for size in sizes if size >= rest)
    assert 0 <= plan.padded_rows < plan.buckets[-1]


def test_a_batch_has_a_row() -> None:
    with pytest.raises(UsageError) as error:
        plan_batches(0, (1,))
    assert str(error.value) == (
        "a batch of 0 rows: it has at least one row (compiled network). Give at least "
        "one row."
    )
    assert plan_batches(1, (1,)) == BatchPlan(buckets=(1,), padded_rows=0)


def test_what_grows_with_the_batch_has_rows() -> None:
    programs = {
        batch: _program([_type(batch, 3), _type(2, 3), _type(batch)], [_type(batch, 4)])
        for batch in (1, 2, 8)
    }
    assert batched_inputs(programs) == (True, False, True)


@pytest.mark.parametrize(
    ("inputs", "outputs", "what"),
    [
        ([[2, 3]], [[0, 4]], "every input is float32[2,3]"),
        ([[0, 3]], [[2, 4]], "output 0 is float32[2,4], float32[2,4]"),
        ([[0, 3], [3, 0]], [[0]], "input 1 is float32[3,1], float32[3,8]"),
        ([[0, 3]], [[]], "output 0 is float32[], float32[]"),
    ],
)
def test_what_cannot_be_padded_is_refused(
    inputs: list[list[int]], outputs: list[list[int]], what: str
) -> None:
    """A 0 stands for the batch size."""
    programs = {
        batch: _program(
            [_type(*(each or batch for each in shape)) for shape in inputs],
            [_type(*(each or batch for each in shape)) for shape in outputs],
        )
        for batch in (1, 8)
    }
    with pytest.raises(UsageError) as error:
        batched_inputs(programs)
    assert str(error.value) == (
        f"any batch size for a network where {what}: its first dimension is not the "
        "batch, and rows of zeros might change it (compiled network). Compile the "
        "network for one batch size."
    )


def test_all_inputs_have_as_many_rows() -> None:
    kinds, batched = [_type(1, 3), _type(2), _type(1)], [True, False, True]
    tensors = [torch.zeros(5, 3), torch.zeros(2), torch.zeros(5)]
    assert count_rows(tensors, kinds, batched) == 5
    with pytest.raises(ExecutionError) as error:
        count_rows([*tensors[:2], torch.zeros(4)], kinds, batched)
    assert str(error.value) == (
        "inputs of 4 and 5 rows: all inputs of a batch have equally many (compiled "
        "network). Give tensors with the same first dimension."
    )
    with pytest.raises(ExecutionError, match=r"input 0 of type float32\[3, 5\]: "):
        count_rows([torch.zeros(3, 5), *tensors[1:]], kinds, batched)
    with pytest.raises(ExecutionError, match="input 2 of type NoneType: "):
        count_rows([*tensors[:2], None], kinds, batched)


def test_rows_are_filled_up_with_zeros() -> None:
    x = torch.arange(10.0).view(5, 2)
    assert take_rows(x, 0, 5, 5) is x
    assert torch.equal(take_rows(x, 2, 2, 2), x[2:4])
    filled = take_rows(x, 3, 2, 4)
    assert torch.equal(filled, torch.cat([x[3:], torch.zeros(2, 2)]))
