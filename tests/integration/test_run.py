"""The main job, shortened: from the run file to bundle, report and verdicts."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from trimtab.bundle.store import read
from trimtab.pipeline.load import load

pytestmark = pytest.mark.integration

PLAN = """
name = "small"
network = "zoo:digits_cnn"
data = "data.npz"
machine = "this"
output = "out"
seed = 3

[budget]
parameters = "100k"
latency_s = "1s"

[inspect]

[train]
epochs = 1
threads = 1

[verify]
examples = 4
measure = true
calls = 5
"""


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.integers(0, 60, (200, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 4] += 180  # a bar whose height tells the class
    np.savez(tmp_path / "data.npz", x=images, y=labels)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_a_run_leaves_a_bundle_a_report_and_verdicts(folder, trimtab):
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["fits"] is True
    assert [stage["name"] for stage in record["stages"]] == [
        "inspect",
        "train",
        "verify",
    ]
    bundle = read(folder / record["bundle"])
    assert bundle.manifest.values["parameters"] == bundle.graph.parameters
    assert {verdict.name for verdict in bundle.manifest.verdicts} == {
        "parameters",
        "latency_s",
    }
    assert {section.name for section in bundle.sections} == {
        "inspect",
        "train",
        "verify",
        "stages",
    }
    page = (folder / record["report"]).read_text()
    assert "Predicted beside measured" in page
    run = load(folder / record["bundle"])
    assert tuple(run(torch.zeros(1, 1, 28, 28)).shape) == (1, 10)

    shown = json.loads(trimtab("show", record["bundle"], "--json").stdout)
    assert {each["kind"] for each in shown["observations"]} == {"training", "latency"}

    # A bundle is accepted wherever a network is.
    inspected = trimtab("inspect", record["bundle"], "--machine", "milan", "--json")
    assert (
        json.loads(inspected.stdout)["totals"]["parameters"] == bundle.graph.parameters
    )

    # The same plan gives the same bytes; without --overwrite nothing is touched.
    before = contents(folder / record["bundle"])
    again = trimtab("run", "plan.toml")
    assert again.returncode == 1
    assert "--overwrite" in again.stderr
    assert contents(folder / record["bundle"]) == before
    assert trimtab("run", "plan.toml", "--overwrite").returncode == 0
    assert contents(folder / record["bundle"]) == before


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def test_a_budget_that_cannot_be_met_ends_with_two_and_nothing_written(folder, trimtab):
    (folder / "plan.toml").write_text(PLAN.replace('"100k"', '"10k"'))
    done = trimtab("run", "plan.toml")
    assert done.returncode == 2
    assert "parameters" in done.stderr
    assert "exceeds the limit 10.0 k" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "out").exists()


def test_a_limit_that_training_misses_ends_with_two_and_a_bundle(folder, trimtab):
    (folder / "plan.toml").write_text(
        PLAN.replace("[budget]", "[budget]\naccuracy_frac = 0.9999999").replace(
            "epochs = 1", "epochs = 1\nlearning_rate = 1e-9"
        )
    )
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 2, done.stderr
    record = json.loads(done.stdout)
    assert record["fits"] is False
    assert read(folder / record["bundle"]).manifest.verdicts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs = 1", "epoch = 1"), "train.epoch: no such key"),
        (("epochs = 1", "epochs = 0"), "epochs"),
        (('"this"', '"mialn"'), "milan"),
        (('"data.npz"', '"none.npz"'), "none.npz"),
        (("zoo:digits_cnn", "zoo:digit_cnn"), "digits_cnn"),
        (("zoo:digits_cnn", "zoo:lenet5"), "shape"),
        (('name = "small"', 'nmae = "small"'), "nmae: no such key"),
        (("[inspect]", "[serve]"), "it serves within a limit on the tail"),
    ],
)
def test_a_wrong_run_file_is_one_message(folder, trimtab, change, said):
    (folder / "plan.toml").write_text(PLAN.replace(*change))
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert said in done.stderr
    assert not (folder / "out").exists()


def killed_after(folder, stage, wait_s=0.0):
    """Run the plan in a process, and kill it once a stage is through."""
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab", "run", "plan.toml"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith(stage):
                    break
            time.sleep(wait_s)
        finally:
            process.send_signal(signal.SIGKILL)
    assert not (folder / "out").exists()


def test_a_killed_run_leaves_nothing(folder, trimtab):
    (folder / "plan.toml").write_text(PLAN.replace("epochs = 1", "epochs = 1000"))
    killed_after(folder, "inspect", 0.5)  # it trains now
    (folder / "plan.toml").write_text(PLAN)
    assert trimtab("run", "plan.toml").returncode == 0


def test_a_killed_run_goes_on_after_the_last_finished_stage(folder, trimtab):
    assert trimtab("run", "plan.toml", "-o", "whole", "--no-cache").returncode == 0
    assert not list((folder / "cache").glob("stages/*/*"))
    killed_after(folder, "train")  # TRIMTAB_CACHE is that of the test
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    kept = {stage["name"]: stage["kept"] for stage in record["stages"]}
    assert kept["inspect"]
    assert kept["train"]
    assert contents(folder / "out" / "small.trimtab") == contents(
        folder / "whole" / "small.trimtab"
    )
    page = (folder / "out" / "report.html").read_text()
    assert "What each stage bought" in page


def test_a_changed_plan_does_again_what_the_change_concerns(folder, trimtab):
    def kept(*options):
        done = trimtab("run", "plan.toml", "--json", "--overwrite", *options)
        assert done.returncode == 0, done.stderr
        return [stage["kept"] for stage in json.loads(done.stdout)["stages"]]

    assert kept() == [False, False, False]
    assert kept() == [True, True, True]
    assert kept("--threads", "2") == [False, True, False]  # training has its own
    assert kept("--seed", "4") == [False, False, False]
    (folder / "plan.toml").write_text(PLAN.replace("calls = 5", "calls = 6"))
    assert kept() == [True, True, False]
    assert kept("--from", "train") == [True, False, False]
    assert kept("--only", "train") == [True, False]  # [verify] is left out


def test_earlier_stages_that_are_not_there_are_named(folder, trimtab):
    done = trimtab("run", "plan.toml", "--from", "train")
    assert done.returncode == 1
    assert "what [inspect] before it leads to is not kept" in done.stderr
    assert "Run the plan once without the option" in done.stderr
    done = trimtab("run", "plan.toml", "--only", "serve")
    assert "the stages of the plan are inspect, train, verify" in done.stderr
    done = trimtab("run", "plan.toml", "--only", "train", "--from", "train")
    assert "each says which stages are done" in done.stderr
    done = trimtab("run", "plan.toml", "--only", "train", "--no-cache")
    assert "--only train with --no-cache" in done.stderr
    assert not (folder / "out").exists()


def test_a_damaged_result_is_refused_and_done_again(folder, trimtab):
    assert trimtab("run", "plan.toml").returncode == 0
    before = contents(folder / "out" / "small.trimtab")
    for path in (folder / "cache" / "stages").glob("*/*.bin"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = trimtab("run", "plan.toml", "--overwrite", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert [stage["kept"] for stage in record["stages"]] == [False, False, False]
    assert "[train] is damaged or not from here" in " ".join(record["notes"])
    assert contents(folder / "out" / "small.trimtab") == before


STAGES_THAT_REWRITE = """
name = "small"
network = "net.py"
data = "data.npz"
machine = "milan"
output = "out"

[design]
parameters = "0.9x"

[symmetry]
family = "flips"
steps = 10
restarts = 1

[train]
epochs = 1
threads = 1
"""

NET = """
import torch
from torch import nn


def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, 10),
    )


def example_inputs():
    return (torch.zeros(1, 1, 28, 28),)
"""


def test_stages_that_rewrite_the_network_are_kept_too(folder, trimtab):
    (folder / "net.py").write_text(NET)
    (folder / "plan.toml").write_text(STAGES_THAT_REWRITE)
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["notes"] == []
    before = contents(folder / "out" / "small.trimtab")
    done = trimtab("run", "plan.toml", "--json", "--overwrite")
    second = json.loads(done.stdout)
    assert second["notes"] == []
    assert [stage["kept"] for stage in second["stages"]] == [True, True, True]
    assert second["stands"] == first["stands"]
    assert contents(folder / "out" / "small.trimtab") == before


def test_a_limit_that_no_stage_can_judge_is_refused_first(folder, trimtab):
    text = PLAN.replace("[budget]", "[budget]\naccuracy_frac = 0.5")
    (folder / "plan.toml").write_text(
        text.replace("[train]\nepochs = 1\nthreads = 1", "")
    )
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "limit on accuracy_frac: no stage of this plan" in done.stderr
    assert not (folder / "out").exists()


def test_what_stands_at_the_output_is_kept(folder, trimtab):
    (folder / "out").mkdir()
    (folder / "out" / "report.html").write_text("mine")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 1
    assert "report: something of its name stands there" in done.stderr
    assert (folder / "out" / "report.html").read_text() == "mine"
    foreign = folder / "out" / "small.trimtab"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "somebody else"}')
    done = trimtab("run", "plan.toml", "--overwrite")
    assert done.returncode == 1
    assert "something that is no bundle stands there" in done.stderr
    assert (foreign / "manifest.json").exists()
    (folder / "file").write_text("")
    done = trimtab("run", "plan.toml", "-o", "file/below")
    assert done.returncode == 1
    assert "is no folder that can be written" in done.stderr


def test_keyword_inputs_reach_the_graph(folder, trimtab):
    (folder / "net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x, y=None):\n"
        "        return x if y is None else x * y\n"
    )
    (folder / "plan.toml").write_text(
        'network = "net.py"\ninput = ["1,4", "y=1,4"]\nmachine = "milan"\n'
        "[inspect]\n[verify]\nmeasure = false\n"
    )
    done = trimtab("run", "plan.toml", "--json")
    assert done.returncode == 0, done.stderr
    bundle = read(folder / json.loads(done.stdout)["bundle"])
    assert [node.op for node in bundle.graph.nodes] == ["aten.mul.Tensor"]
    assert "machine.toml" in bundle.manifest.files


def test_a_network_that_ends_the_program_is_an_error(folder, trimtab):
    (folder / "net.py").write_text(
        "import sys\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        sys.exit(0)\n"
    )
    done = trimtab("inspect", "net.py", "--input", "1,4", "--machine", "milan")
    assert done.returncode == 1
    assert "SystemExit" in done.stderr


def test_a_bundle_is_a_network_for_run_too(folder, trimtab):
    assert trimtab("run", "plan.toml").returncode == 0
    stages = "[inspect]\n[verify]\ncalls = 3\n"
    (folder / "again.toml").write_text(
        'name = "again"\nnetwork = "out/small.trimtab"\ndata = "data.npz"\n'
        f'output = "second"\n{stages}'
    )
    done = trimtab("run", "again.toml", "--json")
    assert done.returncode == 0, done.stderr
    # The first run measured it on this host: that corrects what is predicted now.
    (note,) = json.loads(done.stdout)["notes"]
    assert "are corrected times" in note
    seen = json.loads(
        (folder / "second" / "again.trimtab.observations.jsonl").read_text()
    )
    assert seen["values"]["corrected_by"] != 1.0
    inspected = json.loads(trimtab("inspect", "out/small.trimtab", "--json").stdout)
    factor = inspected["corrected_s"] / inspected["totals"]["latency_s"]
    assert factor == pytest.approx(seen["values"]["corrected_by"])
    first = read(folder / "out" / "small.trimtab")
    second = read(folder / json.loads(done.stdout)["bundle"])
    assert second.graph == first.graph
    left, right = first.weights(), second.weights()
    assert all(torch.equal(left[key], right[key]) for key in left)
    (folder / "again.toml").write_text(
        'name = "more"\nnetwork = "out/small.trimtab"\ndata = "data.npz"\n[train]\n'
    )
    done = trimtab("run", "again.toml")
    assert done.returncode == 1
    assert "Give the network it came from" in done.stderr
