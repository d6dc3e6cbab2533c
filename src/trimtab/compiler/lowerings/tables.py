"""Rows of tables and bags of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch

from trimtab.compiler.groups import Group
from trimtab.compiler.layout import row_major
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.embedding import Embedding
from trimtab.compiler.tasks import Packing, Value
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS"]

_MOST = 2**31 - 1  # places in a table are 32-bit numbers in a kernel


def _table(planner: Planner, ref: object) -> tuple[Value | Packing, int, int] | None:
    """Return a table, its rows and its width."""
    if not isinstance(ref, Ref):
        return None
    kind = planner.type_of(ref)
    if kind.dtype != "float32" or len(kind.shape) != 2 or kind.elements > _MOST:
        return None
    if not kind.elements:
        return None
    if ref in planner.constants:
        return planner.constant(ref), *kind.shape
    return planner.dense(ref), *kind.shape


def _numbers(planner: Planner, ref: object) -> tuple[Value | Packing, str, int] | None:
    """Return indices or offsets, their dtype and how many there are."""
    if not isinstance(ref, Ref):
        return None
    kind = planner.type_of(ref)
    if kind.dtype not in ("int64", "int32") or not kind.elements:
        return None
    if ref in planner.constants:
        return planner.constant(ref), kind.dtype, kind.elements
    return planner.dense(ref), kind.dtype, kind.elements


def _embedding(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    table = _table(planner, node.arguments["weight"])
    indices = _numbers(planner, node.arguments["indices"])
    if table is None or indices is None:
        return False
    weight, rows, width = table
    numbers, dtype, count = indices
    target = planner.fresh(row_major(node.output.shape))
    work = Embedding(
        table=row_major((rows, width)),
        output=row_major((count, width)),
        count=count,
        index_dtype="int64" if dtype == "int64" else "int32",
    )
    planner.add(work, (weight, numbers, target), (node,))
    planner.finish(group, target, fused=False)
    return True


_MODES: tuple[Literal["sum", "mean", "max"], ...] = ("sum", "mean", "max")


def _bag(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    arguments = node.arguments
    if any(planner.uses(Ref(node.name, index)) for index in (1, 2, 3)):
        return False  # what training needs
    table = _table(planner, arguments["weight"])
    indices = _numbers(planner, arguments["indices"])
    offsets = _numbers(planner, arguments.get("offsets"))
    mode = arguments.get("mode", 0)
    if table is None or indices is None or offsets is None or not isinstance(mode, int):
        return False
    weights = arguments.get("per_sample_weights")
    if indices[1] != offsets[1] or (weights is not None and mode != 0):
        return False
    weight, rows, width = table
    numbers, dtype, count = indices
    bags = node.output.shape[0]
    ends = bool(arguments.get("include_last_offset", False))
    length = _equal(planner, arguments["offsets"], count, bags, ends=ends)
    padding = arguments.get("padding_idx")
    parameters: list[Value | Packing] = [weight, numbers]
    if length is None:
        parameters.append(offsets[0])
    if isinstance(weights, Ref):
        parameters.append(planner.constant_or_value(weights))
        if weights not in planner.constants:
            parameters[-1] = planner.dense(weights)
    target = planner.fresh(row_major(node.output.shape))
    work = Embedding(
        table=row_major((rows, width)),
        output=target.layout,
        count=count,
        pool=_MODES[mode],
        length=length,
        last_offset=ends and length is None,
        weighted=weights is not None,
        padding=padding % rows if isinstance(padding, int) else None,
        index_dtype="int64" if dtype == "int64" else "int32",
    )
    planner.add(work, (*parameters, target), (node,))
    planner.finish(group, target, fused=False)
    return True


def _equal(
    planner: Planner, ref: object, count: int, bags: int, *, ends: bool
) -> int | None:
    """Return how many indices every bag has, where offsets are known and that is so."""
    known = planner.constants.get(ref) if isinstance(ref, Ref) else None
    if known is None or not bags or count % bags:
        return None
    length = count // bags
    expected = torch.arange(bags + ends, dtype=known.dtype) * length
    return length if torch.equal(known.flatten(), expected) else None


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    "aten.embedding.default": _embedding,
    "aten.embedding_bag.default": _bag,
    "aten.embedding_bag.padding_idx": _bag,
    "aten._embedding_bag_forward_only.default": _bag,
}
"""By the anchor's operator."""
