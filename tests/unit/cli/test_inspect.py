import json

import pytest


def test_table_totals_and_json_agree(trimtab):
    shown = trimtab("inspect", "zoo:lenet5", "--machine", "milan")
    assert shown.returncode == 0, shown.stderr
    assert "total: 61.7 k parameters" in shown.stdout
    assert "classifier.0" in shown.stdout
    done = trimtab("inspect", "zoo:lenet5", "--machine", "milan", "--json")
    record = json.loads(done.stdout)
    assert record["totals"]["parameters"] == 61706
    assert sum(row["parameters"] for row in record["layers"]) == 61706
    assert done.stderr == ""


def test_measured_beside_predicted(trimtab):
    done = trimtab("inspect", "zoo:lenet5", "--measure", "--json")
    record = json.loads(done.stdout)
    assert record["measured"]["latency_s"] > 0
    assert all(row["measured_s"] > 0 for row in record["layers"])


def test_bad_input_is_one_message(trimtab, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(4, 2)\n"
        "    def forward(self, x):\n"
        "        y = self.fc(x)\n"
        "        return y if y.sum() > 0 else -y\n"
    )
    for arguments, said in (
        (("zoo:resnet5",), "resnet50"),
        (("no.such.module:make",), "no.such.module"),
        (("zoo:lenet5", "--input", "1,3,32"), "module 'features.0'"),
        (("zoo:lenet5", "--input", "1,x"), "1,3,224,224"),
        (("zoo:lenet5", "--machine", "mialn"), "milan"),
        (("net.py", "--input", "1,4"), "torch.where"),
        (("net.py", "--input", "1,5"), "module 'fc'"),
    ):
        done = trimtab("inspect", *arguments)
        assert done.returncode == 1, (arguments, done.stdout, done.stderr)
        assert said in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_errors_are_json_too(trimtab):
    done = trimtab("inspect", "zoo:nosuch", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "NetworkNotFoundError"


def test_what_user_code_prints_does_not_spoil_the_result(trimtab, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\nprint('hello')\n"
        "def build():\n    print('again')\n    return nn.ReLU()\n"
    )
    done = trimtab(
        "inspect", "net.py", "--input", "2,2", "--machine", "milan", "--json"
    )
    assert json.loads(done.stdout)["totals"]["nodes"] == 1
    assert "hello" in done.stderr


def test_a_narrow_terminal_gets_fewer_columns(trimtab, monkeypatch):
    from rich.console import Console

    from trimtab.cli import inspect

    monkeypatch.setattr(inspect, "console", lambda: Console(width=60, no_color=True))
    shown = trimtab("inspect", "zoo:lenet5", "--machine", "milan").stdout
    assert "118 k" in shown  # 6 x 28 x 28 x 25 multiply-adds, in one piece
    assert "AvgPool2d" not in shown


def test_machine_code_of_a_bundle_is_timed_too(trimtab, tmp_path):
    pytest.importorskip("tvm", reason="apache-tvm makes the machine code")
    bundle = tmp_path / "lenet.trimtab"
    trimtab("compile", "zoo:lenet5", "-o", str(bundle))
    done = trimtab("inspect", str(bundle), "--measure", "--trust", "--json")
    assert json.loads(done.stdout)["measured"]["compiled_s"] > 0
