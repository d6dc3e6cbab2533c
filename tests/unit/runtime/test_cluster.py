"""Tasks on a real local Ray: results, errors, lost machines; the same as without."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from trimtab.errors import (
    DataError,
    ExecutionError,
    LinkError,
    MissingExtraError,
    UsageError,
)
from trimtab.runtime.cluster import RayExecutor, check_address, connected, first_line


@pytest.mark.parametrize("address", ["", "10.0.0.1", "http://host:1", "ray:/x"])
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match="auto, or ray://"):
        check_address(address)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trimtab\[cluster\]'"):
        check_address("auto")


def test_an_error_in_one_line():
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(ValueError()) == "ValueError"


def doubled(value):
    return 2 * value


def refused(value):
    raise DataError(f"value {value}", rule="it is none", where="a test", remedy="none")


def broken(value):
    raise RuntimeError("told to fail")


def killed_once(path):
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def slow(seconds):
    time.sleep(seconds)


@pytest.fixture(scope="module")
def tasks():
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    with connected("auto"), RayExecutor() as found:  # who has connected stays so
        yield found
    assert ray.is_initialized()
    ray.shutdown()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_results_come_in_order(tasks):
    assert list(tasks.map(doubled, range(20))) == list(range(0, 40, 2))


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_errors_come_back(tasks):
    with pytest.raises(DataError, match="value 3"):
        tasks.submit(refused, 3).result()
    with pytest.raises(ExecutionError, match="a task on the cluster"):
        tasks.submit(broken, 3).result()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_task_whose_process_is_killed_runs_again(tasks, tmp_path):
    assert tasks.submit(killed_once, str(tmp_path / "told")).result() != os.getpid()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_what_is_open_is_ended_where_that_is_asked(tasks):
    other = RayExecutor()
    coming = [other.submit(slow, 1000) for _ in range(2)]  # all cores there are
    other.shutdown(cancel_futures=True)
    assert all(each.cancelled() for each in coming)
    assert not other._open
    with pytest.raises(RuntimeError, match="after shutdown"):
        other.submit(doubled, 1)
    assert tasks.submit(doubled, 1).result(timeout=200) == 2  # cores are free again


def test_an_error_ends_the_rest_and_is_what_is_seen(tasks):
    with pytest.raises(DataError, match="value 0"), RayExecutor() as other:
        list(other.map(refused, range(20)))


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_network_is_compiled_to_the_same_code(tasks):
    pytest.importorskip("tvm", reason="TVM is not installed (extra compile)")
    from trimtab.compiler.compile import prepare

    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)
    ).eval()
    made = [
        prepare(
            net, (torch.zeros(1, 3, 8, 8),), machine="milan", batch_sizes=[1, 4],
            cache=False, executor=executor,
        )
        for executor in (None, tasks)
    ]  # fmt: skip
    here, there = (each.built for each in made)
    assert list(here.tuned) == list(there.tuned)
    for work, each in here.tuned.items():
        other = there.tuned[work]
        assert (other.chosen.point, other.latency_s) == (
            each.chosen.point, each.latency_s,
        )  # fmt: skip
        assert other.code == each.code


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_study_has_the_same_answers(tasks, tmp_path):
    from trimtab.pipeline.study import StudyPlan, study

    plan = StudyPlan(
        networks=("zoo:lenet5", "zoo:digits_cnn"), edges=("raspberry-pi-4",),
        clouds=("milan",), objectives=("latency",), points=1000,
    )  # fmt: skip
    for name, executor in (("here", None), ("there", tasks)):
        study(plan, tmp_path / name, lambda *_: None, executor)
    for path in (tmp_path / "here").iterdir():
        if path.suffix == ".json":
            there = (tmp_path / "there" / path.name).read_bytes()
            assert path.read_bytes() == there, path.name


def test_nobody_there_is_one_message():
    pytest.importorskip("ray", reason="Ray is not installed (extra cluster)")
    with (
        pytest.raises(LinkError, match="Connection refused"),
        connected("ray://127.0.0.1:1"),
    ):
        pass
