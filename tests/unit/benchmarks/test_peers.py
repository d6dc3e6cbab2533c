"""The comparison with peers: they answer alike, and rates are found and told right."""

import json
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
import torch
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.serve.peers import compare, results
from benchmarks.serve.peers.servers import SUBJECTS, Setting, started
from safetensors.torch import save_file
from tests.unit.serve.live import nets

from trimtab.serve.live.http_load import Served

_SPEC = "tests.unit.serve.live.nets:tables"
_JOINING: Mapping[str, Mapping[str, Any]] = {
    "ours": {"batch": 16, "steady": True, "workers": 1},
    "ray_serve": {"workers": 1, "most": 4, "wait_s": 0.02},
    "litserve": {"workers": 1, "servers": 1, "most": 4, "wait_s": 0.02},
    "fastapi_torch": {"workers": 2, "pool": 2},
}


def _asked(url, body, head):
    request = urllib.request.Request(
        url,
        data=body,
        headers={
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(head),
        },
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        content = response.read()
        size = int(response.headers["Inference-Header-Content-Length"])
    found, rest = {}, content[size:]
    for each in json.loads(content[:size])["outputs"]:
        part = each["parameters"]["binary_data_size"]
        assert each["datatype"] == "FP32"
        found[each["name"]] = np.frombuffer(rest[:part], "<f4").reshape(each["shape"])
        rest = rest[part:]
    assert not rest
    return found


@pytest.mark.integration
@pytest.mark.timeout(400)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_server_answers_what_the_module_gives(subject, tmp_path):
    for package in {"ray_serve": ("ray",), "litserve": ("litserve",)}.get(subject, ()):
        pytest.importorskip(package, reason=f"the extra bench: no {package}")
    torch.manual_seed(7)
    module = nets.tables().eval()
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    setting = Setting(subject=subject, options=_JOINING[subject])
    weights = str(tmp_path / "weights.safetensors")
    drawn = torch.Generator().manual_seed(1)
    queries = []
    for rows in (1, 3, 7, 2, 5, 40, 1, 9):
        numbers = torch.randn(rows, 4, generator=drawn)
        queries.append((numbers, torch.randint(0, 50, (rows, 3), generator=drawn)))
    with started(setting, _SPEC, _SPEC, "p95=1s", weights=weights) as served:
        url = served._path
        bodies = [_body({"numbers": a.numpy(), "ids": b.numpy()}) for a, b in queries]
        with ThreadPoolExecutor(len(bodies)) as pool:
            found = list(pool.map(lambda each: _asked(url, *each), bodies))
        # What the load sends is what a server of this protocol takes.
        assert _asked(url, *served.prepare(6, 0))["score"].shape == (6,)
    for (numbers, ids), answer in zip(queries, found, strict=True):
        with torch.inference_mode():
            expected = module(numbers, ids)
        assert answer.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(answer[name], value, rtol=1e-5, atol=1e-6)


def _body(rows):
    kinds = {"float32": "FP32", "int64": "INT64"}
    said = {
        "inputs": [
            {
                "name": name, "shape": list(each.shape),
                "datatype": kinds[str(each.dtype)],
                "parameters": {"binary_data_size": each.nbytes},
            }
            for name, each in rows.items()
        ],
        "parameters": {"binary_data_output": True},
    }  # fmt: skip
    head = json.dumps(said).encode()
    return head + b"".join(each.tobytes() for each in rows.values()), len(head)


def test_all_have_as_many_settings_and_no_two_alike():
    assert {len(each) for each in SUBJECTS.values()} == {compare.Effort().settings}
    for each in SUBJECTS.values():
        assert len({one.title for one in each}) == len(each)


def test_ours_is_started_as_a_user_does():
    setting = Setting(subject="ours", options={"batch": 128, "steady": True})
    made = setting.command("zoo:wnd-small", "wnd-small", 81, "p95=25ms", None)
    assert made[1:] == [
        "-m", "trimtab", "serve", "start", "zoo:wnd-small", "--slo", "p95=25ms",
        "--http", "127.0.0.1:81", "--json", "--batch", "128", "--steady",
    ]  # fmt: skip
    assert setting.title == "batch 128 steady"


def test_a_peer_that_cannot_start_says_why(tmp_path):
    setting = Setting(subject="fastapi_torch", options={"workers": 1})
    with (
        pytest.raises(RuntimeError, match="NetworkNotFoundError"),
        started(setting, "zoo:no-such", "no-such", "p95=1s"),
    ):
        pass


@pytest.mark.parametrize("limit", [0.7, 3.0, 10.0, 41.0, 5_000.0])
@pytest.mark.parametrize("guess", [1.0, 10.0, 300.0])
def test_the_largest_rate_is_found_from_any_guess(limit, guess):
    tried = []

    def keeps(rate):
        tried.append(rate)
        return rate <= limit

    found = compare.largest(keeps, guess, precision=0.05, least=0.5)
    assert found <= limit <= 1.05 * found
    assert len(tried) <= 20


def test_nothing_is_kept():
    tried: list[float] = []

    def keeps(rate):
        tried.append(rate)
        return False

    assert compare.largest(keeps, 64.0, precision=0.05, least=1.0) == 0.0
    assert tried[0] == 64.0
    assert tried[-1] == 1.0


def _search(monkeypatch, runs):
    """Return a search whose runs have these tails and delays."""
    search = compare.Search(
        served=cast("Served", None), target_s=0.1, seed=0, effort=compare.Effort()
    )
    told = iter(runs)
    monkeypatch.setattr(compare.Search, "_run", lambda self, rate: next(told))
    return search


@pytest.mark.parametrize(
    ("runs", "kept", "unsure"),
    [
        ([(0.1, 1.0)], True, 0),  # whoever keeps it late keeps it
        ([(0.2, 0.001)], False, 0),
        ([(0.2, 0.006), (0.09, 0.0)], True, 0),  # a miss of the load's
        ([(0.2, 0.006), (0.2, 0.001)], False, 0),
        ([(0.2, 0.006), (0.2, 0.006)], False, 1),
    ],
)
def test_a_miss_while_the_load_was_late_is_tried_again(monkeypatch, runs, kept, unsure):
    search = _search(monkeypatch, runs)
    assert search.keeps(10.0) is kept
    assert search.unsure == unsure


def test_settings_are_chosen_on_one_seed_and_judged_on_others(monkeypatch):
    limits = {
        "ours": [90.0, 120.0, 100.0, 80.0], "ray_serve": [0.0] * 4,
        "litserve": [50.0, 40.0, 70.0, 70.1], "fastapi_torch": [60.0, 10.0, 5.0, 61.0],
    }  # fmt: skip
    turns = []

    @contextmanager
    def fake(setting, spec, name, slo):
        assert (spec, name, slo) == ("zoo:wnd-small", "wnd-small", "p95=25ms")
        turns.append(setting)
        yield setting

    def kept(search, rate):
        setting = search.served
        limit = limits[setting.subject][SUBJECTS[setting.subject].index(setting)]
        p95_s = 0.02 if rate <= limit * (1 + 0.1 * search.seed) else 1.0
        search.runs.append({"rate_per_s": rate, "p95_s": p95_s})
        return p95_s, 0.0

    monkeypatch.setattr(compare, "started", fake)
    monkeypatch.setattr(compare.Search, "warm", lambda search, rate: None)
    monkeypatch.setattr(compare.Search, "_run", kept)
    monkeypatch.setattr(compare, "_first", lambda network: 30.0)
    found = compare.compared("wnd", compare.Effort(precision=0.01))["subjects"]
    # They take turns.
    assert [each.subject for each in turns] == [*SUBJECTS] * (4 + 3)
    assert {key: each["chosen"] for key, each in found.items()} == {
        "ours": 1, "ray_serve": 0, "litserve": 2, "fastapi_torch": 0,
    }  # fmt: skip
    assert found["ray_serve"]["rates"] == [0.0] * 3
    for key, best in (("ours", 120.0), ("litserve", 70.0), ("fastapi_torch", 60.0)):
        for seed, rate in zip((1, 2, 3), found[key]["rates"], strict=True):
            assert rate <= best * (1 + 0.1 * seed) <= 1.01 * rate
        assert found[key]["rate_per_s"] == sorted(found[key]["rates"])[1]
        assert found[key]["title"] == SUBJECTS[key][found[key]["chosen"]].title
    # One that keeps no more than the best before has one run, and is dropped.
    dropped = [each for each in found["fastapi_torch"]["runs"] if each["setting"] == 1]
    assert len(dropped) == 1
    json.dumps(found)


def _sample(**rates):
    subjects = {
        key: {
            "settings": [], "chosen": 0, "rates": each, "unsure": 1, "runs": [],
            "rate_per_s": sorted(each)[1], "title": "batch 128",
        }
        for key, each in rates.items()
    }  # fmt: skip
    return {"network": "", "target_s": 0.025, "seeds": [1, 2, 3], "subjects": subjects}


def test_a_row_is_ours_over_the_best_peer(tmp_path):
    store = Store(tmp_path)
    found = {each.id: each for each in results.rows(store)}
    assert {each.note for each in found.values()} == {NOT_MEASURED}
    assert found["serve/peers"].goal == 1.5
    wnd = _sample(
        ours=[60.0, 50.0, 55.0], ray_serve=[10.0, 10.0, 10.0],
        litserve=[20.0, 25.0, 22.0], fastapi_torch=[0.0, 30.0, 21.0],
    )  # fmt: skip
    store.put("peers/wnd", wnd)
    ncf = _sample(
        ours=[9.0, 9.0, 9.0], ray_serve=[0.0, 0.0, 0.0], litserve=[10.0, 10.0, 10.0],
        fastapi_torch=[18.0, 18.0, 18.0],
    )  # fmt: skip
    store.put("peers/ncf", ncf)
    found = {each.id: each for each in results.rows(store)}
    assert found["serve/peers/wnd"].samples == [60 / 20, 50 / 25, 55 / 22]
    assert found["serve/peers/wnd"].value == 55 / 22
    assert found["serve/peers/wnd"].interval == (2.0, 3.0)
    assert found["serve/peers/ncf"].value == 0.5  # a loss is told as one
    assert found["serve/peers"].value == pytest.approx((0.5 * 2.5) ** 0.5)
    assert found["serve/peers"].interval == pytest.approx((1.0, 1.5**0.5))
    assert "Ray Serve none" in found["serve/peers/ncf"].note
    shown = results.table(store)
    assert "| wnd, 25 ms | LitServe | batch 128 | 22/s | 20 to 25 | 0.40 | 1 |" in shown


def test_where_no_peer_can_nothing_is_divided(tmp_path):
    store = Store(tmp_path)
    none = [0.0, 0.0, 0.0]
    store.put("peers/din", _sample(
        ours=[9.0, 9.0, 9.0], ray_serve=none, litserve=none, fastapi_torch=none,
    ))  # fmt: skip
    found = {each.id: each for each in results.rows(store)}
    assert found["serve/peers/din"].value is None
    assert found["serve/peers"].value is None
    assert found["serve/peers"].note == (
        f"not counted, no peer keeps the target: din; {NOT_MEASURED}: ncf, wnd"
    )


def test_jobs_are_one_a_network_and_one_when_quick():
    assert [each.key for each in results.jobs()] == [
        "peers/ncf",
        "peers/wnd",
        "peers/din",
    ]
    (quick,) = results.jobs(quick=True)
    assert quick.arguments == ("ncf", "--quick")
