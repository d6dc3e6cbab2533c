"""The user's own code: imported, executed and called, its failures told by line."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

import torch
from torch import nn

from trimtab.errors import NetworkNotFoundError, TrimtabError

__all__ = [
    "attribute",
    "executed",
    "importable",
    "imported",
    "kind",
    "only_factory",
    "required_arguments",
    "shown",
    "user_code",
]

_FACTORY_NAMES: Final = ("build", "make", "model")
_MAX_TEXT: Final = 200  # characters of a foreign error that a message repeats


def imported(spec: str, name: str) -> ModuleType:
    """Return the module of that name, imported."""
    with user_code(spec, f"importing {name}", ""):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Only a wrong specification; a missing dependency of the module is its own.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise NetworkNotFoundError(
                f"network {spec!r}",
                rule=f"there is no module {error.name}",
                where="installed packages and the current directory",
                remedy="check the spelling, install the package, or change to the "
                "folder that holds it",
            ) from None


def executed(spec: str, path: Path) -> ModuleType:
    """Return the module of the file, under a name that only this path has."""
    name = f"_trimtab_file_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    loader = SourceFileLoader(name, str(path))
    module_spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert module_spec is not None
    module = importlib.util.module_from_spec(module_spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look the module up
    try:
        with user_code(spec, "running the file", str(path)):
            # Compiled here, not from a cache, which could be stale after an edit.
            code = loader.source_to_code(path.read_bytes(), str(path))
            exec(code, vars(module))
    except BaseException:
        if previous is None:
            del sys.modules[name]
        else:
            sys.modules[name] = previous
        raise
    return module


def only_factory(spec: str, path: Path, namespace: ModuleType) -> str:
    """Return the name of the one factory that the file clearly offers."""
    own = {
        name: value
        for name, value in vars(namespace).items()
        if isinstance(value, nn.Module)
        or getattr(value, "__module__", None) == namespace.__name__
    }
    named = [
        name
        for name in _FACTORY_NAMES
        if isinstance(own.get(name), nn.Module) or inspect.isfunction(own.get(name))
    ]
    classes = [
        name
        for name, value in own.items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and not required_arguments(value)
    ]
    candidates = named or classes
    if len(candidates) == 1:
        return candidates[0]
    raise NetworkNotFoundError(
        f"network {spec!r}",
        rule=f"the file has several candidates: {', '.join(candidates)}"
        if candidates
        else f"the file has no function {', '.join(_FACTORY_NAMES)} and no nn.Module "
        "class that takes no arguments",
        where=str(path),
        remedy=f"name one: {path}:{candidates[0] if candidates else 'factory'}",
    )


def attribute(spec: str, namespace: ModuleType, dotted: str) -> object:
    """Return what stands under the dotted name in the module."""
    value: object = namespace
    for name in dotted.split("."):
        if not hasattr(value, name):
            public = {k.lower(): k for k in dir(value) if not k.startswith("_")}
            near = [
                public[match]
                for match in difflib.get_close_matches(name.lower(), public, n=3)
            ]
            raise NetworkNotFoundError(
                f"network {spec!r}",
                rule=f"there is no {name!r}",
                where=shown(getattr(namespace, "__file__", None) or spec),
                remedy=f"did you mean {' or '.join(near)}?"
                if near
                else "check the name of the factory",
            )
        value = getattr(value, name)
    return value


def required_arguments(target: Callable[..., object]) -> list[str]:
    """Return the parameters without a default; none where there is no signature."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in variable
    ]


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put the folder first on the import path for a while."""
    entry = str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


@contextlib.contextmanager
def user_code(asked: str, doing: str, file: str) -> Iterator[None]:
    """Turn whatever foreign code raises into an error with its file and line."""
    try:
        yield
    except TrimtabError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).splitlines() or [""]
        raise NetworkNotFoundError(
            f"network {asked!r}",
            rule=f"{doing} raised {type(error).__name__}: {lines[0][:_MAX_TEXT]}",
            where=_place(error, file),
            remedy="correct the code at that line",
        ) from error


def _place(error: BaseException, file: str) -> str:
    """Return file and line: in `file` if the error passed it, else outside of torch."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    libraries = (
        "<frozen",
        f"{Path(torch.__file__).parent}{os.sep}",
        f"{Path(__file__).parent}{os.sep}",
        importlib.__file__ or "<frozen",
    )
    own = [frame for frame in frames if frame.filename == file]
    foreign = [frame for frame in frames if not frame.filename.startswith(libraries)]
    if not own and not foreign:
        return shown(file)
    frame = (own or foreign)[-1]
    return f"{shown(frame.filename)}:{frame.lineno}"


def shown(file: str) -> str:
    """Return the path, relative if it lies below the current directory."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return file


def kind(value: object) -> str:
    """Return what the value is, for a message."""
    return f"a value of type {type(value).__name__}"
