"""A seal is right only for the content, the purpose and the key it was made with."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trimtab.runtime.trust import cache_folder, is_sealed, seal


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder of the test's own."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_folder_is_the_users_unless_one_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("TRIMTAB_CACHE")
    assert cache_folder().name == "trimtab"


def test_what_is_sealed_here_is_known_here(folder: Path) -> None:
    found = seal(b"code", "a")
    assert len(found) == 64  # 32 bytes in hexadecimal
    assert is_sealed(b"code", "a", found)
    assert not is_sealed(b"Code", "a", found)
    assert not is_sealed(b"code", "b", found)
    assert not is_sealed(b"code", "a", found[:-1])
    assert not is_sealed(b"code", "a", "")
    assert not is_sealed(b"code", "a", "é" * 64)
    assert seal(b"code", "a") == found
    # The purpose cannot run into the content.
    assert not is_sealed(b"b\0code", "a", seal(b"code", "a\0b"))


def test_the_key_is_the_owners_alone(folder: Path) -> None:
    seal(b"", "a")
    about = (folder / "key").stat()
    assert stat.S_IMODE(about.st_mode) == 0o600
    assert about.st_size == 32
    assert [each.name for each in folder.iterdir()] == ["key"]


def test_another_key_makes_another_seal(folder: Path) -> None:
    found = seal(b"code", "a")
    (folder / "key").unlink()
    assert seal(b"code", "a") != found
    assert not is_sealed(b"code", "a", found)


@pytest.mark.parametrize("how", ["readable", "short", "long"])
def test_a_key_that_may_be_known_is_replaced(
    folder: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    found = seal(b"code", "a")
    key = folder / "key"
    if how == "readable":
        key.chmod(0o644)
    else:
        key.write_bytes(b"k" * (31 if how == "short" else 33))
    with caplog.at_level(logging.WARNING):
        assert not is_sealed(b"code", "a", found)
    assert "a new key is made" in caplog.text
    again = seal(b"code", "a")
    assert is_sealed(b"code", "a", again)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_link_is_no_key(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"k" * 32)
    other.chmod(0o600)
    folder.mkdir()
    (folder / "key").symlink_to(other)
    assert seal(b"code", "a") == ""


def test_without_a_folder_nothing_is_sealed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file where the folder should be")
    assert seal(b"code", "a") == ""
    assert not is_sealed(b"code", "a", "0" * 64)


def test_all_threads_get_one_key(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: seal(b"code", "a"), range(100)))
    assert len(found) == 1
    assert [each.name for each in folder.iterdir()] == ["key"]
