"""The table of claims: nothing left out, verdicts from values, README has it."""

from pathlib import Path

import pytest
from benchmarks.summary import Claim, stored, summary

README = Path(__file__).parents[3] / "README.md"


def row(name, value, op="<=", goal=1.0, **more):
    return {"id": name, "value": value, "op": op, "goal": goal, "unit": "s",
            "peer": None, **more}  # fmt: skip


ONE = Claim(text="it is fast", rows="a/one")
MANY = Claim(text="they are fast", rows="a/many/.*")


def test_verdicts_follow_from_values():
    rows = [
        row("a/one", 2.0),
        row("a/many/x", 0.5, peer="other"),
        row("a/many/y", 1.5, peer="other"),
        row("a/many/z", None, peer="another"),
    ]
    lines = summary(rows, [ONE, MANY]).splitlines()
    assert lines[2] == "| a | it is fast | 2.00 s | <= 1.00 s |  | **missed** |"
    assert lines[3] == (
        "| a | they are fast | 500 ms to 1.50 s | <= 1.00 s | another, other "
        "| **1 of 3, 1 not measured** |"
    )
    assert lines[-1] == ("Of 4 goals 1 are met, 2 missed, 1 not measured yet.")
    assert "| met |" in summary([row("a/one", 1.0)], [ONE])
    assert "| not measured | <= 1.00 s |  | not measured |" in summary(
        [row("a/one", None)], [ONE]
    )


@pytest.mark.parametrize(
    ("rows", "claims"),
    [
        ([row("a/one", 1.0), row("a/two", 1.0)], [ONE]),
        ([row("a/one", 1.0)], [ONE, MANY]),
        ([row("a/one", 1.0)], [ONE, Claim(text="again", rows="a/.*")]),
        ([row("a/many/x", 1.0), row("a/many/y", 1.0, unit="bytes")], [MANY]),
    ],
)
def test_a_row_left_out_and_rows_that_do_not_go_together_are_refused(rows, claims):
    with pytest.raises(ValueError, match=r"claim|units"):
        summary(rows, claims)


def test_readme_quotes_the_table_of_what_is_stored():
    assert summary(stored()) in README.read_text("utf-8"), (
        "call make bench-summary: README has other figures than the stored results"
    )
