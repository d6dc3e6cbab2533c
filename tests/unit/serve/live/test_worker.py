"""A worker as a process: what it says, and that it ends with its dispatcher."""

import json
import os
import subprocess
import sys

from trimtab.pipeline.serving import OPENER

COMMAND = [sys.executable, "-m", "trimtab.serve.live.worker"]


def test_an_error_is_told_as_a_record():
    told = {
        "what": "prepare",
        "opener": OPENER,
        "spec": "zoo:nothing",
        "weights": None,
        "trust": False,
    }
    done = subprocess.run(
        COMMAND, input=json.dumps(told) + "\n", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    record = json.loads(done.stdout)["error"]
    assert record["error"] == "NetworkNotFoundError"
    assert "nothing" in record["asked"]


def test_it_says_what_a_network_takes_and_where_its_weights_stand():
    shared = os.memfd_create("test")
    told = {
        "what": "prepare", "opener": OPENER, "weights": None, "trust": False,
        "spec": "tests.unit.serve.live.nets:tables", "shared": shared,
    }  # fmt: skip
    done = subprocess.run(
        COMMAND, input=json.dumps(told) + "\n", capture_output=True, text=True,
        check=True, pass_fds=[shared],
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert [each["name"] for each in said["inputs"]] == ["numbers", "ids"]
    assert {each["name"] for each in said["table"]} == {
        "table.weight", "dense.weight", "dense.bias",
    }  # fmt: skip
    assert os.fstat(shared).st_size >= 4 * (50 * 4 + 9)
    os.close(shared)


def test_what_a_network_prints_is_not_taken_for_what_the_worker_says():
    shared = os.memfd_create("test")
    told = {
        "what": "prepare", "opener": OPENER, "weights": None, "trust": False,
        "spec": "tests.unit.serve.live.nets:talkative", "shared": shared,
    }  # fmt: skip
    done = subprocess.run(
        COMMAND, input=json.dumps(told) + "\n", capture_output=True, text=True,
        check=True, pass_fds=[shared],
    )  # fmt: skip
    assert [each["name"] for each in json.loads(done.stdout)["inputs"]]
    assert "not" in done.stderr
    os.close(shared)
