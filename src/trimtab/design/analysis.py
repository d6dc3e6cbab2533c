"""What the receptive fields of a module are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from trimtab.design.layers import Analysis, analyse
from trimtab.design.sliding import SlidingChannelConv2d
from trimtab.graph.capture import capture
from trimtab.graph.types import Graph

__all__ = ["analysis_of", "analyze", "windows_of"]


def windows_of(model: nn.Module) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the windows of a network's sliding-channel convolutions, by path."""
    return {
        path: tuple(tuple(row) for row in module.channels.tolist())
        for path, module in model.named_modules()
        if isinstance(module, SlidingChannelConv2d)
    }


def analysis_of(
    model: nn.Module,
    inputs: tuple[Any, ...],
    keywords: Mapping[str, Any] | None = None,
    *,
    name: str = "",
) -> tuple[Analysis, Graph]:
    """Return what the fields of a network are, and its graph.

    Args:
        model: in evaluation mode; it is not changed.
        inputs: of one call.
        keywords: of the same call.
        name: for people.

    Raises:
        UsageError: there is no image, or no convolution of it.
        CaptureError: the network cannot be captured.
    """
    graph = capture(model, inputs, keywords, name=name)
    parameters = {
        path: sum(each.numel() for each in module.parameters(recurse=False))
        for path, module in model.named_modules()
    }
    return analyse(graph, windows=windows_of(model), modules=parameters), graph


def analyze(
    model: nn.Module,
    inputs: tuple[Any, ...],
    keywords: Mapping[str, Any] | None = None,
    *,
    name: str = "",
) -> Analysis:
    """Return what the receptive fields of a network are.

    Args:
        model: in evaluation mode; it is not changed.
        inputs: of one call.
        keywords: of the same call.
        name: for people.

    Raises:
        UsageError: there is no image, or no convolution of it.
        CaptureError: the network cannot be captured.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)).eval()
        >>> analyze(net, (torch.zeros(1, 3, 9, 9),)).layers[1].field_out
        (5, 5)
    """
    return analysis_of(model, inputs, keywords, name=name)[0]
