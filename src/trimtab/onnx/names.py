"""Names of an ONNX file, which may be anything, as names of Python."""

from __future__ import annotations

import keyword
import re
from typing import Final

from torch import nn

__all__ = ["attribute", "class_name", "identifier"]

_RESERVED: Final = frozenset((*vars(nn.Module()), *keyword.kwlist, "forward"))
_LONGEST: Final = 80


def attribute(text: str) -> str:
    """Return a text as a name that a module can have for a part of it.

    Example:
        >>> attribute("0"), attribute("a/b:1"), attribute("training")
        ('0', 'a_b_1', 'training_')
    """
    name = _word(text) or "value"
    return f"{name}_" if hasattr(nn.Module, name) or name in _RESERVED else name


def identifier(text: str, taken: set[str]) -> str:
    """Return a text as the name of an argument that is no other's.

    Args:
        text: any.
        taken: names of the others; the new one is added.

    Example:
        >>> identifier("input.1", set()), identifier("x", {"x"})
        ('input_1', 'x_')
    """
    name = _word(text)
    if not name or name[0].isdigit() or keyword.iskeyword(name) or name == "self":
        name = f"input_{name}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def class_name(text: str) -> str:
    """Return a text as the name of a class.

    Example:
        >>> class_name("resnet50"), class_name("3d-unet")
        ('resnet50', 'Network')
    """
    name = _word(text)
    return name if name.isidentifier() and not keyword.iskeyword(name) else "Network"


def _word(text: str) -> str:
    return re.sub(r"\W", "_", text, flags=re.ASCII)[:_LONGEST]
