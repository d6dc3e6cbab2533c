"""`trimtab cloud`, `trimtab edge`, `trimtab certs`, as one would type them."""

import gc
import json
import os
import signal
import subprocess
import sys
import urllib.request
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
    """`trimtab cloud` or `trimtab edge` as a process of its own."""

    def __init__(self, folder, *options, command="cloud"):
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trimtab", command, *options, "--json"],
            cwd=folder, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
        )  # fmt: skip
        lines = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines += line
            if line.startswith("}"):
                break
        self.said = json.loads(lines)
        self.port = self.said.get("listening", {}).get("port")

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


@pytest.mark.timeout(180)
def test_both_sides_with_little_memory(trimtab, plan, bundle):  # noqa: F811
    cloud = Process(plan, str(bundle), "--listen", ":0", "--lazy", "--memory", "1MB")
    try:
        done = trimtab(
            "edge", str(bundle), "--cloud", f"127.0.0.1:{cloud.port}", "--mode", "lazy",
            "--requests", "20", "--every", "0.02", "--json",
        )  # fmt: skip
    finally:
        said = json.loads(cloud.stop())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == 20
    assert found["mode"] == "lazy"
    assert said["kept_bytes"] <= 1_000_000


@pytest.mark.timeout(300)
def test_both_sides_with_machine_code(trimtab, plan, bundle):  # noqa: F811
    pytest.importorskip("tvm", reason="TVM is not installed (extra compile)")
    cloud = Process(plan, str(bundle), "--listen", ":0", "--compile")
    try:
        done = trimtab(
            "edge", str(bundle), "--cloud", f"127.0.0.1:{cloud.port}", "--compile",
            "--requests", "20", "--json",
        )  # fmt: skip
        for options, said in (
            (("--mode", "lazy"), "machine code with mode 'lazy'"),
            (("--memory", "10MB"), "machine code within"),
        ):
            refused = trimtab("edge", str(bundle), "--compile", *options)
            assert refused.returncode == 1
            assert said in refused.stderr
        refused = trimtab("cloud", str(bundle), "--compile", "--lazy")
        assert refused.returncode == 1
        assert "--compile with --lazy" in refused.stderr
    finally:
        said = json.loads(cloud.stop())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == 20
    assert found["connected"]
    assert said["answers"] == found["remote"]


@pytest.mark.timeout(180)
def test_others_ask_over_http_until_it_is_told_to_end(plan, bundle):  # noqa: F811
    pytest.importorskip("fastapi")
    cloud = Process(plan, str(bundle), "--listen", ":0", "--http", ":0",
                    "--dashboard")  # fmt: skip
    try:
        edge = Process(
            plan, str(bundle), "--cloud", f"127.0.0.1:{cloud.port}", "--http", ":0",
            "--dashboard", "--log", "decisions.jsonl", command="edge",
        )  # fmt: skip
        try:
            body = {"inputs": [{"name": "input", "shape": [1, 1, 32, 32],
                                "datatype": "FP32", "data": [0.5] * 1024}]}  # fmt: skip
            request = urllib.request.Request(
                f"{edge.said['http']}/v2/models/lenet5/infer",
                json.dumps(body).encode(), {"Content-Type": "application/json"},
            )  # fmt: skip
            with urllib.request.urlopen(request, timeout=20) as answer:
                (output,) = json.load(answer)["outputs"]
            pages = []
            for side in (edge, cloud):
                with urllib.request.urlopen(side.said["http"], timeout=20) as page:
                    pages.append(page.read().decode())
        finally:
            said = edge.stop()
    finally:
        cloud.stop(signal.SIGINT)
    assert len(output["data"]) == 10
    assert "<title>trimtab edge: lenet5</title>" in pages[0]
    assert "<title>trimtab cloud: lenet5</title>" in pages[1]
    assert (edge.process.returncode, cloud.process.returncode) == (0, 0)
    assert json.loads(said)["answers"] == 1
    assert len((plan / "decisions.jsonl").read_text().splitlines()) == 1


def test_without_its_packages_http_is_one_message(trimtab, bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = trimtab("edge", str(bundle), "--http", ":0")
    assert done.returncode == 1
    assert "pip install 'trimtab[edge]'" in done.stderr


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


def test_an_edge_is_predicted_by_its_own_profile(trimtab, plan, bundle):  # noqa: F811
    made = trimtab("profile", "zoo:lenet5", "-o", "here.json", "--calls", "3")
    assert made.returncode == 0, made.stderr
    profile = json.loads((plan / "here.json").read_text())
    profile["p50_s"] = [60.0 for _ in profile["p50_s"]]
    (plan / "here.json").write_text(json.dumps(profile))
    options = ("--requests", "1", "--log", "log.jsonl", "--profile", "here.json")
    done = trimtab("edge", str(bundle), *options)
    assert done.returncode == 0, done.stderr
    decision = json.loads((plan / "log.jsonl").read_text())
    assert decision["predicted_s"] == pytest.approx(60.0 * len(profile["p50_s"]))
    other = trimtab("profile", "zoo:lenet5", "-o", "b.json", "--calls", "3",
                    "--input", "2,1,32,32")  # fmt: skip
    assert other.returncode == 0, other.stderr
    done = trimtab("edge", str(bundle), "--profile", "b.json")
    assert done.returncode == 1
    assert "Profile this network" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cloud", "here"), "address 'here'"),
        (("--data", "digits"), "the network takes"),
        (("--log", "none/x.jsonl"), "folder does not exist"),
        (("--cloud", "127.0.0.1:1", "--tls", "none"), "trimtab certs"),
        (("--memory", "much"), "much"),
        (("--budget", "little"), "rate 'little'"),
        (("--profile", "none.json"), "none.json"),
        (("--dashboard",), "needs an address"),
        (("--token-file", "x"), "needs an address"),
        (("--http", ":0", "--token-file", "absent"), "a token from 'absent'"),
        (("--http", "0.0.0.0:0"), "without TLS"),
        (("--http", ":0", "--requests", "5"), "asks nothing"),
        (("--http", "192.0.2.1:0", "--plain"), "listening on 192.0.2.1"),
    ],
)
def test_bad_input_is_one_message(trimtab, bundle, options, said):
    done = trimtab("edge", str(bundle), *options)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
