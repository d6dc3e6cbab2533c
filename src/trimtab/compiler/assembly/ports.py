"""Which ports of a core do what, where the busiest have the least load.

That least load is `trimtab.hardware.ports`.
"""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.hardware.ports import Work, busiest, tightest, work_of

__all__ = ["Work", "busiest", "share", "work_of"]


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
        load, tight = tightest(narrowed)
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
