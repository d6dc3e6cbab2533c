"""The graph as text a person can read and a diff can show."""

from __future__ import annotations

from trimtab.graph.types import Argument, Graph, Ref

__all__ = ["to_text"]


def to_text(graph: Graph) -> str:
    """Return one line per input, constant, node and output.

    Example:
        >>> import torch
        >>> from trimtab.graph.capture import capture
        >>> layer = torch.nn.Linear(3, 2).eval()
        >>> print(to_text(capture(layer, (torch.zeros(1, 3),))), end="")
        graph Linear
        input     %input : float32[1,3]
        parameter %p_weight : float32[2,3] = weight
        parameter %p_bias : float32[2] = bias
        %linear : float32[1,2] = aten.linear.default(input=%input, weight=%p_weight, \
bias=%p_bias)
        return %linear
    """
    lines = [f"graph {graph.name}"]
    for leaf in graph.inputs:
        kind = leaf.type if leaf.type is not None else f"constant {leaf.value!r}"
        lines.append(f"input     %{leaf.name} : {kind}")
    for constant in graph.constants:
        tied = (
            f" (shares {constant.shares})" if constant.shares != constant.target else ""
        )
        lines.append(
            f"{constant.kind:<9} %{constant.name} : {constant.type} = "
            f"{constant.target}{tied}"
        )
    for node in graph.nodes:
        kinds = ", ".join(str(kind) if kind else "-" for kind in node.outputs)
        arguments = ", ".join(
            f"{key}={_text(value)}" for key, value in node.arguments.items()
        )
        where = f"  # {node.module}: {node.module_type}" if node.module else ""
        shared = f" shares {node.view_of}" if node.view_of else ""
        lines.append(f"%{node.name} : {kinds} = {node.op}({arguments}){shared}{where}")
    lines.append(f"return {', '.join(map(_text, graph.outputs))}")
    return "\n".join(lines) + "\n"


def _text(argument: Argument) -> str:
    if isinstance(argument, tuple):
        return f"({', '.join(map(_text, argument))})"
    return str(argument) if isinstance(argument, Ref) else _plain(argument)


def _plain(argument: Argument) -> str:
    return repr(argument) if isinstance(argument, str) else str(argument)
