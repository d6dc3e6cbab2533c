"""The table of ONNX operators, and what a translation is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from trimtab.errors import OnnxError

__all__ = ["TRANSLATIONS", "Operation", "Translation", "refused", "translates"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A node of an ONNX network without its inputs.

    Attributes:
        kind: name of the operator.
        opset: version of the operators.
        attributes: by name.
        outputs: how many results are asked for.
    """

    kind: str
    opset: int
    attributes: Mapping[str, Any]
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or what it is when the file leaves it out."""
        return self.attributes.get(name, default)


Translation: TypeAlias = Callable[..., Any]
"""From an operation and its inputs to a tensor, or a tuple of them."""

TRANSLATIONS: dict[str, Translation] = {}
"""How each operator of ONNX is done by PyTorch, by name."""


def translates(*kinds: str) -> Callable[[Translation], Translation]:
    """Enter a function into the table under names of operators."""

    def enter(function: Translation) -> Translation:
        for kind in kinds:
            TRANSLATIONS[kind] = function
        return function

    return enter


def refused(operation: Operation, rule: str) -> OnnxError:
    """Return the error for an operator that is used as it is not read.

    Example:
        >>> print(refused(Operation(kind="Resize", opset=18, attributes={}), "no"))
        operator Resize: no. Export the network with this operator in its usual form.
    """
    return OnnxError(
        f"operator {operation.kind}",
        rule=rule,
        remedy="export the network with this operator in its usual form",
    )
