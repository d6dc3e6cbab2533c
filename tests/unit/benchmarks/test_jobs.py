import concurrent.futures
import json

import pytest
from benchmarks.jobs import (
    NOT_MEASURED,
    Job,
    Store,
    environment,
    of_part,
    run,
    store_of,
    tell,
)
from benchmarks.results import Row

from trimtab.errors import ExecutionError


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


def test_jobs_of_a_part():
    todo = [job("one/a", ""), job("one/b", ""), job("two", "")]
    assert of_part(todo, "all") == todo
    assert of_part(todo, "one") == todo[:2]
    assert of_part(todo, "none") == []


def test_the_short_form_has_a_store_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    whole, short = (store_of(tmp_path / "it", quick=each) for each in (False, True))
    assert whole.folder == tmp_path / "it" / "samples"
    assert short.folder == tmp_path / "cache" / "benchmarks" / "it" / "quick"


def test_what_is_told_stands_in_the_readme_and_the_short_form_leaves_it(tmp_path):
    text = "before\n<!-- results: written by the command -->\n<!-- end of results -->\n"
    readme = tmp_path / "README.md"
    readme.write_text(text)
    rows = [
        Row(id="it/fast", name="it is fast", value=1.0, unit="s", op="<=", goal=2.0),
        Row(id="it/small", name="it is small", value=None, unit="s", op="<=", goal=2.0,
            note=NOT_MEASURED),
    ]  # fmt: skip
    store = Store(tmp_path / "samples")
    tell(tmp_path, store, rows, quick=True)
    assert readme.read_text() == text
    quick = json.loads((tmp_path / "results.quick.json").read_text())
    assert [row["id"] for row in quick["rows"]] == ["it/fast"]
    tell(tmp_path, store, rows, quick=False, more="And a word.")
    told = readme.read_text()
    assert "| it is fast | 1.00 s | <= 2.00 s | yes |  |" in told
    assert "| it is small | not measured | <= 2.00 s | **no** | not measured |" in told
    assert "And a word." in told
    assert "Samples: none." in told
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 2


class Elsewhere(concurrent.futures.ThreadPoolExecutor):
    """Another machine, in a thread."""

    def __init__(self, fails=False, commit=None):
        super().__init__()
        self.fails, self.commit = fails, commit

    def submit(self, call, one, commit, /):  # type: ignore[override]
        def run():
            if self.fails:
                raise ExecutionError("a task", rule="lost", remedy="none")
            return call(one, self.commit or commit)

        return super().submit(run)


def test_an_executor_runs_jobs_in_place_of_this_machine(tmp_path, echo):
    store = Store(tmp_path / "samples")
    todo = [job("one", "print('{\"x\": 1}')"), job("two", "raise SystemExit(1)")]
    with Elsewhere() as executor:
        run(todo, store, at_once=2, executor=executor)
    assert field(store, "one", "x") == 1
    assert field(store, "two", "failed").startswith("exit code 1")
    with Elsewhere(fails=True) as executor:
        run(todo, store, executor=executor)  # a machine is lost: the others go on
    assert field(store, "one", "x") == 1
    assert "lost" in field(store, "two", "failed")
    with Elsewhere(commit="another") as executor:
        run(todo, store, executor=executor)
    assert "not at another" in field(store, "two", "failed")
