"""Where no linker is, a bundle holds LLVM's text, which is compiled when it loads."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="needs the extra `compile`")

from trimtab.compiler.compile import compile as compile_module
from trimtab.compiler.tvm.link import find_linker
from trimtab.pipeline.load import load
from trimtab.runtime.compiled import CompiledNetwork

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _no_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hide g++ and ziglang, as where neither is installed."""
    which, find_spec = shutil.which, importlib.util.find_spec
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        shutil,
        "which",
        lambda name, *more: None if name == "g++" else which(name, *more),
    )
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "ziglang" else find_spec(name, *more),
    )
    find_linker.cache_clear()
    yield
    find_linker.cache_clear()  # what it did not find here is there again


class Mixed(nn.Module):
    """A convolution, a row gather, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.rows = nn.Embedding(9, 8)
        self.dense = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return self.dense(self.conv(x).relu().mean((2, 3)) + self.rows(which))


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_saved_loaded_and_called(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_linker() is None
    network = Mixed().eval()
    inputs = (torch.randn(4, 3, 6, 7), torch.tensor([0, 8, 3, 3]))
    with torch.inference_mode():
        expected = network(*inputs)
    fast = compile_module(network, inputs, threads=threads)
    assert fast.code is not None
    assert fast.code.kind == "llvm"
    torch.testing.assert_close(fast(*inputs), expected, rtol=1e-5, atol=1e-5)
    path = tmp_path / "net.trimtab"
    fast.save(path)
    assert (path / "kernels.ll").read_bytes() == fast.code.data
    assert not list(path.glob("*.so"))

    # Its code is used: nothing compiles it again, and PyTorch runs none of it.
    monkeypatch.setattr("trimtab.compiler.compile.build", None)
    again = load(path)
    assert isinstance(again, CompiledNetwork)
    assert again.code == fast.code
    assert torch.equal(again(*inputs), fast(*inputs))
    # A kernel of the text refuses what a kernel of a library does.
    with pytest.raises(Exception, match="a table of 9 rows has no row of a number"):
        again(inputs[0], torch.tensor([0, 9, 3, 3]))
