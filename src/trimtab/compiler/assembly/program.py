"""Assembly as functions of basic blocks, and the loops among them.

Text of the assembler is read line by line; what is not code (directives, sections for
debuggers) is passed over. Instructions of a block are read when they are asked for,
since most blocks of a function never are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from trimtab.compiler.assembly import aarch64, x86
from trimtab.compiler.assembly.instruction import Instruction

__all__ = ["Block", "Function", "Loop", "parse"]

Decode = Callable[[str, str], Instruction]

_LABEL = re.compile(r"([.\w$@]+):$")
_CODE = re.compile(r"\.text\b|\.section\s+\"?\.text")
_X86_JUMP = re.compile(r"j[a-z]+")
_ARM_JUMP = re.compile(r"b|b\.\w+|cbn?z|tbn?z|br|ret")
_ARM = re.compile(r"^\s+(ldr|stp|ldp|fmla|add\s+[xw]\d|ret$|sub\s+sp)\b", re.M)
_X86 = re.compile(r"%(?:[re]?[a-ds][xpi]|r\d+|[xyz]mm\d+)\b")


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """Instructions that run one after another; no slots, they are read when needed.

    Attributes:
        label: of its start, empty where nothing jumps to it.
        lines: mnemonics with their operands.
        successors: places in `Function.blocks` of what may follow.
        decode: reads a line.
    """

    label: str
    lines: tuple[tuple[str, str], ...]
    successors: tuple[int, ...]
    decode: Decode

    @functools.cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions."""
        return tuple(self.decode(*line) for line in self.lines)

    @functools.cached_property
    def written(self) -> Mapping[str, tuple[int, ...]]:
        """Which instructions write a register or a place in the frame, in order."""
        found: dict[str, list[int]] = {}
        for place, each in enumerate(self.instructions):
            for name in each.writes:
                found.setdefault(name, []).append(place)
            if each.stores and each.memory is not None and each.memory.stack:
                for name in each.memory.slots(each.stores):
                    found.setdefault(name, []).append(place)
        return {name: tuple(places) for name, places in found.items()}


@final
@dataclass(frozen=True, kw_only=True)
class Loop:
    """A natural loop: a block that dominates all the others, and a way back to it.

    Attributes:
        header: place of the block that it is entered by.
        blocks: places of all its blocks, in the order of the code.
        latches: blocks that jump back to the header.
        parent: place of the next larger loop in `Function.loops`, or None.
        depth: 1 for a loop in no other.
        innermost: whether it holds no other.
        own: blocks that are in no loop inside.
    """

    header: int
    blocks: tuple[int, ...]
    latches: tuple[int, ...]
    parent: int | None
    depth: int
    innermost: bool
    own: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Function:
    """One function.

    Attributes:
        name: of the symbol.
        blocks: in the order of the code; the first is entered.
    """

    name: str
    blocks: tuple[Block, ...]

    @functools.cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """Blocks that may come before each block."""
        found: list[list[int]] = [[] for _ in self.blocks]
        for place, block in enumerate(self.blocks):
            for after in block.successors:
                found[after].append(place)
        return tuple(map(tuple, found))

    @functools.cached_property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, an outer one before those inside."""
        return _loops(self)

    def body(self, loop: Loop) -> tuple[Instruction, ...]:
        """Return the instructions of a loop that are in no loop inside."""
        return tuple(
            each for place in loop.own for each in self.blocks[place].instructions
        )


def parse(text: str) -> tuple[Function, ...]:
    """Return the functions of an assembly text, x86-64 (AT&T) or AArch64 (GNU).

    Args:
        text: as LLVM prints it.

    Example:
        >>> found, = parse('''
        ... f:
        ...     xorl %eax, %eax
        ... .L1:
        ...     incl %eax
        ...     cmpl $8, %eax
        ...     jne .L1
        ...     retq
        ... ''')
        >>> found.name, len(found.blocks), found.loops[0].depth
        ('f', 3, 1)
    """
    arm = _X86.search(text) is None and _ARM.search(text) is not None
    jump = _ARM_JUMP if arm else _X86_JUMP
    decode = aarch64.decode if arm else x86.decode
    return tuple(
        _function(name, lines, jump, decode) for name, lines in _functions(text)
    )


def _functions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each function's name and its lines: labels with a colon, instructions."""
    comment = "#" if _X86.search(text) else "//"
    name, lines, code = "", [], True
    for raw in text.splitlines():
        line = raw.strip()
        first = line[:1]
        if not first or line.startswith(comment):
            continue
        if first == "." and not line.startswith(".L"):
            if line.startswith((".text", ".section", ".data", ".bss", ".rodata")):
                code = _CODE.match(line) is not None
            continue
        if not code:
            continue
        if comment in line:
            line = line.partition(comment)[0].rstrip()
        match = _LABEL.match(line) if line[-1] == ":" else None
        if match is None or first in ".$":
            if name:
                lines.append(line)
            continue
        if name and lines:
            yield name, lines
        name, lines = match[1], []
    if name and lines:
        yield name, lines


def _function(
    name: str, lines: Sequence[str], jump: re.Pattern[str], decode: Decode
) -> Function:
    """Return a function; blocks start at labels that are jumped to, and after jumps."""
    split = [line.split(None, 1) for line in lines]
    targets = {
        word[1].rpartition(",")[2].strip()
        for word in split
        if len(word) == 2 and jump.fullmatch(word[0])
    }
    labels: list[str] = [""]
    bodies: list[list[tuple[str, str]]] = [[]]
    for word in split:
        first = word[0]
        if first[-1] == ":" and len(word) == 1:
            if first[:-1] in targets:
                if bodies[-1] or labels[-1]:
                    labels.append("")
                    bodies.append([])
                labels[-1] = first[:-1]
            continue
        bodies[-1].append((first, word[1].strip() if len(word) == 2 else ""))
        if jump.fullmatch(first) or first in ("ret", "retq", "ud2", "brk"):
            labels.append("")
            bodies.append([])
    if not bodies[-1] and not labels[-1] and len(bodies) > 1:
        labels.pop()
        bodies.pop()
    places = {label: place for place, label in enumerate(labels) if label}
    return Function(
        name=name,
        blocks=tuple(
            Block(
                label=label,
                lines=tuple(body),
                successors=_successors(place, body, places, len(bodies), jump),
                decode=decode,
            )
            for place, (label, body) in enumerate(zip(labels, bodies, strict=True))
        ),
    )


def _successors(
    place: int,
    body: Sequence[tuple[str, str]],
    places: Mapping[str, int],
    count: int,
    jump: re.Pattern[str],
) -> tuple[int, ...]:
    after = (place + 1,) if place + 1 < count else ()
    if not body:
        return after
    mnemonic, operands = body[-1]
    if mnemonic in ("ret", "retq", "ud2", "brk", "br"):
        return ()
    if not jump.fullmatch(mnemonic):
        return after
    label = operands.rpartition(",")[2].strip()
    target = (places[label],) if label in places else ()
    if mnemonic in ("jmp", "jmpq", "b"):
        return target
    return tuple(dict.fromkeys((*target, *after)))


def _order(function: Function) -> list[int]:
    """Return the blocks that can be reached, each after one that leads to it."""
    seen, order = {0}, []
    stack = [(0, iter(function.blocks[0].successors))]
    while stack:
        place, rest = stack[-1]
        for after in rest:
            if after not in seen:
                seen.add(after)
                stack.append((after, iter(function.blocks[after].successors)))
                break
        else:
            order.append(place)
            stack.pop()
    return order[::-1]


def _dominators(function: Function, order: Sequence[int]) -> dict[int, int]:
    """Return the immediate dominator of each block (Cooper, Harvey and Kennedy)."""
    rank = {place: number for number, place in enumerate(order)}
    idom = {order[0]: order[0]}
    changed = True
    while changed:
        changed = False
        for place in order[1:]:
            new = -1
            for before in function.predecessors[place]:
                if before not in idom:
                    continue
                if new < 0:
                    new = before
                    continue
                other = before
                while new != other:
                    while rank[new] > rank[other]:
                        new = idom[new]
                    while rank[other] > rank[new]:
                        other = idom[other]
            if idom.get(place) != new:
                idom[place], changed = new, True
    return idom


def _loops(function: Function) -> tuple[Loop, ...]:
    order = _order(function)
    idom = _dominators(function, order)
    members: dict[int, set[int]] = {}
    latches: dict[int, list[int]] = {}
    for place in order:
        for header in function.blocks[place].successors:
            above = place
            while above not in (header, order[0]):
                above = idom[above]
            if above != header:
                continue
            latches.setdefault(header, []).append(place)
            inside = members.setdefault(header, {header})
            stack = [place]
            while stack:
                each = stack.pop()
                if each not in inside:
                    inside.add(each)
                    stack += [b for b in function.predecessors[each] if b in idom]
    headers = sorted(members, key=lambda header: -len(members[header]))
    found: list[Loop] = []
    for number, header in enumerate(headers):
        around = [
            above
            for above in range(number)
            if header in members[headers[above]] and headers[above] != header
        ]
        inner = set().union(
            *(
                members[below]
                for below in headers[number + 1 :]
                if below in members[header]
            )
        )
        parent = around[-1] if around else None
        found.append(
            Loop(
                header=header,
                blocks=tuple(sorted(members[header])),
                latches=tuple(latches[header]),
                parent=parent,
                depth=1 if parent is None else found[parent].depth + 1,
                innermost=not inner,
                own=tuple(sorted(members[header] - inner)),
            )
        )
    return tuple(found)
