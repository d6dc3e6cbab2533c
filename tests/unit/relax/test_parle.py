"""Replicas, in one process and in several."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.unit.relax.replica import batches, net, settings, step

from trimtab.errors import DataError, ReplicaError, UsageError
from trimtab.relax.exchange import Together
from trimtab.relax.parle import Parle, consensus, load_consensus
from trimtab.relax.relaxed import Relaxed

REPLICA = Path(__file__).with_name("replica.py")


def together(count=2, **more):
    both = Together(count)
    models = [net(seed=rank) for rank in range(count)]
    opts = [
        Parle(model.parameters(), exchange=both.member(), **{**settings(rank), **more})
        for rank, model in enumerate(models)
    ]
    return models, opts


def run(models, opts):
    for some in zip(*(batches(rank) for rank in range(len(models))), strict=True):
        for model, opt, (x, y) in zip(models, opts, some, strict=True):
            step(model, opt, x, y)


def processes(folder, what, count=2):
    root = Path(__file__).parents[3]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)]),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, str(REPLICA), str(rank), str(count), str(folder), what],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    return [(*each.communicate(timeout=120), each.returncode) for each in running]


def test_one_process_and_two_give_the_same_bit_for_bit(tmp_path):
    for _, said, code in processes(tmp_path, "plain"):
        assert code == 0, said
    models, opts = together()
    run(models, opts)
    mean = consensus(opts)
    for rank, model in enumerate(models):
        found = load_file(tmp_path / f"{rank}.safetensors")
        for number, (key, each) in enumerate(model.state_dict().items()):
            assert torch.equal(found[f"own.{key}"], each)
            assert torch.equal(found[key], mean[number])
    weights = sum(each.numel() for each in models[0].parameters())
    with safe_open(tmp_path / "0.safetensors", "pt") as file:
        # Four rounds and the consensus at the end, of four bytes a weight.
        assert int(file.metadata()["bytes"]) == (4 + 1) * 4 * weights


def test_a_smaller_payload_halves_the_bytes(tmp_path):
    for _, said, code in processes(tmp_path, "bf16"):
        assert code == 0, said
    models, opts = together()
    run(models, opts)
    with safe_open(tmp_path / "1.safetensors", "pt") as file:
        weights = sum(each.numel() for each in models[0].parameters())
        assert int(file.metadata()["bytes"]) == (4 * 2 + 4) * weights
    found = load_file(tmp_path / "1.safetensors")
    for key, each in models[1].state_dict().items():
        assert torch.allclose(found[f"own.{key}"], each, atol=2e-3)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nan", "infinite or NaN"),
        ("uneven", "same number of gradients"),
        ("fails", "out of batches"),
    ],
)
def test_the_consensus_that_is_kept_is_of_whole_rounds(tmp_path, what, said):
    ended = processes(tmp_path, what)
    assert any(code != 0 and said in text for _, text, code in ended)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )
    rounds = load_consensus(tmp_path / "consensus.safetensors", model.parameters())
    assert rounds == (3 if what == "uneven" else 2)
    assert all(bool(each.isfinite().all()) for each in model.parameters())


def test_a_consensus_that_is_none_is_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    with pytest.raises(DataError, match="consensus"):
        load_consensus(path, [torch.ones(2)])
    path.write_bytes(b"no tensors")
    with pytest.raises(DataError, match="consensus"):
        load_consensus(path, [torch.ones(2)])
    save_file({"0": torch.ones(3)}, path)
    with pytest.raises(DataError, match="other shapes"):
        load_consensus(path, [torch.ones(2)])
    with pytest.raises(DataError):
        load_consensus(path, [torch.ones(3), torch.ones(1)])


def test_a_folder_for_the_consensus_has_to_be_there(tmp_path):
    member = Together(1).member()
    with pytest.raises(UsageError, match="folder does not exist"):
        Parle(
            [torch.nn.Parameter(torch.ones(1))], exchange=member,
            keep=tmp_path / "none" / "kept.safetensors",
        )  # fmt: skip


def test_a_replica_that_waits_has_no_state_to_take():
    models, opts = together()
    for number, (x, y) in enumerate(batches(0, 5)):
        step(models[0], opts[0], x, y)
        assert opts[0].position == number + 1
    with pytest.raises(ReplicaError, match="waits for the others"):
        opts[0].state_dict()
    for x, y in batches(1, 5):
        step(models[1], opts[1], x, y)
    assert opts[0].rounds == opts[1].rounds == 1
    opts[0].state_dict()


def test_a_resumed_replica_goes_on_as_it_would_have():
    models, opts = together()
    every = [list(batches(rank, 20)) for rank in range(2)]

    def go(models, opts, first, last):
        for number in range(first, last):
            for rank in range(2):
                step(models[rank], opts[rank], *every[rank][number])

    go(models, opts, 0, 12)
    kept = [copy.deepcopy(each.state_dict()) for each in opts]
    go(models, opts, 12, 20)
    others, again = together()
    for each, state in zip(again, kept, strict=True):
        each.load_state_dict(state)
    go(others, again, 12, 20)
    for one, two in zip(models, others, strict=True):
        assert all(map(torch.equal, one.parameters(), two.parameters()))


def test_hooks_of_a_step_are_called_once():
    models, opts = together()
    called = []
    opts[0].register_step_post_hook(lambda *_: called.append(1))
    step(models[0], opts[0], *next(iter(batches(0, 1))))
    assert called == [1]


def test_a_replica_that_is_lost_is_told_and_the_consensus_is_on_disk(tmp_path):
    (_, said, code), (_, other, gone) = processes(tmp_path, "lost")
    assert gone == 0, other
    assert code == 1
    assert "ReplicaError: a mean over 2 replicas: one of them is gone" in said
    assert "tart again from the consensus in" in said
    with safe_open(tmp_path / "consensus.safetensors", "pt") as file:
        assert file.metadata()["rounds"] == "2"
    kept = load_file(tmp_path / "consensus.safetensors")
    shapes = [kept[str(n)].shape for n in range(len(kept))]
    assert shapes == [each.shape for each in net(0).parameters()]
    assert not list(tmp_path.glob(".*making"))


def test_alone_and_uncoupled_it_is_the_relaxation():
    models, opts = together(count=1, coupling=0.0)
    run(models, opts)
    model = net(seed=0)
    own = settings(0)
    del own["coupling"]
    opt = Relaxed(model.parameters(), **own)
    for x, y in batches(0):
        step(model, opt, x, y)
    for one, two in zip(models[0].parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_coupling_draws_replicas_together():
    def distance(coupling):
        models, opts = together(count=3, coupling=coupling)
        run(models, opts)
        flat = [opt._bucket(opt._iterates()) for opt in opts]
        return sum(float((each - flat[0]).norm()) for each in flat)

    loose, tight = distance(0.0), distance(1.0)
    assert tight < 0.8 * loose


def test_a_replica_does_not_run_ahead():
    models, opts = together()
    for x, y in batches(0, count=5):
        step(models[0], opts[0], x, y)
    with pytest.raises(ReplicaError, match="waits for the others"):
        step(models[0], opts[0], x, y)


def test_only_tethered_relaxations_have_replicas():
    both = Together(1)
    with pytest.raises(UsageError, match="it has no such point"):
        Parle(
            net(0).parameters(), exchange=both.member(), relaxation="heat",
            temperature=1.0,
        )  # fmt: skip
