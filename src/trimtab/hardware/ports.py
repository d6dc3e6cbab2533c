"""How busy the ports of a core are: the least time in which they can share the work.

Micro-operations may be shared out among their ports in any proportion, so the least
possible load of the busiest port is a linear program. Its value is known without
solving it: the largest, over all sets of ports, of the work that only they can do over
their number (Hall's condition for fractional assignments). Sets that matter are unions
of the sets that occur, a handful.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.hardware.cores import MicroOp

__all__ = ["Work", "busiest", "tightest", "work_of"]

Work = Mapping[frozenset[str], float]
"""Cycles of work by the set of ports that can do it."""


def work_of(uops: Iterable[MicroOp]) -> dict[frozenset[str], float]:
    """Return micro-operations added up by their ports."""
    found: dict[frozenset[str], float] = {}
    for uop in uops:
        found[uop.ports] = found.get(uop.ports, 0.0) + uop.cycles
    return found


def _families(work: Work) -> list[list[frozenset[str]]]:
    """Return the port sets in groups that share no port."""
    groups: list[tuple[set[str], list[frozenset[str]]]] = []
    for ports in sorted(work, key=sorted):
        meets = [group for group in groups if group[0] & ports]
        joined: tuple[set[str], list[frozenset[str]]] = (set(ports), [ports])
        for group in meets:
            joined[0].update(group[0])
            joined[1].extend(group[1])
            groups.remove(group)
        groups.append(joined)
    return [members for _, members in groups]


def _unions(sets: Sequence[frozenset[str]]) -> set[frozenset[str]]:
    found: set[frozenset[str]] = set()
    for ports in sets:
        found |= {ports | other for other in found} | {ports}
    return found


def tightest(work: Work) -> tuple[float, frozenset[str]]:
    """Return the largest work per port, and the largest set of ports that has it."""
    best, where = 0.0, frozenset[str]()
    for sets in _families(work):
        for ports in _unions(sets):
            inside = sum(work[each] for each in sets if each <= ports)
            load = inside / len(ports)
            if load > best + 1e-9 or (
                load > best - 1e-9
                and (len(ports), sorted(ports)) > (len(where), sorted(where))
            ):
                best, where = max(load, best), ports
    return best, where


def busiest(work: Work) -> dict[frozenset[str], float]:
    """Return the least load of each group of ports that share work, in cycles.

    The key is the set of ports that the load is due to.

    Example:
        >>> a, b, ab = frozenset("a"), frozenset("b"), frozenset("ab")
        >>> busiest({a: 3.0, ab: 2.0, b: 0.0})[ab]
        Traceback (most recent call last):
        ...
        KeyError: frozenset({...})
        >>> busiest({a: 3.0, ab: 2.0})
        {frozenset({'a'}): 3.0}
    """
    found = {}
    for sets in _families(work):
        load, ports = tightest({each: work[each] for each in sets})
        if load > 0:
            found[ports] = load
    return found
