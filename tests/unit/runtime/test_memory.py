"""Memory is aligned, zeroed, and large blocks start at a huge page."""

from __future__ import annotations

import pytest
import torch

from trimtab.errors import ExecutionError
from trimtab.runtime.memory import ALIGNMENT, aligned, block, place


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4097, (2 << 20) + 1])
def test_a_block_has_its_size_starts_aligned_and_is_zero(size: int) -> None:
    memory = block(size)
    assert memory.numel() == size
    assert memory.data_ptr() % ALIGNMENT == 0
    assert not memory.any()
    memory.fill_(255)
    assert int(memory.sum(dtype=torch.int64)) == 255 * size


def test_a_large_block_starts_at_a_huge_page() -> None:
    assert block(2 << 20).data_ptr() % (2 << 20) == 0


def test_blocks_do_not_overlap() -> None:
    first, second = block(2 << 20), block(2 << 20)
    first.fill_(1)
    second.fill_(2)
    assert first.eq(1).all()


def test_a_block_made_in_inference_mode_can_be_written_outside_of_it() -> None:
    with torch.inference_mode():
        memory = block(4)
    memory.fill_(1)
    assert not memory.is_inference()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(65.0)[1:],
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(8.0).reshape(2, 4)[:, ::2],
        torch.ones(3).expand(2, 3),
        torch.arange(9, dtype=torch.int64)[1:],
        torch.tensor([True, False, True])[1:],
    ],
)
def test_aligned_copies_what_kernels_cannot_read(tensor: torch.Tensor) -> None:
    copy = aligned(tensor)
    assert copy is not tensor
    assert torch.equal(copy, tensor)
    assert copy.dtype == tensor.dtype
    assert copy.is_contiguous()
    assert copy.data_ptr() % ALIGNMENT == 0


def test_aligned_does_not_copy_what_kernels_can_read() -> None:
    tensor = torch.ones(16)
    assert aligned(tensor) is tensor


def test_place_keeps_values_shapes_and_dtypes_apart() -> None:
    tensors = {
        "a": torch.arange(3.0),
        "none": torch.empty(0),
        "b": torch.arange(20).reshape(4, 5).T,
        "c": torch.tensor(7.0),
        "d": torch.tensor([True, False]),
    }
    placed = place(tensors)
    assert list(placed) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(placed[name], tensor)
        assert placed[name].dtype == tensor.dtype
        assert placed[name].is_contiguous()
        assert placed[name].data_ptr() % ALIGNMENT == 0 or not tensor.numel()
    placed["a"].fill_(9)
    assert torch.equal(placed["b"], tensors["b"])
    assert torch.equal(tensors["a"], torch.arange(3.0))


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ExecutionError) as error:
        block(1 << 46)
    assert str(error.value).startswith("64.0 TiB of memory: ")
    assert error.value.where == "memory of a compiled network"
