"""From a specification to a module and its inputs, wherever a network is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from trimtab.bundle.store import is_bundle, read
from trimtab.errors import CaptureError, UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.module import GraphModule
from trimtab.graph.types import Graph
from trimtab.zoo.inputs import example_arguments, parse_inputs
from trimtab.zoo.resolve import resolve

__all__ = ["Opened", "Traced", "beside", "open_graph", "open_network"]

Device = Literal["cpu", "meta"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A module with inputs to call it with.

    Attributes:
        name: for people.
        module: in evaluation mode.
        args: positional example inputs.
        kwargs: keyword example inputs.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """A graph with its weights; the weights are on the meta device if so asked.

    Attributes:
        graph: of the network.
        weights: by target.
    """

    graph: Graph
    weights: Mapping[str, Tensor]


def open_network(
    spec: str,
    *,
    inputs: Sequence[str] = (),
    weights: str | None = None,
    device: Device = "cpu",
    folder: Path | None = None,
) -> Opened:
    """Return the module that `spec` names, with example inputs.

    Args:
        spec: ``zoo:NAME``, ``package.module:factory``, a ``.py`` or ``.onnx`` file, or
            the folder of a bundle.
        inputs: as text (`trimtab.zoo.inputs`); the network's own where empty. A bundle
            has its own.
        weights: a ``.safetensors`` file; a bundle has its own.
        device: ``meta`` for shapes only.
        folder: of the run file, where files are looked for that are not here.

    Raises:
        UsageError: the network offers no inputs and none are given, or they are given
            for a bundle.
        NetworkNotFoundError: nothing stands under `spec`.
    """
    spec = beside(spec, folder)
    if is_bundle(Path(spec)):
        return _open_bundle(Path(spec), inputs=inputs, weights=weights)
    file = None if weights is None else Path(beside(weights, folder))
    found = resolve(spec, weights=file, device="cpu" if file else device)
    if inputs:
        args, kwargs = parse_inputs(inputs, device=found.device)
        return Opened(name=found.name, module=found.module, args=args, kwargs=kwargs)
    if found.example_inputs is None:
        declared = f" ({', '.join(found.declared)})" if found.declared else ""
        raise UsageError(
            f"network {spec!r} without inputs",
            rule=f"it offers no example inputs{declared}, and a graph has fixed shapes",
            where="--input",
            remedy="give shapes, such as --input 1,3,224,224"
            + (" or --input ids=int64[1,128]" if declared else ""),
        )
    return Opened(
        name=found.name, module=found.module, args=found.example_inputs, kwargs={}
    )


def _open_bundle(path: Path, *, inputs: Sequence[str], weights: str | None) -> Opened:
    if inputs or weights:
        raise UsageError(
            f"bundle {str(path)!r} with {'inputs' if inputs else 'weights'}",
            rule="a bundle has its own",
            where="--input" if inputs else "--weights",
            remedy="leave the option out",
        )
    bundle = read(path)
    graph = bundle.graph
    args, kwargs = example_arguments(graph)
    module = GraphModule(graph, bundle.weights()).eval()
    return Opened(name=graph.name, module=module, args=args, kwargs=kwargs)


def beside(spec: str, folder: Path | None) -> str:
    """Return a path in the folder of the run file, where it names something there.

    Example:
        >>> beside("zoo:lenet5", Path("plans"))
        'zoo:lenet5'
    """
    path, colon, rest = spec.partition(":")
    if folder is None or not path or Path(path).exists():
        return spec
    if (folder / path).exists():
        return f"{folder / path}{colon}{rest}"
    return spec


def open_graph(
    spec: str,
    *,
    inputs: Sequence[str] = (),
    weights: str | None = None,
    device: Device = "cpu",
) -> Traced:
    """Return the graph of a network or a bundle.

    Args:
        spec: as for `open_network`.
        inputs: as text.
        weights: a ``.safetensors`` file.
        device: ``meta`` where only the graph is needed.

    Raises:
        TrimtabError: what `open_network` and `capture` raise.
    """
    try:
        return _traced(
            open_network(spec, inputs=inputs, weights=weights, device=device)
        )
    except CaptureError:
        if device == "cpu":
            raise
        # Tensors that forward() makes or keeps outside of its state are no meta ones.
        return _traced(open_network(spec, inputs=inputs, weights=weights))


def _traced(opened: Opened) -> Traced:
    graph = capture(opened.module, opened.args, opened.kwargs, name=opened.name)
    return Traced(graph=graph, weights=weights_of(opened.module, graph))
