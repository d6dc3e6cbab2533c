"""Bundles on both sides."""

import pytest
import torch
from tests.unit.partition.live.nets import served
from tests.unit.partition.test_step import plan  # noqa: F401 - a fixture

from trimtab.errors import BundleError, LinkError
from trimtab.partition.live.connection import Address
from trimtab.partition.live.open import open_edge, open_halves


def test_two_sides_of_a_bundle(trimtab, plan):  # noqa: F811
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    path = plan / "out" / "small.trimtab"
    halves, agreed = open_halves(path)
    assert len(halves.cuts) == len(agreed.cuts)
    x = torch.randn(1, 1, 32, 32)
    with served(halves) as cloud:
        where = Address(host="127.0.0.1", port=cloud.port)
        with open_edge(path, cloud=where) as edge:
            assert torch.allclose(edge(x), halves.run(x), atol=0.01)  # int8
            assert edge.state()["connected"]


def test_an_edge_with_little_memory_reads_what_it_needs(trimtab, plan):  # noqa: F811
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    path = plan / "out" / "small.trimtab"
    halves, _ = open_halves(path)
    whole = halves.keeping.size_of(range(halves.end))
    x = torch.randn(1, 1, 32, 32)
    with open_edge(path, mode="lazy", edge_bytes=whole // 2) as small:
        assert not small.whole
        assert max(small.controller.space.positions) < halves.end
        assert small.state()["kept_bytes"] <= whole // 2
        with pytest.raises(LinkError, match="needed"):
            small(x)


def test_an_edge_keeps_to_its_bytes(trimtab, plan):  # noqa: F811
    assert trimtab("run", "plan.toml").returncode == 0
    path = plan / "out" / "small.trimtab"
    halves, _ = open_halves(path)
    with served(halves) as cloud:
        where = Address(host="127.0.0.1", port=cloud.port)
        with open_edge(path, cloud=where, bytes_per_s=1e-3) as edge:
            # What may be sent at once is spent; only the edge sends nothing.
            edge.controller._tokens = 0.0
            edge.controller.space.edge_s[:] = 60.0 * edge.controller.space.local
            for _ in range(5):
                edge(torch.randn(1, 1, 32, 32))
            assert edge.state()["local"] == 5


def test_an_edge_without_room_for_all_of_it_opens_and_never_runs_all(trimtab, plan):  # noqa: F811
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(f"{text}\nedge_bytes = 60000\n")
    done = trimtab("run", "plan.toml")
    assert done.returncode == 0, done.stderr
    path = plan / "out" / "small.trimtab"
    halves, agreed = open_halves(path)
    assert not agreed.whole
    with open_edge(path) as edge:
        assert not edge.controller.space.local.any()
        assert edge.state()["kept_bytes"] < halves.keeping.bytes
        with pytest.raises(LinkError, match="needed"):
            edge(torch.randn(1, 1, 32, 32))


def test_a_bundle_without_cuts_says_what_to_do(trimtab, plan):  # noqa: F811
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(text[: text.index("[partition]")] + "[inspect]\n")
    assert trimtab("run", "plan.toml").returncode == 0
    with pytest.raises(BundleError, match="Add a table"):
        open_halves(plan / "out" / "small.trimtab")
