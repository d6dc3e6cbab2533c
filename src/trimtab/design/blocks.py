"""Blocks that may be left out or repeated: what the stages of a network are made of.

A block is a child of a `Sequential` or a `ModuleList` that takes one value and gives
one of the same shape; a bare convolution counts together with the normalisation and the
activation behind it. Such a block can be left out, or one like it put beside it, and
everything around still fits. Blocks that change shape (the first of a stage) stay where
they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import nn

from trimtab.design.edits import shared_modules
from trimtab.design.kernels import has_hooks
from trimtab.graph.types import Graph, Node, Ref

__all__ = ["Block", "Group", "blocks_of"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Modules of a container that keep the shape of what goes through them.

    Attributes:
        paths: of the modules, one behind the other.
        shape: of the value that comes in and goes out.
        nodes: of the graph, that are the block's.
    """

    paths: tuple[str, ...]
    shape: tuple[int, ...]
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Path of the first module."""
        return self.paths[0]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Blocks of one container that are built alike.

    Attributes:
        container: path of the `Sequential` or `ModuleList`.
        blocks: in the order of their calls.
    """

    container: str
    blocks: tuple[Block, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """Rows and columns of what goes through them."""
        return self.blocks[0].shape[2:]


def blocks_of(model: nn.Module, graph: Graph) -> tuple[Group, ...]:
    """Return the movable blocks of a network, those that are built alike together.

    Args:
        model: the network.
        graph: captured from it.
    """
    called, shared = _called(graph), shared_modules(model)
    found: list[Group] = []
    for path, container in _containers("", model):
        alike: dict[str, list[Block]] = {}
        inner = {name for name, each in _inner(path, container) if _is_list(each)}
        for unit in _units(path, container):
            if unit[0][0] in inner:
                continue  # its own children are the blocks
            if any(name in shared or has_hooks(each) for name, each in unit):
                continue  # more depends on them than the graph shows
            block = _block(graph, [name for name, _ in unit], called)
            if block is not None and any(_convolutions(each) for _, each in unit):
                built = "\n".join([str(block.shape), *(_built(e) for _, e in unit)])
                alike.setdefault(built, []).append(block)
        found += [
            Group(container=path, blocks=tuple(blocks)) for blocks in alike.values()
        ]
    return tuple(found)


_CONTAINERS = (nn.Sequential, nn.ModuleList)


def _containers(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the containers whose children are parts of the network, not of a block."""
    if not _is_list(module):
        for name, child in module.named_children():
            if _convolutions(child):
                yield from _containers(_joined(path, name), child)
        return
    yield path, module
    for inner, child in _inner(path, module):
        yield from _containers(inner, child)


def _inner(path: str, container: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a list that are lists of blocks themselves.

    A child that is one among several built alike is a block, and so is what has a class
    of its own: what is in it stays there.
    """
    children = [
        (name, each) for name, each in container.named_children() if _convolutions(each)
    ]
    built = [_built(each) for _, each in children]
    for (name, child), kind in zip(children, built, strict=True):
        lists = _is_list(child) and _convolutions(child) > 1 and built.count(kind) == 1
        if len(children) == 1 or lists:
            yield _joined(path, name), child


def _is_list(module: nn.Module) -> bool:
    """Whether a module is a bare list of others."""
    return type(module) in _CONTAINERS


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _units(path: str, container: nn.Module) -> list[list[tuple[str, nn.Module]]]:
    """Return children of a container, those together that are of one convolution."""
    found: list[list[tuple[str, nn.Module]]] = []
    for name, child in container.named_children():
        inner = _joined(path, name)
        follows = (
            isinstance(container, nn.Sequential)
            and bool(found)
            and isinstance(found[-1][0][1], _CONVOLUTIONS)
            and not any(True for _ in child.children())
            and not isinstance(child, (*_CONVOLUTIONS, *_RESIZING))
        )
        if follows:
            found[-1].append((inner, child))
        else:
            found.append([(inner, child)])
    return found


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RESIZING = (
    nn.Linear, nn.Flatten, nn.Upsample, nn.MaxPool2d, nn.AvgPool2d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
)  # fmt: skip


def _convolutions(module: nn.Module) -> int:
    """Return how many convolutions a module has."""
    return sum(isinstance(each, _CONVOLUTIONS) for each in module.modules())


def _built(module: nn.Module) -> str:
    """Return how a module is built, without the numbers that differ by accident.

    Stochastic depth rises from block to block; in evaluation it does nothing.
    """
    return re.sub(r"(StochasticDepth|DropPath)\([^)]*\)", r"\1", repr(module))


def _called(graph: Graph) -> Mapping[str, list[Node]]:
    """Return the nodes of every module, those of its children with it."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for path in _prefixes(node.module):
            found.setdefault(path, []).append(node)
    return found


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    for count in range(1, len(parts) + 1):
        if path:
            yield ".".join(parts[:count])


def _block(
    graph: Graph, paths: Sequence[str], called: Mapping[str, Sequence[Node]]
) -> Block | None:
    """Return modules as a block; None if they are not called once, in a row."""
    nodes = [node for path in paths for node in called.get(path, ())]
    if not nodes:
        return None
    places = [graph.position(node.name) for node in nodes]
    if places != list(range(places[0], places[0] + len(places))):
        return None  # called twice, or something of it is used between
    names = {node.name for node in nodes}
    given = {
        ref
        for node in nodes
        for ref in node.inputs
        if ref.name not in names and ref.name not in graph.static
    }
    left = _left(graph, names, places[-1])
    if len(given) != 1 or len(left) != 1:
        return None
    before, after = graph.type_of(given.pop()), graph.type_of(left.pop())
    if before != after or len(before.shape) < 3:
        return None
    return Block(
        paths=tuple(paths),
        shape=before.shape,
        nodes=tuple(node.name for node in nodes),
    )


def _left(graph: Graph, names: set[str], last: int) -> set[Ref]:
    """Return what later nodes, or the outputs, read of some nodes."""
    found = {
        ref for node in graph.nodes[last + 1 :] for ref in node.inputs
        if ref.name in names
    }  # fmt: skip
    return found | {
        each for each in graph.outputs if isinstance(each, Ref) and each.name in names
    }
