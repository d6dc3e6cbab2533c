import io
import json

from rich.console import Console

from trimtab.cli.output import (
    SCHEMA_VERSION,
    fail,
    print_json,
    progress_bar,
    table,
    verdict_records,
    verdict_table,
)
from trimtab.cost.verdict import Budget
from trimtab.errors import UsageError


def drawn(thing) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(thing)
    return out.getvalue()


def test_numbers_are_formatted_by_the_unit_of_their_column():
    text = drawn(
        table("t", [("name", ""), ("time", "s")], [("a[b]", 0.002), ("c", None)])
    )
    assert "2.00 ms" in text
    assert "a[b]" in text  # markup in a name is text


def test_json_has_the_version_of_its_form(capsys):
    print_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {
        "schema_version": SCHEMA_VERSION,
        "a": 1,
    }


def test_verdicts_say_value_limit_and_slack():
    verdicts = Budget(parameters=10, accuracy_frac=0.9).judge(
        {"parameters": 12, "accuracy_frac": 0.95}
    )
    text = drawn(verdict_table(verdicts))
    assert "NO" in text
    assert "at least 90.0 %" in text
    assert [record["slack"] < 0 for record in verdict_records(verdicts)] == [
        True,
        False,
    ]


def test_an_error_is_text_on_stderr_or_json_on_stdout(capsys):
    error = UsageError("x", rule="r", where="w", remedy="do y")
    assert fail(error, as_json=False, code=1) == 1
    assert "x: r (w). Do y." in capsys.readouterr().err
    assert fail(error, as_json=True, code=1) == 1
    assert json.loads(capsys.readouterr().out)["remedy"] == "do y"


def test_progress_without_a_terminal_is_one_line_a_piece(capsys):
    with progress_bar() as progress:
        progress("load", 0.5, "half")
        progress("load", 1.0, "12 operators")
        progress("load", 1.0, "again")
    assert capsys.readouterr().err == "load: 12 operators\n"


def test_quiet_progress_prints_nothing(capsys):
    with progress_bar(quiet=True) as progress:
        progress("load", 1.0, "done")
    assert capsys.readouterr() == ("", "")
