"""From a specification to a network: ``zoo:NAME``, ``package.module:factory``, a file.

One more form, the path of a bundle, is read by the bundle room.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trimtab.errors import NetworkNotFoundError, TrimtabError, UsageError
from trimtab.onnx.read import is_onnx, require_package
from trimtab.zoo._foreign import (
    attribute,
    executed,
    importable,
    imported,
    kind,
    only_factory,
    required_arguments,
    shown,
    user_code,
)
from trimtab.zoo.registry import Network, network, networks
from trimtab.zoo.weights import load_weights

__all__ = ["Resolved", "resolve"]

_Device = Literal["cpu", "meta"]

_ZOO: Final = "zoo:"
_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_FILE_FORM: Final = re.compile(rf"(?P<path>.+\.py)(?::(?P<factory>{_DOTTED}))?")
_MODULE_FORM: Final = re.compile(rf"(?P<module>{_DOTTED}):(?P<factory>{_DOTTED})")
_HOOK: Final = "example_inputs"
# What a value of an argument looks like, and how it is read, by annotation.
_VALUES: Final[dict[object, tuple[str, Callable[[str], object]]]] = {
    bool: (r"true|false", lambda text: text == "true"),
    int: (r"[+-]?\d{1,18}", int),
    float: (r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", float),
    str: (r".+", str),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resolved:
    """A network that a specification led to.

    Attributes:
        module: in evaluation mode.
        example_inputs: positional inputs on `device`; None where nobody offers any.
        name: for people and file names.
        device: where the weights are. ``cpu`` although ``meta`` was asked for means
            that the factory cannot build on meta.
        declared: the inputs as text, of a network that says their types and sizes, ?
            for a size that it leaves open.
    """

    module: nn.Module
    example_inputs: tuple[Any, ...] | None
    name: str
    device: _Device
    declared: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What makes the network, and where it was found.

    Attributes:
        asked: the specification, for messages.
        name: of the network.
        target: a factory or an `nn.Module`.
        namespace: the module that holds it.
    """

    asked: str
    name: str
    target: object
    namespace: ModuleType


def resolve(
    spec: str, *, weights: Path | None = None, device: _Device = "cpu"
) -> Resolved:
    """Return the network that `spec` names, in evaluation mode.

    Forms:
        * ``zoo:NAME``, with arguments as in ``zoo:resnet50?num_classes=10&width=0.5``.
        * ``package.module:factory``: a function, a class, or an `nn.Module`; the
          current directory is importable, as with ``python -m``.
        * ``path/to/net.py:factory``, or ``path/to/net.py`` where it is clear: the only
          ``build``, ``make`` or ``model``, or else the only `nn.Module` class that
          takes no arguments. The folder of the file is importable.
        * ``path/to/net.onnx`` (`trimtab.onnx.network.load`), which runs no code. Its
          inputs are those that the file declares, if it says their sizes; a first axis
          that it leaves open is one.

    Factories are called without arguments. Where the factory, the network or the module
    that holds it has a function ``example_inputs``, its result is returned too: a
    tensor, or a tuple of positional inputs. Resolving runs the code of module or file.

    The network comes back in evaluation mode: resolving is for inference and its
    analysis. A factory that draws random weights draws them from torch's global
    generator.

    Args:
        spec: one of the forms above.
        weights: a ``.safetensors`` file, loaded strictly (see `load_weights`).
        device: ``meta`` builds shapes only, in a moment and without memory; where the
            factory fails so, the network is built on the CPU, and `Resolved.device`
            says it.

    Returns:
        The network, inputs for it, its name and its device.

    Raises:
        NetworkNotFoundError: `spec` has none of the forms, leads nowhere, or leads to
            code that fails; the message has file and line.
        UsageError: a wrong argument, device or weights file.

    Example:
        >>> found = resolve("zoo:lenet5?num_classes=3", device="meta")
        >>> found.module(*found.example_inputs).shape
        torch.Size([1, 3])
    """
    if device not in ("cpu", "meta"):
        raise UsageError(
            f"device {device!r}",
            rule="networks are resolved on cpu or meta",
            remedy="use cpu, and move the module afterwards",
        )
    if weights is not None and device == "meta":
        raise UsageError(
            f"weights {weights.name} on the meta device",
            rule="meta has no memory for weights",
            where=spec,
            remedy="use the device cpu, or leave the weights out",
        )
    if spec.startswith(_ZOO):
        resolved = _from_zoo(spec, device)
    elif is_onnx(spec):
        resolved = _from_onnx(spec)
    elif match := _FILE_FORM.fullmatch(spec):
        resolved = _from_file(spec, Path(match["path"]), match["factory"], device)
    elif match := _MODULE_FORM.fullmatch(spec):
        resolved = _from_module(spec, match["module"], match["factory"], device)
    else:
        raise _no_form(spec)
    if weights is not None:
        load_weights(resolved.module, weights)
    return resolved


def _no_form(spec: str) -> NetworkNotFoundError:
    """Return the error for a specification of none of the forms."""
    near = difflib.get_close_matches(spec, [n.name for n in networks()], n=1)
    hint = f"did you mean {_ZOO}{near[0]}? Otherwise give" if near else "give"
    return NetworkNotFoundError(
        f"network {spec!r}",
        rule="it has none of the five forms",
        remedy=f"{hint} {_ZOO}NAME, package.module:factory, path/to/net.py:factory, "
        "path/to/net.onnx or the folder of a bundle",
    )


# The zoo.


def _from_zoo(spec: str, device: _Device) -> Resolved:
    name, mark, query = spec.removeprefix(_ZOO).partition("?")
    entry = network(name)
    arguments = _arguments(spec, entry, query) if mark else {}
    try:
        module, actual = _build(lambda: entry.build(**arguments), device)
    except TrimtabError:
        raise
    except Exception as error:
        raise UsageError(
            f"network {spec!r}",
            rule=f"torch cannot build it: {(str(error).splitlines() or [''])[0]}",
            where=_ZOO + entry.name,
            remedy="give smaller arguments",
        ) from error
    channels = arguments.get("in_channels")
    inputs = entry.example_inputs(
        in_channels=channels if isinstance(channels, int) else None
    )
    return Resolved(
        module=module.eval(),
        example_inputs=tuple(value.to(actual) for value in inputs),
        name=spec.removeprefix(_ZOO),
        device=actual,
    )


def _arguments(spec: str, entry: Network, query: str) -> dict[str, object]:
    """Return the arguments behind the question mark, as the factory annotates them."""
    allowed = entry.keywords()
    arguments: dict[str, object] = {}
    for part in query.split("&"):
        name, equals, text = part.partition("=")
        rule = ""
        if not equals or not name:
            rule = "an argument is written name=value"
        elif name not in allowed:
            rule = f"the network {entry.name} has no such argument"
        elif name in arguments:
            rule = "an argument stands once"
        if rule:
            raise UsageError(
                f"argument {part!r}",
                rule=rule,
                where=spec,
                remedy=f"use {', '.join(allowed)}, joined by &",
            )
        arguments[name] = _value(spec, name, text, allowed[name].annotation)
    return arguments


def _value(spec: str, name: str, text: str, annotation: object) -> object:
    """Return `text` as the type of the annotation."""
    pattern, read = _VALUES[annotation]
    if not re.fullmatch(pattern, text, re.ASCII):
        type_name = getattr(annotation, "__name__", annotation)
        raise UsageError(
            f"argument {name}={text}",
            rule=f"{name} is of type {type_name}",
            where=spec,
            remedy="write numbers as 10 or 0.5 and truth values as true or false",
        )
    return read(text)


# Modules and files.


def _from_module(spec: str, module: str, factory: str, device: _Device) -> Resolved:
    with importable(Path.cwd()):
        namespace = imported(spec, module)
        target = attribute(spec, namespace, factory)
        found = _Found(asked=spec, name=spec, target=target, namespace=namespace)
        return _resolved(found, device)


def _from_file(spec: str, path: Path, factory: str | None, device: _Device) -> Resolved:
    if not path.is_file():
        raise NetworkNotFoundError(
            f"network {spec!r}",
            rule="there is no such file",
            where=str(path),
            remedy="check the path",
        )
    with importable(path.resolve().parent):
        namespace = executed(spec, path.resolve())
        if factory is None:
            factory = only_factory(spec, path, namespace)
        found = _Found(
            asked=spec,
            name=f"{path.stem}:{factory}",
            target=attribute(spec, namespace, factory),
            namespace=namespace,
        )
        return _resolved(found, device)


def _from_onnx(spec: str) -> Resolved:
    require_package(f"network {spec!r}")
    from trimtab.onnx.network import load  # takes the package onnx

    found = load(Path(spec))
    return Resolved(
        module=found.module,
        example_inputs=found.example_inputs,
        name=found.name,
        device="cpu",
        declared=found.declared,
    )


def _resolved(found: _Found, device: _Device) -> Resolved:
    module, actual = _build(lambda: _made(found), device)
    owners: list[object] = [module, found.namespace]
    if not isinstance(found.target, type):
        owners.insert(0, found.target)
    return Resolved(
        module=module.eval(),
        example_inputs=_offered_inputs(found, owners, actual),
        name=found.name,
        device=actual,
    )


def _made(found: _Found) -> nn.Module:
    """Return the network: the target itself, or what it returns."""
    target = found.target
    file = getattr(found.namespace, "__file__", None) or ""
    if isinstance(target, nn.Module):
        return target
    rule = ""
    made: object = target
    if not callable(target):
        rule = f"it is neither a factory nor an nn.Module but {kind(target)}"
    elif required := required_arguments(target):
        rule = f"the factory needs arguments: {', '.join(required)}"
    else:
        with user_code(found.asked, "the factory", file):
            made = target()
        if isinstance(made, nn.Module):
            return made
        rule = f"the factory returned no nn.Module but {kind(made)}"
    raise NetworkNotFoundError(
        f"network {found.asked!r}",
        rule=rule,
        where=shown(file),
        remedy="name a function that takes no arguments and returns an nn.Module",
    )


def _offered_inputs(
    found: _Found, owners: Sequence[object], device: _Device
) -> tuple[Any, ...] | None:
    """Return what the first hook among the owners returns, on `device`."""
    hooks = (getattr(owner, _HOOK, None) for owner in owners)
    hook = next((hook for hook in hooks if hook is not None), None)
    if hook is None:
        return None
    file = getattr(found.namespace, "__file__", None) or ""
    value: object = hook
    if callable(hook):
        with user_code(found.asked, _HOOK, file):
            value = hook()
        if isinstance(value, Tensor):
            value = (value,)
        if isinstance(value, tuple | list):
            return tuple(
                pytree.tree_map_only(Tensor, lambda leaf: leaf.to(device), part)
                for part in value
            )
    raise UsageError(
        f"{_HOOK} of {found.asked!r}",
        rule=f"it gave no tensor and no tuple but {kind(value)}",
        where=shown(file),
        remedy="make it a function that returns the positional inputs as a tuple",
    )


# Building.


def _build(make: Callable[[], nn.Module], device: _Device) -> tuple[nn.Module, _Device]:
    """Return the network and its device, which is cpu where meta does not work."""
    if device == "meta":
        with contextlib.suppress(Exception), torch.device("meta"):
            module = make()
            if all(tensor.is_meta for tensor in _tensors(module)):
                return module, "meta"
    module = make()
    on_meta = any(tensor.is_meta for tensor in _tensors(module))
    return module, "meta" if on_meta else "cpu"


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())
