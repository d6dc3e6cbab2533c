"""A file is one idea: long ones must say in their first line why they are long."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "trimtab"
SAYS_WHY = 400
TOO_LONG = 600

LENGTHS = {
    path.relative_to(SOURCE).as_posix(): len(path.read_text("utf-8").splitlines())
    for path in sorted(SOURCE.rglob("*.py"))
}


@pytest.mark.parametrize("name", [name for name in LENGTHS if LENGTHS[name] > SAYS_WHY])
def test_a_long_file_says_why(name):
    module = ast.parse((SOURCE / name).read_text("utf-8"))
    first_line = (ast.get_docstring(module) or "").split("\n")[0]
    assert "lines" in first_line, (
        f"{name} has {LENGTHS[name]} lines: split it, or say in the first line of its "
        f"docstring why it has so many lines"
    )


def test_no_file_is_too_long():
    too_long = {name: count for name, count in LENGTHS.items() if count > TOO_LONG}
    assert not too_long, f"split these: over {TOO_LONG} lines"
