"""A mapping that never changes: hashable, comparable, picklable.

`types.MappingProxyType` can be neither hashed nor pickled, and records travel to worker
processes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar, final

__all__ = ["FrozenDict"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@final
class FrozenDict(Mapping[K, V], Generic[K, V]):
    """A read-only mapping that keeps the order it was given.

    Example:
        >>> FrozenDict({"a": 1})
        FrozenDict({'a': 1})
        >>> FrozenDict({"a": 1, "b": 2}) == {"b": 2, "a": 1}
        True
    """

    __slots__ = ("_items",)
    _items: dict[K, V]

    def __init__(self, items: Mapping[K, V] | None = None) -> None:
        object.__setattr__(self, "_items", dict(items or {}))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"FrozenDict is read-only: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"FrozenDict is read-only: cannot delete {name!r}")

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenDict({self._items!r})"

    def __reduce__(self) -> tuple[type[FrozenDict[K, V]], tuple[dict[K, V]]]:
        return (FrozenDict, (self._items,))
