"""ONNX out and in again, as typed."""

import json

import pytest

pytest.importorskip("onnxscript", reason="torch.onnx.export takes it")


def test_out_and_in_again(trimtab):
    done = trimtab("export", "zoo:lenet5", "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    for said in ("12 operators of opset 20", "for any batch", "differs from",
                 "written to net.onnx"):  # fmt: skip
        assert said in done.stdout, said
    done = trimtab("inspect", "net.onnx", "--machine", "milan", "--json")
    assert done.returncode == 0, done.stdout
    record = json.loads(done.stdout)
    assert record["totals"]["parameters"] == 61_706
    assert record["layers"][0]["layer"] == "features.0"
    done = trimtab("inspect", "net.onnx", "--machine", "milan", "--input", "2,1,28,28")
    assert done.returncode == 1
    assert "input=float32[?,1,32,32]" in done.stderr.replace("\n", " ")
    done = trimtab("export", "net.onnx", "-o", "again.onnx", "--fixed", "--json")
    assert done.returncode == 0, done.stdout
    record = json.loads(done.stdout)
    assert record["inputs"] == ["input=float32[1,1,32,32]"]
    assert record["comparison"]["relative_difference"] < 1e-5


def test_bad_input_is_one_message(trimtab, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    for arguments, said in (
        (("inspect", "no.onnx"), "no such file"),
        (("inspect", "bad.onnx"), "bad.onnx"),
        (("export", "zoo:lenet5", "-o", "net.pt"), "ends in .onnx"),
        (("export", "zoo:lenet5", "-o", "a.onnx", "--opset", "3"), "--opset"),
    ):
        done = trimtab(*arguments)
        assert done.returncode == 1, done.stdout
        assert said in done.stderr
        assert "Traceback" not in done.stderr
