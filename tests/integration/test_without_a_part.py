"""Where one capability's folder is gone, its stage and its command are, and no more."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trimtab

SOURCE = Path(trimtab.__file__).parent

pytestmark = pytest.mark.integration

# A part: its own rooms elsewhere, its command, and its stage.
PARTS: dict[str, tuple[set[str], list[str], str]] = {
    "compiler": (set(), ["compile", "zoo:lenet5", "-o", "c"], "[compile]"),
    "design": (set(), ["design", "explain", "zoo:lenet5"], "[design]"),
    "partition": (
        {"trimtab.pipeline.divided", "trimtab.pipeline.profiles",
         "trimtab.pipeline.study"},
        ["partition", "plan", "zoo:lenet5", "--edge",
         "raspberry-pi-4", "--bandwidth", "20Mbit/s", "--rtt", "40ms"],
        '[partition]\nedge = "raspberry-pi-4"\nlink = "wlan"',
    ),
    "relax": (set(), [], '[relax]\nrelaxation = "local-entropy"'),
    "serve": (
        {"trimtab.pipeline.serving", "trimtab.pipeline.steps.serve"},
        ["serve", "simulate", "--cores", "2"],
        '[serve]\nslo = "p95=1s"',
    ),
    "symmetry": (
        set(),
        ["symmetry", "fit", "--data", "digits", "--family", "D4"],
        '[symmetry]\nfamily = "D4"',
    ),
}  # fmt: skip

PLAN = """
name = "small"
network = "zoo:lenet5"
machine = "milan"
output = "out"

[inspect]
"""

PROGRAM = """
import io, contextlib, json, sys
command, stage = json.loads(sys.argv[1])
from trimtab.cli.main import main

def run(*arguments):
    sys.argv = ["trimtab", *arguments]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        return ended.code, out.getvalue() + err.getvalue()

plan = open("plan.toml").read()
found = {
    "help": run("--help"),
    "inspect": run("inspect", "zoo:lenet5", "--machine", "milan"),
    "run": run("run", "plan.toml"),
    "own": run(*command) if command else None,
}
open("own.toml", "w").write(plan + stage)
found["stage"] = run("run", "own.toml", "--overwrite")
print(json.dumps(found), file=sys.__stdout__)
"""


def imported(path):
    """Return the modules that are imported with a module, not within a function."""
    waiting: list[ast.AST] = list(ast.parse(path.read_text("utf-8")).body)
    found = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.ImportFrom):
            found.add(str(each.module))
        elif isinstance(each, ast.Import):
            found.update(name.name for name in each.names)
        elif isinstance(each, ast.If) and "TYPE_CHECKING" in ast.unparse(each.test):
            waiting += each.orelse
        elif not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(each)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_only_rooms_of_its_own_are_imported_with_it(part):
    found = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != part
        and any(f"{each}.".startswith(f"trimtab.{part}.") for each in imported(path))
    }
    assert found == PARTS[part][0]


@pytest.mark.parametrize("part", PARTS)
def test_no_other_part_needs_it(part, tmp_path):
    _, command, stage = PARTS[part]
    (tmp_path / "trimtab").mkdir()
    for each in SOURCE.iterdir():
        if each.name not in (part, "__pycache__"):
            (tmp_path / "trimtab" / each.name).symlink_to(each)
    (tmp_path / "plan.toml").write_text(PLAN)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM,
         json.dumps([command, stage])],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "PYTHONPATH": str(tmp_path),
             "TRIMTAB_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("help", "inspect", "run"):
        assert found[name][0] == 0, found[name]
    code, said = found["stage"]
    assert code == 1
    assert f"stage {stage.splitlines()[0]}: this version of trimtab" in said
    if command:
        code, said = found["own"]
        assert code == 1
        assert f"the part `{part}` of trimtab" in " ".join(said.split()), said
