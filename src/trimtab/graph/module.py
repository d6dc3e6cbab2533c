"""A graph as an nn.Module: a bundle stands wherever a network is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import nn

from trimtab.errors import ExecutionError
from trimtab.graph.execute import Executor
from trimtab.graph.types import ConstantKind, Graph

__all__ = ["GraphModule"]


@final
class GraphModule(nn.Module):
    """A network that is a graph; `capture` gives that graph back.

    For inference only: no gradients are recorded, and the shapes are those of capture.

    Args:
        graph: what to run.
        weights: parameters and buffers by target, tied ones once.

    Raises:
        ExecutionError: the weights do not belong to the graph, or their names cannot
            be names in a module.

    Example:
        >>> from trimtab.graph.capture import capture, weights_of
        >>> layer = nn.Linear(3, 2).eval()
        >>> graph = capture(layer, (torch.zeros(1, 3),))
        >>> again = GraphModule(graph, weights_of(layer, graph)).eval()
        >>> list(again.state_dict()), capture(again, (torch.zeros(1, 3),)) == graph
        (['weight', 'bias'], True)
    """

    def __init__(self, graph: Graph, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._graph = graph
        self._executor = Executor(graph, weights)
        for constant in graph.tensors:
            if constant.kind is ConstantKind.TENSOR:
                continue
            try:
                _register(
                    self, constant.shares, weights[constant.shares], constant.kind
                )
            except KeyError as error:
                raise ExecutionError(
                    f"weight {constant.shares!r}",
                    rule=f"a module cannot hold it: {error.args[0]}",
                    where=f"graph {graph.name!r}",
                    remedy="capture the network again",
                ) from error

    @property
    def graph(self) -> Graph:
        """The graph it runs."""
        return self._graph

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Return what the graph returns, see `Executor.__call__`."""
        return self._executor(*args, **kwargs)


def _register(
    root: nn.Module, target: str, tensor: torch.Tensor, kind: ConstantKind
) -> None:
    """Put a tensor where its dotted name says, with plain modules in between."""
    *path, name = target.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        inner = module._modules[part]
        assert inner is not None
        module = inner
    if kind is ConstantKind.PARAMETER:
        module.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    else:
        module.register_buffer(name, tensor)
