"""What makes two networks the same to every stage: structure, values, and code.

A graph says what a network computes in evaluation; the text of its modules, which of
them learn and where their code stands say the rest: what training would do with it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from trimtab.errors import DataError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.store import digest
from trimtab.graph.types import Graph

__all__ = ["Seen", "digest_of", "load_state", "look", "state_of", "structure_of"]


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A network as a run sees it between two stages.

    Attributes:
        network: itself.
        graph: of it.
        structure: SHA-256 of all but the values of its state.
        digest: SHA-256 of all.
    """

    network: nn.Module
    graph: Graph
    structure: str
    digest: str


def look(
    network: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any], name: str
) -> Seen:
    """Return a network with its graph and its digests.

    Args:
        network: in evaluation mode.
        inputs: positional example inputs.
        keywords: by name.
        name: of the network.

    Raises:
        CaptureError: it cannot be captured.
    """
    graph = capture(network, inputs, keywords, name=name)
    structure = structure_of(network)
    whole = hashlib.sha256(f"{structure} {digest(graph)}\n".encode())
    for part in _values({**state_of(network), **weights_of(network, graph)}.items()):
        whole.update(part)
    return Seen(
        network=network, graph=graph, structure=structure, digest=whole.hexdigest()
    )


def structure_of(network: nn.Module) -> str:
    """Return the SHA-256 of modules, shapes and code, without the values of the state.

    Example:
        >>> a, b = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> structure_of(a) == structure_of(b) != structure_of(nn.Linear(2, 4))
        True
    """
    whole = hashlib.sha256(repr(network).encode())
    files: set[str] = set()
    for path, module in network.named_modules(remove_duplicate=False):
        kind = type(module)
        whole.update(
            f"{path} {kind.__module__}.{kind.__qualname__} {module.training}\n".encode()
        )
        files |= set(_sources(kind))
    places: dict[int, str] = {}
    for name, value in _tensors(network):
        first = places.setdefault(id(value), name)
        learns = isinstance(value, nn.Parameter) and value.requires_grad
        whole.update(
            f"{name} {first} {value.dtype} {tuple(value.shape)} {learns}\n".encode()
        )
    for file in sorted(files):
        whole.update(file.encode())
    return whole.hexdigest()


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, tied ones once; no copies.

    Buffers that a module does not write into its own state are among them.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in _tensors(network):
        if id(value) not in seen:
            seen.add(id(value))
            found[name] = value.detach()
    return found


@torch.no_grad()
def load_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state into a network, in place.

    Raises:
        DataError: the network has other names, shapes or types.
    """
    mine = state_of(network)
    kinds = [
        {name: (each.dtype, tuple(each.shape)) for name, each in some.items()}
        for some in (mine, state)
    ]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"a state of {len(state)} tensors",
            rule=f"the network has {len(mine)}, of the same names, shapes and types",
            where="trimtab.pipeline.identity",
            remedy="do the stage again: trimtab run --no-cache",
        )
    for name, value in state.items():
        mine[name].copy_(value)


def digest_of(values: Iterable[tuple[str, object]]) -> str:
    """Return the SHA-256 of named tensors and texts.

    Example:
        >>> one = digest_of([("x", torch.zeros(2)), ("y", "text")])
        >>> one == digest_of([("x", torch.ones(2)), ("y", "text")])
        False
    """
    whole = hashlib.sha256()
    for part in _values(values):
        whole.update(part)
    return whole.hexdigest()


def _values(values: Iterable[tuple[str, object]]) -> Iterator[bytes]:
    for name, value in values:
        if not isinstance(value, Tensor):
            yield f"{name} {value!r}\n".encode()
            continue
        plain = value.detach().cpu().contiguous()
        yield f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode()
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]


def _sources(kind: type) -> Iterator[str]:
    """Return digests of the files that a class of the user stands in."""
    for each in kind.__mro__:
        package = each.__module__.partition(".")[0]
        if package in ("torch", "trimtab", "builtins", "typing", "abc"):
            continue  # of a version that is asked for elsewhere
        try:
            text = inspect.getsource(sys.modules[each.__module__])
        except (OSError, TypeError, KeyError):
            text = each.__qualname__
        yield hashlib.sha256(text.encode()).hexdigest()
