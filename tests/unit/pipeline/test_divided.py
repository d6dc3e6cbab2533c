"""Parts of a divided network as machine code: close to PyTorch's, at every cut."""

import pytest
import torch
from tests.unit.partition.live.nets import CODECS, made

pytest.importorskip("tvm", reason="TVM is not installed (extra compile)")

from trimtab.partition.live.halves import Halves
from trimtab.pipeline.divided import Compiler


def test_every_cut_gives_what_pytorch_does(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    net, plain = made()
    told: list[str] = []
    positions = [cut.position for cut in plain.cuts]
    halves = Halves(
        plain.graph, plain.keeping._held, positions, CODECS,
        make=Compiler(1, told.append),
    )  # fmt: skip
    assert len(told) == len({0, *positions, halves.end}) - 1
    assert not halves.agree(plain.identity())  # the last bits may differ
    assert Compiler(1).identity == Compiler(1).identity != Compiler(2).identity
    x = torch.randn(1, 3, 16, 16)
    values = halves.run.bind(x)
    for cut in range(len(halves.cuts)):
        found = halves.tail(halves.head(values, cut), cut)
        assert torch.allclose(halves.run.results(found), net(x), atol=1e-5)
    # Every cut is made of the same code: the bits are those of the whole.
    whole = halves.run(x)
    for cut in range(len(halves.cuts)):
        found = halves.tail(halves.head(values, cut), cut)
        assert torch.equal(halves.run.results(found), whole)
