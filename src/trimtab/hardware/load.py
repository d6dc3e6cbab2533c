"""Machines and links by name: the catalogue, a user's own file, and back to TOML."""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
import re
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources.abc import Traversable
from pathlib import Path

from trimtab.errors import MachineError, UnknownMachineError
from trimtab.hardware.machine import Link, Machine, numbers_of
from trimtab.hardware.schema import ORIGIN_KEYS, parse_link, parse_machine

__all__ = ["THIS", "link", "link_names", "machine", "machine_names", "to_toml"]

THIS = "this"
"""The name of the present machine."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def machine_names() -> tuple[str, ...]:
    """Return the names of the catalogue's machines, sorted.

    Example:
        >>> "milan" in machine_names()
        True
    """
    return _names(_catalogue())


def link_names() -> tuple[str, ...]:
    """Return the names of the catalogue's links, sorted.

    Example:
        >>> "wifi" in link_names()
        True
    """
    return _names(_catalogue() / "links")


def machine(name: str | Path) -> Machine:
    """Return a machine of the catalogue, of a file, or the present one.

    Args:
        name: of the catalogue (`machine_names`), ``this`` for the present machine
            (calibrated if it was), or the path of a file that ends in ``.toml``.

    Raises:
        UnknownMachineError: neither a name of the catalogue nor a file.
        MachineError: the file is not a description of a machine; each problem is named
            with its place.

    Example:
        >>> machine("milan").core.llvm_cpu
        'znver3'
    """
    if str(name).endswith(".toml"):
        return parse_machine(_text_of(Path(name), "machine"), str(name))
    if str(name) == THIS:
        # Both read the catalogue through this module.
        from trimtab.hardware.calibration import stored
        from trimtab.hardware.detect import present

        return stored() or present()
    return _catalogue_machine(str(name))


def link(name: str | Path) -> Link:
    """Return a link of the catalogue, or of a file that ends in ``.toml``.

    Raises:
        UnknownMachineError: neither a name of the catalogue nor a file.
        MachineError: the file is not a description of a link.

    Example:
        >>> link("ethernet-1g").uplink_bytes_per_s == 1e9 / 8 * 1460 / 1538
        True
    """
    if str(name).endswith(".toml"):
        return parse_link(_text_of(Path(name), "link"), str(name))
    names = link_names()
    if str(name) not in names:
        raise _unknown("link", str(name), names)
    file = f"{name}.toml"
    text = (_catalogue() / "links" / file).read_text(encoding="utf-8")
    return parse_link(text, f"catalogue/links/{file}")


def to_toml(machine: Machine) -> str:
    """Return a machine as TOML that `machine` reads back to the same record.

    Raises:
        MachineError: a number has no source, a source has no number, or a text cannot
            be written in TOML.

    Example:
        >>> to_toml(machine("milan")).splitlines()[0]
        'name = "milan"'
    """
    numbers = numbers_of(machine)
    stray = sorted(machine.sources.keys() ^ numbers.keys())
    if stray:
        raise MachineError(
            f"machine {machine.name!r} as TOML",
            rule="every number has one source and every source one number",
            where=", ".join(stray),
            remedy="complete or correct Machine.sources",
        )

    def quantity(path: str, key: str) -> str:
        source = machine.sources[path]
        value = numbers[path]
        return (
            f"{_key(key)} = {{ value = {value!r}, "
            f"{ORIGIN_KEYS[source.origin]} = {_quoted(source.text)} }}"
        )

    def table(prefix: str, record: object) -> list[str]:
        return [
            quantity(f"{prefix}.{entry.name}", entry.name)
            for entry in fields(record)  # type: ignore[arg-type]
            if f"{prefix}.{entry.name}" in numbers
        ]

    lines = [
        f"name = {_quoted(machine.name)}",
        f"title = {_quoted(machine.title)}",
        f"kind = {_quoted(machine.kind)}",
    ]
    if machine.fingerprint:
        lines.append(f"fingerprint = {_quoted(machine.fingerprint)}")
    lines += [quantity(key, key) for key in numbers if "." not in key]
    lines += ["", "[core]"]
    lines += [f"isa = {_quoted(machine.core.isa)}"]
    lines += [f"llvm_cpu = {_quoted(machine.core.llvm_cpu)}"]
    lines += table("core", machine.core)
    for cache in machine.caches:
        lines += ["", "[[caches]]", f"level = {cache.level}"]
        lines += table(f"caches.{cache.level}", cache)
    lines += ["", "[memory]", *table("memory", machine.memory), "", "[efficiency_frac]"]
    lines += [
        quantity(f"efficiency_frac.{key}", key) for key in machine.efficiency_frac
    ]
    return "\n".join(lines) + "\n"


def _key(text: str) -> str:
    return text if _BARE_KEY.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Return a basic string of TOML: JSON's escapes, and DEL, which JSON leaves."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MachineError(
            f"text {text!r}",
            rule="it is not Unicode text, which TOML consists of",
            where=f"character {error.start}",
            remedy="remove the lone surrogate",
        ) from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _catalogue() -> Traversable:
    return importlib.resources.files("trimtab.hardware") / "catalogue"


def _names(folder: Traversable) -> tuple[str, ...]:
    files = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[:-5] for name in files if name.endswith(".toml")))


@functools.cache
def _catalogue_machine(name: str) -> Machine:
    names = machine_names()
    if name not in names:
        raise _unknown("machine", name, (*names, THIS))
    text = (_catalogue() / f"{name}.toml").read_text(encoding="utf-8")
    return parse_machine(text, f"catalogue/{name}.toml")


def _unknown(what: str, name: str, names: Sequence[str]) -> UnknownMachineError:
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {close[0]!r}? Known are " if close else "known are "
    return UnknownMachineError(
        f"{what} {name!r}",
        rule=f"no {what} of that name is in the catalogue",
        remedy=hint + ", ".join(names) + ", or the path of a .toml file",
    )


def _text_of(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UnknownMachineError(
            f"{what} file {str(path)!r}",
            rule="there is no such file",
            remedy=f"give the path of a file, or a name of the catalogue's {what}s",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(
            f"{what} file {str(path)!r}",
            rule=f"it cannot be read as UTF-8 text: {error}",
            remedy="give a text file in TOML",
        ) from None
