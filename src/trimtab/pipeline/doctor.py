"""What this machine has of what trimtab can use, and how to get the rest.

What is needed of packages stands in trimtab's own metadata, so that no second list can
differ from it. Nothing is imported to be looked at: a package that is broken could end
the process.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal, final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from trimtab.errors import MachineError
from trimtab.hardware.calibration import calibration_path, require_writable, stored

__all__ = ["Finding", "State", "examine"]

State = Literal["ok", "missing", "wrong"]

_EXTRAS: Final[Mapping[str, str]] = {
    "compile": "trimtab compile, [compile] of a plan",
    "serve": "trimtab serve start, trimtab load",
    "edge": "trimtab edge, trimtab cloud, trimtab certs",
    "cluster": "--cluster, replicas in training on several machines",
    "report": "figures of reports",
    "onnx": "trimtab export, .onnx files as networks",
    "demo": "make demo: digits in a package",
    "bench": "make bench-...: peers",
    "docs": "make docs",
    "dev": "make test, make check",
}
_PROGRAMS: Final[Mapping[str, tuple[str, str]]] = {
    # Program: package of Debian, and what for.
    "chromium": ("chromium", "tests of reports and live pages"),
    "qemu-aarch64": ("qemu-user", "tests of kernels for AArch64"),
    "tc": ("iproute2", "emulated links in tests and benchmarks of divided networks"),
    "stress-ng": ("stress-ng", "load in benchmarks of divided networks"),
}
_DISK_BYTES: Final = 2 * 2**30


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of it.
        state: ``ok``, ``missing``, or ``wrong``: there, but not as it has to be.
        detail: what was found.
        purpose: what it is for.
        remedy: how to get it; "" where it is there.
        required: whether nothing works without it.
    """

    name: str
    state: State
    detail: str
    purpose: str
    remedy: str = ""
    required: bool = False


def examine(
    requires: Iterable[str] | None = None, python: str | None = None
) -> list[Finding]:
    """Return what this machine has, what is required first.

    Args:
        requires: requirements as a distribution states them, and
        python: versions of Python; by default those of the trimtab that is installed.

    Example:
        >>> found = examine(["numpy>=1", "absent>=2; extra == 'serve'"], ">=3.11")
        >>> [(each.name, each.state) for each in found[:3]]
        [('Python', 'ok'), ('packages', 'ok'), ('extra serve', 'missing')]
    """
    absent: list[Finding] = []
    if requires is None:
        try:
            requires = metadata.requires("trimtab") or ()
            python = metadata.metadata("trimtab")["Requires-Python"]
        except metadata.PackageNotFoundError:
            requires, absent = (), [_uninstalled()]
    wanted = [Requirement(each) for each in requires]
    return [
        _python(python or ""),
        *(absent or [_packages(None, wanted)]),
        *(
            _packages(extra, wanted)
            for extra in _EXTRAS
            if any(_is_of(each, extra) for each in wanted)
        ),
        _calibration(),
        _cache(),
        *map(_program, _PROGRAMS),
        _root(),
        _data("TRIMTAB_DATA", "benchmarks and tests of larger data sets"),
    ]


def _uninstalled() -> Finding:
    return Finding(
        name="packages",
        state="wrong",
        detail="trimtab is not installed, so that nothing says what it needs",
        purpose="everything",
        remedy="in its checkout: pip install --editable '.[demo,report]'",
        required=True,
    )


def _python(wanted: str) -> Finding:
    found = platform.python_version()
    fits = SpecifierSet(wanted).contains(found, prereleases=True)
    return Finding(
        name="Python",
        state="ok" if fits else "wrong",
        detail=found,
        purpose="everything",
        remedy="" if fits else f"make the environment with Python {wanted}",
        required=True,
    )


def _is_of(wanted: Requirement, extra: str | None) -> bool:
    """Return whether a requirement is one of an extra, or of what is always needed."""
    if wanted.marker is None:
        return extra is None
    always = wanted.marker.evaluate({"extra": ""})
    return (
        always
        if extra is None
        else not always and wanted.marker.evaluate({"extra": extra})
    )


def _packages(extra: str | None, every: Iterable[Requirement]) -> Finding:
    absent, other = [], []
    count = 0
    for each in every:
        if not _is_of(each, extra):
            continue
        count += 1
        try:
            found = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            absent.append(f"{each.name}{each.specifier}")
            continue
        if not each.specifier.contains(found, prereleases=True):
            other.append(f"{each.name} {found}, needed {each.specifier}")
    asked = "trimtab" if extra is None else f"trimtab[{extra}]"
    detail = "; ".join([
        *([f"absent: {', '.join(absent)}"] if absent else []),
        *([f"other versions: {', '.join(other)}"] if other else []),
    ])  # fmt: skip
    whole = not absent and not other
    pins = "-c constraints.txt " if Path("constraints.txt").is_file() else ""
    return Finding(
        name="packages" if extra is None else f"extra {extra}",
        state="ok" if whole else "wrong" if other else "missing",
        detail=f"{count} of {count} packages" if whole else detail,
        purpose="everything" if extra is None else _EXTRAS[extra],
        remedy="" if whole else f"pip install {pins}'{asked}'",
        required=extra is None,
    )


def _calibration() -> Finding:
    purpose = "times on the machine `this` that are its own"
    remedy = "trimtab machine calibrate: ten seconds, on an idle machine"
    try:
        found = stored()
    except MachineError as error:
        return Finding(
            name="calibration", state="wrong", detail=error.rule, purpose=purpose,
            remedy=f"remove {error.where}, then {remedy}",
        )  # fmt: skip
    if found is None:
        return Finding(
            name="calibration", state="missing", purpose=purpose, remedy=remedy,
            detail="of this host there is none: times are guessed from what it tells",
        )  # fmt: skip
    return Finding(name="calibration", state="ok", detail=found.title, purpose=purpose)


def _cache() -> Finding:
    folder = calibration_path().parents[1]
    purpose = "calibrations, kernels, finished stages"
    try:
        require_writable()
    except MachineError as error:
        return Finding(
            name="cache folder", state="wrong", detail=f"{folder}: {error.rule}",
            purpose=purpose, remedy=error.remedy,
        )  # fmt: skip
    free = shutil.disk_usage(folder).free
    return Finding(
        name="cache folder",
        state="ok" if free >= _DISK_BYTES else "wrong",
        detail=f"{folder}, {free / 2**30:.0f} GiB free",
        purpose=purpose,
        remedy="" if free >= _DISK_BYTES else "make room, or set TRIMTAB_CACHE",
    )


def _program(name: str) -> Finding:
    package, purpose = _PROGRAMS[name]
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return Finding(
        name=name,
        state="ok" if found else "missing",
        detail=found or "not on the path",
        purpose=purpose,
        remedy=""
        if found
        else f"install the package {package}: apt-get install "
        f"{package} on Debian and its kin",
    )


def _root() -> Finding:
    is_root = os.geteuid() == 0
    return Finding(
        name="root",
        state="ok" if is_root else "missing",
        detail="yes" if is_root else f"user {os.geteuid()}",
        purpose="emulated links in tests and benchmarks of divided networks",
        remedy="" if is_root else "run these with sudo; nothing else needs it",
    )


def _data(variable: str, purpose: str) -> Finding:
    named = os.environ.get(variable)
    state: State
    if named is None:
        state, detail = "missing", "not set"
    elif Path(named).is_dir():
        state, detail = "ok", named
    else:
        state, detail = "wrong", f"{named}: no such folder"
    return Finding(
        name=variable,
        state=state,
        detail=detail,
        purpose=purpose,
        remedy=""
        if state == "ok"
        else "see the README of the benchmark for what it "
        "reads, and where that is published",
    )
