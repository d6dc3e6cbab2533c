"""The examples run as a user would run them, with smaller numbers."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trimtab.errors import DataError

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_turned_digits():
    said = run("turned_digits.py", "--examples", "60", "--steps", "24")
    assert "as plain layers: AdaptiveMaxPool2d, AvgPool2d, Conv2d" in said
    assert "of 1000 other digits are right" in said
    assert "rotation by 90 degrees" in said


def ratings(path):
    """Write 200 users' ratings of 60 films, every other of them good.

    Good films are liked nine times in ten, the others once. All are rated as often, so
    that popularity says nothing.
    """
    random = np.random.default_rng(0)
    lines = []
    for user in range(1, 201):
        for time, film in enumerate(random.permutation(np.arange(1, 61))[:50]):
            liked = random.random() < (0.9 if film % 2 else 0.1)
            lines.append(f"{user}\t{film}\t{5 if liked else 2}\t{1000 + time}")
    path.write_text("\n".join(lines) + "\n")


def test_movielens(tmp_path):
    ratings(tmp_path / "u.data")
    said = run("movielens.py", str(tmp_path / "u.data"), "--seeds", "1")
    areas = dict(re.findall(r"(?m)^(.+?) +(0\.\d+)  \(", said))
    assert list(areas) == ["popularity", "share of likes", "NCF", "DIN"]
    assert abs(float(areas["popularity"]) - 0.5) < 0.1
    # Pairs of a good and another film are right, those of two alike are a coin's toss:
    # 0.9 * 0.9 + 2 * 0.9 * 0.1 / 2.
    for name in ("share of likes", "NCF", "DIN"):
        assert abs(float(areas[name]) - 0.9) < 0.05, name


def test_movielens_itself():
    """The published data: both networks beat both baselines."""
    path = os.environ.get("TRIMTAB_MOVIELENS")
    if not path:
        pytest.skip("TRIMTAB_MOVIELENS names no u.data or ml-100k.inter")
    said = run("movielens.py", path, "--seeds", "1", "--epochs", "3")
    areas = dict(re.findall(r"(?m)^(.+?) +(0\.\d+)  \(", said))
    best = max(float(areas[name]) for name in ("popularity", "share of likes"))
    assert min(float(areas[name]) for name in ("NCF", "DIN")) > best


@pytest.mark.parametrize(
    "line",
    [
        "1\t2\t3",
        "1\t2\t6\t9",
        "0\t2\t3\t9",
        "1\t999999999\t3\t9",
        "1\t-2\t3\t9",
        "1\t\u0663\t3\t9",
        f"1\t2\t3\t{'9' * 5000}",
    ],
)
def test_movielens_refuses_what_is_no_rating(tmp_path, line):
    read = runpy.run_path(str(EXAMPLES / "movielens.py"))["read"]
    path = tmp_path / "u.data"
    path.write_text(f"1\t2\t3\t4\n{line}\n", "utf-8")
    with pytest.raises(DataError, match=r"u\.data:2\)"):
        read(path)
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "absent")
    path.write_text("1\t2\t3\t4\n")
    with pytest.raises(DataError, match=r"^1 ratings: training needs 100"):
        read(path)


def test_the_plan_of_a_recommender(tmp_path, trimtab, monkeypatch):
    """The whole way: it learns, is compiled, and gets a schedule within its target."""
    ratings(tmp_path / "u.data")
    monkeypatch.setenv("TRIMTAB_MOVIELENS", str(tmp_path / "u.data"))
    plan = (EXAMPLES / "movielens.toml").read_text()
    assert "recommend.py:network" in plan
    (tmp_path / "plan.toml").write_text(
        plan.replace("recommend.py", f"{EXAMPLES}/recommend.py").replace(
            "[serve]", "[serve]\nconfirm = false"
        )
    )
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [stage["name"] for stage in record["stages"]] == [
        "train",
        "compile",
        "serve",
    ]
    values = record["stands"][-1]["values"]
    # Nine in ten are liked of every other film, one in ten of the rest.
    assert values["accuracy_frac"] > 0.85
    assert values["p95_latency_s"] < 0.025
    assert record["fits"]


def test_the_plan_of_a_recommender_says_where_its_data_are(trimtab, monkeypatch):
    monkeypatch.delenv("TRIMTAB_MOVIELENS", raising=False)
    done = trimtab("run", EXAMPLES / "movielens.toml")
    assert done.returncode == 1
    assert "TRIMTAB_MOVIELENS names no file" in done.stderr


def test_the_main_job_shortened(tmp_path, trimtab):
    """Every stage of `make demo`, each with as little work as it takes."""
    plan = (EXAMPLES / "digits.toml").read_text()
    for old, new in (
        ('"turned.py', f'"{EXAMPLES}/turned.py'),
        ('"D4:hflip,C4,D4"', '"D4:C4"'),
        ("examples = 200\nsteps = 400", "examples = 40\nsteps = 12"),
        ("epochs = 24\nbatch_size = 32", "epochs = 1\nbatch_size = 40"),
        ("accuracy_frac = 0.80\n", ""),
        ("examples = 64", "examples = 4\nmeasure = false"),
        ("[serve] ", "[serve]\nconfirm = false"),
    ):
        assert old in plan
        plan = plan.replace(old, new)
    (tmp_path / "plan.toml").write_text(plan)
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["notes"] == []
    values = {each["stage"]: each["values"] for each in record["stands"]}
    assert list(values)[1:] == [
        "design", "symmetry", "relax", "collapse", "verify", "compile", "partition",
        "serve",
    ]  # fmt: skip
    assert values["design"]["parameters"] <= values["(start)"]["parameters"] / 4
    assert values["symmetry"]["parameters"] < values["design"]["parameters"]
    # Written out they are as many as the design has, but for norms that are folded.
    assert values["collapse"]["parameters"] <= values["design"]["parameters"]
    assert values["compile"]["latency_s"] < values["collapse"]["latency_s"]
    assert values["serve"]["p95_latency_s"] < 0.025
