"""Two nodes of a real local Ray, a replica on each; its router and policy, too."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.serve.live.test_engine import query, right, settings
from tests.unit.serve.live.test_http import outputs, post
from tests.unit.serve.live.test_opening import FOUND
from tests.unit.serve.live.test_scaling import FINE, context

pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
pytest.importorskip("fastapi")

import ray
import ray.serve
from ray.cluster_utils import Cluster as Nodes

from trimtab.errors import (
    ExecutionError,
    LinkError,
    OverloadedError,
    TrimtabError,
    UsageError,
)
from trimtab.runtime.web import Server
from trimtab.serve.capacity import Target
from trimtab.serve.live import cluster as cluster_module
from trimtab.serve.live.cluster import Cluster, ItemsRouter
from trimtab.serve.live.cluster_http import cluster_app
from trimtab.serve.live.http import model_of
from trimtab.serve.live.opening import Wanted
from trimtab.serve.live.scaling import HeadroomPolicy

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    # Of Ray at an option of its own, which has no other place per command.
    pytest.mark.filterwarnings(
        "ignore:The `metrics_interval_s` field in AutoscalingConfig:DeprecationWarning"
    ),
]

# Nothing is late here, however slow the machine is: what is lost is what counts.
PATIENT = Target(latency_s=60.0)
WANTED = Wanted(
    settings=settings(workers=1, pin=False), target=PATIENT, found=FOUND, steady=True
)


@pytest.fixture(scope="module")
def nodes():
    found = Nodes(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    found.add_node(num_cpus=2)  # room for two replicas, of different networks
    # One connection for all tests here: who finds one uses it, and leaves it.
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.serve.shutdown()
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes):
    with Cluster(WANTED, nodes.address, least=2, most=2) as found:
        yield found


def until(true, seconds=120):
    """Wait for something that comes; the limit is for a test that would hang."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)


def ask(cluster, *asked):
    async def together():
        return await asyncio.gather(*map(cluster.ask, asked), return_exceptions=True)

    return asyncio.run(together())


def test_two_hosts_answer_as_one_does_and_share_the_work(cluster):
    asked = [query(rows, seed=rows) for rows in (1, 8, 9, 100) for _ in range(10)]
    answers = ask(cluster, *asked)
    assert all(map(right, asked, answers))
    until(lambda: sum(each["answers"] for each in cluster.hosts()) == len(asked))
    assert all(each["answers"] >= 10 for each in cluster.hosts())
    state = cluster.state()
    assert (state["queries"], state["answers"], state["open"]) == (40, 40, 0)
    assert (state["replicas"], state["workers"]) == (2, 2)
    assert state["batches"] == sum(each["batches"] for each in cluster.hosts()) >= 40


def test_one_large_query_weighs_as_much_as_many_small_ones(cluster):
    """The router of the handle is ours: it counts items."""
    before = {each["id"]: each["answers"] for each in cluster.hosts()}
    asked = [query(1000), *(query(10, seed=seed) for seed in range(20))]
    assert all(map(right, asked, ask(cluster, *asked)))
    total = sum(before.values()) + len(asked)
    until(lambda: sum(each["answers"] for each in cluster.hosts()) == total)
    more = sorted(each["answers"] - before[each["id"]] for each in cluster.hosts())
    # Ray's own rule, fewest queries, would give each about ten.
    assert more[0] <= 5


def test_wrong_queries_are_told_of_and_hurt_nobody(cluster):
    wrong = query(3)
    wrong["numbers"][0] = 999
    failed, absent, found = ask(cluster, wrong, {"ids": wrong["ids"]}, query(3))
    assert isinstance(failed, ExecutionError)
    assert "told to fail" in str(failed)
    assert isinstance(absent, ExecutionError)
    assert right(query(3), found)


def test_over_http_with_sums_to_scrape(cluster):
    app = cluster_app(cluster, shown=True)
    with Server(app, "127.0.0.1", 0, stopping=app.state.stop) as server:
        status, said, _ = post(f"{server.url}{model_of(cluster).path}", query(9))
        assert status == 200
        assert right(query(9), outputs(said))
        wrong = query(3)
        wrong["ids"][1, 2] = 50
        status, said, _ = post(f"{server.url}{model_of(cluster).path}", wrong)
        assert (status, said["field"]) == (422, "inputs.1.data")
        with urllib.request.urlopen(f"{server.url}/v2/health/ready") as response:
            assert json.load(response) == {"ready": True}
        until(lambda: "trimtab_serve_replicas 2.0" in scraped(server.url))
        text = scraped(server.url)
        assert "trimtab_serve_answers_total" in text
        assert "trimtab_serve_workers 2.0" in text
        with urllib.request.urlopen(f"{server.url}/state") as response:
            state = json.load(response)
    assert state["headline"] == "2 replicas"
    (rows,) = (each["rows"] for each in state["blocks"] if "rows" in each)
    assert len(rows) == 2


def scraped(url):
    with urllib.request.urlopen(f"{url}/metrics") as response:
        return response.read().decode()


def test_a_replica_that_is_killed_under_load_loses_no_query(cluster):
    killed = cluster.hosts()[0]
    before = cluster.state()
    asked = [query(200, seed=seed) for seed in range(300)]

    async def load():
        coming = [asyncio.ensure_future(cluster.ask(each)) for each in asked]
        while not any(each.done() for each in coming):
            await asyncio.sleep(0.001)
        os.kill(killed["process"], signal.SIGKILL)
        return await asyncio.gather(*coming, return_exceptions=True)

    answers = asyncio.run(load())
    # Exactly once: a coroutine has one end. Answered rightly, or refused as it is said.
    ends = [
        right(inputs, found)
        if isinstance(found, dict)
        else isinstance(found, OverloadedError | LinkError)
        for inputs, found in zip(asked, answers, strict=True)
    ]
    assert all(ends)
    after = cluster.state()
    answered = sum(isinstance(each, dict) for each in answers)
    assert after["queries"] - before["queries"] == len(asked)
    assert after["answers"] - before["answers"] == answered
    assert after["again"] > before["again"]  # those that it had were asked elsewhere
    assert after["open"] == 0
    # It comes back, as another one, and answers.
    until(lambda: killed["id"] not in cluster._alive and cluster.replicas == 2)
    assert right(query(5), ask(cluster, query(5))[0])
    assert not Path(f"/proc/{killed['process']}").exists()


# As many as it takes


def test_it_grows_on_a_loss_of_headroom_keeps_and_shrinks_when_idle(nodes, cluster):
    assert cluster.replicas == 2  # beside them
    # Any answer takes longer than a microsecond.
    wanted = Wanted(
        settings=settings(workers=1, pin=False), target=Target(latency_s=1e-6),
        found=FOUND, steady=True,
    )  # fmt: skip
    judged = {"up_looks": 2, "calm_looks": 2, "down_looks": 6}
    ending, ends = threading.Event(), []
    with Cluster(wanted, nodes.address, least=1, most=2, **judged) as scaled:

        async def load():
            while not ending.is_set():
                with contextlib.suppress(OverloadedError):
                    ends.append(right(query(3), await scaled.ask(query(3))))
                await asyncio.sleep(0.02)

        assert scaled.replicas == 1
        asking = threading.Thread(target=asyncio.run, args=(load(),))
        asking.start()
        try:
            until(lambda: scaled.replicas == 2)
            time.sleep(6 * 1.5)  # longer than it takes to shrink without load
            assert [each for _, each in scaled.changes] == [1, 2]
        finally:
            ending.set()
            asking.join()
        assert ends
        assert all(ends)
        until(lambda: scaled.replicas == 1)
        assert [each for _, each in scaled.changes] == [1, 2, 1]
        state = scaled.state()
    assert state["queries"] == state["answers"] + state["shed"]
    assert state["failed"] == 0


# As one would type it


def test_the_command_places_answers_and_ends_in_order(nodes, cluster):
    assert cluster.replicas == 2  # beside them
    root = Path(__file__).parents[4]
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "serve", "tests.unit.serve.live.nets:tables",
         "--cluster", "auto", "--replicas", "2", "--slo", "p95=60s", "--batch", "8",
         "--steady", "--workers", "1", "--http", ":0", "--json"],
        stdout=subprocess.PIPE, text=True, cwd=root,
        # Others may have a cluster on this machine, too: `auto` is this one.
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}",
             "RAY_ADDRESS": nodes.address},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = ""
        for line in process.stdout:
            lines += line
            if line.startswith("}"):
                break
        said = json.loads(lines)
        assert said["replicas"] == {"now": 2, "least": 2, "most": 2}
        assert said["why"].startswith("Batch 8 as it was asked for")
        accepted = []
        asking = [
            threading.Thread(
                target=lambda seed=seed: accepted.append(
                    (seed, post(said["infer"], query(200, seed=seed)))
                )
            )
            for seed in range(16)
        ]
        for each in asking:
            each.start()
        until(lambda: accepted)
        process.send_signal(signal.SIGINT)
        found, _ = process.communicate(timeout=120)
        for each in asking:
            each.join()
    finally:
        process.kill()
        process.wait()
    state = json.loads(found)
    assert process.returncode == 0
    assert state["open"] == state["failed"] == 0
    assert state["queries"] == state["answers"] == len(accepted) >= 1
    assert all(
        status == 200 and right(query(200, seed=seed), outputs(answer))
        for seed, (status, answer, _) in accepted
    )
    # All that it had is free again: two of four processors are the fixture's.
    until(lambda: ray.available_resources().get("CPU", 0) == 2)


@pytest.mark.parametrize(
    ("address", "most", "error", "said"),
    [
        ("ray://127.0.0.1:1", 1, LinkError, "Connection refused .*ray start --head"),
        ("ray://x:y", 1, LinkError, "Ray cluster at 'ray://x:y'"),
        ("ray://", 1, LinkError, "Ray cluster at 'ray://'"),
        (None, 40, UsageError, r"40 replicas: one a node, and \d nodes"),
    ],
)
def test_what_cannot_be_is_said(nodes, address, most, error, said):
    with (
        pytest.raises(error, match=said),
        Cluster(WANTED, address or nodes.address, least=1, most=most),
    ):
        pass


def test_a_network_that_a_host_cannot_serve_says_why(nodes):
    wanted = Wanted(settings=settings(spec="zoo:absent", workers=1), target=PATIENT)
    with (
        pytest.raises(TrimtabError, match="absent") as caught,
        Cluster(wanted, nodes.address, least=1, most=1),
    ):
        pass
    assert "NetworkNotFoundError" in str(caught.value)


# The router, told by hand


def router():
    made = ItemsRouter.__new__(ItemsRouter)
    made.initialize_state()
    return made


async def choose(made, replicas, number, rows):
    pending = SimpleNamespace(
        args=[query(rows)], future=asyncio.get_running_loop().create_future(),
        metadata=SimpleNamespace(internal_request_id=number),
    )  # fmt: skip
    return pending, await made.choose_replicas(replicas, pending)


def test_the_router_ranks_by_items_and_forgets_what_ended():
    replicas = [SimpleNamespace(replica_id=each) for each in "ab"]

    async def run():
        made = router()
        first, ranks = await choose(made, replicas, 1, 500)
        assert [each[0].replica_id for each in ranks] == ["a", "b"]
        for number in (2, 3):
            _, ranks = await choose(made, replicas, number, 5)
            assert [each[0].replica_id for each in ranks] == ["b", "a"]
        made.on_request_routed(first, "b", None)  # the first one had no room
        assert (made._book.items("a"), made._book.items("b")) == (0, 510)
        made.on_request_completed("b", 2)
        left, _ = await choose(made, replicas, 4, 50)
        assert made._book.items("a") == 50
        left.future.cancel()  # whoever asked has gone before it was sent
        await asyncio.sleep(0)
        assert (made._book.items("a"), made._book.items("b")) == (0, 505)
        assert await made.choose_replicas([], None) == []

    asyncio.run(run())


def test_a_query_without_rows_is_for_the_replica_to_refuse():
    assert cluster_module._items([{"x": np.float32(1.0)}]) == 1
    assert cluster_module._items([{"x": np.zeros((7, 2))}]) == 7
    assert cluster_module._items(["state"]) == 1


def test_of_replicas_that_are_gone_for_good_only_the_sums_are_kept(monkeypatch):
    monkeypatch.setattr(cluster_module, "_REMEMBERED", 2)
    made = Cluster(WANTED, "auto")
    states = [
        {**dict.fromkeys(cluster_module._SUMMED, 1), "id": str(number), "workers": 2,
         "backlog_s": 0.0, "oldest_s": 0.0}
        for number in range(10)
    ]  # fmt: skip
    for state in states:
        told = SimpleNamespace(results=lambda state=state, **_: [state])
        made._handle = SimpleNamespace(broadcast=lambda _, told=told: told)
        made._see()
        assert [each["id"] for each in made.hosts()] == [state["id"]]
    assert len(made._known) == 3
    assert made.state()["batches"] == 10


def test_both_survive_what_ray_does_with_them():
    from ray.serve.config import AutoscalingPolicy, RequestRouterConfig

    routing: Any = {"request_router_class": ItemsRouter}
    made = RequestRouterConfig(**routing).get_request_router_class()
    assert made.__name__ == "ItemsRouter"
    policy = AutoscalingPolicy(policy_function=HeadroomPolicy)
    found = policy.get_policy()(target_s=1.0, most=2)
    assert found(context(10.0, 1, [FINE])) == (1, {})
