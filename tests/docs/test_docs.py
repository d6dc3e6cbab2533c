"""What pages in docs/ tell a reader to run, runs; it prints what they say."""

import contextlib
import doctest
import logging
import re
import shlex
from pathlib import Path

import pytest
from benchmarks import vision

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
NEEDED = {
    "trimtab.onnx.write": "onnxscript",
    'backend="trimtab"': "tvm",
    "lightning.pytorch": "lightning",
}
"""What stands in an example, and the package without which it cannot run."""


def _fences(language):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(
            rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL
        )
        for index, code in enumerate(fences, 1):
            yield pytest.param(code, id=f"{page.stem}-{index}")


def _rows(page):
    """Return the first two cells of each row of a page's tables."""
    lines = page.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split("|") for line in lines if line.startswith("| ")]
    return [(each[0].strip(), each[1].strip()) for each in cells]


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # of Lightning, onnxscript and TVM at themselves
@pytest.mark.parametrize("code", list(_fences("python")))
def test_an_example_runs(code, tmp_path, monkeypatch):
    for said, package in NEEDED.items():
        if said in code:
            if package == "lightning":
                with contextlib.suppress(ImportError):
                    vision.torchvision()  # Lightning imports torchvision where it is
            pytest.importorskip(package, reason=f"the example takes {package}")
    monkeypatch.chdir(tmp_path)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    exec(compile(code, "example", "exec"), {"__name__": "example"})


@pytest.mark.integration
@pytest.mark.parametrize("text", list(_fences("console")))
def test_a_command_prints_what_the_page_says(text, trimtab):
    """As in a doctest: `...` stands for anything, and spaces count alike."""
    typed, _, wanted = text.partition("\n")
    done = trimtab(*shlex.split(typed.removeprefix("$ trimtab ")))
    printed = done.stdout or done.stderr
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(wanted, printed, options)
    assert same, f"{typed}\n{printed}"


def test_what_the_papers_page_quotes_was_measured():
    measured = {
        row
        for page in sorted(ROOT.glob("benchmarks/*/README.md"))
        for row in _rows(page)
    }
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    tables = page.split("| claim | measured | goal | met |\n")[1:]
    quoted = [
        tuple(cell.strip() for cell in line.strip("|").split("|")[:2])
        for table in tables
        for line in table.split("\n\n")[0].splitlines()[1:]
    ]
    assert len(quoted) > 30
    stale = [row for row in quoted if row not in measured]
    assert not stale, f"benchmarks say otherwise, or nothing: {stale}"
