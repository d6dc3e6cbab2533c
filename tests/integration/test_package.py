"""The wheel has all that trimtab reads, the sdist all that a checkout has."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the extra dev: no hatchling")
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def tracked(*folders):
    try:
        done = subprocess.run(
            ["git", "ls-files", "--", *folders],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a checkout of git")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel",
         "-d", str(folder)],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    return folder


def test_the_wheel_has_every_file_of_the_library_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    found = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }
    assert found == {name.removeprefix("src/") for name in tracked("src")}


def test_the_sdist_has_what_a_checkout_has(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as content:
        found = {name.partition("/")[2] for name in content.getnames()}
    assert tracked(".") <= found | {".gitignore"}


def test_the_wheel_works_where_no_checkout_is(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trimtab", "inspect", "zoo:lenet5", "--machine",
         "milan"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"),
             "TRIMTAB_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "61.7 k" in done.stdout
