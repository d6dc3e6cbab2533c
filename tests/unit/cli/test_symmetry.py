"""`trimtab symmetry fit`, as a user types it."""

import json

import pytest
import torch
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
    again = trimtab(*arguments, "--network", "net.py", "--degrees", "--json")
    assert again.returncode == 0, again.stderr
    record = json.loads(again.stdout)
    assert record["examples"] == 30
    assert {each["element"] for each in record["findings"]} == {
        "rot180", "hflip", "vflip",
    }  # fmt: skip
    assert len(record["schemes"]) == 5
    assert all(0 < each["degree"] <= 1 for each in record["degrees"])
    assert [each["element"] for each in record["degrees"]] == [
        each["element"] for each in record["findings"]
    ]


def test_rotations_are_fitted_in_polar_coordinates(trimtab, plan):  # noqa: F811
    arguments = (
        "symmetry", "fit", "--data", "corners.npz", "--family", "rotations:8",
        "--steps", "40", "-o", "turned.trimtab", "--report", "turned.html",
    )  # fmt: skip
    done = trimtab(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [each["scheme"] for each in record["schemes"]] == ["none", "C2", "C4", "C8"]
    page = (plan / "turned.html").read_text("utf-8")
    assert "Predictions that change when an image is turned" in page
    # What was written takes images.
    from trimtab.pipeline.load import load

    assert load(plan / "turned.trimtab")(torch.zeros(1, 1, 8, 8)).shape == (1, 2)
    again = trimtab(*arguments, "--overwrite", "--network", "net.py")
    assert again.returncode == 1
    assert "rotations shift an axis of polar coordinates" in again.stderr
    taken = trimtab(*arguments[:8], "--report", "turned.html")
    assert "it exists, or is no file" in taken.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "corners.npz", "--report", "no/such.html"), "does not exist"),
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
