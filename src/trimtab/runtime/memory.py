"""Memory for kernels: aligned to a cache line, large blocks in huge pages.

Kernels load whole vectors and assume that every buffer starts at a cache line. A
network reads all its weights once a call, from more 4 KiB pages than the processor
keeps translations for; the system is asked to back large blocks by larger pages.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping

import torch

from trimtab.errors import ExecutionError
from trimtab.units import format_bytes

__all__ = ["ALIGNMENT", "aligned", "block", "place"]

ALIGNMENT = 64
"""Bytes: a cache line, and the longest vector."""

_HUGE = 2 << 20


@torch.inference_mode(mode=False)  # or nobody could write to it outside of that mode
def block(size_bytes: int) -> torch.Tensor:
    """Return zeroed memory, as a tensor of bytes.

    Raises:
        ExecutionError: the system does not give so much.

    Example:
        >>> memory = block(100)
        >>> memory.numel(), memory.data_ptr() % 64, int(memory.sum())
        (100, 0, 0)
    """
    if size_bytes < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        memory = torch.zeros(size_bytes + ALIGNMENT, dtype=torch.uint8, device="cpu")
        start = -memory.data_ptr() % ALIGNMENT
    else:
        # Zeroed by the system, page by page when it is first used.
        try:
            mapped = mmap.mmap(
                -1, size_bytes + _HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
        except OSError as error:
            raise ExecutionError(
                f"{format_bytes(size_bytes)} of memory",
                rule=error.strerror or str(error),
                where="memory of a compiled network",
                remedy="use smaller batches, or a machine with more memory",
            ) from error
        with contextlib.suppress(OSError):  # a kernel without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
        memory = torch.frombuffer(mapped, dtype=torch.uint8)
        start = -memory.data_ptr() % _HUGE
    return memory[start : start + size_bytes]


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor dense, row-major and aligned: itself where it is.

    Example:
        >>> x = aligned(torch.zeros(65)[1:])
        >>> x.data_ptr() % 64, aligned(x) is x
        (0, True)
    """
    if tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0:
        return tensor
    memory = block(tensor.numel() * tensor.element_size())
    copy = memory.view(tensor.dtype).view(tensor.shape)
    return copy.copy_(tensor)


def place(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies of the tensors that stand aligned in one block, in that order.

    Example:
        >>> placed = place({"a": torch.ones(3), "b": torch.ones(2, 2)})
        >>> (placed["b"].data_ptr() - placed["a"].data_ptr()), placed["b"].shape
        (64, torch.Size([2, 2]))
    """
    offsets, end = {}, 0
    for name, tensor in tensors.items():
        offsets[name] = end
        size = tensor.numel() * tensor.element_size()
        end += -(-size // ALIGNMENT) * ALIGNMENT
    memory = block(end)
    placed = {}
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        part = memory[offsets[name] : offsets[name] + size]
        placed[name] = part.view(tensor.dtype).view(tensor.shape).copy_(tensor)
    return placed
