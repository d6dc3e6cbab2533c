import json

import pytest
from tests.unit.design.test_step import NET


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return "net.py"


def test_check_trains_both_alike(trimtab, net, tmp_path):
    import numpy as np

    draws = np.random.default_rng(0)
    y = np.arange(160) % 4
    x = draws.integers(0, 255, (160, 16, 16, 3)).astype(np.uint8)
    np.savez(tmp_path / "small.npz", x=x, y=y)
    done = trimtab(
        "design", "check", net, net, "--data", "small.npz", "--seconds", "60",
        "--seeds", "2", "--epochs", "1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["difference"]["mean"]["value"] == 0
    shown = trimtab(
        "design", "check", net, net, "--data", "small.npz", "--seeds", "2",
        "--epochs", "1", "--seconds", "60",
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "points" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--data", "nosuch.npz"), "nosuch.npz"),
        (("--data", "digits", "--seconds", "inf"), "its time is limited"),
        (("--data", "digits"), "does not take them"),
    ],
)
def test_bad_input_is_one_message(trimtab, net, arguments, said):
    done = trimtab("design", "check", net, net, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
