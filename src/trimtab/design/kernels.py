"""Kernels that may take the place of a convolution, as modules.

Each takes and gives the shapes of the convolution; what it sees and sums is another
matter (`trimtab.design.score`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, final

from pydantic import ConfigDict, Field
from torch import nn
from torch.nn.utils import parametrize

from trimtab.design.sliding import DepthwiseSliding, SlidingChannelConv2d
from trimtab.errors import UsageError

__all__ = [
    "MOST",
    "Kernel",
    "Replace",
    "has_hooks",
    "is_plain",
    "module_for",
    "wrong_edit",
]

MOST = 1000
"""Copies, rows of a window, dilation: what an edit may ask for."""

Kernel = Literal[
    "grouped", "depthwise-pointwise", "depthwise-grouped", "depthwise-sliding",
    "sliding", "asymmetric", "resized", "dilated",
]  # fmt: skip
"""What a convolution may become."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """Put another module in the place of a convolution.

    Attributes:
        module: its path.
        kernel: what it becomes.
        groups: of ``grouped``, ``depthwise-grouped``, ``sliding`` and
            ``depthwise-sliding``.
        overlap: of the windows of those that slide.
        size: rows and columns of the window of ``resized``.
        dilation: of ``dilated``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    module: str
    kernel: Kernel
    groups: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.0
    size: Annotated[int, Field(ge=0, le=MOST)] = 0
    dilation: Annotated[int, Field(ge=1, le=MOST)] = 1
    edit: Literal["replace"] = "replace"


def wrong_edit(path: str, rule: str) -> UsageError:
    """Return the error of an edit that cannot be made."""
    return UsageError(
        f"an edit of module {path!r}",
        rule=rule,
        where="the edits of a network",
        remedy="take paths of the network that the edits were made for",
    )


def is_plain(module: nn.Module) -> bool:
    """Whether a convolution is just one: nothing is added to what its class does."""
    return (
        type(module) is nn.Conv2d
        and not parametrize.is_parametrized(module)
        and not has_hooks(module)
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a module, or one in it, calls something else when it is called."""
    return any(
        each._forward_hooks
        or each._forward_pre_hooks
        or each._backward_hooks
        or each._backward_pre_hooks
        for each in module.modules()
    )


def module_for(conv: nn.Module, edit: Replace) -> nn.Module:
    """Return the module that takes the place of a convolution, weights drawn anew.

    It has the type and the place of its weights, and learns where it does.

    Raises:
        UsageError: it is no plain convolution, or cannot become that.
    """
    if not is_plain(conv):
        kind = type(conv).__name__
        raise wrong_edit(
            edit.module, f"it is a {kind}, or has hooks or parametrizations"
        )
    assert isinstance(conv, nn.Conv2d)
    try:
        made = _built(conv, edit)
    except (ValueError, RuntimeError) as error:  # what torch says of such numbers
        reason = str(error).splitlines()[0]
        raise wrong_edit(edit.module, f"it cannot become that: {reason}") from error
    weight = conv.weight
    made.to(device=weight.device, dtype=weight.dtype).train(conv.training)
    return made.requires_grad_(weight.requires_grad)


def _built(conv: nn.Conv2d, edit: Replace) -> nn.Module:
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise wrong_edit(edit.module, "its padding is not of zeros, in numbers")
    size, stride = _pair(conv.kernel_size), _pair(conv.stride)
    padding, dilation = _pair(conv.padding), _pair(conv.dilation)
    inputs, outputs, bias = conv.in_channels, conv.out_channels, conv.bias is not None
    depthwise = nn.Conv2d(
        inputs, inputs, size, stride, padding, dilation, groups=inputs, bias=False
    )
    if edit.kernel == "grouped":
        return nn.Conv2d(
            inputs, outputs, size, stride, padding, dilation, edit.groups, bias
        )
    if edit.kernel == "depthwise-pointwise":
        return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=bias))
    if edit.kernel == "depthwise-grouped":
        second = nn.Conv2d(inputs, outputs, 1, groups=edit.groups, bias=bias)
        return nn.Sequential(depthwise, second)
    if edit.kernel == "depthwise-sliding":
        return DepthwiseSliding(
            inputs,
            outputs,
            size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=edit.groups,
            overlap=edit.overlap,
            bias=bias,
        )
    if edit.kernel == "sliding":
        if size != (1, 1) or stride != (1, 1) or padding != (0, 0):
            raise wrong_edit(edit.module, "only a pointwise convolution can slide")
        return SlidingChannelConv2d(
            inputs, outputs, groups=edit.groups, overlap=edit.overlap, bias=bias
        )
    if edit.kernel == "asymmetric":
        first = nn.Conv2d(
            inputs, outputs, (size[0], 1), (stride[0], 1), (padding[0], 0),
            (dilation[0], 1), bias=False,
        )  # fmt: skip
        second = nn.Conv2d(
            outputs, outputs, (1, size[1]), (1, stride[1]), (0, padding[1]),
            (1, dilation[1]), bias=bias,
        )  # fmt: skip
        return nn.Sequential(first, second)
    if edit.kernel == "resized":
        grown = (edit.size, edit.size)
        room = tuple(
            pad + (new - old) * apart // 2
            for pad, new, old, apart in zip(padding, grown, size, dilation, strict=True)
        )
        return nn.Conv2d(
            inputs, outputs, grown, stride, _pair(room), dilation, conv.groups, bias
        )
    if any(each % 2 == 0 for each in size):
        raise wrong_edit(edit.module, "an even window has no middle to be dilated from")
    wide = tuple(
        pad + (each - 1) * (edit.dilation - apart) // 2
        for pad, each, apart in zip(padding, size, dilation, strict=True)
    )
    return nn.Conv2d(
        inputs, outputs, size, stride, _pair(wide), edit.dilation, conv.groups, bias
    )


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    assert isinstance(value, tuple)
    return (int(value[0]), int(value[1]))
