import json


def test_a_bundle_and_its_graph(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'network = "zoo:lenet5"\nmachine = "milan"\n[budget]\nparameters = "1M"\n'
        "[inspect]\n"
    )
    assert trimtab("run", "plan.toml").returncode == 0
    shown = trimtab("show", "runs/run.trimtab")
    assert shown.returncode == 0, shown.stderr
    assert "zoo:lenet5" in shown.stdout
    assert "weights.safetensors" in shown.stdout
    assert "at most 1.00 M" in shown.stdout
    text = trimtab("show", "runs/run.trimtab", "--graph").stdout
    assert "aten.conv2d.default" in text
    record = json.loads(trimtab("show", "runs/run.trimtab", "--json").stdout)
    assert record["verdicts"][0]["slack"] == 1_000_000 - 61_706


def test_no_bundle_or_a_damaged_one(trimtab, tmp_path):
    done = trimtab("show", "nowhere")
    assert done.returncode == 1
    assert "there is no such folder" in done.stderr
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text("{}")
    done = trimtab("show", "b")
    assert done.returncode == 1
    assert "trimtab-bundle-1" in done.stderr


def test_a_number_is_traced_to_its_rule_and_its_inputs(trimtab, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'network = "zoo:lenet5"\nmachine = "milan"\n[inspect]\n'
    )
    assert trimtab("run", "plan.toml").returncode == 0
    shown = trimtab("show", "runs/run.trimtab", "--why", "latency")
    assert shown.returncode == 0, shown.stderr
    assert "roofline of PyTorch on" in shown.stdout
    assert "dispatch_s" in shown.stdout
    record = json.loads(
        trimtab("show", "runs/run.trimtab", "--why", "parameters", "--json").stdout
    )
    assert sum(part["value"] for part in record["parts"]) == record["value"] == 61_706
    done = trimtab("show", "runs/run.trimtab", "--why", "beauty")
    assert done.returncode == 1
    assert "the bundle has no such number" in done.stderr
