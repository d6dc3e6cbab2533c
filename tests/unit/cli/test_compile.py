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
        (("--explain", "nosuch", "--machine", "milan"), "no kernel computes"),
        (("--batch", "0", "--machine", "milan"), "none below 1"),
        (("--machine", "milan", "-o", "/dev/null/net"), "no folder can be made in"),
    ):
        done = trimtab("compile", "zoo:lenet5", *arguments)
        assert done.returncode == 1, (arguments, done.stdout, done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
