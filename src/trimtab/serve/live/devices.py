"""Accelerators as a worker runs a network on them: CUDA, or one that is emulated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from trimtab.errors import UsageError
from trimtab.serve.live.models import Model

__all__ = ["on_device"]

_SPIN_S: Final = 0.0002  # a sleep ends late by about as much

Call = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]


def on_device(model: Model, device: str | Sequence[float]) -> Call:
    """Return what runs a network on an accelerator, and waits until it is done.

    Args:
        model: that a worker has opened; a module is moved to the device.
        device: ``cuda``, or the seconds of a batch by its items, of one that is not
            here: nothing is computed then, and all outputs are 0.

    Returns:
        A function of tensors of the host that returns tensors of the host.

    Raises:
        UsageError: there is no CUDA device, or the network is compiled for the host.
    """
    if not isinstance(device, str):
        return _emulated(model, device)
    if not torch.cuda.is_available() or model.module is None:
        why = "PyTorch finds no CUDA device here"
        if model.module is None:
            why = "compiled code runs on the host alone"
        raise UsageError(
            f"serving {model.name!r} on {device}",
            rule=why,
            where="trimtab serve",
            remedy="serve it without an accelerator",
        )
    return _moved(model, device)


def _moved(model: Model, device: str) -> Call:
    assert model.module is not None
    model.module.to(device)

    def call(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # Taking answers to the host waits for them.
        found = model.call([each.to(device) for each in inputs])
        return tuple(each.cpu() for each in found)

    return call


def _emulated(model: Model, seconds: Sequence[float]) -> Call:
    dtypes = [getattr(torch, each.dtype) for each in model.outputs]

    def call(inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        rows = len(inputs[0])
        until = time.monotonic() + seconds[rows]
        while (left := until - time.monotonic()) > 0:
            time.sleep(max(0.0, left - _SPIN_S))
        return tuple(
            torch.zeros((rows, *each.shape), dtype=dtype)
            for each, dtype in zip(model.outputs, dtypes, strict=True)
        )

    return call
