from typing import Any

import pytest

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")

from trimtab.bundle.section import Table
from trimtab.compiler.step import STAGE, Settings, sections_of


def test_a_run_leaves_a_network_that_loads(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'name = "small"\nnetwork = "zoo:lenet5"\nmachine = "milan"\noutput = "out"\n'
        '[budget]\nlatency_s = "1s"\n[compile]\nbatch_sizes = [2]\n'
    )
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    assert "no candidate was run" in done.stdout
    import torch

    from trimtab.pipeline.load import load

    network = load(tmp_path / "out" / "small.trimtab")
    assert network(torch.zeros(3, 1, 32, 32)).shape == (3, 10)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Kernels" in page


def test_bad_settings_name_the_table(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'name = "small"\nnetwork = "zoo:lenet5"\nmachine = "milan"\noutput = "out"\n'
        "[compile]\nbatch_sizes = [0]\n"
    )
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "[compile]" in done.stderr
    assert not (tmp_path / "out" / "small.trimtab").exists()


def test_sections_list_what_has_no_kernel():
    task = {
        "nodes": ["a"], "module": "m", "op": None, "family": "contraction",
        "schedule": {"rows": 1}, "latency_s": 2e-3, "limits_s": {"compute": 2e-3},
        "bottleneck": "compute", "judged": 5,
        "rejected": [{"schedule": {"rows": 2}, "reason": "3 accesses of spilled"}],
    }  # fmt: skip
    other = {
        **task, "op": "aten.sort.default", "family": "PyTorch", "latency_s": 1e-3,
        "schedule": None, "bottleneck": "PyTorch", "rejected": [],
    }  # fmt: skip
    tasks = [task, other]
    first = {"batch": 1, "latency_s": 3e-3, "tasks": tasks}
    report: dict[str, Any] = {
        "kernels": 1, "tasks": tasks, "latency_s": 3e-3, "batches": [first],
    }  # fmt: skip
    (section,) = sections_of(report, "a machine")
    assert (
        "1 task(s) are left to PyTorch, 33 % of the time: aten.sort.default."
        in section.text
    )
    table = section.figures[1]
    assert isinstance(table, Table)
    assert table.rows[0][0] == "m"
    assert table.rows[0][-1] == "3 accesses of spilled"
    assert (STAGE.settings, Settings().batch_sizes) == (Settings, ())
    report["batches"].append({"batch": 8, "latency_s": 6e-3, "tasks": [task]})
    (section,) = sections_of(report, "a machine")
    titles = [each.title for each in section.figures]
    assert titles[1::2] == ["Tasks, batch 1", "Tasks, batch 8"]
    assert all(", batch " in title for title in titles)
