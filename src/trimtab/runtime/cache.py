"""Results and machine code on disk, below trimtab's cache folder.

An entry belongs to a key, the digest of all that it follows from. It is sealed with
this user's key (`trimtab.runtime.trust`): machine code from a cache is run, so what was
damaged, moved or written by somebody else counts as absent and is made again. Entries
are written under another name and renamed, so that processes and threads may share the
folder. Where it grows too large, the entries go whose last use is longest ago.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from trimtab.runtime.trust import cache_folder, is_sealed, seal

__all__ = ["Cache"]

_log = logging.getLogger(__name__)
_KEY = re.compile(r"[0-9a-f]{64}")
_SEAL_CHARACTERS = 64
_MAX_BYTES = 1 << 30
_KEPT_FRAC = 0.8
# What is left of the limit after a clean-up, so that not every entry needs one.


@final
class Cache:
    """Results by key. Many processes and threads may use one folder.

    Args:
        folder: where they stand; ``compiler`` in trimtab's cache folder by default.
        max_bytes: that they may take together.

    Example:
        >>> import tempfile
        >>> cache = Cache(Path(tempfile.mkdtemp()))
        >>> cache.get("0" * 64) is None
        True
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = _MAX_BYTES) -> None:
        self.folder = folder or cache_folder() / "compiler"
        self.max_bytes = max_bytes
        self._written = max_bytes  # the first write looks how much there is

    def get(self, key: str) -> dict[str, Any] | None:
        """Return a result, or None where there is none that can be used."""
        content = self._read(key, "json")
        if content is None:
            return None
        found = json.loads(content)  # sealed: it is what `put` wrote
        return found if isinstance(found, dict) else None

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a result; where that is impossible, nothing happens.

        Raises:
            ValueError: JSON cannot hold the value.
        """
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
        self._write(key, "json", text.encode())

    def get_blob(self, key: str) -> bytes | None:
        """Return machine code, or None where there is none that can be used."""
        return self._read(key, "bin")

    def put_blob(self, key: str, content: bytes) -> None:
        """Keep machine code; where that is impossible, nothing happens."""
        self._write(key, "bin", content)

    def holds(self, key: str, kind: str = "bin") -> bool:
        """Whether something stands there, whoever wrote it; `get` may refuse it."""
        return self._path(key, kind).exists()

    def clear(self) -> None:
        """Remove all entries."""
        for path, _, _ in self._entries():
            path.unlink(missing_ok=True)

    def _path(self, key: str, kind: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a key is 64 hexadecimal digits, not {key!r}"[:200])
        return self.folder / key[:2] / f"{key[2:]}.{kind}"

    def _read(self, key: str, kind: str) -> bytes | None:
        path = self._path(key, kind)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        head, body = content[:_SEAL_CHARACTERS], content[_SEAL_CHARACTERS:]
        if not is_sealed(body, _purpose(key, kind), head.decode("ascii", "replace")):
            _log.info("%s is damaged or not from here: it is made again", path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it was used now
        return body

    def _write(self, key: str, kind: str, content: bytes) -> None:
        path = self._path(key, kind)
        sealed = seal(content, _purpose(key, kind))
        if not sealed:
            return  # could never be read again
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                draft.write_bytes(sealed.encode("ascii") + content)
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            self._written += len(content) + _SEAL_CHARACTERS
            if self._written > self.max_bytes:
                self._written = self._shrink()
        except OSError as error:
            _log.info("result is not kept: %s (%s)", error.strerror, path)

    def _shrink(self) -> int:
        """Remove what was used longest ago until there is room; return what is left."""
        entries = self._entries()
        total = sum(size for _, _, size in entries)
        if total > self.max_bytes:
            for path, _, size in sorted(entries, key=lambda each: each[1]):
                if total <= _KEPT_FRAC * self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size
        return total

    def _entries(self) -> list[tuple[Path, int, int]]:
        """Return path, time of last use and bytes of each; drafts of the dead go."""
        found = []
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if path.name.startswith("."):
                owner = path.name.split(".")[-2]
                if not Path(f"/proc/{owner}").exists():
                    path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                about = path.stat()
                found.append((path, about.st_mtime_ns, about.st_size))
        return found


def _purpose(key: str, kind: str) -> str:
    return f"trimtab cache 1 {kind} {key}"
