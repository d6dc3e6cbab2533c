"""Convolutions of images and lines: dense, grouped, depthwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from trimtab.compiler.groups import Group
from trimtab.compiler.lowerings.constants import (
    bias_of,
    constant_argument,
    folded,
    key_of,
    weight_of,
)
from trimtab.compiler.plan import Planner
from trimtab.compiler.ranks import insert_ones
from trimtab.compiler.spaces import depthwise
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.depthwise import Depthwise
from trimtab.compiler.tasks import Packing
from trimtab.compiler.windows import CONVOLUTIONS, Window, window_of

__all__ = ["LOWERINGS"]


def _convolution(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    window = window_of(planner.graph, node)
    weight = constant_argument(planner, group, "weight")
    bias = constant_argument(planner, group, "bias")
    if window is None or weight is None or weight.dtype != torch.float32:
        return False
    if bias is None and node.arguments.get("bias") is not None:
        return False
    weight, bias = folded(group, weight, bias)
    if weight.dim() == 3:
        weight = weight[:, :, None]
    if window.depthwise:
        return _depthwise(planner, group, window, weight, bias)
    outputs = weight.shape[0] // window.groups
    ragged = window.groups > 1 and bool(
        window.channels // window.groups % planner.lanes or outputs % planner.lanes
    )
    source = planner.image(window.source, window.halo, flat=ragged, added=window.added)
    if window.groups > 1 and outputs % planner.lanes:
        planner.flat.add(group.output)
    shape = node.output.shape
    target = planner.activation(group.output, insert_ones(shape, window.added))
    others = [planner.operand(ref, shape, window.added) for ref in group.operands]
    work = Contraction(
        input=source.layout,
        output=target.layout,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        groups=window.groups,
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        bias=bias is not None,
    )
    planner.add(
        work,
        (
            source,
            weight_of(group, work, weight, planner.lanes),
            *([] if bias is None else [bias_of(group, bias)]),
            *(value for value, _ in others),
            target,
        ),
        group.nodes,
    )
    planner.show(group.output, target, window.added)
    return True


def _depthwise(
    planner: Planner,
    group: Group,
    window: Window,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
) -> bool:
    assert group.anchor is not None
    shape = group.anchor.output.shape
    source = planner.image(window.source, window.halo, added=window.added)
    target = planner.activation(group.output, insert_ones(shape, window.added))
    others = [planner.operand(ref, shape, window.added) for ref in group.operands]
    work = Depthwise(
        input=source.layout,
        output=target.layout,
        kernel=window.kernel,
        stride=window.stride,
        padding=window.padding,
        dilation=window.dilation,
        formula=group.formula,
        operands=tuple(layout for _, layout in others),
        bias=bias is not None,
    )
    lanes = planner.lanes

    def pack(point: Any) -> torch.Tensor:
        blocks = [
            weight[first : first + channels, 0].permute(1, 2, 0).reshape(-1)
            for first, channels in depthwise.pack_order(work, lanes)
        ]
        return torch.cat(blocks).float().contiguous()

    packed_weight = Packing(
        key=key_of(group, "weight", weight),
        order=lambda point: f"depthwise{lanes}",
        make=pack,
    )
    planner.add(
        work,
        (
            source,
            packed_weight,
            *([] if bias is None else [bias_of(group, bias)]),
            *(value for value, _ in others),
            target,
        ),
        group.nodes,
    )
    planner.show(group.output, target, window.added)
    return True


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = dict.fromkeys(
    CONVOLUTIONS, _convolution
)
"""By the anchor's operator."""
