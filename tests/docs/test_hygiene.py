"""The project's files name no machine that they were written on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in two parts, so that this file does not name them either.
HOSTS = ["pypi" + ".org", "files.python" + "hosted", "download.py" + "torch.org"]
FOLDERS = ["work", "home", "root", "opt"]
FORBIDDEN = re.compile(
    "|".join(map(re.escape, HOSTS)) + rf"|(?<![\w.\-/*}}])/(?:{'|'.join(FOLDERS)})/"
)


def _files() -> list[Path]:
    """Return the files that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout: the list of the project's files is not known")
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def test_no_path_of_a_machine_and_no_address_of_a_registry():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in _files()
        for number, line in enumerate(_lines(path), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found, "\n".join(found)


def test_only_ci_looks_beside_the_checkout():
    beside = "../" + "shared"
    found = {
        path.relative_to(ROOT).as_posix()
        for path in _files()
        if any(beside in line for line in _lines(path))
    }
    assert found <= {".ci/run"}


def test_no_large_file():
    large = {
        path.relative_to(ROOT).as_posix(): path.stat().st_size
        for path in _files()
        if path.stat().st_size > 2 * 2**20
    }
    assert not large, "data and weights do not belong into the repository"
