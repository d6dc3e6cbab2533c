"""Receptive fields of every value of a graph: rows, columns and channels, exactly.

The propagation is exact for what convolutions, pools and sums see: their support equals
that of a gradient. Rules are in `trimtab.design.windows` and `trimtab.design.elements`;
an operator without one is taken to see everything, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from trimtab.design import elements
from trimtab.design import windows as rules
from trimtab.design.axis import Axis
from trimtab.design.field import Context, Field, Fields
from trimtab.design.labels import Placed, along
from trimtab.errors import UsageError
from trimtab.graph.execute import run_node
from trimtab.graph.operators import OPERATORS, Family
from trimtab.graph.types import Graph, Node, Ref

__all__ = ["fields_of", "image_of"]

_PLACES = ("int64", "int32", "bool")
_MOST_PLACES = 1 << 22
# Of values that say which elements are taken: their type, and how many are worked out.


def image_of(graph: Graph) -> tuple[str, tuple[int, ...]]:
    """Return the input that is the image, and its size without batch and channels.

    Raises:
        UsageError: no input has the dimensions of a batch of images.
    """
    found = [
        (leaf.name, leaf.type.shape)
        for leaf in graph.inputs
        if leaf.type is not None and 3 <= len(leaf.type.shape) <= 5
    ]
    if not found:
        raise UsageError(
            f"receptive fields of network {graph.name!r}",
            rule="no input is a batch of images: (batch, channels, rows, columns)",
            where="the inputs of the graph",
            remedy="give an example input of three to five dimensions",
        )
    name, shape = max(found, key=lambda each: len(each[1]))
    return name, shape[2:]


def fields_of(
    graph: Graph,
    *,
    known: Mapping[Ref, torch.Tensor] | None = None,
    windows: Mapping[str, Sequence[Sequence[int]]] | None = None,
) -> Fields:
    """Return what every value of a network sees of its image.

    Args:
        graph: of the network.
        known: values of constants that say which elements are taken, integers or
            truths; those written in the code need not be given.
        windows: input channels of each output of convolutions whose weights are known
            to be zero elsewhere, by path of their module.

    Raises:
        UsageError: no input is a batch of images.
    """
    name, image = image_of(graph)
    context = Context(
        graph=graph,
        windows=dict(windows or {}),
        known={**_places(graph), **(known or {})},
    )
    before: dict[Ref, float] = {}
    for leaf in graph.inputs:
        # Of several inputs those of the image's size are images, too.
        if leaf.type is not None and (
            leaf.name == name or leaf.type.shape[2:] == image
        ):
            context.values[Ref(leaf.name)] = _begin(context, leaf.type.shape, image)
    for node in graph.nodes:
        if any(ref in context.values for ref in node.inputs):
            _propagate(context, node, before)
        else:
            _compute(context, node)
    return Fields(
        image=image,
        values=context.values,
        before=before,
        unknown=tuple(context.unknown),
        misaligned=tuple(context.misaligned),
    )


def _places(graph: Graph) -> dict[Ref, torch.Tensor]:
    """Return the constants written in the code that say which elements are taken."""
    found = {}
    for each in graph.constants:
        if each.data is not None and each.type.dtype in _PLACES:
            values = np.frombuffer(each.data, dtype=each.type.dtype)
            tensor = torch.from_numpy(values.copy()).view(each.type.shape)
            found[Ref(each.name)] = tensor
    return found


def _compute(context: Context, node: Node) -> None:
    """Work out places that follow from constants alone."""
    kind = node.outputs[0]
    if (
        kind is None
        or kind.dtype not in _PLACES
        or kind.elements > _MOST_PLACES
        or any(ref not in context.known for ref in node.inputs)
    ):
        return
    for index, value in enumerate(run_node(node, context.known)):
        if isinstance(value, torch.Tensor):
            context.known[Ref(node.name, index)] = value


def _begin(context: Context, shape: tuple[int, ...], image: tuple[int, ...]) -> Field:
    rank = len(shape)
    axes = tuple(
        Placed(along(rank, 2 + number, pixels), Axis.of_image(pixels))
        for number, pixels in enumerate(image)
    )
    return Field(
        shape=shape,
        axes=axes,
        channels=Placed(along(rank, 1, shape[1]), context.entries.add(shape[1])),
    )


def _propagate(context: Context, node: Node, before: dict[Ref, float]) -> None:
    """Work out the fields of what a node gives."""
    family = OPERATORS[node.op].family
    rule = _RULES.get(node.op) or _FAMILIES.get(family, Context.everything)
    found = rule(context, node)
    if found is None:
        return
    fields = found if isinstance(found, list) else [found]
    for output, (field, kind) in enumerate(zip(fields, node.outputs, strict=False)):
        if field is None or kind is None:
            continue
        ref = Ref(node.name, output)
        context.values[ref] = _staged(context, node, field)
        if context.values[ref] is not field:
            before[ref] = field.channel_count


def _staged(context: Context, node: Node, field: Field) -> Field:
    """Begin a new stage where the resolution changed."""
    before = [context.values[ref] for ref in node.inputs if ref in context.values]
    if OPERATORS[node.op].family not in _RESIZING or not before:
        return field
    sizes = field.spatial
    if not sizes or sizes == before[0].spatial or len(field.shape) < 2:
        return field
    channels = field.shape[1]
    labels = along(len(field.shape), 1, channels)
    return replace(field, channels=Placed(labels, context.entries.add(channels)))


_RESIZING = {Family.CONVOLUTION, Family.POOL, Family.RESAMPLE, Family.MOVE}
_Rule = Callable[[Context, Node], Field | list[Field | None] | None]
_FAMILIES: Mapping[Family, _Rule] = {
    Family.CONVOLUTION: rules.convolved,
    Family.POOL: rules.pooled,
    Family.RESAMPLE: rules.resampled,
    Family.ELEMENTWISE: elements.joined,
    Family.NORM: elements.normalised,
    Family.SOFTMAX: elements.along_dimension,
    Family.REDUCTION: elements.reduced,
    Family.MATMUL: elements.product,
    Family.ATTENTION: elements.attention,
    Family.MOVE: elements.moved,
    Family.VIEW: elements.moved,
}
_RULES: Mapping[str, _Rule] = {
    "aten.pad.default": rules.padded,
    "aten.constant_pad_nd.default": rules.padded,
    "aten.glu.default": Context.everything,
    "aten.cumsum.default": elements.along_dimension,
    "aten.cumprod.default": elements.along_dimension,
    "aten.sort.default": elements.along_dimension,
    "aten.gather.default": Context.everything,
    "aten.linalg_vector_norm.default": elements.reduced,
}
