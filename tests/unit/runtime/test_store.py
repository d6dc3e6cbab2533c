"""A compiled network on disk is loaded only where that is safe."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit.runtime.conftest import COLUMNS, Affine, bucket, network, target
from torch import Tensor, nn

from trimtab.bundle import store as bundles
from trimtab.errors import BundleError, UsageError
from trimtab.graph.capture import capture
from trimtab.graph.types import TensorType
from trimtab.runtime import store
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.runtime.kernels import SharedLibrary
from trimtab.runtime.program import Argument, Call, Code, Fallback, Program
from trimtab.runtime.store import Request, load, save


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder of the test's own."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(code: Code, tmp_path: Path) -> Path:
    """Return a bundle that was made here."""
    found = tmp_path / "affine.trimtab"
    network(code, 1, 4, report={"seconds": 2}, seed=5, parameters=("x",)).save(found)
    return found


def _change(path: Path, name: str, content: bytes) -> None:
    """Replace a file and its digest: what somebody does who wants it to be run."""
    (path / name).write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((path / "program.json").read_text("utf-8"))
    change(record)
    _change(path, "program.json", json.dumps(record).encode())


def test_what_was_saved_here_is_loaded(path: Path) -> None:
    assert sorted(each.name for each in path.iterdir()) == [
        "constants.safetensors",
        "graph-4.json",
        "graph.json",
        "graph.txt",
        "kernels.so",
        "manifest.json",
        "program.json",
        "seal",
        "sections.json",
        "weights.safetensors",
    ]
    fast = load(path)
    x = torch.randn(7, COLUMNS)
    with torch.no_grad():
        assert torch.equal(fast(x), Affine()(x))
    assert fast.report == {"seconds": 2}
    assert list(fast.buckets) == [1, 4]
    assert fast.buckets[4] == bucket(4)
    assert fast.target == target()
    assert fast.versions == store.versions()
    assert (fast.seed, fast.parameters) == (5, ("x",))
    assert bundles.read(path).manifest.seed == 5
    assert torch.equal(fast(x=x), fast(x))


def test_what_was_loaded_can_be_saved_again(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.trimtab"
    load(path).save(again)
    for each in path.iterdir():
        assert (again / each.name).read_bytes() == each.read_bytes()


def test_a_place_that_is_taken_is_refused(path: Path, code: Code) -> None:
    with pytest.raises(BundleError, match="it exists, and bundles are never changed"):
        network(code, 1).save(path)
    network(code, 1).save(path, overwrite=True)
    assert list(load(path).buckets) == [1]


def test_a_bundle_that_was_read_is_not_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundles.read(path)
    monkeypatch.setattr(bundles, "read", None)
    assert load(bundle)(torch.zeros(1, COLUMNS)).shape == (1, COLUMNS)


def test_a_bundle_may_be_moved_here(path: Path, tmp_path: Path) -> None:
    moved = path.rename(tmp_path / "moved.trimtab")
    assert load(moved)(torch.zeros(1, COLUMNS)).shape == (1, COLUMNS)


def _foreign(path: Path) -> None:
    (path / "seal").write_text("0" * 64, "ascii")


def test_foreign_code_is_refused_unless_it_is_trusted(path: Path) -> None:
    _foreign(path)
    with pytest.raises(BundleError) as error:
        load(path)
    assert str(error.value) == (
        "compiled network 'affine.trimtab': its machine code was not made here, and to "
        f"load it is to run it ({path}). Pass trust=True if you know who made "
        "it, or compile it here."
    )
    assert load(path, trust=True)(torch.zeros(1, COLUMNS)).shape == (1, COLUMNS)


@pytest.mark.parametrize(
    "how", ["none", "link", "key", "library", "program", "weights"]
)
def test_whatever_breaks_the_seal_makes_it_foreign(
    path: Path, cache: Path, code: Code, how: str
) -> None:
    seal = path / "seal"
    if how == "none":
        seal.unlink()
    elif how == "link":
        seal.rename(path.parent / "elsewhere")
        seal.symlink_to(path.parent / "elsewhere")
    elif how == "key":
        (cache / "key").unlink()
    elif how == "library":
        _change(path, "kernels.so", code.data + b"\0")
    elif how == "program":
        _edit(path, lambda record: record.update(report={}))
    else:
        _change(
            path, "weights.safetensors", (path / "weights.safetensors").read_bytes()
        )
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        manifest["seed"] = 1
        (path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    said = "its machine code was not made here"
    if how in ("none", "link"):
        said = "it carries no seal, so nothing shows that its machine code was made"
    with pytest.raises(BundleError, match=said):
        load(path)


def test_without_a_key_that_is_said(
    code: Code,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "open.trimtab"
    (tmp_path / "file").touch()
    nowhere = tmp_path / "file" / "cache"
    monkeypatch.setenv("TRIMTAB_CACHE", str(nowhere))
    with caplog.at_level(logging.WARNING):
        network(code, 1).save(path)
    assert caplog.messages == [
        f"{path} carries no seal, since no key can be kept in {nowhere}: its machine "
        "code will be loaded with trust=True only, or compiled again"
    ]
    assert not (path / "seal").exists()
    with pytest.raises(BundleError) as error:
        load(path)
    assert str(error.value) == (
        f"compiled network 'open.trimtab': no key can be kept in {nowhere}, so nothing "
        "shows that its machine code was made here, and to load it is to run it "
        f"({path}). Pass trust=True if you know who made it, or compile it here."
    )
    assert load(path, trust=True)(torch.zeros(1, COLUMNS)).shape == (1, COLUMNS)


def test_foreign_code_is_compiled_again_and_that_is_said(
    path: Path, code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    _foreign(path)
    asked: list[Request] = []

    def recompile(request: Request) -> CompiledNetwork:
        asked.append(request)
        return network(
            code,
            weights=request.bundle.weights(),
            buckets=[bucket(batch) for batch in request.graphs],
            any_batch=request.any_batch,
            target=request.target,
        )

    with caplog.at_level(logging.WARNING):
        fast = load(path, recompile=recompile)
    assert fast(torch.zeros(3, COLUMNS)).shape == (3, COLUMNS)
    (request,) = asked
    assert dict(request.graphs) == {1: bucket(1).graph, 4: bucket(4).graph}
    assert (request.any_batch, request.target) == (True, target())
    assert (request.seed, request.parameters) == (5, ("x",))
    ours = [each for each in caplog.records if each.name.startswith("trimtab")]
    assert [each.getMessage() for each in ours] == [
        f"{path} is compiled again: its machine code was not made here, and to load it "
        "is to run it"
    ]


def test_code_of_another_version_is_refused_or_compiled_again(
    path: Path, code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    _edit(path, lambda record: record["versions"].update(trimtab="0.0.1"))
    here = store.versions()["trimtab"]
    with pytest.raises(BundleError) as error:
        load(path, trust=True)
    assert str(error.value) == (
        f"compiled network 'affine.trimtab': it was made by trimtab 0.0.1, here is "
        f"{here} ({path}). Compile the network again on this machine."
    )
    with caplog.at_level(logging.WARNING):
        load(path, trust=True, recompile=lambda request: network(code, 1))
    assert "it was made by trimtab 0.0.1" in caplog.text


@pytest.mark.parametrize(("threads", "matters"), [(1, False), (2, True)])
@pytest.mark.parametrize("package", ["apache-tvm", "apache-tvm-ffi"])
def test_tvm_matters_where_threads_do(
    code: Code, tmp_path: Path, threads: int, matters: bool, package: str
) -> None:
    path = tmp_path / "one.trimtab"
    versions = {**store.versions(), package: "0.0.1"}
    fast = network(code, 1, target=target(threads), versions=versions)
    fast.save(path)
    if matters:
        with pytest.raises(BundleError, match=rf"it was made by {package} 0\.0\.1"):
            load(path)
    else:
        load(path)


def test_code_for_another_processor_is_refused_even_if_trusted(
    path: Path, code: Code
) -> None:
    _edit(
        path,
        lambda record: record["target"].update(
            triple="sparc-linux-gnu", llvm_cpu="v9", machine="old"
        ),
    )
    with pytest.raises(BundleError) as error:
        load(path, trust=True, recompile=lambda request: network(code, 1))
    assert "it is for sparc, this machine is " in str(error.value)
    assert error.value.remedy == (
        "compile it for this machine: trimtab compile --machine this"
    )


@pytest.mark.parametrize(
    "name", ["kernels.so", "program.json", "constants.safetensors", "graph-4.json"]
)
@pytest.mark.parametrize("how", ["changed", "cut", "removed"])
def test_damaged_files_are_refused_even_if_trusted(
    path: Path, name: str, how: str
) -> None:
    file = path / name
    content = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        changed = content[:-1] if how == "cut" else b"X" + content[1:]
        file.write_bytes(changed)
    with pytest.raises(BundleError, match=f"file '{name}' of the bundle: "):
        load(path, trust=True)


@pytest.mark.parametrize(
    "name",
    [
        "kernels.so",
        "constants.safetensors",
        "weights.safetensors",
        "graph.json",
        "graph-4.json",
    ],
)
def test_a_file_that_changes_after_it_was_checked_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = bundles.read

    def read(place: Path) -> bundles.Bundle:
        found = real(place)
        (place / name).write_bytes((place / name).read_bytes()[::-1])
        return found

    monkeypatch.setattr(bundles, "read", read)
    with pytest.raises(BundleError, match=f"'{name}' .*: its content is not what"):
        load(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda program: program["steps"][0]["arguments"].__setitem__(2, "o 64 0 "),
            "bytes 64 to 80 of output 0: it has 16 bytes",
        ),
        (
            lambda program: program["steps"][0].update(call="affine_8"),
            "of input 0: it has 16 bytes",
        ),
        (
            lambda program: program["steps"][0].update(call="system"),
            "kernel 'system': the library does not have it",
        ),
        (
            lambda program: program.update(inputs=['["float32",1,999]']),
            "its graph has float32[1,4]",
        ),
        (
            lambda program: program.update(workspace_bytes=1 << 43),
            "a workspace of 8796093022208 bytes: it has between 0 and",
        ),
        (
            lambda program: program.update(workspace_bytes=1 << 42),
            "4.00 TiB of memory: ",
        ),
    ],
)
def test_a_program_cannot_reach_beyond_its_memory(
    path: Path, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    _edit(path, lambda record: change(record["buckets"][0]["program"]))
    with pytest.raises(BundleError) as error:
        load(path, trust=True)
    assert text in str(error.value)
    assert str(error.value).startswith("compiled network 'affine.trimtab': ")


def test_a_graph_of_another_name_is_refused(path: Path) -> None:
    for name in ("../graph.json", "graph-4.json", "manifest.json"):

        def change(record: dict[str, Any], name: str = name) -> None:
            record["buckets"][0].update(graph=name)

        _edit(path, change)
        with pytest.raises(BundleError, match="it names the graph"):
            load(path, trust=True)


def test_constants_that_are_none_are_refused(path: Path) -> None:
    _change(path, "constants.safetensors", b"nothing")
    with pytest.raises(BundleError, match=r"file 'constants\.safetensors'"):
        load(path, trust=True)


def test_a_bundle_without_code_says_so(path: Path) -> None:
    (path / "program.json").unlink()
    manifest = json.loads((path / "manifest.json").read_text("utf-8"))
    del manifest["files"]["program.json"]
    (path / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError) as error:
        load(path)
    assert str(error.value) == (
        "compiled network 'affine.trimtab': the bundle holds no machine code "
        f"({path}). Make one with `trimtab compile`."
    )
    assert not store.is_compiled(bundles.read(path))


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no such folder"):
        load(tmp_path / "none.trimtab")


def test_what_cannot_be_saved_is_refused(
    code: Code, library: SharedLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "one.trimtab"
    weight = torch.ones(COLUMNS)
    changed = network(code, 1, weights={"w": weight})
    weight.add_(1)
    for fast, text in (
        (network(None, 1, library=library), "its kernels are in memory only"),
        (changed, "a weight was written to since it was packed"),
        (
            network(code, 1, report={"time": float("inf")}),
            "report of the compiler: JSON cannot hold it",
        ),
    ):
        with pytest.raises(UsageError) as error:
            fast.save(path)
        assert text in str(error.value)
        assert not path.exists()


class _Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, dim=1)


def test_nodes_without_kernels_are_saved_too(code: Code, tmp_path: Path) -> None:
    graph = capture(_Sorted().eval(), (torch.zeros(1, COLUMNS),))
    kind = TensorType((1, COLUMNS), "float32")
    (node,) = graph.nodes
    steps = (
        Call(
            function="affine_1",
            arguments=(
                Argument(kind="input"),
                Argument(kind="constant", name="w"),
                Argument(kind="workspace"),
            ),
            nodes=(),
        ),
        Fallback(
            node=node.name,
            reads=((str(node.inputs[0]), Argument(kind="workspace")),),
            writes=(Argument(kind="output"),),
        ),
    )
    program = Program(
        inputs=(kind,), outputs=(kind,), workspace_bytes=64, zeroed=(), steps=steps
    )
    path = tmp_path / "sorted.trimtab"
    one = replace(bucket(1), program=program, graph=graph)
    save(network(code, buckets=[one], weights={}), path)
    x = torch.randn(1, COLUMNS)
    with torch.no_grad():
        expected = torch.softmax(Affine()(x), dim=1)
    assert torch.equal(load(path)(x), expected)


_PROGRAM = """
import sys
import torch
from trimtab.runtime.store import load

fast = load(sys.argv[1])
assert fast(torch.zeros(3, 4)).tolist() == [[1.0, 2.0, 3.0, 4.0]] * 3
print([name for name in ("tvm", "tvm_ffi") if name in sys.modules])
"""


def test_another_process_needs_neither_tvm_nor_a_compiler(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PATH": ""},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
