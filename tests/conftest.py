"""Fixtures of all tests."""

from __future__ import annotations

import os

# Before torch is imported: its thread pool reads this once.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Threads that wait for each other spin, and take a core from what runs beside.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Whoever reaches a Ray cluster can run code: those of tests ask for a token. Set before
# Ray is imported: it reads this once, and the same on all sides, or nothing arrives.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = os.urandom(32).hex()

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from benchmarks import vision

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites golden files."""
    parser.addoption(
        "--update-golden", action="store_true", help="write what golden files expect"
    )


@pytest.fixture(autouse=True)
def _same_threads_and_seed() -> None:
    """Pin what may change bits: the number of threads and the global seed."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return ``check(text, name)``: `text` equals the file tests/golden/`name`."""
    command = f"scripts/test '{request.node.nodeid}' --update-golden"

    def check(text: str, name: str) -> None:
        path = ROOT / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists():
            pytest.fail(f"{path.relative_to(ROOT)} is missing. Write it: {command}")
        expected = path.read_text(encoding="utf-8")
        assert text == expected, f"If this change is meant, read the diff of: {command}"

    return check


@pytest.fixture
def data_folder() -> Callable[[str], Path]:
    """Return ``find(name)``: a file below TRIMTAB_DATA; skips where it is absent."""

    def find(name: str) -> Path:
        folder = os.environ.get("TRIMTAB_DATA")
        if not folder:
            pytest.skip(f"{name} is missing: TRIMTAB_DATA names no folder")
        path = Path(folder) / name
        if not path.exists():
            pytest.skip(f"{name} is missing in the folder that TRIMTAB_DATA names")
        return path

    return find


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """Return torchvision; tests that need it are skipped where it is not installed."""
    try:
        return vision.torchvision()
    except ModuleNotFoundError:
        pytest.skip("torchvision is missing: make install tries to install it")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def trimtab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Callable[..., Ended]]:
    """Return ``run(*arguments)``: the command line in an empty folder and cache.

    In this process, where torch is loaded already: an exception that would be a
    traceback for the user fails the test.
    """
    from trimtab.cli.main import main

    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["trimtab", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return Ended(returncode=int(caught.value.code or 0), stdout=out, stderr=err)

    handlers = list(logging.root.handlers)
    yield run
    logging.root.handlers[:] = handlers  # those made here write to what is captured
    gc.enable()  # the command line does without
