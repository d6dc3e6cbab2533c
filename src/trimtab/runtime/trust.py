"""Which compiled code was made here: a seal that only this user's key can make.

A shared library is foreign code: to load it is to run it. What trimtab compiles it
seals: HMAC-SHA256 with a key of 32 random bytes that stands in the cache folder,
readable by its owner alone. Code whose seal is right was made by a process that could
read the key, which can do anything in the user's name anyway. Everything else (copied
from another machine, changed, of another user) is foreign. The key never leaves the
folder; if it is removed, what was sealed with it becomes foreign, no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["cache_folder", "is_sealed", "seal"]

_log = logging.getLogger(__name__)
_KEY_BYTES = 32


def cache_folder() -> Path:
    """Return the cache folder: the user's, or ``TRIMTAB_CACHE`` where that is set."""
    folder = os.environ.get("TRIMTAB_CACHE")
    return Path(folder) if folder else user_cache_path("trimtab")


def seal(content: bytes, purpose: str) -> str:
    """Return the seal of some content, in hexadecimal; empty if there is no key.

    Args:
        content: to seal.
        purpose: what it is used for; another purpose takes another seal.
    """
    key = _key()
    return "" if key is None else _digest(key, content, purpose)


def is_sealed(content: bytes, purpose: str, found: str) -> bool:
    """Whether a seal is the one that `seal` gives here.

    Example:
        >>> is_sealed(b"code", "example", "")
        False
    """
    key = _key() if found else None
    return key is not None and hmac.compare_digest(
        _digest(key, content, purpose).encode(), found.encode("utf-8", "replace")
    )


def _digest(key: bytes, content: bytes, purpose: str) -> str:
    words = purpose.encode()
    message = len(words).to_bytes(8, "little") + words + content
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _key() -> bytes | None:
    """Return the key, made where there is none; None where that is impossible."""
    path = cache_folder() / "key"
    try:
        found = _read(path)
        if found is None:
            _write(path)
            found = _read(path)
    except OSError as error:
        _log.info("code is not sealed: %s (%s)", error.strerror, path)
        return None
    return found


def _read(path: Path) -> bytes | None:
    """Return the key if it is ours alone; one that others could read is removed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        key = file.read(_KEY_BYTES + 1) if stat.S_ISREG(about.st_mode) else b""
    secret = about.st_uid == os.geteuid() and not about.st_mode & 0o077
    if secret and len(key) == _KEY_BYTES:
        return key
    _log.warning(
        "%s is damaged, or others may read it: a new key is made, and what was sealed "
        "with the old one counts as foreign code",
        path,
    )
    path.unlink()
    return None


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
    finally:
        draft.unlink()
