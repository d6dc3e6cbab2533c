"""A calibration belongs to one host and is kept whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.errors import MachineError
from trimtab.hardware import calibration
from trimtab.hardware.calibration import calibration_path, save, stored
from trimtab.hardware.detect import fingerprint
from trimtab.hardware.machine import Machine


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRIMTAB_CACHE", str(folder))
    return folder


def test_nothing_is_stored_at_first(cache: Path) -> None:
    assert stored() is None
    assert not cache.exists()


def test_what_is_saved_comes_back_with_the_fingerprint_of_the_host(
    cache: Path, plain: Machine
) -> None:
    path = save(plain)
    assert path == cache / "machines" / f"{fingerprint()}-2.toml" == calibration_path()
    assert stored() == replace(plain, fingerprint=fingerprint())
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_later_calibration_takes_the_place_of_an_earlier(plain: Machine) -> None:
    save(plain)
    later = replace(plain, dispatch_s=2 * plain.dispatch_s)
    save(later)
    found = stored()
    assert found is not None
    assert found.dispatch_s == 2 * plain.dispatch_s


def test_the_calibration_of_another_host_is_not_used(
    plain: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(plain)
    with monkeypatch.context() as patch:
        patch.setattr(calibration, "fingerprint", lambda: "another")
        assert stored() is None  # its file has another name
        path.rename(calibration_path())
        assert stored() is None  # and another fingerprint inside
    assert stored() is None


def test_a_fingerprint_that_the_machine_brings_is_replaced(plain: Machine) -> None:
    save(replace(plain, fingerprint="of the catalogue"))
    found = stored()
    assert found is not None
    assert found.fingerprint == fingerprint()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "\0" * 100, id="zeros"),
        pytest.param(lambda text: text + "nonsense = 1\n", id="unknown key"),
        pytest.param(
            lambda text: text.replace("cores = {", "cores = [{"), id="no TOML"
        ),
        pytest.param(
            lambda text: text.replace("value = 4,", "value = -4,"), id="negative"
        ),
    ],
)
def test_a_damaged_file_is_named(plain: Machine, damage: object) -> None:
    path = save(plain)
    text = path.read_text("utf-8")
    assert callable(damage)
    assert damage(text) != text
    path.write_text(damage(text), "utf-8")
    with pytest.raises(MachineError) as caught:
        stored()
    message = str(caught.value)
    assert message.startswith("calibration of this host: it is damaged: ")
    assert message.endswith(
        f"({path}). Remove the file; `trimtab machine calibrate` writes it anew."
    )
    path.unlink()
    assert stored() is None


def test_bytes_that_are_no_text_are_a_damaged_file(plain: Machine) -> None:
    path = save(plain)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MachineError) as caught:
        stored()
    assert str(path) in str(caught.value)


def test_a_machine_that_cannot_be_written_leaves_what_was_there(
    plain: Machine,
) -> None:
    path = save(plain)
    before = path.read_bytes()
    with pytest.raises(MachineError, match="every number has one source"):
        save(replace(plain, sources={}))
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_writer_that_fails_leaves_what_was_there(
    plain: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(plain)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        save(replace(plain, dispatch_s=1.0))
    assert path.read_bytes() == before


def test_without_the_variable_it_is_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("TRIMTAB_CACHE")
        else:
            monkeypatch.setenv("TRIMTAB_CACHE", value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        expected = tmp_path / "xdg" / "trimtab" / "machines" / f"{fingerprint()}-2.toml"
        assert calibration_path() == expected
