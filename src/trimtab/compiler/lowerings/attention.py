"""Scaled dot product attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trimtab.compiler.groups import Group
from trimtab.compiler.layout import Layout, row_major
from trimtab.compiler.plan import Planner
from trimtab.compiler.spaces.attention import Attention
from trimtab.compiler.tasks import Packing, Value
from trimtab.graph.types import Ref

__all__ = ["LOWERINGS"]


def _heads(layout: Layout) -> Layout | None:
    """Return a layout as ``(B, H, L, D)``, or None."""
    if layout.axis is not None or not 2 <= len(layout.shape) <= 4:
        return None
    missing = 4 - len(layout.shape)
    return Layout(
        shape=(*([1] * missing), *layout.shape),
        strides=(*([0] * missing), *layout.strides),
        size=layout.size,
        offset=layout.offset,
    )


def _attention(planner: Planner, group: Group) -> bool:
    node = group.anchor
    assert node is not None
    arguments = node.arguments
    if arguments.get("dropout_p", 0.0) or node.output.dtype != "float32":
        return False
    values: list[Value] = []
    layouts: list[Layout] = []
    for name in ("query", "key", "value"):
        ref = arguments[name]
        if not isinstance(ref, Ref) or ref not in planner.values:
            return False
        value = planner.values[ref]
        if value.layout.axis is not None or value.layout.strides[-1] != 1:
            value = planner.dense(ref)
        layout = _heads(value.layout)
        if layout is None:
            return False
        values.append(value)
        layouts.append(layout)
    query, key, value_layout = layouts
    batch, heads, rows, _ = query.shape
    if key.shape[0] != batch or value_layout.shape[0] != batch:
        return False
    if heads % key.shape[1] or key.shape[1] != value_layout.shape[1]:
        return False
    mask = arguments.get("attn_mask")
    masks: list[Value | Packing] = []
    mask_layout: Layout | None = None
    boolean = False
    if isinstance(mask, Ref):
        given, layout = planner.operand(mask, (*query.shape[:3], key.shape[2]))
        if layout.axis is not None:
            return False
        boolean = planner.type_of(mask).dtype == "bool"
        if not boolean and planner.type_of(mask).dtype != "float32":
            return False
        masks.append(given)
        mask_layout = layout
    shape = node.output.shape
    target = planner.fresh(row_major(shape))
    scale = arguments.get("scale")
    work = Attention(
        query=query,
        key=key,
        value=value_layout,
        output=row_major((batch, heads, rows, value_layout.shape[3])),
        mask=mask_layout,
        boolean=boolean,
        causal=bool(arguments.get("is_causal", False)),
        scale=float(scale) if isinstance(scale, int | float) else None,
    )
    planner.add(work, (*values, *masks, target), (node,))
    planner.finish(group, target, fused=False)
    return True


LOWERINGS: Mapping[str, Callable[[Planner, Group], bool]] = {
    "aten.scaled_dot_product_attention.default": _attention,
}
"""By the anchor's operator."""
