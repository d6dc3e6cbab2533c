"""The longest chain from one pass of a loop to the next: what no number of ports mends.

A pass is read once, in order. Each value carries, for every value that came from the
pass before (a register, or a place in memory), the longest time from there to here.
What a pass leaves behind then gives a graph among those values, and the time that a
pass is not shorter than is the largest mean weight of a cycle in it (Karp, Discrete
Mathematics 23, 1978). Values go through memory where a store and a load have the same
address, written in terms of the registers at the start of the pass, so sums kept in
memory are chains, too. An access that overlaps another without starting where it does
is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, final

from trimtab.compiler.assembly.costs import Latency, latency_of
from trimtab.compiler.assembly.instruction import Instruction, Memory, Part
from trimtab.hardware.cores import Microarchitecture
from trimtab.hardware.operations import Operation

__all__ = ["Chain", "longest_chain"]


class Chain(NamedTuple):
    """A chain from pass to pass.

    Attributes:
        cycles: a pass at least, because of it.
        values: registers and places in memory that it goes through.
    """

    cycles: float
    values: tuple[str, ...]


_Times = Mapping[str, float]
# By the value of the pass before, the longest time from there.
_NONE: _Times = {}


class _Address(NamedTuple):
    """An address in terms of the start of the pass."""

    base: str
    scaled: str
    scale: int
    symbol: str
    offset: int

    def __str__(self) -> str:
        index = f" + {self.scaled} x {self.scale}" if self.scaled else ""
        place = f"{self.symbol}{self.base}{index}"
        return f"memory[{place}{self.offset:+d}]"


@final
class _Registers:
    """Registers as a register of the start of the pass and a distance from it."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, int]] = {}
        self.made = 0

    def value(self, name: str) -> tuple[str, int]:
        return self.known.get(name, (name, 0))

    def step(self, instruction: Instruction) -> None:
        effect = instruction.effect
        for name in instruction.writes:
            if effect is not None and effect.kind == "add" and effect.target == name:
                origin, offset = self.value(effect.source)
                self.known[name] = (origin, offset + effect.value)
            else:
                self.made += 1
                self.known[name] = (f"#{self.made}", 0)

    def address(self, memory: Memory) -> _Address:
        base, offset = self.value(memory.base) if memory.base else ("", 0)
        index, times = self.value(memory.index) if memory.index else ("", 0)
        total = memory.displacement + offset + memory.scale * times
        return _Address(base, index, memory.scale, memory.symbol, total)


def longest_chain(code: Sequence[Instruction], core: Microarchitecture) -> Chain:
    """Return the chain that a pass of the loop waits for longest.

    Args:
        code: one pass, in order.
        core: its latencies.
    """
    places, carried = _places(code)
    live: dict[str, _Times] = {}
    written = {name for each in code for name in each.writes}
    stored: dict[_Address, _Times] = {}
    costs: dict[tuple[Part, ...], Latency] = {}

    def times(name: str) -> _Times:
        found = live.get(name)
        if found is not None:
            return found
        return {name: 0.0} if name in written else _NONE

    for each, spots in zip(code, places, strict=True):
        key = each.parts
        if key not in costs:
            costs[key] = latency_of(each, core)
        latency = costs[key]
        found: dict[str, float] = {}
        if each.operation is not Operation.ZERO:
            for name in each.reads:
                late = latency.addend if name == each.addend else latency.operand
                _join(found, times(name), late)
        moved = each.effect.target if each.effect and each.memory else ""
        if each.loads and each.memory is not None:
            for name in each.memory.registers:
                _join(found, times(name), latency.address)
        if each.stores and not each.loads:
            data = [name for name in each.reads if name != moved]
            for spot, name in zip(spots, data, strict=False):
                stored[spot] = times(name)
        results = [name for name in each.writes if name != moved]
        for number, name in enumerate(results):
            live[name] = found
            if not each.loads or not spots:
                continue
            spot = spots[min(number, len(spots) - 1)]
            before = stored.get(spot)
            if before is None and spot in carried:
                before = {str(carried[spot]): 0.0}
            if before is not None:
                through = dict(found)
                _join(through, before, latency.operand + core.store_forward_cycles)
                live[name] = through
        if each.stores and each.loads:
            stored.update(dict.fromkeys(spots, found))
        if moved and each.effect is not None:
            # A register that moves on beside an access does not wait for it.
            live[moved] = {
                name: time + 1.0 for name, time in times(each.effect.source).items()
            }
    ends: dict[str, _Times] = {name: live[name] for name in sorted(written)}
    for address in sorted(set(carried.values())):
        if address in stored:
            ends[str(address)] = stored[address]
    return _cycle(ends)


def _join(found: dict[str, float], more: _Times, late: float) -> None:
    for name, time in more.items():
        if time + late > found.get(name, -1.0):
            found[name] = time + late


def _places(
    code: Sequence[Instruction],
) -> tuple[list[tuple[_Address, ...]], dict[_Address, _Address]]:
    """Return each instruction's addresses, and where last pass stored what loads read.

    An access of two registers has two addresses.
    """
    stores_any = any(each.stores for each in code)
    registers = _Registers()
    places: list[tuple[_Address, ...]] = []
    for each in code:
        times = max(each.loads, each.stores)
        if stores_any and each.memory is not None and times:
            first = registers.address(each.memory)
            size = each.memory.size_bytes // times
            places.append(
                tuple(
                    first._replace(offset=first.offset + size * number)
                    for number in range(times)
                )
            )
        else:
            places.append(())
        registers.step(each)
    stores = {
        place
        for each, spots in zip(code, places, strict=True)
        for place in spots
        if each.stores
    }

    def moved(name: str) -> int | None:
        origin, offset = registers.value(name)
        return offset if origin == name else None

    carried = {}
    for each, spots in zip(code, places, strict=True):
        for place in spots if each.loads else ():
            base = moved(place.base) if place.base else 0
            index = moved(place.scaled) if place.scaled else 0
            if base is None or index is None:
                continue
            before = place._replace(offset=place.offset + base + place.scale * index)
            if before in stores:
                carried[place] = before
    return places, carried


def _cycle(ends: Mapping[str, _Times]) -> Chain:
    """Return the cycle with the largest mean weight; edges lead from start to end."""
    edges = {
        (start, end): time
        for end, times in ends.items()
        for start, time in times.items()
        if start in ends
    }
    best = Chain(0.0, ())
    for (start, end), time in edges.items():
        if start == end and time > best.cycles:
            best = Chain(time, (start,))
    for names in _components(edges):
        inside = {e: t for e, t in edges.items() if e[0] in names and e[1] in names}
        found = _karp(sorted(names), inside)
        if found > best.cycles + 1e-9:
            best = Chain(found, tuple(sorted(names)))
    return best


def _components(edges: Mapping[tuple[str, str], float]) -> list[set[str]]:
    """Return sets of values that reach each other, of two values or more."""
    after: dict[str, set[str]] = {}
    before: dict[str, set[str]] = {}
    for start, end in edges:
        if start != end:
            after.setdefault(start, set()).add(end)
            before.setdefault(end, set()).add(start)

    def reach(start: str, steps: Mapping[str, set[str]]) -> set[str]:
        seen, stack = {start}, [start]
        while stack:
            for name in steps.get(stack.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    stack.append(name)
        return seen

    found, done = [], set[str]()
    for name in sorted(after.keys() & before.keys()):
        if name in done:
            continue
        both = reach(name, after) & reach(name, before)
        done |= both
        if len(both) > 1:
            found.append(both)
    return found


def _karp(names: Sequence[str], edges: Mapping[tuple[str, str], float]) -> float:
    """Return the largest mean weight of a cycle among values that reach each other."""
    low = float("-inf")
    place = {name: number for number, name in enumerate(names)}
    steps = [(place[start], place[end], time) for (start, end), time in edges.items()]
    rows = [[low] * len(names)]
    rows[0][0] = 0.0
    for _ in names:
        last, row = rows[-1], [low] * len(names)
        for start, end, time in steps:
            if last[start] + time > row[end]:
                row[end] = last[start] + time
        rows.append(row)
    count, best = len(names), 0.0
    for end, total in enumerate(rows[count]):
        if total > low:
            best = max(
                best,
                min(
                    (total - rows[step][end]) / (count - step)
                    for step in range(count)
                    if rows[step][end] > low
                ),
            )
    return best
