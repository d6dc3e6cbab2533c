"""What weights were when they were packed, and whether they still are.

PyTorch counts the writes to a tensor, but not all: fused optimisers and whatever goes
through ``.data`` or NumPy leave the counter alone. So a snapshot also remembers where
each weight stands and one word in the middle of it, and every step of an optimiser
outdates the snapshots of the parameters it steps.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, final

from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

__all__ = ["Snapshot", "watch_optimizers"]

_version = operator.attrgetter("_version")
_value = operator.attrgetter("value")
_address = Tensor.data_ptr
_WORD = ctypes.c_uint64
_ITEMS = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: _WORD}


@final
class Snapshot:
    """Tensors as they are now. Only their memory is kept alive, not they themselves.

    Args:
        tensors: on the CPU, none made in inference mode.
        forget: called when one of them is gone; there may be another with its id then.

    Example:
        >>> import torch
        >>> weight = torch.zeros(3)
        >>> snapshot = Snapshot([weight], forget=lambda: None)
        >>> snapshot.holds([weight])
        True
        >>> weight.data[1] = 1.0
        >>> snapshot.holds([weight])
        False
    """

    def __init__(self, tensors: Sequence[Tensor], forget: Callable[[], object]) -> None:
        self._ids = frozenset(map(id, tensors))
        self._versions = [*map(_version, tensors)]
        self._places = [*map(_address, tensors)]
        self._memory = [each.detach() for each in tensors]
        self._words = [word for each in tensors for word in _words(each)]
        self._values = [*map(_value, self._words)]
        self._gone = [weakref.ref(each, lambda _: forget()) for each in tensors]
        self._outdated = False
        with _lock:
            _live.add(self)

    def holds(self, tensors: Sequence[Tensor]) -> bool:
        """Whether nobody has written to the tensors; every call asks that.

        Args:
            tensors: the same, in the same order.
        """
        return (
            not self._outdated
            and [*map(_version, tensors)] == self._versions
            # Before the words: memory that was given back must not be read.
            and [*map(_address, tensors)] == self._places
            and [*map(_value, self._words)] == self._values
        )

    def outdate(self, ids: frozenset[int]) -> None:
        """Hold no longer, if one of the tensors has one of these ids."""
        if not self._ids.isdisjoint(ids):
            self._outdated = True


def _words(tensor: Tensor) -> list[Any]:
    """Return the word in the middle of a tensor, where it stands; none if empty."""
    size = tensor.numel() * tensor.element_size()
    if not size:
        return []
    start = tensor.data_ptr()
    if tensor.is_contiguous() and size >= ctypes.sizeof(_WORD):
        return [_WORD.from_address(start + (size - ctypes.sizeof(_WORD)) // 2)]
    item = _ITEMS.get(tensor.element_size())
    return [item.from_address(start)] if item else []


_live: weakref.WeakSet[Snapshot] = weakref.WeakSet()
_lock = threading.Lock()


@functools.cache
def watch_optimizers() -> None:
    """Outdate the snapshots of what an optimiser steps, from now on."""
    register_optimizer_step_post_hook(_stepped)


def _stepped(optimizer: Optimizer, args: object, kwargs: object) -> None:
    ids = frozenset(
        id(each) for group in optimizer.param_groups for each in group["params"]
    )
    with _lock:
        found = list(_live)
    for each in found:
        each.outdate(ids)
