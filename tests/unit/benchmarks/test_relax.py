"""The comparison of relaxations: what is chosen, counted and told."""

import json

import pytest
import torch
from benchmarks.jobs import NOT_MEASURED, Store
from benchmarks.relax import compare, report
from benchmarks.relax.methods import METHODS, Run, grid, trained
from benchmarks.relax.tasks import TASKS, Split, Task
from torch import nn


def task(gradients=24, batch=8):
    def split(seed):
        drawn = torch.Generator().manual_seed(seed)
        x = torch.randn(90, 4, generator=drawn)
        pair = (x, x[:, :3].argmax(1))
        return Split(train=pair, valid=pair, test=pair)

    return Task(
        make=lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        split=split, gradients=gradients, batch=batch, decay=0.0, seeds=2, tuning=(9,),
        small=True,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_the_gradients_it_is_given(method, monkeypatch):
    taken = []
    before = Run.gradient

    def counted(run, *rest):
        taken.append(1)
        before(run, *rest)

    monkeypatch.setattr(Run, "gradient", counted)
    small = task()
    split = small.split(0)
    for config in grid(small, method):
        taken.clear()
        net = trained(small, split, method, config, 0)
        assert sum(taken) == 24
        assert not net.training
        again = trained(small, split, method, config, 0)
        assert all(map(torch.equal, net.parameters(), again.parameters()))
        start = small.make()
        torch.manual_seed(0)
        start = small.make()
        assert not all(map(torch.equal, net.parameters(), start.parameters()))


def test_every_method_has_as_many_configurations():
    assert {len(method.configs) for method in METHODS.values()} == {8}
    for method in METHODS.values():
        assert len({tuple(sorted(each.items())) for each in method.configs}) == 8
        assert len({tuple(each) for each in method.configs}) == 1
    assert len(grid(TASKS["lenet"], "sgd")) == 4


def test_the_least_error_is_chosen_and_edges_are_told():
    rows = [
        {"config": {"lr": rate, "steps": 5}, "error_frac": error, "loss_nats": loss}
        for rate, error, loss in ((0.1, 0.3, 1.0), (0.2, 0.1, 2.0), (0.4, 0.1, 1.0))
    ]
    assert compare.chosen(rows) == ({"lr": 0.4, "steps": 5}, True)
    rows[1]["loss_nats"] = 0.5
    assert compare.chosen(rows) == ({"lr": 0.2, "steps": 5}, False)


def test_the_test_set_stays_closed_without_a_commit(tmp_path, monkeypatch):
    import subprocess

    monkeypatch.setattr(compare, "CHOSEN", tmp_path / "configurations.json")
    compare.CHOSEN.write_text('{"chosen": {}}')

    def git(*words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    with pytest.raises(SystemExit, match="not committed"):
        compare.committed()
    git("add", ".")
    git("commit", "-m", "chosen")
    assert compare.committed()["chosen"] == {}
    compare.CHOSEN.write_text('{"chosen": {"digits": {}}}')
    with pytest.raises(SystemExit, match="not committed"):
        compare.committed()


def test_rows_stand_there_before_anything_is_measured(tmp_path):
    rows = report.all_rows(Store(tmp_path))
    assert all(row.value is None and row.note == NOT_MEASURED for row in rows)
    assert len({row.id for row in rows}) == len(rows)
    keys = [job.key for job in report.jobs()]
    assert len(set(keys)) == len(keys)


def test_differences_are_paired_and_corrected(tmp_path):
    store = Store(tmp_path)
    for method, error in (("sgd", 0.05), ("local-entropy", 0.02), ("heat", 0.0501)):
        seeds = {
            str(seed): {
                "test": {"error_frac": error + 0.001 * seed + 1e-4 * (seed % 2)
                         * (method != "sgd")},
                "train": {"loss_nats": 0.1},
                "top_eigenvalue": 1.0,
                "local_energy": 0.2,
            }
            for seed in range(10)
        }  # fmt: skip
        store.put(report.key_of("test", "digits", method, "all"), {"seeds": seeds})
    rows = {row.id: row for row in report.all_rows(store)}
    default = rows["relax/default/digits"]
    assert default.value == pytest.approx(-2.99, abs=0.02)
    assert rows["relax/significant/better"].note == "digits: local-entropy"
    assert rows["relax/significant/worse"].value == 1  # heat, by a hundredth of a point
    assert "would have shown" in rows["relax/equal/digits/heat"].note
    assert rows["relax/equal/digits/sgd"].samples == pytest.approx(
        [0.05 + 0.001 * seed for seed in range(10)]
    )


def test_choices_are_written_with_their_edges(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "CHOSEN", tmp_path / "configurations.json")
    store = Store(tmp_path)
    row = {"config": {"lr": 0.1}, "error_frac": 0.1, "loss_nats": 1.0}
    other = {"config": {"lr": 0.2}, "error_frac": 0.2, "loss_nats": 1.0}
    store.put(report.key_of("tune", "digits", "sgd"), {"rows": [row, other]})
    missing = report.choose(store)
    assert len(missing) == len(TASKS) * len(METHODS) - 1
    found = json.loads((tmp_path / "configurations.json").read_text())
    assert found["chosen"] == {"digits": {"sgd": {"lr": 0.1}}}
    assert found["outermost"] == {"digits": ["sgd"]}
