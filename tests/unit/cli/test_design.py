import json

import pytest
from tests.unit.design.test_step import NET


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return "net.py"


MILAN = ("--machine", "milan")


def test_explain_shows_fields_findings_and_costs(trimtab, net):
    done = trimtab("design", "explain", net, *MILAN)
    assert done.returncode == 0, done.stderr
    for said in ("16x16", "narrowest", "Findings", "no accuracy", "parameters"):
        assert said in done.stdout, said
    record = json.loads(trimtab("design", "explain", net, *MILAN, "--json").stdout)
    assert record["layers"][0]["field_out"] == [3, 3]
    assert record["image"] == [16, 16]
    codes = {each["code"] for each in record["findings"]}
    assert codes
    for each in record["findings"]:
        assert each["sentence"]
        assert each["code"][:2] in ("RF", "CH", "ST", "SE", "AL", "OP")


def test_compare_shows_both(trimtab, net):
    arguments = ("design", "compare", net, "zoo:lenet5", *MILAN)
    done = trimtab(*arguments)
    assert done.returncode == 1  # LeNet-5 takes other images
    assert "the same --input" in done.stderr or "images of" in done.stderr
    done = trimtab("design", "compare", net, net, *MILAN, "--json")
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout)["networks"]
    assert one == two
    assert "1.00" in trimtab("design", "compare", net, net, *MILAN).stdout


def test_optimize_writes_what_can_be_imported(trimtab, net, tmp_path):
    arguments = ("design", "optimize", net, "--max-params", "0.6x", "--max-macs", "1x",
                 *MILAN)  # fmt: skip
    done = trimtab(*arguments, "--level", "kernel", "-o", "better", "--measure")
    assert done.returncode == 0, done.stderr
    for said in ("what each edit bought", "parameters:", "measured:", "written to",
                 "no accuracy"):  # fmt: skip
        assert said in done.stdout, said
    explained = trimtab("design", "explain", "better/network.py", *MILAN, "--json")
    assert explained.returncode == 0, explained.stderr
    record = json.loads(trimtab(*arguments, "--level", "kernel", "--json").stdout)
    assert (
        json.loads(explained.stdout)["totals"]["parameters"]
        == (record["after"]["parameters"])
    )
    assert record["after"]["parameters"] <= 0.6 * record["before"]["parameters"]
    assert all("rounds" in each for each in record["pareto"])
    compared = trimtab("design", "compare", net, "better", *MILAN)
    assert compared.returncode == 0, compared.stderr
    again = trimtab(*arguments, "-o", "better")
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_latencies_may_be_those_of_compiled_code(trimtab, net):
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    found = [
        json.loads(
            trimtab("design", "explain", net, *MILAN, "--engine", each, "--json").stdout
        )["totals"]["latency_s"]
        for each in ("pytorch", "compiled")
    ]
    assert found[1] < found[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", "zoo:nosuch"), "nosuch"),
        (("explain", "net.py", "--input", "1,3,2"), "1, 3, 2"),
        (("explain", "zoo:resnet18", "--input", "1,3,1,1"), "of a single place"),
        (("optimize", "net.py", "--max-params", "0.5"), "500k, 2M or 0.5x"),
        (("optimize", "net.py", "--max-params", "0.001x"), "exceeds the limit"),
        (("optimize", "net.py", "--max-params", "half"), "nor a share"),
        (("check", "net.py", "net.py", "--data", "nosuch.npz"), "nosuch.npz"),
        (("compare", "net.py", "net.py", "--machine", "mialn"), "milan"),
    ],
)
def test_bad_input_is_one_message(trimtab, net, arguments, said):
    more = () if "--machine" in arguments or arguments[0] == "check" else MILAN
    done = trimtab("design", *arguments, *more)
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
