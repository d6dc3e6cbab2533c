"""`trimtab load`: what it says, and the code that it ends with."""

import json

import numpy as np
import pytest

from trimtab.serve.live import http_load

pytest.importorskip("aiohttp")


class Server:
    """In place of one: answers, all at once."""

    name, most_items = "net", 1024

    def __init__(self, url, seed=0, token=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def prepare(self, items, number):
        return np.zeros(items)

    def send(self, query, scheduled_ns, done):
        done(None)


@pytest.fixture
def asked(trimtab, monkeypatch):
    monkeypatch.setattr(http_load, "Served", Server)
    options = ("load", "http://localhost:1", "--rate", "500", "--duration", "1s")
    return lambda *more: trimtab(*options, *more)


def test_valid_is_0_with_percentiles(asked):
    done = asked("--slo", "p95=10s", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert (found["verdict"], found["model"]) == ("VALID", "net")
    assert found["ends"]["answered"] == found["issued"] > 400
    assert found["latency_s"]["p99"]["low"] <= found["latency_s"]["p99"]["high"]


def test_invalid_is_2_with_the_reasons(asked):
    done = asked("--slo", "p95=1ns")
    assert done.returncode == 2
    assert "INVALID" in done.stdout
    assert "are over" in done.stdout
    assert "p99" in done.stdout
    assert "issue delay" in done.stdout


def test_queries_that_the_server_does_not_take_are_refused(asked):
    done = asked("--sizes", "fixed:2000")
    assert done.returncode == 1
    assert "1024 at most" in done.stderr


def test_nobody_there(trimtab):
    done = trimtab("load", "http://127.0.0.1:1", "--duration", "1s")
    assert done.returncode == 1
    assert "Start it" in done.stderr


def test_loadgen_asks_and_judges_instead(asked, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")
    options = ("--slo", "p95=30s", "--referee", "loadgen", "--logs", str(tmp_path))
    done = asked(*options)
    assert done.returncode == 0, done.stdout
    assert "1024 at most" in asked(*options, "--sizes", "fixed:2000").stderr
    assert "Result is : VALID" in done.stdout
    assert done.stdout.rstrip().endswith("VALID")
    assert "Scenario : Server" in (tmp_path / "mlperf_log_summary.txt").read_text()
    done = asked("--slo", "p95=1ns", *options[2:], "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert (found["verdict"], found["said"]) == ("INVALID", "INVALID")
    assert found["logs"] == str(tmp_path)
    assert found["ends"] == {"answered": sum(found["ends"].values())}


@pytest.mark.parametrize(
    "options",
    [(), ("--slo", "p95=1s", "--arrivals", "constant"),
     ("--slo", "p95=1s", "--histogram", "x.hgrm")],
)  # fmt: skip
def test_what_loadgen_cannot_judge_is_refused(asked, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    done = asked("--referee", "loadgen", *options)
    assert done.returncode == 1
    assert "it judges a tail" in done.stderr
    assert not (tmp_path / "loadgen").exists()


def test_certificates_for_an_address_without_them_are_refused(asked, tmp_path):
    done = asked("--tls", str(tmp_path))
    assert done.returncode == 1
    assert "https://" in done.stderr
