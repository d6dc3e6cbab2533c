"""Bundles on both sides."""

import pytest
import torch
from tests.unit.partition.live.nets import served
from tests.unit.partition.test_step import plan  # noqa: F401 - a fixture

from trimtab.errors import BundleError
from trimtab.partition.live.edge import Address
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


def test_a_bundle_without_cuts_says_what_to_do(trimtab, plan):  # noqa: F811
    text = (plan / "plan.toml").read_text()
    (plan / "plan.toml").write_text(text[: text.index("[partition]")] + "[inspect]\n")
    assert trimtab("run", "plan.toml").returncode == 0
    with pytest.raises(BundleError, match="Add a table"):
        open_halves(plan / "out" / "small.trimtab")
