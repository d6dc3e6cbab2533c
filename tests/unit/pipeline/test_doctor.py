"""What is there, what is not, and what is there but wrong."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from trimtab.hardware.calibration import calibration_path
from trimtab.pipeline import doctor
from trimtab.pipeline.doctor import examine

ROOT = Path(__file__).parents[3]


def by_name(found):
    return {each.name: each for each in found}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    return tmp_path


def test_every_extra_of_the_project_is_looked_at_and_said_what_for():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(doctor._EXTRAS) == set(extras) - {"all"}


def test_packages_absent_and_of_other_versions(cache):
    version = metadata.version("numpy")
    found = by_name(
        examine(
            [
                "numpy>=1",
                "nothing-of-that-name>=2; extra == 'serve'",
                "numpy>=999; extra == 'compile'",
                "numpy>=1; extra == 'report'",
                "other-place; sys_platform == 'win32'",
            ],
            ">=3.11",
        )
    )
    assert found["packages"].state == "ok"
    assert found["packages"].required
    assert found["extra serve"].state == "missing"
    assert "nothing-of-that-name>=2" in found["extra serve"].detail
    assert "'trimtab[serve]'" in found["extra serve"].remedy
    assert found["extra compile"].state == "wrong"
    assert f"numpy {version}, needed >=999" in found["extra compile"].detail
    assert (found["extra report"].state, found["extra report"].remedy) == ("ok", "")
    assert "extra docs" not in found


def test_another_python_is_wrong(cache):
    python = by_name(examine([], ">=4"))["Python"]
    assert (python.state, python.required) == ("wrong", True)
    assert ">=4" in python.remedy


def test_calibration_and_cache_folder(cache):
    found = by_name(examine([], ""))
    assert found["calibration"].state == "missing"
    assert "trimtab machine calibrate" in found["calibration"].remedy
    assert found["cache folder"].state == "ok"
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("name = [", "utf-8")
    found = by_name(examine([], ""))
    assert found["calibration"].state == "wrong"
    assert str(path) in found["calibration"].remedy
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where the folder is to be", "utf-8")
    assert by_name(examine([], ""))["cache folder"].state == "wrong"


def test_programs_root_and_data(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("TRIMTAB_DATA", str(tmp_path / "absent"))
    found = by_name(examine([], ""))
    assert found["chromium"].state == "missing"
    assert "apt-get install qemu-user" in found["qemu-aarch64"].remedy
    assert found["root"].state == "missing"
    assert found["TRIMTAB_DATA"].state == "wrong"
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("TRIMTAB_DATA", str(tmp_path))
    found = by_name(examine([], ""))
    assert {found[each].state for each in ("chromium", "root", "TRIMTAB_DATA")} == {
        "ok"
    }
    monkeypatch.delenv("TRIMTAB_DATA")
    assert by_name(examine([], ""))["TRIMTAB_DATA"].state == "missing"


def test_where_trimtab_is_not_installed_it_says_so(cache, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", absent)
    packages = by_name(examine())["packages"]
    assert (packages.state, packages.required) == ("wrong", True)
    assert "not installed" in packages.detail


def test_pins_are_named_where_they_are(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["absent>=2; extra == 'serve'"]
    assert by_name(examine(asked, ""))["extra serve"].remedy == (
        "pip install 'trimtab[serve]'"
    )
    (tmp_path / "constraints.txt").touch()
    remedy = by_name(examine(asked, ""))["extra serve"].remedy
    assert remedy == "pip install -c constraints.txt 'trimtab[serve]'"
