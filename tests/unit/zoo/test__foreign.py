from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from trimtab.errors import NetworkNotFoundError, UsageError
from trimtab.zoo._foreign import (
    attribute,
    executed,
    importable,
    imported,
    kind,
    only_factory,
    required_arguments,
    shown,
    user_code,
)


def test_importable_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    before = list(sys.path)
    with importable(tmp_path):
        assert sys.path == [str(tmp_path), *before]
    assert sys.path == before


def test_user_code_tells_the_line_in_the_given_file(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    code = "import torch\ndef build():\n    return torch.nn.Linear(2, -1)\n"
    file.write_text(code)
    namespace = executed("spec", file)
    with (
        pytest.raises(NetworkNotFoundError) as caught,
        user_code("spec", "the factory", str(file)),
    ):
        namespace.build()
    assert caught.value.where == f"{file}:3"  # not the line inside of torch
    assert caught.value.rule.startswith("the factory raised RuntimeError: ")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_user_code_leaves_our_own_errors_alone() -> None:
    with pytest.raises(UsageError, match=r"^mine"), user_code("spec", "it", ""):
        raise UsageError("mine", remedy="x")


def test_user_code_repeats_one_short_line() -> None:
    with (
        pytest.raises(NetworkNotFoundError) as caught,
        user_code("spec", "it", __file__),
    ):
        raise ValueError("a" * 500 + "\nsecond")
    assert caught.value.rule == "it raised ValueError: " + "a" * 200


def test_user_code_turns_an_exit_into_an_error() -> None:
    with (
        pytest.raises(NetworkNotFoundError, match="it raised SystemExit: 3"),
        user_code("spec", "it", __file__),
    ):
        sys.exit(3)


def test_executed_registers_one_module_a_path(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, two = tmp_path / "net.py", tmp_path / "other" / "net.py"
    one.write_text("x = 1\n")
    two.write_text("x = 2\n")
    first, second = executed("spec", one), executed("spec", two)
    assert (first.x, second.x) == (1, 2)
    assert first.__name__ != second.__name__
    assert sys.modules[first.__name__] is first
    one.write_text("x = 3\n")  # same size, perhaps the same second: no stale cache
    assert executed("spec", one).x == 3
    assert not (tmp_path / "__pycache__").exists()


def test_executed_forgets_a_module_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("1 / 0\n")
    before = set(sys.modules)
    with pytest.raises(NetworkNotFoundError, match="ZeroDivisionError"):
        executed("spec", file)
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"def build(:\n", r"raised SyntaxError: .*net\.py:1\)"),
        (b"x = 1\n\x00", r"raised (SyntaxError|ValueError): .*net\.py"),
        (b"\xff = 1\n", r"raised SyntaxError: .*net\.py"),
    ],
)
def test_executed_refuses_what_is_no_python(
    tmp_path: Path, content: bytes, text: str
) -> None:
    file = tmp_path / "net.py"
    file.write_bytes(content)
    with pytest.raises(NetworkNotFoundError, match=text):
        executed("spec", file)


def test_imported_tells_a_wrong_name_from_a_broken_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_zoo_test.py").write_text("\nimport no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NetworkNotFoundError) as caught:
        imported("spec", "broken_zoo_test")
    assert "raised ModuleNotFoundError: No module named 'no_such_dep" in str(
        caught.value
    )
    assert caught.value.where == str(tmp_path / "broken_zoo_test.py") + ":2"
    with pytest.raises(NetworkNotFoundError) as caught:
        imported("spec", "no_such_package.net")
    assert caught.value.rule == "there is no module no_such_package"
    with pytest.raises(NetworkNotFoundError, match=r"no module json\.nothing"):
        imported("spec", "json.nothing")


def test_attribute_follows_dots_and_suggests() -> None:
    namespace = ModuleType("space")
    namespace.Net = nn.Linear  # type: ignore[attr-defined]
    assert attribute("spec", namespace, "Net.forward") is nn.Linear.forward
    with pytest.raises(NetworkNotFoundError) as caught:
        attribute("spec", namespace, "Nett")
    assert caught.value.rule == "there is no 'Nett'"
    assert caught.value.remedy == "did you mean Net?"


_BLOCK = "class Block(nn.Module):\n    def __init__(self, n): super().__init__()\n"
_NET = "class Net(nn.Module): pass\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def build(): return nn.ReLU()\n" + _NET, "build"),
        ("def make(): return nn.ReLU()\n", "make"),
        ("model = nn.ReLU()\n", "model"),
        (_BLOCK + _NET, "Net"),
        ("from torch.nn import Linear, ReLU\n" + _NET, "Net"),
    ],
)
def test_only_factory_finds_the_clear_one(
    tmp_path: Path, code: str, expected: str
) -> None:
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\n" + code)
    assert only_factory("spec", file, executed("spec", file)) == expected


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (_NET + "class Other(nn.Module): pass\n", "several candidates: Net, Other"),
        ("def build(): 1\ndef make(): 1\n", "several candidates: build, make"),
        (_BLOCK, "no function build, make, model and no nn.Module class that takes"),
        ("from torch.nn import ReLU\nmodel = 3\n", "no function build, make, model"),
    ],
)
def test_only_factory_refuses_to_guess(tmp_path: Path, code: str, text: str) -> None:
    file = tmp_path / "net.py"
    file.write_text("from torch import nn\n" + code)
    with pytest.raises(NetworkNotFoundError, match=text) as caught:
        only_factory("spec", file, executed("spec", file))
    assert caught.value.remedy.startswith(f"name one: {file}:")


def test_required_arguments() -> None:
    def factory(a: int, b: int = 1, *rest: int, c: int, **more: int) -> None: ...

    assert required_arguments(factory) == ["a", "c"]
    assert required_arguments(nn.Linear) == ["in_features", "out_features"]
    assert required_arguments(nn.ReLU) == []
    assert required_arguments(dict.fromkeys) in ([], ["iterable"])


def test_shown_is_relative_below_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(str(tmp_path / "a" / "net.py")) == str(Path("a", "net.py"))
    assert shown(str(tmp_path.parent / "net.py")) == str(tmp_path.parent / "net.py")


def test_kind() -> None:
    assert kind(3) == "a value of type int"
