"""Inputs that a network writes to: found while it is captured.

A graph is functional, and kernels write into memory of their own: what a module does to
its arguments would be lost without a word. Tensors count how often they are written to,
also those that only stand in for others while a module is traced.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trimtab.errors import CaptureError

__all__ = ["refuse_written_inputs"]

_watching = contextvars.ContextVar("watching", default=False)
# Other threads that call the module meanwhile see the default.


@contextlib.contextmanager
def refuse_written_inputs(model: nn.Module, title: str) -> Iterator[None]:
    """Raise at the end if `model` was called meanwhile and wrote to its arguments.

    Args:
        model: the network.
        title: for people.

    Raises:
        CaptureError: it did.

    Example:
        >>> with refuse_written_inputs(nn.ReLU(), "relu"):
        ...     _ = nn.ReLU()(Tensor([1.0]))
    """
    paths = {id(each): path for path, each in model.named_modules()}
    calls: list[str] = []
    given: list[tuple[str, Tensor, int]] = []
    written: dict[str, str] = {}

    def look() -> None:
        """Note what was written since: by the innermost module that runs."""
        for name, tensor, version in given:
            if _version(tensor) != version:
                written.setdefault(name, calls[-1])

    def enter(each: nn.Module, args: Any, keywords: Any) -> None:
        if not _watching.get():
            return
        if each is model:  # anew, where a failed capture calls it again
            calls.clear()
            given[:] = [
                (_name(path), leaf, _version(leaf))
                for path, leaf in pytree.tree_flatten_with_path((args, keywords))[0]
                if isinstance(leaf, Tensor)
            ]
        elif calls:
            look()
        calls.append(paths.get(id(each), ""))

    def leave(each: nn.Module, args: Any, keywords: Any, result: Any) -> None:
        if _watching.get() and calls:
            look()
            calls.pop()

    handles = []
    for each in model.modules():
        handles += [
            each.register_forward_pre_hook(enter, prepend=True, with_kwargs=True),
            each.register_forward_hook(leave, with_kwargs=True),
        ]
    token = _watching.set(True)
    try:
        yield
    finally:
        _watching.reset(token)
        for handle in handles:
            handle.remove()
    if written:
        name, path = next(iter(written.items()))
        raise CaptureError(
            f"network {title!r}",
            rule=f"it writes to its {name} during the call, and kernels leave their "
            "inputs as they are",
            where=f"module {path or 'the network itself'!r}",
            remedy="write out of place, without inplace=True, or to a copy: x.clone()",
        )


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _name(path: Any) -> str:
    """Return what an argument is called: ``(args, keywords)`` and what is below."""
    side, first, *rest = path
    kind = "input" if side.idx == 0 else "argument"
    key = first.idx if side.idx == 0 else repr(first.key)
    return f"{kind} {key}{''.join(map(str, rest))}"
