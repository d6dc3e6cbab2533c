"""Layers whose weights are shared along the orbits of a subgroup.

The shapes are those of the ordinary layers, whatever the scheme: channels of features
come in slots, one for each element of the group, and a scheme says which of the weights
between slots, channels and places are one. So "plain CNN", "C4 group CNN" and "D4 group
CNN" (Cohen and Welling, arXiv 1602.07576) are one network with one cost, and what is
learned is the sharing (arXiv 2107.09301).

Until `trimtab.symmetry.network.retie` is called every weight is free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trimtab.errors import UsageError
from trimtab.symmetry.orbits import Axis, channel, orbits, regular, space
from trimtab.symmetry.schemes import Family, Scheme

__all__ = [
    "GroupConv2d",
    "InvariantHead",
    "LiftConv2d",
    "TiedConv2d",
    "TiedLinear",
    "TiedNorm",
    "TiedTensor",
]


_MOST_ENTRIES: Final = 50_000_000


@final
class TiedTensor(nn.Module):
    """A tensor with one value an orbit.

    Args:
        family: of schemes.
        axes: of the tensor, as the group acts on them.
        std: of the values that are drawn; 0 starts them at zero.

    Attributes:
        values: (m,) of float32, one for each orbit.
        orbit: (n,) of int64: the orbit of each entry.
    """

    orbit: Tensor

    def __init__(self, family: Family, axes: Sequence[Axis], *, std: float) -> None:
        super().__init__()
        self.family, self.axes, self.std = family, tuple(axes), std
        self.shape = tuple(size for axis in axes for size in axis.sizes)
        if math.prod(self.shape) > _MOST_ENTRIES:
            raise UsageError(
                f"a tied tensor of {' x '.join(map(str, self.shape))}",
                rule=f"it has more than {_MOST_ENTRIES:,} entries: a slot for each of "
                f"the {len(family.group)} elements of {family.group.name}",
                where="trimtab.symmetry",
                remedy="take a smaller group, or fewer channels",
            )
        self.values: nn.Parameter
        self.register_buffer("orbit", torch.empty(0, dtype=torch.int64))
        self.retie(family.schemes[0], None)

    def retie(self, scheme: Scheme, generator: torch.Generator | None) -> None:
        """Share along the orbits of another scheme; values are drawn anew.

        Args:
            scheme: of the family.
            generator: of the values; None draws from the global one.
        """
        generators = scheme.generators
        found = torch.from_numpy(orbits(self.family.group, generators, self.axes))
        self.orbit = found
        count = int(found.max()) + 1 if len(found) else 0
        values = torch.zeros(count)
        if self.std:
            values.normal_(0.0, self.std, generator=generator)
        self.values = nn.Parameter(values)

    def forward(self) -> Tensor:
        """Return the tensor, of the shape of its axes."""
        return self.values[self.orbit].view(self.shape)

    def extra_repr(self) -> str:
        """Return shape and number of values, for `print`."""
        return f"{self.shape}, values={self.values.numel()}"


class _Tied(nn.Module):
    """A layer with a tied weight and, maybe, a tied bias."""

    weight: TiedTensor
    bias: TiedTensor | None

    def _biased(self) -> Tensor | None:
        return None if self.bias is None else self.bias().reshape(-1)


@final
class TiedLinear(_Tied):
    """A dense layer between axes that a group acts on.

    Args:
        family: of schemes.
        inputs: axes of what comes in, flattened in this order.
        outputs: of what goes out.
        bias: whether to add one.

    Example:
        >>> from trimtab.symmetry.orbits import permuted
        >>> from trimtab.symmetry.schemes import shifts
        >>> family = shifts(6)
        >>> axes = (channel(1), permuted("shift", 6))
        >>> layer = TiedLinear(family, axes, axes, bias=False)
        >>> layer.weight.values.numel()
        36
        >>> layer.weight.retie(family["by 1"], None)  # a circular convolution
        >>> layer.weight.values.numel()
        6
    """

    def __init__(
        self,
        family: Family,
        inputs: Sequence[Axis],
        outputs: Sequence[Axis],
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        fan_in = math.prod(axis.places for axis in inputs)
        self.weight = TiedTensor(family, (*outputs, *inputs), std=_he(fan_in))
        self.bias = TiedTensor(family, outputs, std=0.0) if bias else None
        self.inputs = fan_in
        self.outputs = math.prod(axis.places for axis in outputs)
        self.flattens = any(each.kind in ("space", "permuted") for each in inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, ...) with as many entries as the inputs have to (n, outputs)."""
        weight = self.weight().reshape(self.outputs, self.inputs)
        return F.linear(x.flatten(1), weight, self._biased())


class _TiedConv(_Tied):
    def __init__(
        self,
        family: Family,
        outputs: tuple[Axis, ...],
        inputs: tuple[Axis, ...],
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(
                f"a tied convolution with a kernel of {kernel} x {kernel}",
                rule="an even kernel has no centre, so that turning images and turning "
                "kernels differ by half a pixel",
                where="trimtab.symmetry",
                remedy=f"give {kernel - 1} or {kernel + 1}",
            )
        fan_in = math.prod(axis.places for axis in inputs) * kernel**2
        self.weight = TiedTensor(
            family, (*outputs, *inputs, space(kernel, kernel)), std=_he(fan_in)
        )
        self.bias = TiedTensor(family, outputs, std=0.0) if bias else None
        self.kernel, self.stride, self.groups = kernel, stride, groups
        self.outputs = math.prod(axis.places for axis in outputs)
        self.inputs = math.prod(axis.places for axis in inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, rows, columns) to (n, outputs, rows, columns).

        With a stride the results are as many as windows begin. Turns keep them where
        rows and columns are one more than a multiple of it.
        """
        weight = self.weight().reshape(
            self.outputs, self.inputs, self.kernel, self.kernel
        )
        return F.conv2d(
            x, weight, self._biased(), stride=self.stride, padding=self.kernel // 2,
            groups=self.groups,
        )  # fmt: skip


@final
class TiedConv2d(_TiedConv):
    """A convolution whose channels have no slots: each kernel is symmetric itself.

    Args:
        family: of schemes.
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: rows and columns of the window, odd.
        bias: whether to add one.
    """

    def __init__(
        self, family: Family, inputs: int, outputs: int, kernel: int, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            family, (channel(outputs),), (channel(inputs),), kernel, bias=bias
        )


@final
class LiftConv2d(_TiedConv):
    """A convolution of an image to features with a slot for each element.

    Args:
        family: of schemes.
        inputs: channels of the image.
        outputs: base channels; as many times the slots go out.
        kernel: rows and columns of the window, odd.
        stride: places between windows.
        bias: whether to add one.

    Example:
        >>> from trimtab.symmetry.schemes import subgroups
        >>> layer = LiftConv2d(subgroups("D4"), 1, 2, 3)
        >>> layer(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 16, 8, 8])
    """

    def __init__(
        self, family: Family, inputs: int, outputs: int, kernel: int, *,
        stride: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            family, (channel(outputs), regular(family.group)), (channel(inputs),),
            kernel, stride=stride, bias=bias,
        )  # fmt: skip


@final
class GroupConv2d(_TiedConv):
    """A convolution of features with slots to features with slots.

    Args:
        family: of schemes.
        inputs: base channels that come in.
        outputs: base channels that go out.
        kernel: rows and columns of the window, odd.
        stride: places between windows.
        depthwise: whether each channel and slot is filtered alone; then as many go out
            as come in.
        bias: whether to add one.

    Raises:
        UsageError: an even kernel, or depthwise with other numbers of channels.
    """

    def __init__(
        self, family: Family, inputs: int, outputs: int, kernel: int, *,
        stride: int = 1, depthwise: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        slots = regular(family.group)
        if depthwise and inputs != outputs:
            raise UsageError(
                f"a depthwise convolution of {inputs} to {outputs} channels",
                rule="each channel is filtered alone, so as many go out as come in",
                where="trimtab.symmetry.GroupConv2d",
                remedy="give the same number twice",
            )
        super().__init__(
            family,
            (channel(outputs), slots),
            (channel(1),) if depthwise else (channel(inputs), slots),
            kernel,
            stride=stride,
            groups=inputs * slots.places if depthwise else 1,
            bias=bias,
        )


@final
class TiedNorm(_Tied):
    """Each base channel brought to mean 0 and variance 1, then scaled and shifted.

    Mean and variance are taken once, over examples, slots and places, before a training
    begins (`trimtab.symmetry.network.settled`), and stay: normalisation by what a batch
    or an example has makes the layers before it blind to the length of their weights,
    for which a Gaussian prior then has no maximum (ours; the idea to fix statistics at
    the start is that of Glow, arXiv 1807.03039). The scale is the exponential of a tied
    tensor, and so positive: it can be put into a convolution ahead of a pool.

    A deep network that is trained once its scheme is known may take them from every
    batch instead (`trimtab.symmetry.network.batched`), as a batch norm does.

    Args:
        family: of schemes.
        channels: base channels, with a slot for each element of the group each.

    Attributes:
        mean: (channels, 1) of what comes in.
        deviation: (channels, 1), the standard deviation.
        settling: whether the next call takes both from its examples.
        batch: takes both from batches instead, or None.
        behind: path of the layer whose results it alone reads, where that is known:
            `trimtab.symmetry.collapse` puts it in there.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, family: Family, channels: int) -> None:
        super().__init__()
        axes = (channel(channels), regular(family.group))
        self.weight = TiedTensor(family, axes, std=0.0)
        self.bias = TiedTensor(family, axes, std=0.0)
        self.register_buffer("mean", torch.zeros(channels, 1))
        self.register_buffer("deviation", torch.ones(channels, 1))
        self.settling = False
        self.batch: nn.BatchNorm1d | None = None
        self.behind: str | None = None

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift of each channel and slot, (channels, slots)."""
        assert self.bias is not None
        mean, deviation = self.mean, self.deviation
        if self.batch is not None:
            running, variance = self.batch.running_mean, self.batch.running_var
            assert running is not None
            assert variance is not None
            mean = running[:, None]
            deviation = (variance + self.batch.eps).sqrt()[:, None]
        scale = self.weight().exp() / deviation
        return scale, self.bias() - mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels x slots, ...) to the same shape."""
        channels = len(self.mean)
        slots = x.shape[1] // channels
        if self.settling:
            seen = x.detach().reshape(len(x), channels, -1).transpose(0, 1).flatten(1)
            self.mean = seen.mean(1, keepdim=True)
            self.deviation = seen.std(1, keepdim=True).clamp(min=1e-5)
        if self.batch is not None and self.training:
            assert self.bias is not None
            x = self.batch(x.reshape(len(x), channels, -1)).view(x.shape)
            scale, shift = self.weight().exp(), self.bias()
        else:
            scale, shift = self.affine()
        shape = (1, channels * slots, *(1,) * (x.ndim - 2))
        scaled: Tensor = x * scale.reshape(shape) + shift.reshape(shape)
        return scaled


@final
class InvariantHead(_Tied):
    """Features to scores: pooled over places, then a sum over channels and slots.

    Args:
        family: of schemes.
        inputs: base channels.
        outputs: scores.
        pool: how places are pooled.
    """

    def __init__(
        self, family: Family, inputs: int, outputs: int, *,
        pool: Literal["max", "mean"] = "max",
    ) -> None:  # fmt: skip
        super().__init__()
        slots = regular(family.group)
        self.pool = pool
        self.outputs, self.inputs = outputs, inputs * slots.places
        self.weight = TiedTensor(
            family, (channel(outputs), channel(inputs), slots), std=_he(self.inputs)
        )
        self.bias = TiedTensor(family, (channel(outputs),), std=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs x slots, rows, columns) to (n, outputs)."""
        weight = self.weight().reshape(self.outputs, self.inputs)
        return F.linear(self.pooled(x), weight, self._biased())

    def pooled(self, x: Tensor) -> Tensor:
        """Return (n, inputs x slots) of features with rows and columns."""
        return x.amax((2, 3)) if self.pool == "max" else x.mean((2, 3))


def _he(fan_in: int) -> float:
    """Return the standard deviation that keeps variances through rectifiers."""
    return math.sqrt(2.0 / max(1, fan_in))
