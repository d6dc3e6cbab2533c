"""What README, CONTRIBUTING and the pages of docs/ tell a reader to type exists."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from trimtab.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]


def _typed(program: str) -> list[str]:
    """Return the lines in code fences, and code in tables, that start `program`."""
    lines = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        lines += [
            line.strip().removeprefix("$ ")
            for fence in fences
            for line in fence.splitlines()
        ]
        lines += re.findall(r"`([^`\n]+)`", text)
    return sorted({line for line in lines if line.startswith(f"{program} ")})


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that `words` lead to and the words left for it."""
    command: Any = typer.main.get_command(app)
    while words and getattr(command, "commands", None):
        name, *words = words
        assert name in command.commands, f"no command {name!r} in {command.name}"
        command = command.commands[name]
    return command, words


@pytest.mark.parametrize("line", _typed("trimtab"))
def test_a_command_exists_with_its_options(line):
    words = shlex.split(line.replace("[", "").replace("]", ""), comments=True)[1:]
    if words == ["--help"]:
        return
    command, rest = _command(words)
    known = {option for each in command.params for option in each.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word not in known]
    assert not unknown, f"`{line}` uses options that do not exist"


@pytest.mark.parametrize("line", _typed("make"))
def test_a_make_target_exists(line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    words = [word for word in line.split()[1:] if "=" not in word]
    assert set(words[:1]) <= targets


@pytest.mark.parametrize("line", _typed("scripts/test") + _typed("scripts/check"))
def test_a_script_exists(line):
    assert (ROOT / line.split()[0]).exists()


def test_linked_files_exist():
    for page in PAGES:
        links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        missing = [link for link in links if not (page.parent / link).exists()]
        assert not missing, f"{page.name} links to what is not there"
