import json

import pytest
from benchmarks.jobs import Job, Store, environment, run


@pytest.fixture
def echo(monkeypatch, tmp_path):
    """Let jobs run a module that notes each call and prints its argument."""
    calls = tmp_path / "calls"
    (tmp_path / "echo_argument.py").write_text(
        "import sys, pathlib\n"
        f"path = pathlib.Path({str(calls)!r})\n"
        "before = path.read_text() if path.exists() else ''\n"
        "path.write_text(before + sys.argv[1] + '\\n')\n"
        "print('said on the way', file=sys.stderr)\n"
        "exec(sys.argv[1])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def field(store, key, name):
    found = store.get(key)
    assert found is not None
    return found[name]


def job(key, code, **fields):
    return Job(key=key, module="echo_argument", arguments=(code,), **fields)


def test_a_result_is_stored_under_its_key_with_the_commit(tmp_path):
    store = Store(tmp_path / "samples")
    assert store.get("rank/a/b") is None
    store.put("rank/a/b", {"value": 3})
    assert (tmp_path / "samples" / "rank.a.b.json").exists()
    found = store.get("rank/a/b")
    assert found is not None
    assert (found["key"], found["value"]) == ("rank/a/b", 3)
    assert {"commit", "date", "machine"} <= set(found)
    assert list(store.all("rank/")) == ["rank/a/b"]
    assert store.all("e2e/") == {}


def test_what_is_stored_is_not_run_again(tmp_path, echo):
    store = Store(tmp_path / "samples")
    todo = [job("one", "print('{\"x\": 1}')"), job("two", "print('{\"x\": 2}')")]
    run(todo[:1], store)
    run(todo, store)
    assert echo() == [todo[0].arguments[0], todo[1].arguments[0]]
    run(todo[:1], store, again=True)
    assert len(echo()) == 3
    assert field(store, "two", "x") == 2


def test_a_failure_is_stored_with_its_reason_does_not_end_the_run_and_is_tried_again(
    tmp_path, echo
):
    store = Store(tmp_path / "samples")
    run([job("bad", "raise ValueError('no')"), job("good", "print('{}')")], store)
    assert field(store, "bad", "failed") == "exit code 1: ValueError: no"
    assert not store.done("bad")
    assert store.done("good")
    run([job("bad", "print('{}')")], store)
    assert store.done("bad")


def test_a_job_beyond_its_cap_is_stopped(tmp_path, echo):
    store = Store(tmp_path / "samples")
    run([job("slow", "import time; time.sleep(60)", cap_s=1.0)], store)
    assert field(store, "slow", "failed") == "stopped after 1 s"


def test_output_that_is_no_result_is_a_failure(tmp_path, echo):
    store = Store(tmp_path / "samples")
    run([job("text", "print('hello')"), job("silent", "pass")], store)
    assert field(store, "text", "failed") == "not a result: hello"
    assert field(store, "silent", "failed") == "exit code 0: said on the way"


def test_threads_are_set_for_every_pool_and_openblas_has_one():
    found = environment(2)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TVM_NUM_THREADS")
    assert [found[name] for name in names] == ["2", "2", "2"]
    assert found["OPENBLAS_NUM_THREADS"] == "1"


def test_a_half_written_result_is_not_seen(tmp_path):
    store = Store(tmp_path)
    store.path("a").with_suffix(".making").write_text(json.dumps({"key": "a"}))
    assert store.get("a") is None
    assert store.all("a") == {}
