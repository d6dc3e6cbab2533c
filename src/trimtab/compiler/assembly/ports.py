"""How busy the ports of a core are: the least time in which they can share the work.

Micro-operations may be shared out among their ports in any proportion, so the least
possible load of the busiest port is a linear program. Its value is known without
solving it: the largest, over all sets of ports, of the work that only they can do over
their number (Hall's condition for fractional assignments). Sets that matter are unions
of the sets that occur, a handful.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trimtab.hardware.cores import MicroOp

__all__ = ["Work", "busiest", "share", "work_of"]

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


def _tightest(work: Work) -> tuple[float, frozenset[str]]:
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
        load, ports = _tightest({each: work[each] for each in sets})
        if load > 0:
            found[ports] = load
    return found


def share(work: Work) -> dict[frozenset[str], dict[str, float]]:
    """Return who does what: for each set of ports, the share of each in its work.

    The shares give the least load of the busiest ports, then of the next, and so on.

    Example:
        >>> share({frozenset("a"): 1.0, frozenset("ab"): 1.0})[frozenset("ab")]
        {'b': 1.0}
    """
    left = {ports: amount for ports, amount in work.items() if amount > 0}
    found: dict[frozenset[str], dict[str, float]] = {}
    gone: frozenset[str] = frozenset()
    while left:
        narrowed: dict[frozenset[str], float] = {}
        for ports, amount in left.items():
            key = ports - gone
            narrowed[key] = narrowed.get(key, 0.0) + amount
        load, tight = _tightest(narrowed)
        inside = [ports for ports in left if ports - gone <= tight]
        flows = _fill({ports: left[ports] for ports in inside}, tight, load)
        for ports in inside:
            amount = left.pop(ports)
            found[ports] = {
                port: part / amount for port, part in flows[ports].items() if part > 0
            }
        gone |= tight
    return found


def _fill(
    work: Mapping[frozenset[str], float], ports: frozenset[str], load: float
) -> dict[frozenset[str], dict[str, float]]:
    """Return a distribution with no port above the load, by augmenting paths."""
    free = dict.fromkeys(sorted(ports), load)
    flows: dict[frozenset[str], dict[str, float]] = {
        each: dict.fromkeys(sorted(each & ports), 0.0) for each in work
    }
    for each in sorted(work, key=lambda each: (len(each), sorted(each))):
        rest = work[each]
        # Spread evenly first, which is what schedulers come near to.
        for port in flows[each]:
            part = min(work[each] / len(flows[each]), free[port])
            flows[each][port] += part
            free[port] -= part
            rest -= part
        while rest > 1e-9:
            path = _path(each, flows, free)
            if path is None:
                break
            amount = min(rest, free[path[-1][1]])
            for giver, _, taken in path[1:]:
                amount = min(amount, flows[giver][taken])
            flows[each][path[0][1]] += amount
            for giver, port, taken in path[1:]:
                flows[giver][taken] -= amount
                flows[giver][port] += amount
            free[path[-1][1]] -= amount
            rest -= amount
    return flows


_Step = tuple[frozenset[str], str, str]


def _path(
    start: frozenset[str],
    flows: Mapping[frozenset[str], Mapping[str, float]],
    free: Mapping[str, float],
) -> list[_Step] | None:
    """Return moves that make room: who goes to which port, from which."""
    queue: list[list[_Step]] = [[(start, port, "")] for port in flows[start]]
    seen = set(flows[start])
    while queue:
        path = queue.pop(0)
        port = path[-1][1]
        if free[port] > 1e-9:
            return path
        for giver, parts in flows.items():
            if parts.get(port, 0.0) <= 1e-9:
                continue
            for other in parts:
                if other not in seen:
                    seen.add(other)
                    queue.append([*path, (giver, other, port)])
    return None
