"""Edits of a network: what they are, how they are written down, and how they are made.

An edit names modules by their path and says what becomes of them. It is made on a
copy: containers get other children, convolutions are replaced by modules that take and
give the same shapes. Nothing is generated; the result is made of the modules that were
there, copies of them and those of `trimtab.design.sliding`, so it is ordinary Python
still. Weights that no edit touches are carried over.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn

from trimtab.design.kernels import MOST, Replace, module_for, wrong_edit
from trimtab.errors import UsageError

__all__ = [
    "Edit",
    "Remove",
    "Repeat",
    "Replace",
    "apply",
    "edits_from_json",
    "edits_to_json",
    "shared_modules",
]

_CLOSED = ConfigDict(extra="forbid")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Leave modules out of their container.

    Attributes:
        modules: their paths, one behind the other.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    modules: tuple[str, ...]
    edit: Literal["remove"] = "remove"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Put copies of modules behind them.

    Their weights are drawn anew where a module knows how (`reset_parameters`); other
    parameters are those of what was copied.

    Attributes:
        modules: their paths, one behind the other.
        times: how many copies.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    modules: tuple[str, ...]
    times: Annotated[int, Field(ge=1, le=MOST)] = 1
    edit: Literal["repeat"] = "repeat"


Edit = Annotated[Remove | Repeat | Replace, Field(discriminator="edit")]
_EDITS: TypeAdapter[tuple[Remove | Repeat | Replace, ...]] = TypeAdapter(
    tuple[Edit, ...]
)


def edits_to_json(edits: Iterable[Remove | Repeat | Replace]) -> list[dict[str, Any]]:
    """Return edits as JSON holds them.

    Example:
        >>> edits_to_json([Remove(modules=("layer1.1",))])
        [{'modules': ['layer1.1'], 'edit': 'remove'}]
    """
    found = []
    for each in edits:
        record = asdict(each)
        found.append(
            {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in record.items()
            }
        )
    return found


def edits_from_json(records: object) -> tuple[Remove | Repeat | Replace, ...]:
    """Return the edits that JSON holds.

    Raises:
        UsageError: it is not a list of edits.
    """
    try:
        return _EDITS.validate_python(records)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            "edits of a network",
            rule=f"{where}: {first['msg']}",
            where="the edits' JSON",
            remedy="write them with `edits_to_json`",
        ) from error


# ---------------------------------------------------------------- making them


def apply(
    model: nn.Module, edits: Sequence[Remove | Repeat | Replace], *, seed: int = 0
) -> nn.Module:
    """Return a copy of a network with edits made; the network itself stays.

    Args:
        model: the network.
        edits: in any order; their paths are those of `model`.
        seed: of the weights that are drawn anew.

    Raises:
        UsageError: a path is not there, or stands in no container, or two edits are of
            one module, or a container would be left empty.
    """
    _require_apart(edits)
    _require_alone(model, edits)
    made = copy.deepcopy(model)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        for edit in edits:
            if isinstance(edit, Replace):
                old = _module(made, edit.module)
                parent, _, name = edit.module.rpartition(".")
                setattr(_module(made, parent), name, module_for(old, edit))
        changed: dict[str, dict[str, list[nn.Module]]] = {}
        for edit in edits:
            if not isinstance(edit, Replace):
                _note(made, edit, changed)
    for path, children in changed.items():
        _refill(made, path, children)
    return made


def _require_apart(edits: Sequence[Remove | Repeat | Replace]) -> None:
    paths: set[str] = set()
    for edit in edits:
        some = (edit.module,) if isinstance(edit, Replace) else edit.modules
        for path in some:
            if path in paths:
                raise wrong_edit(path, "two edits are of it")
            paths.add(path)


def _require_alone(
    model: nn.Module, edits: Sequence[Remove | Repeat | Replace]
) -> None:
    """Refuse edits of what the network knows under several names."""
    shared = shared_modules(model)
    for edit in edits:
        some = (edit.module,) if isinstance(edit, Replace) else edit.modules
        for path in some:
            if path in shared:
                raise wrong_edit(
                    path, "it, or a part of it, is used under several names"
                )


def shared_modules(model: nn.Module) -> frozenset[str]:
    """Return the paths of modules that are, or hold, what has several names.

    Modules that are used twice, and parameters that are tied.
    """
    names: dict[int, set[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        names.setdefault(id(module), set()).add(path)
        for name, each in module.named_parameters(recurse=False):
            names.setdefault(id(each), set()).add(f"{path}.{name}".lstrip("."))
    found: set[str] = set()
    for several in names.values():
        if len(several) > 1:
            for path in several:
                parts = path.split(".")
                found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return frozenset(found)


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise wrong_edit(path, "the network has no such module") from error


def _note(
    model: nn.Module,
    edit: Remove | Repeat,
    changed: dict[str, dict[str, list[nn.Module]]],
) -> None:
    """Add what an edit makes of the children of its container, by their old names."""
    if not edit.modules:
        raise wrong_edit("", "an edit names at least one module")
    parents = {path.rpartition(".")[0] for path in edit.modules}
    if len(parents) != 1:
        raise wrong_edit(edit.modules[0], "its modules stand in several containers")
    (parent,) = parents
    for path in edit.modules:
        _module(model, path)
    container = _module(model, parent)
    if not isinstance(container, nn.Sequential | nn.ModuleList):
        raise wrong_edit(
            edit.modules[0], "it stands in no Sequential and no ModuleList"
        )
    children = changed.setdefault(
        parent,
        {
            name: [child]
            for name, child in container._modules.items()
            if child is not None
        },
    )
    names = [path.rpartition(".")[2] for path in edit.modules]
    if isinstance(edit, Remove):
        for name in names:
            children[name] = []
        return
    # Copies of a unit of several modules follow its last one, in their order.
    for _ in range(edit.times):
        for name in names:
            made = copy.deepcopy(_module(model, f"{parent}.{name}" if parent else name))
            made.apply(_draw)
            children[names[-1]].append(made)


def _draw(module: nn.Module) -> None:
    """Draw the weights of a module anew where it knows how."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def _refill(
    model: nn.Module, path: str, children: Mapping[str, Sequence[nn.Module]]
) -> None:
    container = _module(model, path)
    assert isinstance(container, nn.Sequential | nn.ModuleList)
    if not any(children.values()):
        raise wrong_edit(path, "nothing would be left in it")
    indexed = isinstance(container, nn.ModuleList)
    for name in list(container._modules):
        del container._modules[name]
    for name, some in children.items():
        for number, child in enumerate(some):
            # A list is asked for its children by number; others keep their names.
            new = f"{name}_{number}" if number else name
            while number and new in children:
                new = f"{new}_"
            container.add_module(str(len(container)) if indexed else new, child)
