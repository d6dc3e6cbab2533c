"""Arguments by place and by name: a compiled network takes both, as its module does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import nn

from trimtab.errors import UsageError
from trimtab.graph.tree import Tree

__all__ = ["as_captured", "parameters_of"]


def parameters_of(module: nn.Module) -> tuple[str, ...]:
    """Return the parameters of ``forward`` that go by place and by name, in order.

    Example:
        >>> parameters_of(nn.Linear(1, 1)), parameters_of(nn.Bilinear(1, 1, 1))
        (('input',), ('input1', 'input2'))
    """
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # it is no function of Python
        return ()
    found = []
    for each in parameters:
        if each.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            break
        found.append(each.name)
    return tuple(found)


def as_captured(
    args: Sequence[object],
    keywords: Mapping[str, object],
    parameters: Sequence[str],
    tree: Tree,
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return arguments by place and by name as those of the capture were.

    What cannot be brought into that form is returned as it is: whoever takes it apart
    says what is wrong.

    Args:
        args: by place.
        keywords: by name.
        parameters: what goes by both, in order.
        tree: of the arguments at capture.

    Raises:
        UsageError: an argument is given twice.

    Example:
        >>> leaf = Tree(kind="leaf")
        >>> given = Tree(kind="tuple", children=(leaf,)), Tree(kind="dict")
        >>> as_captured((), {"x": 1}, ("x",), Tree(kind="tuple", children=given))
        ((1,), {})
    """
    given = tuple(args), dict(keywords)
    if len(args) > len(parameters) or len(tree.children) != 2:
        return given
    count, names = len(tree.children[0].children), set(tree.children[1].keys)
    if len(args) == count and set(keywords) == names:
        return given
    values = dict(zip(parameters, args, strict=False))
    for name in keywords:
        if name in values:
            raise UsageError(
                f"argument {name!r} twice",
                rule="it is given by place and by name",
                where="compiled network",
                remedy="give it once",
            )
    values.update(keywords)
    first = parameters[:count]
    if len(first) < count or not values.keys() >= set(first):
        return given
    return tuple(values.pop(name) for name in first), values
