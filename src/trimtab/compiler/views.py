"""A view as layouts of its results, where nothing has to move."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trimtab.compiler.layout import Layout, row_major
from trimtab.errors import ExecutionError
from trimtab.graph.execute import run_node
from trimtab.graph.types import Node, Ref, TensorType

__all__ = ["view_layouts"]


def view_layouts(
    node: Node, source: Ref, layout: Layout, types: Mapping[Ref, TensorType]
) -> tuple[Layout | None, ...] | None:
    """Return the layouts of a view's results, or None where it must copy.

    Args:
        node: the view.
        source: what it shows.
        layout: of that.
        types: of everything the node reads.
    """
    if layout.axis is not None:  # blocks stay where nothing moves
        plain = row_major(layout.shape)
        return (
            (layout,) if view_layouts(node, source, plain, types) == (plain,) else None
        )
    meta = {
        ref: torch.empty(kind.shape, dtype=getattr(torch, kind.dtype), device="meta")
        for ref, kind in types.items()
    }
    base = torch.empty(layout.size, dtype=meta[source].dtype, device="meta").as_strided(
        layout.shape, layout.strides, layout.offset
    )
    found: list[Layout | None] = []
    try:
        results = run_node(node, {**meta, source: base}, "meta")
    except ExecutionError:  # PyTorch refuses views that it would have to copy
        return None
    for kind, result in zip(node.outputs, results, strict=True):
        if kind is None:
            found.append(None)
            continue
        if result is not base and not result._is_view():
            return None
        if result.dtype != base.dtype:
            return None
        found.append(
            Layout(
                shape=tuple(result.shape),
                strides=tuple(result.stride()),
                offset=int(result.storage_offset()),
                size=layout.size,
            )
        )
    return tuple(found)
