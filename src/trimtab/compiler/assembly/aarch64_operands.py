"""Operands of AArch64 in GNU syntax: registers, constants, places in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from trimtab.compiler.assembly.instruction import Effect, Memory

__all__ = ["Operand", "memory_of", "operand_of"]

_NUMBER = re.compile(r"#?(-?(?:0x[0-9a-fA-F]+|\d+))")
_REGISTER = re.compile(
    r"(?P<kind>[xwqdshbvzp])(?P<number>\d+)"
    r"(?:\.(?P<count>\d*)(?P<element>[bhsdq]))?(?:\[\d+\])?(?:/[mz])?"
)
_ELEMENT = {"b": 8, "h": 16, "s": 32, "d": 64, "q": 128, "x": 64, "w": 32}
_SPECIAL = {"sp": "sp", "wsp": "sp", "xzr": "", "wzr": "", "lr": "x30", "fp": "x29"}


class Operand(NamedTuple):
    """One operand as it stands.

    Attributes:
        register: by one name for all its widths, empty for others.
        kind: the letter of the register as it stands.
        bits: width, 0 for vectors of SVE.
        element: width of one element.
        packed: whether all elements are meant.
        value: of a constant, shifted as it says.
        text: as it stands.
    """

    register: str = ""
    kind: str = ""
    bits: int = 0
    element: int = 0
    packed: bool = False
    value: int | None = None
    text: str = ""


def operand_of(text: str) -> Operand:
    """Return one operand.

    Example:
        >>> found = operand_of("v2.4s")
        >>> found.register, found.bits, found.packed
        ('v2', 128, True)
    """
    text = text.strip()
    if text in _SPECIAL:
        bits = 32 if text[0] == "w" else 64
        return Operand(register=_SPECIAL[text], kind="x", bits=bits, text=text)
    match = _REGISTER.fullmatch(text)
    if match is not None:
        kind, number = match["kind"], match["number"]
        name = f"{kind if kind == 'p' else 'x' if kind in 'xw' else 'v'}{number}"
        element = _ELEMENT.get(match["element"] or kind, 0)
        if kind == "z":
            return Operand(name, kind, 0, element, True, text=text)
        if kind == "v" and match["element"]:
            count = int(match["count"] or 0)
            lane = "[" in text
            bits = element * count if count else element
            return Operand(
                name, kind, bits, element, bool(count) and not lane, text=text
            )
        return Operand(name, kind, _ELEMENT.get(kind, 0), element, text=text)
    number = _NUMBER.match(text)
    if number is not None:
        value = int(number[1], 0)
        shift = re.search(r"lsl #(\d+)", text)
        return Operand(value=value << int(shift[1]) if shift else value, text=text)
    return Operand(text=text)


def memory_of(
    words: Sequence[str], size_bytes: int
) -> tuple[Memory, tuple[str, ...], Effect | None]:
    """Return the operand, registers that step the address, and how they do."""
    place = next(index for index, word in enumerate(words) if word.startswith("["))
    word = words[place]
    parts = [each.strip() for each in word.strip("[]!").split(",")]
    base = operand_of(parts[0]).register
    index, scale, displacement, symbol = "", 1, 0, ""
    for part in parts[1:]:
        number = _NUMBER.match(part)
        shift = re.match(r"(?:lsl|[su]xtw|sxtx)(?: #(\d+))?$", part)
        if shift is not None:
            scale = 1 << int(shift[1] or 0)
        elif number is not None:
            displacement = int(number[1], 0)
        elif _REGISTER.fullmatch(part):
            index = operand_of(part).register
        else:
            symbol = part
    effect, moved = None, tuple[str, ...]()
    if word.endswith("!"):
        effect, moved = Effect("add", base, base, value=displacement), (base,)
    elif len(words) > place + 1:
        after = operand_of(words[place + 1])
        moved = (base,)
        if after.value is not None:
            effect = Effect("add", base, base, value=after.value)
    memory = Memory(
        base=base,
        index=index,
        scale=scale,
        displacement=displacement,
        symbol=symbol,
        size_bytes=size_bytes,
        stack=base == "sp",
    )
    return memory, moved, effect
