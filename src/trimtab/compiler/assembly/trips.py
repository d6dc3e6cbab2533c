"""How often a loop runs, where its counter goes by constant steps.

The condition of the jump that leaves the loop is followed back to a comparison, the
comparison to a counter and a bound, the counter to its step inside the loop and to its
value before it. Values are kept as a place that is not looked behind (a register at the
start of a function, the result of an instruction) and a constant beside it, so that the
distance of two pointers is known though neither is.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import NamedTuple

from trimtab.compiler.assembly.instruction import FLAGS, Effect, Instruction
from trimtab.compiler.assembly.program import Function, Loop
from trimtab.hardware.operations import Operation

__all__ = ["trips"]

_DEPTH = 40
# Blocks a value is followed through.


class _Value(NamedTuple):
    """A known distance from a place; the place is empty for constants."""

    place: str
    offset: int


_HOLDS: dict[str, Callable[[int], bool]] = {
    "eq": lambda difference: difference == 0,
    "ne": lambda difference: difference != 0,
    "lt": lambda difference: difference < 0,
    "le": lambda difference: difference <= 0,
    "gt": lambda difference: difference > 0,
    "ge": lambda difference: difference >= 0,
    "lo": lambda difference: difference < 0,
    "ls": lambda difference: difference <= 0,
    "hi": lambda difference: difference > 0,
    "hs": lambda difference: difference >= 0,
    "mi": lambda difference: difference < 0,
    "pl": lambda difference: difference >= 0,
}


def trips(function: Function, loop: Loop) -> int | None:
    """Return how often the body runs each time the loop is entered, None if unknown.

    Example:
        >>> from trimtab.compiler.assembly.program import parse
        >>> found, = parse('''
        ... f:
        ...     movq $-256, %rdi
        ... .L1:
        ...     addq $4, %rdi
        ...     jne .L1
        ...     retq
        ... ''')
        >>> trips(found, found.loops[0])
        64
    """
    leaving = [
        place
        for place in loop.blocks
        if any(after not in loop.blocks for after in function.blocks[place].successors)
    ]
    # Another way out makes the count an upper limit.
    if len(leaving) != 1 or loop.latches != (leaving[0],):
        return None
    block = function.blocks[leaving[0]]
    code = block.instructions
    jump = code[-1] if code else None
    if jump is None or jump.condition not in _HOLDS:
        return None
    compared = _comparison(code)
    if compared is None:
        return None
    at, effect = compared
    stays = jump.condition
    taken = block.successors[0] == loop.header
    holds = _HOLDS[stays]

    def continues(difference: int) -> bool:
        return holds(difference) == taken

    follow = _Follower(function, loop)
    counter = follow.inside(leaving[0], at, effect.source)
    bound = (
        follow.inside(leaving[0], at, effect.other)
        if effect.other
        else _Value("", effect.value)
    )
    return _count(follow, counter, bound, continues)


def _count(
    follow: _Follower,
    counter: _Value | None,
    bound: _Value | None,
    continues: Callable[[int], bool],
) -> int | None:
    if counter is None or bound is None:
        return None
    start, step = follow.start(counter), follow.step(counter)
    end, moved = follow.start(bound), follow.step(bound)
    if start is None or end is None or start.place != end.place:
        return None
    first = start.offset - end.offset
    if not continues(first):
        return 1
    later = follow.later(counter)
    if later is not None and moved == 0 and later.place == end.place:
        # Set to the same at the end of every pass, as a mark of the first one.
        return None if continues(later.offset - end.offset) else 2
    if step is None or moved is None:
        return None
    change = step - moved
    if change == 0:
        return None
    # The passes until the difference is zero, and a little beyond for <= and >=.
    near = max(1, -(first // change) - 1) if first * change < 0 else 1
    for count in range(near, near + 4):
        if not continues(first + count * change):
            return count + 1
    return None


def _comparison(code: tuple[Instruction, ...]) -> tuple[int, Effect] | None:
    """Return what the flags of the last jump say, and where they were set."""
    for at in range(len(code) - 2, -1, -1):
        each = code[at]
        if FLAGS not in each.writes:
            continue
        if each.effect is None:
            return None
        if each.effect.kind == "compare":
            return at, each.effect
        # Arithmetic compares its result with zero.
        return at + 1, Effect("compare", source=each.effect.target)
    jump = code[-1]
    if jump.effect is not None and jump.effect.kind == "compare":
        return len(code) - 1, jump.effect
    return None


def _written(function: Function, loop: Loop) -> frozenset[str]:
    """Return registers and places in the frame that a pass may write."""
    return frozenset().union(
        *(function.blocks[place].written.keys() for place in loop.blocks)
    )


def _effect(each: Instruction, target: str) -> Effect | None:
    """Return what is done to a register or a place in the frame, spilled ones too."""
    if each.effect is not None and each.effect.target == target:
        return each.effect
    if each.memory is None or not each.memory.stack:
        return None
    if each.operation is Operation.STORE_INTEGER:
        slots = each.memory.slots(each.stores)
        pairs = zip(slots, each.reads, strict=False)
    elif each.operation is Operation.LOAD_INTEGER:
        slots = each.memory.slots(each.loads)
        pairs = zip(each.writes, slots, strict=False)
    else:
        return None
    return next(
        (Effect("add", name, source) for name, source in pairs if name == target), None
    )


class _Follower:
    """Follows a register back: to the start of the pass, and before the loop."""

    def __init__(self, function: Function, loop: Loop) -> None:
        self.function = function
        self.loop = loop
        self.inner = set(loop.blocks)
        self.written = _written(function, loop)

    def inside(self, place: int, at: int, register: str) -> _Value | None:
        """Return the value before an instruction, from the start of the pass."""
        if register not in self.written:
            return _Value(f"start {register}", 0)
        return self._back(place, at, register, self.loop, 0)

    def start(self, value: _Value) -> _Value | None:
        """Return a value in the first pass from what is known before the loop."""
        if not value.place.startswith("start "):
            return value
        found = self._entry(value.place[6:], self.loop, 0)
        return found and _Value(found.place, found.offset + value.offset)

    def step(self, value: _Value) -> int | None:
        """Return by how much a value grows from pass to pass."""
        if not value.place.startswith("start "):
            return 0 if not value.place else None
        register = value.place[6:]
        if register not in self.written:
            return 0
        latch = self.loop.latches[0]
        end = len(self.function.blocks[latch].instructions)
        after = self._back(latch, end, register, self.loop, 0)
        return after.offset if after and after.place == value.place else None

    def later(self, value: _Value) -> _Value | None:
        """Return a value in all passes but the first, if it is a constant there."""
        register = value.place[6:]
        if not value.place.startswith("start ") or register not in self.written:
            return None
        latch = self.loop.latches[0]
        end = len(self.function.blocks[latch].instructions)
        after = self._back(latch, end, register, self.loop, 0)
        if after is None or after.place:
            return None
        return _Value("", after.offset + value.offset)

    def _entry(self, register: str, loop: Loop, depth: int) -> _Value | None:
        """Return the value of a register when a loop is entered."""
        before = [
            place
            for place in self.function.predecessors[loop.header]
            if place not in loop.blocks
        ]
        if len(before) != 1:
            return None
        end = len(self.function.blocks[before[0]].instructions)
        return self._back(before[0], end, register, None, depth + 1)

    def _back(
        self, place: int, at: int, register: str, loop: Loop | None, depth: int
    ) -> _Value | None:
        """Return a register's value before an instruction; `loop` bounds the way."""
        if depth > _DEPTH:
            return None
        block = self.function.blocks[place]
        writers = block.written.get(register, ())
        last = bisect.bisect_left(writers, at)
        if last:
            number = writers[last - 1]
            effect = _effect(block.instructions[number], register)
            if effect is not None:
                if effect.kind == "set":
                    return _Value("", effect.value)
                if effect.kind == "add":
                    found = self._back(place, number, effect.source, loop, depth + 1)
                    return found and _Value(found.place, found.offset + effect.value)
            return _Value(f"result {place} {number}", 0)
        if loop is not None and place == loop.header:
            return _Value(f"start {register}", 0)
        around = [each for each in self.function.loops if each.header == place]
        before = self.function.predecessors[place]
        if around:
            kept = register not in _written(self.function, around[0])
            if not kept:
                return _Value(f"loop {place} {register}", 0)
            before = tuple(each for each in before if each not in around[0].blocks)
        if not before:
            return _Value(f"argument {register}", 0)
        values = {
            self._back(
                each,
                len(self.function.blocks[each].instructions),
                register,
                loop,
                depth + 1,
            )
            for each in before
        }
        return values.pop() if len(values) == 1 else None
