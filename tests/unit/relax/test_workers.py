"""Replicas on a real local Ray of two workers."""

import importlib.util

import pytest
import torch
from safetensors.torch import load_file
from tests.unit.relax import ray_parts

from trimtab.errors import ReplicaError, UsageError
from trimtab.relax.parle import load_consensus
from trimtab.relax.workers import fit_on_ray, part_of
from trimtab.training.settings import Settings

# Of Ray itself, at its own options; others stay errors.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(  # not one that others have started here
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False
    )
    yield
    ray.shutdown()


SETTINGS = Settings(epochs=12, batch_size=10, schedule="constant")
PARLE = {"steps": 4, "scope": 0.5, "coupling": 0.1}


def test_parts_are_disjoint_and_equal():
    data = ray_parts.data()
    parts = [part_of(data, rank, 4) for rank in range(4)]
    assert [len(each.train[0]) for each in parts] == [50] * 4
    rows = torch.cat([each.train[0] for each in parts])
    assert len(rows.unique(dim=0)) == 200
    with pytest.raises(UsageError, match="201 examples for 202 replicas"):
        part_of(data, 0, 202)


@needs_ray
@pytest.mark.timeout(300)
def test_two_workers_learn_together(cluster, tmp_path):
    found = fit_on_ray(
        ray_parts.net, ray_parts.data, SETTINGS, replicas=2, storage=tmp_path,
        parle=PARLE, payload=torch.bfloat16,
    )  # fmt: skip
    weights = sum(each.numel() for each in found.module.parameters())
    assert (found.evaluations, found.rounds) == (120, 30)
    # A move of two bytes a weight each round; the consensus, whole, after each and at
    # last; counters at the end.
    assert found.communicated_bytes == weights * (2 * 30 + 4 * 31) + 16
    assert found.test_accuracy_frac > 0.7  # chance is a third
    scores = found.module(ray_parts.data().test[0])
    right = (scores.argmax(1) == ray_parts.data().test[1]).float().mean()
    assert float(right) == pytest.approx(found.test_accuracy_frac, abs=1e-6)
    assert (tmp_path / "parle" / "consensus.safetensors").exists()


@needs_ray
@pytest.mark.timeout(300)
def test_a_worker_that_fails_is_told_of_with_the_consensus(cluster, tmp_path):
    with pytest.raises(ReplicaError, match=r"come loose(.|\n)*consensus.safetensors"):
        fit_on_ray(
            ray_parts.net_of_which_one_breaks, ray_parts.data, SETTINGS, replicas=2,
            storage=tmp_path, parle=PARLE,
        )  # fmt: skip
    # Rounds are of four batches, and the 26th failed: six were done by both.
    net = ray_parts.Broken()
    path = tmp_path / "parle" / "consensus.safetensors"
    assert load_consensus(path, net.parameters()) == 6
    assert all(bool(each.isfinite().all()) for each in net.parameters())
    kept = load_file(path)
    assert [each.numel() for each in kept.values()] == [
        each.numel() for each in ray_parts.net().parameters()
    ]


def test_no_replica_is_none(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="0 replicas"):
        fit_on_ray(
            ray_parts.net, ray_parts.data, SETTINGS, replicas=0, storage=tmp_path
        )
