"""`--cluster` of commands that share their work."""

import pytest

from trimtab.cli.cluster import executor_of


def test_without_an_address_there_is_none():
    with executor_of(None) as found:
        assert found is None


@pytest.mark.parametrize(
    "command",
    [("compile", "zoo:lenet5"), ("partition", "study", "zoo:lenet5", "-o", "study")],
)
def test_what_is_wrong_is_said_before_there_is_work(trimtab, command, tmp_path):
    done = trimtab(*command, "--cluster", "10.0.0.1")
    assert done.returncode == 1
    assert "it is auto, or ray://HOST:PORT" in done.stderr
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    done = trimtab(*command, "--cluster", "ray://127.0.0.1:1")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert not (tmp_path / "study").exists()
