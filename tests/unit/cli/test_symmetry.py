"""`trimtab symmetry fit`, as a user types it."""

import json

import pytest
from tests.unit.symmetry.test_step import plan  # noqa: F401


def test_fit_says_what_holds(trimtab, plan):  # noqa: F811
    arguments = (
        "symmetry", "fit", "--data", "corners.npz", "--family", "flips",
        "--steps", "40", "--examples", "30",
    )  # fmt: skip
    done = trimtab(*arguments, "-o", "tied.trimtab")
    assert done.returncode == 0, done.stderr
    assert "Schemes of weight sharing" in done.stdout
    assert "hflip" in done.stdout
    assert "test examples" in done.stdout
    shown = trimtab("inspect", "tied.trimtab", "--json")
    assert shown.returncode == 0, shown.stderr
    again = trimtab(*arguments, "--network", "net.py", "--json")
    assert again.returncode == 0, again.stderr
    record = json.loads(again.stdout)
    assert record["examples"] == 30
    assert {each["element"] for each in record["findings"]} == {
        "rot180", "hflip", "vflip",
    }  # fmt: skip
    assert len(record["schemes"]) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "nosuch.npz"), "nosuch.npz"),
        (("--data", "corners.npz", "--family", "D7"), "family 'D7'"),
        (("--data", "corners.npz", "--strength", "2"), "only `invariance` has one"),
        (("--data", "corners.npz", "--network", "net.py"), None),
    ],
)
def test_bad_input_is_refused(trimtab, plan, arguments, said):  # noqa: F811
    done = trimtab("symmetry", "fit", *arguments, "--steps", "1", "--restarts", "1")
    assert (done.returncode == 1) is (said is not None), done.stderr
    assert said is None or said in done.stderr
