"""From a specification to a network that workers can serve."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import Tensor

from trimtab.bundle.store import is_bundle
from trimtab.errors import UsageError
from trimtab.pipeline.load import load
from trimtab.pipeline.network import open_network
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.serve.live.models import Model, described
from trimtab.zoo.preset import sizes
from trimtab.zoo.registry import network

__all__ = ["OPENER", "open_model"]

OPENER = f"{__name__}:open_model"
"""What a worker is told to open its network with: `serve` knows no pipeline."""


def open_model(spec: str, *, weights: str | None = None, trust: bool = False) -> Model:
    """Return the network of a specification, ready for any number of items.

    Args:
        spec: ``zoo:NAME``, ``package.module:factory``, a ``.py`` or ``.onnx`` file, or
            a bundle.
        weights: a ``.safetensors`` file.
        trust: run the machine code of a bundle, whoever made it.

    Raises:
        UsageError: it has no batch axis, or a bundle holds no compiled code.
    """
    if is_bundle(Path(spec)):
        found = load(Path(spec), trust=trust)
        if not isinstance(found, CompiledNetwork):
            raise UsageError(
                f"serving bundle {spec!r}",
                rule="without compiled code a graph takes one batch size alone",
                where="trimtab serve",
                remedy="add a table [compile] to its run file, or serve the module",
            )
        leaves = [leaf for leaf in found.graph.inputs if leaf.type is not None]
        example = tuple(
            torch.zeros(leaf.type.shape, dtype=getattr(torch, leaf.type.dtype))
            for leaf in leaves
            if leaf.type is not None
        )
        return described(
            found.graph.name, found, [leaf.name for leaf in leaves], example, None
        )
    opened = open_network(spec, weights=weights)
    module = opened.module.eval().requires_grad_(False)
    if opened.kwargs or not all(isinstance(each, Tensor) for each in opened.args):
        raise UsageError(
            f"serving {spec!r}",
            rule="its inputs are positional tensors with a batch axis",
            where="trimtab serve",
            remedy="wrap it in a module that takes tensors alone",
        )
    parameters = list(inspect.signature(module.forward).parameters)
    names = parameters[: len(opened.args)]
    if len(names) < len(opened.args):
        names = [f"input_{number}" for number in range(len(opened.args))]
    bounds = dict(zip(names, _bounds(spec), strict=False))
    return described(opened.name, module, names, opened.args, module, bounds)


def _bounds(spec: str) -> list[tuple[int, ...]]:
    """Return what the ids of each input are below, of a network of the zoo with tables.

    Without, an id beyond its own table would read the next one (`Tables`).
    """
    if not spec.startswith("zoo:"):
        return []
    entry = network(spec.removeprefix("zoo:"))
    if not entry.presets:
        return []
    preset = entry.preset or next(iter(entry.presets))
    return [each.rows for each in sizes(entry.name.partition("-")[0], preset).inputs]
