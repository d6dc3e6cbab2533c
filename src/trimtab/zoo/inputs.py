"""Example inputs from text: ``1,3,224,224`` or ``ids=int64[1,128]``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch

from trimtab.errors import UsageError
from trimtab.graph.tree import unflatten
from trimtab.graph.types import ITEM_BYTES, Graph

__all__ = ["example_arguments", "example_values", "parse_inputs"]

_SIZES = "[0-9]{1,18}(?:,[0-9]{1,18})*"
_FORM = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?"
    rf"(?:(?P<shape>{_SIZES})|(?P<dtype>[a-z]\w*)\[(?P<sizes>(?:{_SIZES})?)\])"
)
_MAX_ELEMENTS = 1 << 32
# Sixteen gigabytes of float32: more is a slip of the keyboard.


def parse_inputs(
    texts: Sequence[str], *, device: Literal["cpu", "meta"] = "cpu"
) -> tuple[tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """Return positional and keyword inputs.

    Floating-point inputs are drawn from a normal distribution with a fixed seed, others
    are zero: zero is a valid index for every table.

    Args:
        texts: ``SHAPE`` or ``DTYPE[SHAPE]``, either with ``NAME=`` before it.
        device: ``meta`` makes shapes without memory.

    Raises:
        UsageError: a text is of another form, or too large.

    Example:
        >>> args, kwargs = parse_inputs(["1,3,8,8", "ids=int64[1,128]"])
        >>> tuple(args[0].shape), kwargs["ids"].dtype
        ((1, 3, 8, 8), torch.int64)
    """
    args: list[torch.Tensor] = []
    kwargs: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for text in texts:
        match = _FORM.fullmatch(text.replace(" ", ""))
        dtype = (match["dtype"] or "float32") if match else ""
        if match is None or dtype not in ITEM_BYTES:
            raise UsageError(
                f"input {text!r}",
                rule="an input is SHAPE or DTYPE[SHAPE], either with NAME= before it; "
                f"dtypes are {', '.join(ITEM_BYTES)}",
                where="--input",
                remedy="write 1,3,224,224 or ids=int64[1,128]",
            )
        sizes = match["shape"] or match["sizes"]
        shape = [int(size) for size in sizes.split(",")] if sizes else []
        elements = 1
        for size in shape:
            elements *= size
        if not 0 < elements <= _MAX_ELEMENTS:
            raise UsageError(
                f"input {text!r} of {elements} elements",
                rule=f"an input has between 1 and {_MAX_ELEMENTS}",
                where="--input",
                remedy="give the shape of one call",
            )
        wanted = getattr(torch, dtype)
        if device == "meta":
            value = torch.empty(shape, dtype=wanted, device="meta")
        elif wanted.is_floating_point:
            value = torch.randn(shape, generator=generator).to(wanted)
        else:
            value = torch.zeros(shape, dtype=wanted)
        name = match["name"]
        if name is None and not kwargs:
            args.append(value)
        elif name is None:
            raise UsageError(
                f"input {text!r}",
                rule="inputs without a name come before those with one",
                where="--input",
                remedy="name it too, or give it first",
            )
        elif name in kwargs:
            raise UsageError(
                f"input {name!r}",
                rule="it is given twice",
                where="--input",
                remedy="give it once",
            )
        else:
            kwargs[name] = value
    return tuple(args), kwargs


def example_values(graph: Graph) -> dict[str, torch.Tensor]:
    """Return a value for every tensor input of a graph, by name.

    Drawn as `parse_inputs` draws them.

    Example:
        >>> from trimtab.graph.capture import capture
        >>> graph = capture(torch.nn.ReLU().eval(), (torch.zeros(2),))
        >>> [value.shape for value in example_values(graph).values()]
        [torch.Size([2])]
    """
    typed = [leaf for leaf in graph.inputs if leaf.type is not None]
    values, _ = parse_inputs([str(leaf.type) for leaf in typed])
    return {leaf.name: value for leaf, value in zip(typed, values, strict=True)}


def example_arguments(graph: Graph) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments and keywords to call a graph with, `example_values` in them.

    Example:
        >>> from trimtab.graph.capture import capture
        >>> graph = capture(torch.nn.ReLU().eval(), (torch.zeros(2),))
        >>> args, kwargs = example_arguments(graph)
        >>> args[0].shape, kwargs
        (torch.Size([2]), {})
    """
    values = example_values(graph)
    leaves = (values.get(leaf.name, leaf.value) for leaf in graph.inputs)
    nested = unflatten(leaves, graph.input_tree)
    return cast(tuple[tuple[Any, ...], dict[str, Any]], nested)
