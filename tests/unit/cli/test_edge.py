"""`trimtab cloud`, `trimtab edge`, `trimtab certs`, as one would type them."""

import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.partition.test_step import plan  # noqa: F401 - a fixture

pytest.importorskip("cryptography")


@pytest.fixture
def bundle(trimtab, plan):  # noqa: F811
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    return plan / "out" / "small.trimtab"


class Process:
    """`trimtab cloud` as a process of its own."""

    def __init__(self, folder, *options):
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trimtab", "cloud", *options, "--json"],
            cwd=folder, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
        )  # fmt: skip
        lines = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines += line
            if line.startswith("}"):
                break
        self.port = json.loads(lines)["listening"]["port"]

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        found, _ = self.process.communicate(timeout=20)
        return found


@pytest.mark.timeout(180)
def test_both_sides_over_tls(trimtab, plan, bundle):  # noqa: F811
    made = trimtab(
        "certs", "certs", "--name", "cloud", "--name", "edge", "--json"
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert len(json.loads(made.stdout)["written"]) == 6
    cloud = Process(plan, str(bundle), "--listen", ":0", "--tls", "certs")
    try:
        done = trimtab(
            "edge", str(bundle), "--cloud", f"127.0.0.1:{cloud.port}", "--tls",
            "certs", "--requests", "30", "--log", "decisions.jsonl", "--json",
        )  # fmt: skip
    finally:
        said = cloud.stop()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == 30
    assert found["connected"]
    assert cloud.process.returncode == 0
    assert json.loads(said)["answers"] == found["remote"]
    lines = (plan / "decisions.jsonl").read_text().splitlines()
    assert len(lines) == 30
    assert json.loads(lines[-1])["actual_s"] > 0


def test_without_a_cloud_the_edge_answers(trimtab, bundle):
    done = trimtab("edge", str(bundle), "--requests", "5")
    assert done.returncode == 0, done.stderr
    assert "edge only" in done.stdout
    assert gc.isenabled()  # who may run for long does not keep what is over
    gone = trimtab(
        "edge", str(bundle), "--cloud", "127.0.0.1:1", "--requests", "5", "--json"
    )
    assert gone.returncode == 0, gone.stderr
    assert json.loads(gone.stdout)["answers"] == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cloud", "here"), "address 'here'"),
        (("--data", "digits"), "the network takes"),
        (("--log", "none/x.jsonl"), "folder does not exist"),
        (("--cloud", "127.0.0.1:1", "--tls", "none"), "trimtab certs"),
    ],
)
def test_bad_input_is_one_message(trimtab, bundle, options, said):
    done = trimtab("edge", str(bundle), *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
