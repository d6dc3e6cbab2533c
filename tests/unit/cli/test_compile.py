import json

import pytest

pytest.importorskip("tvm", reason="apache-tvm makes the machine code")


def test_table_bundle_and_reasons(trimtab, tmp_path):
    done = trimtab(
        "compile", "zoo:lenet5", "--machine", "milan", "--explain", "features.0",
        "-o", "net.trimtab",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in ("features.0", "contraction", "no candidate was run", "written to",
                 "hottest loop"):  # fmt: skip
        assert said in done.stdout, said
    again = trimtab("compile", "zoo:lenet5", "-o", "net.trimtab", "--machine", "milan")
    assert again.returncode == 1
    assert "net.trimtab" in again.stderr
    assert trimtab("show", "net.trimtab").returncode == 0


def test_json_for_another_machine(trimtab):
    done = trimtab("compile", "zoo:lenet5", "--machine", "graviton2", "--json")
    assert done.returncode == 0, done.stdout
    record = json.loads(done.stdout)
    assert record["llvm_cpu"] == "neoverse-n1"
    assert all(task["latency_s"] > 0 for task in record["tasks"])
    assert done.stderr == ""


def test_bad_input_is_one_message(trimtab):
    for arguments, said in (
        (("--machine", "t4"), "kernels are made for CPUs only"),
        (("--machine", "mialn"), "milan"),
        (("--explain", "nosuch", "--machine", "milan"), "no task computes"),
        (("--batch", "0", "--machine", "milan"), "none below 1"),
        (("--machine", "milan", "-o", "/dev/null/net"), "no folder can be made in"),
    ):
        done = trimtab("compile", "zoo:lenet5", *arguments)
        assert done.returncode == 1, (arguments, done.stdout, done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_batches_limits_and_no_winograd(trimtab):
    arguments = ("compile", "zoo:lenet5", "--machine", "milan", "--batch", "1",
                 "--batch", "4", "--explain", "classifier.4")  # fmt: skip
    done = trimtab(*arguments, "--limits")
    assert done.returncode == 0, done.stderr
    for said in ("thread(s), batch 1", "thread(s), batch 4", "largest limits",
                 "Limits of each task, batch 4", "cold weights", "for a batch of 4",
                 "batch 1: ", "batch 4: "):  # fmt: skip
        assert said in done.stdout, said
    record = json.loads(trimtab(*arguments, "--json", "--no-winograd").stdout)
    assert [each["batch"] for each in record["batches"]] == [1, 4]
    assert [text.split(":")[0] for text in record["explanations"]] == [
        "batch 1", "batch 4",
    ]  # fmt: skip
    assert record["winograd"] is False


@pytest.mark.parametrize(("width", "column"), [(80, "bound by"), (100, "largest")])
def test_a_narrow_terminal_shows_less(width, column):
    from io import StringIO

    from rich.console import Console

    from trimtab.cli.compile import _tasks

    task = {
        "module": "layer1.0.conv1", "nodes": ["conv"], "family": "contraction",
        "schedule": {"rows": 1}, "judged": 10, "latency_s": 1e-6,
        "bottleneck": "cold weights", "rejected": [],
        "limits_s": {"cold weights": 1e-6, "compute": 2e-7, "L2": 1e-9},
    }  # fmt: skip
    shown = StringIO()
    out = Console(file=shown, width=width, no_color=True)
    out.print(_tasks({"latency_s": 1e-6, "tasks": [task]}, "title", width))
    text = shown.getvalue()
    assert column in text
    assert "layer1.0.conv1" in text
    assert "cold weights" in text
