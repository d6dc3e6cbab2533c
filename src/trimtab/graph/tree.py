"""How arguments and results nest, as data: tuples, lists, dicts and named tuples.

PyTorch's own tree specs name Python classes; a graph that comes from a file must not.
The named tuples of PyTorch's operators (`torch.return_types`) are told by name.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from keyword import iskeyword
from typing import Any, Literal

from trimtab.errors import UsageError

__all__ = ["KINDS", "LEAF", "Tree", "flatten", "unflatten"]

Kind = Literal["leaf", "tuple", "list", "dict", "namedtuple", "return_type"]

KINDS: tuple[Kind, ...] = (
    "leaf",
    "tuple",
    "list",
    "dict",
    "namedtuple",
    "return_type",
)
"""Of trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A leaf, or a container of trees.

    Attributes:
        kind: of the container.
        keys: of a dict, or the fields of a named tuple.
        children: in order.
        name: class name of a named tuple; of a return type, that in
            `torch.return_types`.
    """

    kind: Kind
    keys: tuple[str | int, ...] = ()
    children: tuple[Tree, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        named = self.kind in ("namedtuple", "return_type")
        keyed = named or self.kind == "dict"
        if len(self.keys) != (len(self.children) if keyed else 0) or (
            self.kind == "leaf" and self.children
        ):
            raise UsageError(
                f"tree of kind {self.kind} with keys {self.keys}",
                rule="dicts and named tuples have one key a child, others none",
                remedy="give one key for every child",
            )
        if len(set(self.keys)) != len(self.keys):
            raise UsageError(
                f"tree of kind {self.kind} with keys {self.keys}"[:200],
                rule="a key stands for one child only",
                remedy="give every child a key of its own",
            )
        if named and (
            iskeyword(self.name)
            or not all(
                isinstance(each, str) and each.isidentifier()
                for each in (self.name, *self.keys)
            )
        ):
            raise UsageError(
                f"named tuple {self.name!r} with fields {self.keys}"[:200],
                rule="its names are Python identifiers, its own is no keyword",
                remedy="capture the network again",
            )

    @property
    def leaf_count(self) -> int:
        """How many leaves stand below."""
        if self.kind == "leaf":
            return 1
        return sum(child.leaf_count for child in self.children)


LEAF = Tree(kind="leaf")


@lru_cache(maxsize=256)
def _named(name: str, fields: tuple[str, ...]) -> type:
    # A type of the same name and fields, made here: nothing is imported.
    return namedtuple(name, fields, rename=True)


@lru_cache(maxsize=256)
def _returned(name: str, fields: tuple[str, ...]) -> Any:
    """Return what makes a result of PyTorch's from its parts, if it is one."""
    known = sys.modules.get("torch.return_types")  # there, where there are tensors
    found = vars(known).get(name) if known else None
    if (
        isinstance(found, type)
        and issubclass(found, tuple)
        and getattr(found, "__match_args__", None) == fields
    ):
        return found
    return _named(name, fields)._make  # type: ignore[attr-defined]


def flatten(
    value: object, tree: Tree, where: str = "the arguments"
) -> Iterator[object]:
    """Yield the leaves of `value`, which must nest as `tree` says.

    Raises:
        UsageError: the value nests otherwise.

    Example:
        >>> tree = Tree(kind="dict", keys=("a",), children=(LEAF,))
        >>> list(flatten({"a": 1}, tree))
        [1]
    """
    if tree.kind == "leaf":
        yield value
        return
    if tree.kind == "dict":
        if not isinstance(value, dict) or set(value) != set(tree.keys):
            raise _mismatch(value, tree, where)
        parts: Sequence[object] = [value[key] for key in tree.keys]
    else:
        wanted = list if tree.kind == "list" else tuple
        if not isinstance(value, wanted) or len(value) != len(tree.children):
            raise _mismatch(value, tree, where)
        parts = value
    for index, (part, child) in enumerate(zip(parts, tree.children, strict=True)):
        key = tree.keys[index] if tree.keys else index
        yield from flatten(part, child, f"{where}[{key!r}]")


def _mismatch(value: object, tree: Tree, where: str) -> UsageError:
    wanted = f"a {tree.kind} of {len(tree.children)}"
    if tree.keys:
        wanted += f" with the keys {', '.join(map(repr, tree.keys))}"
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return UsageError(
        f"a {type(value).__name__}{size}",
        rule=f"the network was captured with {wanted}",
        where=where,
        remedy="nest the arguments as the example inputs were",
    )


def unflatten(leaves: Iterator[object], tree: Tree) -> object:
    """Return the leaves nested as `tree` says.

    Example:
        >>> pair = Tree(kind="tuple", children=(LEAF, LEAF))
        >>> unflatten(iter([1, 2]), pair)
        (1, 2)
    """
    if tree.kind == "leaf":
        return next(leaves)
    parts = [unflatten(leaves, child) for child in tree.children]
    if tree.kind == "list":
        return parts
    if tree.kind == "dict":
        return dict(zip(tree.keys, parts, strict=True))
    if tree.kind == "return_type":
        return _returned(tree.name, tuple(map(str, tree.keys)))(parts)
    if tree.kind == "namedtuple":
        return _named(tree.name, tuple(map(str, tree.keys)))(*parts)
    return tuple(parts)
