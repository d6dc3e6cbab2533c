"""Tokens: where they are read, whom they let in, and that nothing shows them."""

import base64
import traceback

import pytest

from trimtab.errors import UsageError
from trimtab.runtime.tokens import VARIABLE, Token, read_token

TEXT = "correct-horse-battery"
TOKEN = Token(TEXT, where="a test")


def basic(text):
    return b"Basic " + base64.b64encode(text.encode())


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        (b"Bearer " + TEXT.encode(), True),
        (b"bearer   " + TEXT.encode() + b" ", True),
        (basic(f"anybody:{TEXT}"), True),
        (basic(f":{TEXT}"), True),
        (b"Bearer " + TEXT[:-1].encode(), False),
        (b"Bearer " + TEXT.encode() + b"x", False),
        (b"Bearer", False),
        (b"", False),
        (TEXT.encode(), False),
        (b"Digest " + TEXT.encode(), False),
        (basic(f"anybody:x{TEXT}"), False),
        (basic(TEXT), False),  # a name without a password
        (b"Basic \xff\xfe", False),
        (b"Basic ===", False),
        (b"Bearer \xff" + TEXT.encode(), False),
    ],
)
def test_who_has_it_is_let_in(header, fits):
    assert TOKEN.fits(header) is fits


def test_its_header_is_what_it_takes():
    assert TOKEN.fits(TOKEN.header.encode())


@pytest.mark.parametrize("text", ["", "short", "with space " * 3, "é" * 20, "a" * 1025])
def test_what_is_no_token_is_refused_and_not_repeated(text):
    with pytest.raises(UsageError, match=f"of {len(text)} characters") as caught:
        Token(text, where="a test")
    assert not text or text not in str(caught.value)


def test_it_does_not_show():
    assert TEXT not in repr(TOKEN)
    assert TEXT not in str(TOKEN)
    try:
        TOKEN.fits(None)  # type: ignore[arg-type]
    except AttributeError:
        assert TEXT not in traceback.format_exc()


def test_a_file_goes_before_the_environment_which_is_emptied(tmp_path):
    (path := tmp_path / "token").write_text(f"{TEXT}\n")
    environment = {VARIABLE: "another-one-of-many", "HOME": "/"}
    found = read_token(path, environment)
    assert found is not None
    assert found.fits(TOKEN.header.encode())
    assert environment == {"HOME": "/"}
    environment[VARIABLE] = TEXT
    found = read_token(None, environment)
    assert found is not None
    assert found.fits(TOKEN.header.encode())
    assert read_token(None, environment) is None


def test_files_that_hold_none(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_token(tmp_path / "absent", {})
    with pytest.raises(UsageError, match="Is a directory"):
        read_token(tmp_path, {})
    (path := tmp_path / "large").write_bytes(b"a" * 10**6)
    with pytest.raises(UsageError, match="4096 characters"):
        read_token(path, {})
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match="letters, digits"):
        read_token(path, {})
