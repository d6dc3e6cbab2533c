"""The process between two namespaces; what it does to packets is in test_emulate."""

import json
import subprocess
import sys

import pytest

from trimtab.partition.live import delay
from trimtab.partition.live.emulate import unavailable

COMMAND = [sys.executable, "-m", "trimtab.partition.live.delay"]


def test_it_says_where_both_ends_are_and_ends_with_its_input():
    if why := unavailable():
        pytest.skip(f"no network can be emulated: {why}")
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert len(set(json.loads(process.stdout.readline())["namespaces"])) == 2
        said = json.dumps(
            {
                "delay_s": 0.0,
                "loss_frac": 0.0,
                "black_hole": False,
                "bytes_per_s": [1e6, 1e6],
            }
        )
        for part in (said[:10], f"{said[10:]}\n{said}\n"):
            process.stdin.write(part.encode())
            process.stdin.flush()
        assert [process.stdout.readline() for _ in range(2)] == [b"{}\n"] * 2
        process.stdin.close()
        assert process.wait(10) == 0


def test_who_may_not_make_namespaces_is_told(monkeypatch, capsys):
    def refused(call, *arguments):
        raise PermissionError(1, f"{call}: Operation not permitted")

    monkeypatch.setattr(delay, "_checked", refused)
    delay.main()
    assert "unshare" in json.loads(capsys.readouterr().out)["error"]
