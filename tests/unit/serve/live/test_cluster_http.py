"""A cluster over HTTP, with hosts that a test makes up."""

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
from tests.unit.serve.live.nets import INPUTS, OUTPUTS
from tests.unit.serve.live.test_http import outputs, post
from tests.unit.serve.live.test_opening import TARGET

pytest.importorskip("fastapi")

from trimtab.bundle.section import Table
from trimtab.errors import LinkError, OverloadedError
from trimtab.runtime.web import Server
from trimtab.serve.live.cluster_http import ClusterView, cluster_app
from trimtab.serve.live.engine import Settings
from trimtab.serve.live.http import model_of
from trimtab.serve.live.opening import Wanted


class Hosts:
    """What `Cluster` is to those who ask it, without a cluster."""

    name, why, inputs, outputs = "net", "Batch 8, for a test.", INPUTS, OUTPUTS
    settings = Settings(spec="net", opener="none:none")
    wanted = Wanted(settings=settings, target=TARGET)

    replicas: int
    fails: Exception | None = None

    def __init__(self, replicas=2):
        self.replicas = replicas
        self.counts = {
            "queries": 9,
            "answers": 5,
            "shed": 3,
            "failed": 1,
            "gone": 0,
            "again": 2,
        }

    async def ask(self, inputs, *, deadline_s, priority):
        self.urgency = deadline_s, priority
        if self.fails is not None:
            raise self.fails
        y = inputs["x"].sum(1)
        y.setflags(write=False)  # as Ray hands them out
        return {"y": y}

    def hosts(self):
        return [
            {"id": f"r{at}", "host": f"host{at}", "workers": 3, "answers": at,
             "shed": 0, "open": 1, "latency_p95_s": 0.01, "oldest_s": 0.0,
             "schedule": {"batch": 16}}
            for at in range(self.replicas)
        ]  # fmt: skip

    def state(self):
        return {
            **self.counts, "open": 0, "batches": 40, "joined": 4, "offloaded": 2,
            "restarts": 1, "late": 0, "replicas": self.replicas,
            "workers": 3 * self.replicas,
            "backlog_s": 0.5, "oldest_s": 0.1,
        }  # fmt: skip


def made(replicas=2) -> Any:
    return Hosts(replicas)


def tiles(view):
    return {each.metric: each.value for each in view.state().tiles if each.metric}


def test_numbers_are_those_of_all_hosts():
    view = ClusterView(made())
    view.answered(0.2, 200)
    view.answered(9.0, 429)
    found = tiles(view)
    assert found["latency_p95"] == 0.2  # of what was answered
    assert (found["replicas"], found["workers"], found["again"]) == (2, 6, 2)
    assert (found["answers"], found["shed"], found["failed"]) == (5, 3, 1)
    state = view.state()
    assert (state.status, state.tone) == ("p95 200 ms, target 500 ms", "good")
    (table,) = (each for each in state.blocks if isinstance(each, Table))
    assert [row[:4] for row in table.rows] == [
        ("host0", "r0", 3, 16), ("host1", "r1", 3, 16),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("replicas", "took_s", "status", "tone"),
    [
        (0, 0.1, "no replica answers", "bad"),
        (1, None, "ready", "good"),
        (1, 0.7, "p95 700 ms, target 500 ms", "bad"),
    ],
)
def test_its_status_in_words(replicas, took_s, status, tone):
    view = ClusterView(made(replicas))
    if took_s is not None:
        view.answered(took_s, 200)
    state = view.state()
    assert (state.status, state.tone) == (status, tone)


def test_queries_pass_and_refusals_say_when_to_come_again():
    hosts = made()
    app = cluster_app(hosts)
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
        where = f"{server.url}{model_of(hosts).path}"
        status, said, _ = post(where, inputs)
        assert status == 200
        assert outputs(said)["y"].tolist() == [0 + 1 + 2, 3 + 4 + 5]
        assert hosts.urgency == (None, 1)
        hosts.fails = OverloadedError("q", remedy="wait", retry_after_s=7.0)
        status, _, headers = post(where, inputs)
        assert (status, headers["Retry-After"]) == (429, "7")
        hosts.fails = LinkError("q", rule="all were lost", remedy="ask again")
        status, said, _ = post(where, inputs)
        assert status == 503
        assert "all were lost" in said["error"]
        with urllib.request.urlopen(f"{server.url}/v2/health/ready") as response:
            assert json.load(response) == {"ready": True}
        hosts.replicas = 0
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.url}/v2/health/ready")
        caught.value.close()
        assert caught.value.code == 503
