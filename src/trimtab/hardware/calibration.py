"""Where a calibration is kept: the user's cache folder, one file per host.

A file belongs to the host whose fingerprint it carries; another host's is not used, nor
one of an earlier revision, whose numbers meant something else.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from platformdirs import user_cache_path

from trimtab.errors import MachineError
from trimtab.hardware.detect import fingerprint
from trimtab.hardware.load import machine as load_machine
from trimtab.hardware.load import to_toml
from trimtab.hardware.machine import Machine

__all__ = ["calibration_path", "require_writable", "save", "stored"]


_REVISION = 2
# Raised when calibrations before it are wrong: until 2 the clock of a processor that
# the catalogue did not know could be twice its own.


def calibration_path() -> Path:
    """Return the file of this host.

    The folder is the user's cache folder, or ``TRIMTAB_CACHE`` where that is set.
    """
    folder = os.environ.get("TRIMTAB_CACHE")
    root = Path(folder) if folder else user_cache_path("trimtab")
    return root / "machines" / f"{fingerprint()}-{_REVISION}.toml"


def require_writable() -> None:
    """Refuse a cache folder that cannot be written, before ten seconds are spent.

    Raises:
        MachineError: it cannot.
    """
    folder = calibration_path().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
        reason = "it is not writable"
    except OSError as error:
        writable, reason = False, error.strerror or str(error)
    if not writable:
        raise MachineError(
            "cache folder for calibrations",
            rule=reason,
            where=str(folder),
            remedy="name another folder with the environment variable TRIMTAB_CACHE",
        )


def save(machine: Machine) -> Path:
    """Keep a calibration of this host and return its file; whole or not at all."""
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(to_toml(replace(machine, fingerprint=fingerprint())), "utf-8")
    draft.replace(path)
    return path


def stored() -> Machine | None:
    """Return the calibration of this host, or None.

    Raises:
        MachineError: the file is damaged; removing it is enough.
    """
    path = calibration_path()
    if not path.is_file():
        return None
    try:
        found = load_machine(path)
    except MachineError as error:
        raise MachineError(
            "calibration of this host",
            rule=f"it is damaged: {error.asked}: {error.rule} ({error.where})",
            where=str(path),
            remedy="remove the file; `trimtab machine calibrate` writes it anew",
        ) from error
    return found if found.fingerprint == fingerprint() else None
