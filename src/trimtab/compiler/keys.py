"""Keys of results: the digest of all that decides them."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from trimtab.hardware.load import to_toml
from trimtab.hardware.machine import Machine

__all__ = ["key_of", "sources_digest"]

_ROOT = Path(__file__).parents[1]
_SOURCES = (
    "compiler/**/*.py",
    "compiler/**/*.cpp",
    "cost/**/*.py",  # what PyTorch does is decided by estimate
    "hardware/cores.py",
    "hardware/machine.py",
    "hardware/operations.py",
    "hardware/ports.py",
    "hardware/catalogue/cores/*.toml",
)
# All that decides, beside the work and the machine.


@functools.cache
def sources_digest() -> str:
    """Return the SHA-256 of the compiler's source and tables, in hexadecimal.

    A changed kernel, rule, port or latency makes other results under the same version
    number.
    """
    whole = hashlib.sha256()
    for path in sorted({path for each in _SOURCES for path in _ROOT.glob(each)}):
        content = path.read_bytes()
        whole.update(f"{path.relative_to(_ROOT)} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def key_of(
    work: str, *, machine: Machine | str, versions: Mapping[str, str], what: str = ""
) -> str:
    """Return the key of a result.

    Args:
        work: what was computed, as text that says all about it: its ``repr``, JSON, or
            the text of a kernel.
        machine: that it was decided for, or a text that says which.
        versions: of packages that shape the result.
        what: kind of the result, where one work has several.

    Example:
        >>> len(key_of("conv", machine="a", versions={"tvm": "1"}))
        64
    """
    parts = {
        "work": work,
        "machine": machine if isinstance(machine, str) else to_toml(machine),
        "versions": dict(versions),
        "sources": sources_digest(),
        "what": what,
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
