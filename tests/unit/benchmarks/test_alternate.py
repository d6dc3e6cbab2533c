import os
import subprocess
import sys

import pytest
from benchmarks.compile import alternate as module
from benchmarks.compile.alternate import alternate

READY = 'print(json.dumps({"call_s": 0.1, "number": 1, "setup_s": 0.0}), flush=True)\n'
ANSWER = """
calls = int(line)
with open(log, "a") as file:
    file.write(name + "\\n")
print(json.dumps({"wall_s": [1.0] * calls, "cpu_s": [0.5] * calls}), flush=True)
"""


@pytest.fixture
def log(tmp_path):
    """Return the file in which engines note their turns."""
    return tmp_path / "log"


@pytest.fixture
def engines(monkeypatch, log):
    """Let engines be small programs: what they do when they start, and when asked."""
    monkeypatch.setattr(module, "_SETTLE_S", 0.0)

    def use(**programs):
        def command(engine, network, threads):
            start, asked = programs[engine]
            loop = "".join(f"    {each}\n" for each in asked.strip().splitlines())
            text = f"import json, sys\nlog, name = {str(log)!r}, {engine!r}\n{start}"
            return [sys.executable, "-c", f"{text}\nfor line in sys.stdin:\n{loop}"]

        monkeypatch.setattr(module, "_command", command)
        return list(programs)

    return use


def test_engines_have_turns_one_after_another(engines, log):
    names = engines(a=(READY, ANSWER), b=(READY, ANSWER))
    found, _ = alternate("net", 1, names, rounds=3, caps_s={})
    assert log.read_text().split() == ["a", "b"] * 3
    assert found["a"]["wall_s"] == [[1.0] * 4] * 3  # 0.4 s of calls of 0.1 s
    assert found["b"]["cpu_s"] == [[0.5] * 4] * 3


def test_an_engine_that_cannot_start_does_not_stop_the_others(engines):
    failed = 'print(json.dumps({"failed": "no such network"}), flush=True)'
    names = engines(a=(failed, "pass"), b=(READY, ANSWER), c=("sys.exit(3)", "pass"))
    found, _ = alternate("net", 1, names, rounds=1, caps_s={})
    assert found["a"] == {"failed": "no such network"}
    assert found["c"] == {"failed": "it ended with exit code 3"}
    assert len(found["b"]["wall_s"]) == 1


def test_an_engine_that_dies_between_calls_has_no_samples(engines):
    names = engines(a=(READY, "sys.exit(7)"), b=(READY, ANSWER))
    found, _ = alternate("net", 1, names, rounds=3, caps_s={})
    assert found["a"] == {"failed": "it ended with exit code 7"}
    assert len(found["b"]["wall_s"]) == 3


def test_an_engine_that_takes_too_long_to_set_up_is_stopped(engines):
    names = engines(slow=("import time; time.sleep(60)", "pass"), b=(READY, ANSWER))
    found, _ = alternate("net", 1, names, rounds=1, caps_s={"slow": 1.0})
    assert found["slow"] == {"failed": "stopped after 1 s"}
    assert len(found["b"]["wall_s"]) == 1


def test_what_others_do_meanwhile_is_told_and_own_work_is_not(engines):
    busy = "import time\nend = time.time() + 0.3\nwhile time.time() < end: pass\n"
    names = engines(a=(READY, busy + ANSWER))
    _, others = alternate("net", 1, names, rounds=3, caps_s={})
    assert 0.0 <= others < len(os.sched_getaffinity(0))
    spinning = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(spinning) as process:
        _, others = alternate("net", 1, names, rounds=3, caps_s={})
        process.kill()
    assert others > 0.3
