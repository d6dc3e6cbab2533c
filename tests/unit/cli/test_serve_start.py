"""`trimtab serve NETWORK`, as one would type it."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from trimtab.cli import serve_start
from trimtab.cli.serve_start import target_of
from trimtab.errors import UsageError
from trimtab.runtime import certs

pytest.importorskip("fastapi")

NETS = "tests.unit.serve.live.nets:tables"


class Process:
    """`trimtab serve` as a process of its own."""

    def __init__(self, *options):
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trimtab", "serve", *options, "--json"],
            stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        )  # fmt: skip
        lines = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines += line
            if line.startswith("}"):
                break
        self.said = json.loads(lines)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        found, _ = self.process.communicate(timeout=60)
        return json.loads(found)


def post(url, items):
    body = {
        "inputs": [
            {"name": "numbers", "shape": [items, 4], "datatype": "FP32",
             "data": [0.5] * 4 * items},
            {"name": "ids", "shape": [items, 3], "datatype": "INT64",
             "data": [1] * 3 * items},
        ]
    }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return len(json.load(response)["outputs"][0]["data"])


@pytest.mark.timeout(180)
def test_it_finds_a_batch_answers_and_ends_in_order():
    server = Process(NETS, "--slo", "p95=500ms", "--workers", "1", "--http", ":0")
    try:
        assert "sustains most within p95 of 500 ms" in server.said["why"]
        assert server.said["schedule"]["batch"] >= 1
        url = server.said["infer"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(post, url, 1_000) for _ in range(24)]
            while not any(each.done() for each in asked):
                time.sleep(0.005)
            state = server.stop()
            ends = [each for each in asked if each.exception() is None]
    finally:
        server.process.kill()
    # Whatever was accepted was answered; those that came after it were not let in.
    assert all(each.result() == 1_000 for each in ends)
    assert state["answers"] == state["queries"] == len(ends) >= 1
    assert state["failed"] == state["open"] == 0
    assert server.process.returncode == 0


@pytest.mark.timeout(180)
def test_with_a_token_only_who_has_it_is_answered(trimtab, tmp_path):
    pytest.importorskip("aiohttp")
    token = "correct-horse-battery"
    (path := tmp_path / "token").write_text(token)
    server = Process(
        NETS, "--slo", "p95=10s", "--workers", "1", "--batch", "8", "--steady",
        "--http", ":0", "--token-file", str(path),
    )  # fmt: skip
    options = ("--rate", "20", "--duration", "1s", "--sizes", "fixed:3", "--json")
    try:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post(server.said["infer"], 1)
        root = server.said["http"]
        with urllib.request.urlopen(f"{root}/healthz", timeout=60) as response:
            assert response.status == 200
        refused = trimtab("load", root, *options)
        assert (refused.returncode, "--token-file" in refused.stdout) == (1, True)
        done = trimtab("load", root, *options, "--token-file", str(path))
        found = json.loads(done.stdout)
        state = server.stop()
    finally:
        server.process.kill()
    assert found["ends"]["answered"] == found["issued"] == state["answers"] > 0
    assert token not in json.dumps([server.said, state, done.stdout, refused.stdout])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((NETS,), "give --slo"),
        ((NETS, "--slo", "95=1"), "a percentile and a time"),
        (("zoo:ncf-small", "--http", "0.0.0.0:0"), "without TLS"),
        (("zoo:ncf-small", "--batch", "8", "--schedule", "x.json"), "--batch with"),
        (("zoo:ncf-small", "--schedule", "absent.json"), "No such file"),
        (("zoo:ncf-small", "--token-file", "absent"), "a token from 'absent'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_opened(trimtab, options, said):
    done = trimtab("serve", *options, "--json")
    assert done.returncode == 1
    assert said in done.stdout


def test_targets_are_given_or_the_papers():
    assert target_of("zoo:wnd-small", None).latency_s == 0.025
    assert target_of("zoo:wnd", "p99=1s").share == 0.99
    with pytest.raises(UsageError, match="its own networks only"):
        target_of("zoo:lenet5", None)


def test_an_emulated_accelerator_serves_nobody(trimtab):
    done = trimtab("serve", "start", "zoo:ncf-small", "--accelerator", "gtx-1080ti")
    assert done.returncode == 1
    assert "gives no answers" in done.stderr


def test_certificates_that_were_given_are_shown_on_loopback_too(tmp_path):
    from fastapi import FastAPI

    app = FastAPI()
    app.state.stop = lambda: None
    certs.make(tmp_path, ["edge"])
    context = certs.server(tmp_path, "edge")
    with serve_start._server(app, ("127.0.0.1", 0), context, None) as server:
        assert server.url.startswith("https://")
