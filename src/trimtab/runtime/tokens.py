"""A token: what who asks has to know, read from a file or the environment.

It is never an argument of a command, which every user of a machine can list, and never
in a log, a message or a page. Programs send it as a bearer token (RFC 6750); a browser,
which can only ask for a name and a password (RFC 7617), as the password of any name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final, final

from trimtab.errors import UsageError

__all__ = ["VARIABLE", "Token", "read_token"]

VARIABLE: Final = "TRIMTAB_TOKEN"
_LEAST, _MOST = 16, 1024  # characters
_RIGHT: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # of RFC 6750


@final
class Token:
    """A token; how it is written nowhere shows.

    Args:
        text: of it.
        where: it was read.

    Raises:
        UsageError: it is too short, too long, or has other characters than a header
            may.

    Example:
        >>> token = Token("correct-horse-battery", where="a test")
        >>> token, token.fits(token.header.encode()), token.fits(b"Bearer wrong")
        (Token(...), True, False)
    """

    def __init__(self, text: str, *, where: str) -> None:
        if not _LEAST <= len(text) <= _MOST or not _RIGHT.fullmatch(text):
            raise UsageError(
                f"a token of {len(text)} characters",
                rule=f"it has {_LEAST} to {_MOST}, letters, digits and ._~+/-",
                where=where,
                remedy="make one: python -c 'import secrets; "
                "print(secrets.token_urlsafe())'",
            )
        self._text = text
        self._digest = _digest(text.encode())

    def __repr__(self) -> str:
        """Return nothing of it."""
        return "Token(...)"

    @property
    def header(self) -> str:
        """The value of the header Authorization that has it."""
        return f"Bearer {self._text}"

    def fits(self, header: bytes) -> bool:
        """Return whether a header Authorization has it.

        It takes as long whatever is wrong: digests of one length are compared, in
        constant time.
        """
        scheme, _, said = header.strip().partition(b" ")
        said = said.strip()
        if scheme.lower() == b"basic":
            try:
                said = base64.b64decode(said, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(_digest(said), self._digest)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def read_token(
    path: Path | None, environment: MutableMapping[str, str] | None = None
) -> Token | None:
    """Return the token of a file, else of the variable `VARIABLE`; None without both.

    The variable is taken out of the environment: processes that are started later have
    no use for it.

    Args:
        path: of a file that has it and nothing else.
        environment: that of this process by default.

    Raises:
        UsageError: the file cannot be read, or what is there is no token.
    """
    found = (os.environ if environment is None else environment).pop(VARIABLE, None)
    if path is None:
        return None if found is None else Token(found.strip(), where=VARIABLE)
    try:
        with path.open("rb") as file:
            said = file.read(4 * _MOST)
    except OSError as error:
        raise UsageError(
            f"a token from {str(path)!r}",
            rule=error.strerror or str(error),
            where="--token-file",
            remedy="give a file that has it and nothing else",
        ) from None
    return Token(said.decode("utf-8", "replace").strip(), where=str(path))
