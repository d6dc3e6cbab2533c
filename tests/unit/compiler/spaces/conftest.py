"""Tensors in layouts, and kernels run on them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trimtab.compiler.layout import Layout
from trimtab.compiler.loops import Kernel

HALO = 7.5
"""What stands where a kernel must not write."""


def elements(layout: Layout) -> np.ndarray:
    """Return the place of each element of a tensor in its buffer."""
    place = np.full(layout.shape, layout.offset, np.int64)
    for axis, (extent, stride) in enumerate(
        zip(layout.shape, layout.strides, strict=True)
    ):
        index = np.arange(extent)
        if axis == layout.axis:
            along = index // layout.block * stride + index % layout.block
        else:
            along = index * stride
        place += along.reshape(
            [-1 if each == axis else 1 for each in range(place.ndim)]
        )
    return place


def scatter(tensor: torch.Tensor, layout: Layout, around: float = 0.0) -> torch.Tensor:
    """Return the buffer that holds a tensor in a layout."""
    buffer = torch.full((layout.size,), around, dtype=tensor.dtype)
    buffer[torch.from_numpy(elements(layout))] = tensor
    return buffer


def gather(buffer: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return the tensor that a buffer holds."""
    return buffer[torch.from_numpy(elements(layout))]


def compile_all(kernels: Sequence[Kernel]) -> Callable[..., None]:
    """Return a function that calls a kernel by name with buffers."""
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    from trimtab.compiler.tvm.lower import compile_kernels, target_of

    module = compile_kernels(kernels, target_of("x86-64-v3")).module

    def call(name: str, *buffers: torch.Tensor) -> None:
        pointers = [ctypes.c_void_p(buffer.data_ptr()) for buffer in buffers]
        module[name](*pointers)

    return call


def close(found: torch.Tensor, expected: torch.Tensor, limit: float = 1e-5) -> None:
    """Assert that a result is within a fraction of the largest value expected."""
    assert found.shape == expected.shape
    found, expected = found.double(), expected.double()
    assert torch.equal(found.isfinite(), expected.isfinite())
    finite = expected.isfinite()
    assert torch.equal(found[~finite].nan_to_num(), expected[~finite].nan_to_num())
    if finite.any():
        error = (found[finite] - expected[finite]).abs().max().item()
        scale = expected[finite].abs().max().item()
        assert error <= limit * max(scale, 1e-30), f"{error} of {scale}"


@pytest.fixture
def check() -> Any:
    """Return the tools of these tests, and ``run``, which checks one output.

    ``run(kernel, inputs, layout)`` calls a kernel with a buffer for each input and an
    output buffer full of `HALO`; it returns the output tensor, having seen that nothing
    else was written.
    """

    def run(
        kernel: Kernel,
        inputs: Sequence[torch.Tensor],
        layout: Layout,
        dtype: Any = None,
    ) -> torch.Tensor:
        call = compile_all([kernel])
        return called(call, kernel.name, inputs, layout, dtype)

    def called(
        call: Callable[..., None],
        name: str,
        inputs: Sequence[torch.Tensor],
        layout: Layout,
        dtype: Any = None,
    ) -> torch.Tensor:
        guard = 64  # elements past the end that must stay
        buffer = torch.full((layout.size + guard,), HALO).to(dtype or torch.float32)
        before = buffer.clone()
        call(name, *inputs, buffer)
        result = gather(buffer, layout)
        at = torch.from_numpy(elements(layout)).reshape(-1)
        buffer[at] = before[at]
        assert torch.equal(buffer, before), "written outside the output"
        return result

    return SimpleNamespace(
        run=run,
        called=called,
        compile_all=compile_all,
        scatter=scatter,
        gather=gather,
        elements=elements,
        close=close,
    )
