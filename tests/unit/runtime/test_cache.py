"""Results come back as they were put, or not at all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.runtime.cache import Cache

A, B = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder of the test's own."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cache() -> Cache:
    """Return a cache in it."""
    return Cache()


def _only(cache: Cache) -> Path:
    (path,) = cache.folder.glob("*/*")
    return path


def test_results_come_back(cache: Cache, folder: Path) -> None:
    assert cache.folder == folder / "compiler"
    assert (cache.get(A), cache.get_blob(A)) == (None, None)
    cache.put(A, {"point": [1, 2], "time": 0.5})
    cache.put_blob(A, b"\0code")
    cache.put_blob(B, b"")
    assert cache.get(A) == {"point": [1, 2], "time": 0.5}
    assert cache.get_blob(A) == b"\0code"
    assert cache.get_blob(B) == b""
    assert Cache().get(A) == {"point": [1, 2], "time": 0.5}
    cache.put(A, {"point": []})
    assert cache.get(A) == {"point": []}
    cache.clear()
    assert (cache.get(A), cache.get_blob(B)) == (None, None)


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(), _values), st.binary())
def test_any_result_comes_back(
    cache: Cache, value: dict[str, Any], blob: bytes
) -> None:
    cache.put(A, value)
    assert cache.get(A) == value
    cache.put_blob(A, blob)
    assert cache.get_blob(A) == blob


def test_numbers_that_json_does_not_have_are_refused(cache: Cache) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        cache.put(A, {"time": float("nan")})


@pytest.mark.parametrize("key", ["", "../a", "A" * 64, "a" * 63, "a" * 64 + "/x"])
def test_a_key_is_a_digest(cache: Cache, key: str) -> None:
    with pytest.raises(ValueError, match="a key is 64 hexadecimal digits, not "):
        cache.get(key)
    with pytest.raises(ValueError, match="a key is 64 hexadecimal digits, not "):
        cache.put_blob(key, b"")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:30],
        lambda content: b"",
        lambda content: content + b" ",
        lambda content: b"0" * 64 + content[64:],
        lambda content: content[:64] + content[64:].replace(b"1", b"2"),
        lambda content: b"\xff" * len(content),
    ],
)
def test_a_damaged_entry_is_absent_and_made_again(
    cache: Cache, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    cache.put(A, {"point": 1})
    path = _only(cache)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.INFO):
        assert cache.get(A) is None
    assert f"{path} is damaged or not from here: it is made again" in caplog.messages
    cache.put(A, {"point": 3})
    assert cache.get(A) == {"point": 3}


def test_an_entry_of_somebody_else_is_absent(cache: Cache, folder: Path) -> None:
    cache.put_blob(A, b"code")
    (folder / "key").unlink()
    assert cache.get_blob(A) is None


def test_an_entry_under_another_key_is_absent(cache: Cache) -> None:
    cache.put_blob(A, b"code")
    cache.put_blob(B, b"other")
    there = cache._path(B, "bin")
    there.write_bytes(cache._path(A, "bin").read_bytes())
    assert cache.get_blob(B) is None
    cache._path(A, "json").write_bytes(cache._path(A, "bin").read_bytes())
    assert cache.get(A) is None
    assert cache.get_blob(A) == b"code"


def test_what_cannot_be_kept_is_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Cache().put(A, {})
    place = folder / "file"
    place.write_text("where the folder should be")
    blocked = Cache(place)
    with caplog.at_level(logging.INFO):
        blocked.put(A, {})
    assert blocked.get(A) is None
    assert "result is not kept: Not a directory" in caplog.text


def test_what_was_used_longest_ago_goes(folder: Path) -> None:
    small = Cache(max_bytes=10 * (64 + 100))
    keys = [f"{index:064x}" for index in range(10)]
    for age, key in enumerate(keys):
        small.put_blob(key, b"x" * 100)
        os.utime(small._path(key, "bin"), ns=(0, age * 10**9))
    assert all(small.get_blob(key) is not None for key in keys)
    for age, key in enumerate(keys):
        os.utime(small._path(key, "bin"), ns=(0, age * 10**9))
    assert small.get_blob(keys[0]) is not None  # used just now
    small.put_blob("f" * 64, b"x" * 100)
    # Of eleven, eight are left: 0.8 of what ten take.
    left = [key for key in (*keys, "f" * 64) if small._path(key, "bin").exists()]
    assert left == [keys[0], *keys[4:], "f" * 64]


def test_drafts_of_ended_processes_go(folder: Path) -> None:
    small = Cache(max_bytes=0)
    small.put_blob(A, b"code")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    parent = small._path(A, "bin").parent
    parent.mkdir(parents=True, exist_ok=True)
    dead = parent / f".{'a' * 62}.bin.{ended.pid}.00"
    alive = parent / f".{'a' * 62}.bin.{os.getpid()}.00"
    dead.touch()
    alive.touch()
    small.put_blob(B, b"code")
    assert (dead.exists(), alive.exists()) == (False, True)


def test_threads_and_processes_share_a_folder(cache: Cache, folder: Path) -> None:
    program = (
        "import sys\n"
        "from trimtab.runtime.cache import Cache\n"
        "cache = Cache()\n"
        "for _ in range(200):\n"
        "    cache.put('a' * 64, {'by': sys.argv[1] * 1000})\n"
        "    found = cache.get('a' * 64)\n"
        "    assert found and len(set(found['by'])) == 1, found\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", program, name], env=dict(os.environ))
        for name in "xy"
    ]

    def work(name: str) -> bool:
        cache.put(A, {"by": name * 1000})
        found = cache.get(A)
        return found is not None and len(set(found["by"])) == 1

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, "pqrs" * 50))
    assert [each.wait(60) for each in others] == [0, 0]
    assert cache.get(A) is not None
    assert len(list(cache.folder.glob("*/*"))) == 1  # no draft is left
