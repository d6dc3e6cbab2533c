"""Operands of x86-64 in AT&T syntax: registers, constants, places in memory."""

from __future__ import annotations

import re
from typing import NamedTuple

from trimtab.compiler.assembly.instruction import Memory

__all__ = ["Operand", "memory_of", "operands_of"]


def _registers() -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for letter in "abcd":
        name = f"r{letter}x"
        found |= {name: (name, 64), f"e{letter}x": (name, 32), f"{letter}x": (name, 16)}
        found |= {f"{letter}l": (name, 8), f"{letter}h": (name, 8)}
    for word in ("si", "di", "bp", "sp"):
        name = f"r{word}"
        found |= {name: (name, 64), f"e{word}": (name, 32), word: (name, 16)}
        found |= {f"{word}l": (name, 8)}
    for number in range(8, 32):
        name = f"r{number}"
        found |= {name: (name, 64), f"{name}d": (name, 32), f"{name}w": (name, 16)}
        found |= {f"{name}b": (name, 8)}
    for number in range(32):
        for letter, bits in (("x", 128), ("y", 256), ("z", 512)):
            found[f"{letter}mm{number}"] = (f"v{number}", bits)
    for number in range(8):
        found[f"k{number}"] = (f"k{number}", 64)
    found["rip"] = ("", 64)
    return found


_REGISTERS = _registers()
_OPERAND = re.compile(
    r"\s*(?P<text>(?:[^,(){}]*\([^)]*\))|[^,(){}]+)"
    r"(?P<marks>(?:\s*\{[^}]*\})*)\s*(?:,|$)"
)
_MARK = re.compile(r"\{([^}]*)\}")
_MEMORY = re.compile(
    r"(?:%[c-g]s:)?(?P<offset>[^(]*)"
    r"(?:\((?:%(?P<base>\w+))?\s*(?:,\s*%(?P<index>\w+)\s*(?:,\s*(?P<scale>\d))?)?\))?"
)
_NUMBER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|\d+)")


class Operand(NamedTuple):
    """One operand as it stands.

    Attributes:
        register: by one name for all its widths, empty for others.
        bits: width of the register.
        value: of a constant, None where it is a symbol.
        memory: the parts of an address.
        mask: register that selects elements.
        zeroing: whether elements that are not selected become zero.
        broadcast: whether one element in memory stands for all.
        symbol: the text of a constant or an address.
    """

    register: str = ""
    bits: int = 0
    value: int | None = None
    memory: re.Match[str] | None = None
    mask: str = ""
    zeroing: bool = False
    broadcast: bool = False
    symbol: str = ""


def operands_of(text: str) -> list[Operand]:
    """Return the operands of a line, in its order.

    Example:
        >>> [each.register for each in operands_of("(%rax), %ymm0, %zmm1 {%k1}")]
        ['', 'v0', 'v1']
    """
    found = []
    for match in _OPERAND.finditer(text):
        word = match["text"].strip()
        mask, zeroing, broadcast = "", False, False
        for mark in _MARK.findall(match["marks"] or ""):
            mask = mark[1:] if mark.startswith("%k") else mask
            zeroing |= mark == "z"
            broadcast |= mark.startswith("1to")
        if word.startswith("%") and ":" not in word:
            name, bits = _REGISTERS.get(word[1:], (word[1:], 64))
            found.append(Operand(register=name, bits=bits, mask=mask, zeroing=zeroing))
        elif word.startswith("$"):
            number = _NUMBER.fullmatch(word[1:])
            value = int(word[1:], 0) if number else None
            found.append(Operand(value=value, symbol=word[1:]))
        elif (memory := _MEMORY.fullmatch(word)) is not None:
            found.append(
                Operand(memory=memory, mask=mask, broadcast=broadcast, symbol=word)
            )
    return found


def memory_of(operand: Operand, size_bytes: int) -> Memory:
    """Return the place in memory that an operand names."""
    match = operand.memory
    assert match is not None
    offset = match["offset"].strip()
    number = _NUMBER.fullmatch(offset)
    base = _REGISTERS.get(match["base"] or "", ("", 0))[0]
    return Memory(
        base=base,
        index=_REGISTERS.get(match["index"] or "", ("", 0))[0],
        scale=int(match["scale"] or 1),
        displacement=int(offset, 0) if number else 0,
        symbol="" if number else offset,
        size_bytes=size_bytes,
        stack=base == "rsp",
    )
