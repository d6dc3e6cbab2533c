"""What a run shows while it is under way."""

import io
import sys

import pytest
from rich.console import Console

from trimtab.cli import run_view as module
from trimtab.cli.run_view import run_view


def test_where_nobody_watches_a_line_a_stage(capsys):
    with run_view() as view:
        view.expect(["train", "compile"])
        view("train", 0.5, "half")
        view("train", 1.0, "done\x1b[2J")
        sys.stdout.write("from the user's code")
    out, err = capsys.readouterr()
    assert out == ""
    assert "train: done" in err
    assert "half" not in err
    assert "compile" not in err


def test_quiet_is_quiet(capsys):
    with run_view(quiet=True) as view:
        view.expect(["train"])
        view("train", 1.0, "done")
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def screen(monkeypatch):
    """A terminal that keeps what was drawn."""
    drawn = io.StringIO()
    monkeypatch.setattr(
        module,
        "Console",
        lambda **_: Console(file=drawn, force_terminal=True, width=120),
    )
    return drawn


def test_a_terminal_shows_all_stages_and_where_each_is(screen):
    with run_view() as view:
        view.expect(["train", "compile", "serve", "bundle"])
        view("train", 1.0, "kept: 95.0 %")
        view("compile", 1.0, "20 kernels")
        view("serve", 0.5, "\x1b[2Junder load")
    last = screen.getvalue().rpartition("train")
    text = last[0][-40:] + "train" + last[2]
    for words in ("kept", "done", "runs", "waits", "20 kernels", "95.0 %"):
        assert words in text
    assert "\x1b[2J" not in screen.getvalue()
