"""Constants of a kernel: folded, named, packed in the order it reads them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from trimtab.compiler.groups import Group
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces import contraction, winograd_plan
from trimtab.compiler.spaces.contraction import Contraction
from trimtab.compiler.spaces.winograd_weights import transform_weights
from trimtab.compiler.tasks import Packing
from trimtab.graph.types import Ref

__all__ = ["bias_of", "constant_argument", "folded", "key_of", "weight_of"]


def constant_argument(planner: Planner, group: Group, name: str) -> torch.Tensor | None:
    """Return a constant argument of the anchor."""
    assert group.anchor is not None
    ref = group.anchor.arguments.get(name)
    return planner.constants.get(ref) if isinstance(ref, Ref) else None


def folded(
    group: Group, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight and bias with the batch normalisations in them.

    The arithmetic is in float64, and rounded once.
    """
    weight = weight.detach()
    bias = None if bias is None else bias.detach().double()
    if not group.affine:
        return weight, bias
    scale = torch.ones((), dtype=torch.float64)
    for affine in group.affine:
        scale = scale * affine.scale
        bias = affine.shift if bias is None else bias * affine.scale + affine.shift
    wide = weight.double().mul_(scale.view(-1, *([1] * (weight.dim() - 1))))
    return wide.float(), bias


def key_of(group: Group, what: str, tensor: torch.Tensor) -> str:
    """Return the name of a folded constant: equal names, equal content.

    Programs of several batch sizes share constants by name, and a constant may be
    computed from the batch size.
    """
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
    digest = hashlib.blake2b(raw.data, digest_size=8).hexdigest()
    assert group.anchor is not None
    return f"{group.anchor.name}.{what}.{digest}"


def bias_of(group: Group, bias: torch.Tensor) -> Packing:
    """Return the bias of a kernel."""
    return Packing(
        key=key_of(group, "bias", bias),
        order=lambda point: "",
        make=lambda point: bias.float().contiguous(),
    )


def weight_of(
    group: Group, work: Contraction, weight: torch.Tensor, lanes: int
) -> Packing:
    """Return the packed weights of a contraction; `weight` is ``(O, C, kh, kw)``."""

    def order(point: Any) -> str:
        if isinstance(point, winograd_plan.Point):
            return f"F{point.tile}/{point.chunk}x{point.vectors}x{lanes}"
        return f"{point.vectors}x{lanes}/{contraction.input_block(work)}"

    def make(point: Any) -> torch.Tensor:
        if isinstance(point, winograd_plan.Point):
            return torch.from_numpy(
                transform_weights(work, point, weight.detach().numpy(), lanes=lanes)
            )
        size = contraction.input_block(work)
        height, width = work.kernel
        rounded = weight.float()
        parts = []
        for group_index in range(work.groups):
            base = group_index * work.outputs_per_group
            for each in contraction.channel_segments(
                work.outputs_per_group, work.depth, point.vectors, lanes
            ):
                first = base + each.start
                parts.append(
                    rounded[first : first + each.count * each.step * each.lanes]
                    .reshape(
                        each.count,
                        each.step,
                        each.lanes,
                        work.inputs_per_group // size,
                        size,
                        height,
                        width,
                    )
                    .permute(0, 3, 5, 6, 4, 1, 2)
                    .reshape(-1)
                )
        return torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()

    return Packing(key=key_of(group, "weight", weight), order=order, make=make)
