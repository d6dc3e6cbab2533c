"""LoadGen as a referee: its word, and what it cannot know."""

import sys
import threading
import time

import pytest

from trimtab.errors import DataError, MissingExtraError, OverloadedError, UsageError
from trimtab.serve.capacity import Target
from trimtab.serve.live.referee import (
    check_referee,
    read_summary,
    referee,
    samples_of,
)
from trimtab.serve.sizes import parse_sizes

TARGET = Target(latency_s=30.0)
LATE = Target(latency_s=1e-9)


class Subject:
    """Answers at once, or in a thread; refuses the queries of some sizes."""

    def __init__(self, *, refused=(), later=False, broken=False):
        self.refused, self.later, self.broken = set(refused), later, broken
        self.asked: list[int] = []
        self.scheduled: list[int] = []

    def prepare(self, items, number):
        return items

    def send(self, query, scheduled_ns, done):
        if self.broken:
            raise RuntimeError("it is broken")
        self.asked.append(query)
        self.scheduled.append(scheduled_ns)
        error = OverloadedError("a query", rule="no room", remedy="wait")
        told = error if query in self.refused else None
        if self.later:
            threading.Timer(0.001, done, (told,)).start()
        else:
            done(told)


def judged(subject, folder, target=TARGET, sizes=(1, 2, 3), rate=400.0, **more):
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is not installed")
    return referee(
        subject, sizes, target, rate_per_s=rate, seconds=1.0, folder=folder, **more
    )


@pytest.mark.parametrize("later", [False, True])
def test_what_is_in_time_is_valid_and_its_summary_is_kept(tmp_path, later):
    subject = Subject(later=later)
    over: list[int] = []
    before = time.monotonic_ns()
    found = judged(subject, tmp_path / "logs", progress=over.append)
    assert found.valid
    assert found.said == "VALID"
    assert found.ends == {"answered": len(subject.asked)}
    assert len(subject.asked) >= 223  # least_queries of p95
    assert set(subject.asked) == {1, 2, 3}
    assert before < min(subject.scheduled)
    assert max(over) == len(subject.asked)
    assert found.latency_s["p50"] <= found.latency_s["p99"]
    text = (tmp_path / "logs" / "mlperf_log_summary.txt").read_text()
    assert found.summary == text
    assert "Scenario : Server" in text
    assert "target_qps : 400" in text
    assert found.record()["verdict"] == "VALID"


def test_what_is_late_is_invalid(tmp_path):
    found = judged(Subject(), tmp_path, LATE)
    assert not found.valid
    assert found.said == "INVALID"


def test_what_is_refused_is_invalid_whatever_it_says(tmp_path):
    found = judged(Subject(refused={2}), tmp_path)
    assert found.said == "VALID"
    assert not found.valid
    assert found.ends["shed"] > 0
    assert "no room" in found.error


def test_nothing_is_raised_into_it(tmp_path):
    found = judged(Subject(broken=True), tmp_path)
    assert set(found.ends) == {"failed"}
    assert "it is broken" in found.error
    assert not found.valid


def test_the_same_seed_is_the_same_order(tmp_path):
    first, second, other = Subject(), Subject(), Subject()
    judged(first, tmp_path, sizes=range(50))
    judged(second, tmp_path, sizes=range(50))
    judged(other, tmp_path, sizes=range(50), seed=7)
    assert first.asked[:200] == second.asked[:200] != other.asked[:200]


def test_samples_have_the_mean_of_their_law():
    found = samples_of(parse_sizes("mlperf"))
    # Of the twenty quantiles: 2 x 100, 12 x 200, 2 x 300, 400, 500, 600, 700.
    mean = (2 * 100 + 12 * 200 + 2 * 300 + 400 + 500 + 600 + 700) / 20
    assert sum(found) / len(found) == pytest.approx(mean, rel=0.02)


def test_logs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--logs"):
        judged(Subject(), tmp_path / "file")


@pytest.mark.parametrize("text", ["", "Result is : VALID\n", "Result is : MAYBE\n"])
def test_what_says_nothing_is_no_summary(tmp_path, text):
    (path := tmp_path / "summary").write_text(text)
    with pytest.raises(DataError, match="it says no result"):
        read_summary(path)
    with pytest.raises(DataError, match="No such file"):
        read_summary(tmp_path / "absent")


def test_without_the_package_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(MissingExtraError, match="mlcommons-loadgen is not installed"):
        check_referee()
