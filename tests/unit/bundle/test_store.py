"""A bundle is complete or absent, and what is read is what was written."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from trimtab.bundle import manifest as manifests
from trimtab.bundle import store
from trimtab.bundle.manifest import Manifest
from trimtab.bundle.section import Heatmap, Section
from trimtab.errors import BundleError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.execute import Executor
from trimtab.graph.text import to_text

Put = Callable[..., store.Bundle]

SOURCE = Path(store.__file__).parents[2]
AGAIN = "Copy the bundle again, or make it again with `trimtab run`."
FILES = ["graph.json", "graph.txt", "sections.json", "weights.safetensors"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small.trimtab"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Round trip


def test_what_is_written_comes_back(
    path: Path, put: Put, network: Any, manifest: Manifest, sections: Any
) -> None:
    written = put(path, extra={"code.bin": b"\0\1"})
    found = store.read(path)
    assert found == written
    assert found.graph == network.graph
    assert found.sections == sections
    assert replace(found.manifest, files={}) == manifest
    weights = found.weights()
    assert weights.keys() == network.weights.keys()
    for name, value in network.weights.items():
        assert torch.equal(weights[name], value), name
    assert (path / "code.bin").read_bytes() == b"\0\1"


def test_the_manifest_has_the_hash_of_every_other_file(path: Path, put: Put) -> None:
    put(path, extra={"code.bin": b"\0\1"})
    files = store.read(path).manifest.files
    assert list(files) == sorted(["code.bin", *FILES])
    assert names(path) == sorted(["code.bin", "manifest.json", *FILES])
    for name, digest in files.items():
        assert digest == hashlib.sha256((path / name).read_bytes()).hexdigest()


def test_the_text_of_the_graph_stands_beside_it(
    path: Path, put: Put, network: Any
) -> None:
    put(path)
    assert (path / "graph.txt").read_text("utf-8") == to_text(network.graph)


def test_the_network_computes_the_same_bits(path: Path, put: Put, network: Any) -> None:
    put(path)
    found = store.read(path)
    output = Executor(found.graph, found.weights())(network.x)
    with torch.no_grad():
        assert torch.equal(output, network.module(network.x))


def test_same_content_twice_gives_the_same_bytes(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "a", extra={"x": b"1", "y": b"2"})
    put(tmp_path / "b", extra={"y": b"2", "x": b"1"})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_some_weights_are_read_without_the_others(path: Path, put: Put) -> None:
    put(path)
    bundle = store.read(path)
    every = bundle.weights()
    one = sorted(every)[0]
    found = bundle.weights([one])
    assert list(found) == [one]
    assert torch.equal(found[one], every[one])
    with pytest.raises(BundleError, match="no-such"):
        bundle.weights(["no-such"])
    file = path / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="not what was written"):
        bundle.weights([one])


def test_the_order_of_weights_does_not_matter(
    tmp_path: Path, put: Put, network: Any
) -> None:
    put(tmp_path / "a")
    put(tmp_path / "b", weights=dict(reversed(network.weights.items())))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(self.table(x))
        return y


def test_tied_weights_are_stored_once(path: Path, put: Put) -> None:
    module = _Tied().eval()
    x = torch.tensor([1, 4])
    graph = capture(module, (x,))
    put(path, graph=graph, weights=weights_of(module, graph))
    found = store.read(path)
    assert list(load_file(path / "weights.safetensors")) == ["table.weight"]
    output = Executor(found.graph, found.weights())(x)
    with torch.no_grad():
        assert torch.equal(output, module(x))


class _Overlapping(nn.Module):
    """Buffers that are different parts of one tensor, and one that is not row-major."""

    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        whole = torch.arange(12.0)
        self.register_buffer("a", whole[:8])
        self.register_buffer("b", whole[4:])
        self.register_buffer("c", torch.arange(6.0).reshape(2, 3).t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.a + self.b + self.c.sum()


def test_weights_that_overlap_are_stored_apart(path: Path, put: Put) -> None:
    module = _Overlapping().eval()
    graph = capture(module, (torch.zeros(8),))
    put(path, graph=graph, weights=weights_of(module, graph))
    weights = store.read(path).weights()
    assert weights["a"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert weights["b"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert weights["c"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_empty_cell_of_a_heat_map_comes_back(path: Path, put: Put) -> None:
    figure = Heatmap(
        title="t", x_title="x", y_title="y", value_title="v", x=("a", "b"), y=("c",),
        values=((1.0, math.nan),),
    )  # fmt: skip
    section = Section(name="n", title="t", text="", figures=(figure,))
    put(path, sections=(section,))
    found = store.read(path).sections[0].figures[0]
    assert isinstance(found, Heatmap)
    assert found.values[0][0] == 1.0
    assert math.isnan(found.values[0][1])


# The place


def test_a_taken_place_is_refused(path: Path, put: Put, network: Any) -> None:
    put(path)
    before = contents(path)
    with pytest.raises(BundleError) as caught:
        put(path)
    assert str(caught.value) == (
        f"bundle 'small.trimtab': it exists, and bundles are never changed ({path}). "
        "Give another place with -o, or replace it whole with --overwrite."
    )
    assert contents(path) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "empty", "dangling"])
def test_what_is_no_bundle_is_never_replaced(
    path: Path, put: Put, kind: str, overwrite: bool
) -> None:
    path.parent.mkdir()
    if kind == "file":
        path.write_text("thesis")
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        path.mkdir()
        if kind == "folder":
            (path / "thesis.txt").write_text("thesis")
    with pytest.raises(BundleError) as caught:
        put(path, overwrite=overwrite)
    assert str(caught.value) == (
        "bundle 'small.trimtab': something that is no bundle stands there "
        f"({path}). Give another place with -o."
    )
    assert names(path.parent) == ["small.trimtab"]


def test_a_free_place_is_free(path: Path) -> None:
    store.require_free(path, overwrite=False)
    assert not path.parent.exists()


def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "deep" / "small.trimtab"
    for use in (store.require_writable, put):
        with pytest.raises(BundleError) as caught:
            use(inside)
        assert str(caught.value) == (
            f"bundle 'small.trimtab': no folder can be made in {tmp_path / 'file'}: "
            f"Not a directory ({inside}). Give another place with -o."
        )
    free = tmp_path / "new" / "deep" / "small.trimtab"
    store.require_writable(free)
    assert names(tmp_path) == ["file"]

    def closed(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", closed)
    with pytest.raises(BundleError, match=f"in {tmp_path}: Permission denied"):
        store.require_writable(free)


def test_a_file_is_checked_as_it_is_used(path: Path, put: Put) -> None:
    bundle = put(path, extra={"code.bin": b"12345"})
    assert bundle.content("code.bin") == bundle.content("code.bin", 5) == b"12345"
    with pytest.raises(BundleError, match="it has more than 4 bytes"):
        bundle.content("code.bin", 4)
    with pytest.raises(BundleError, match="the manifest does not list it"):
        bundle.content("other.bin")
    for name, use in (
        ("code.bin", lambda: bundle.content("code.bin")),
        ("weights.safetensors", bundle.weights),
        ("graph.json", lambda: bundle.graph),
        ("sections.json", lambda: bundle.sections),
    ):
        (path / name).write_bytes((path / name).read_bytes()[::-1])
        with pytest.raises(BundleError, match="its content is not what was written"):
            use()
        (path / name).unlink()
        with pytest.raises(BundleError, match="No such file or directory"):
            use()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_bundle_is_replaced_whole(
    path: Path,
    put: Put,
    manifest: Manifest,
    can_exchange: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not can_exchange:
        monkeypatch.setattr(store, "_exchange", lambda a, b: False)
    put(path, extra={"old.bin": b"old"})
    put(path, manifest=replace(manifest, name="new"), overwrite=True)
    assert store.read(path).manifest.name == "new"
    assert "old.bin" not in names(path)
    assert names(path.parent) == ["small.trimtab"]


def test_overwriting_a_free_place_is_writing(path: Path, put: Put) -> None:
    put(path, overwrite=True)
    assert store.read(path).manifest.name == "small"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_link_to_a_bundle_is_replaced_and_not_followed(
    path: Path,
    put: Put,
    manifest: Manifest,
    can_exchange: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not can_exchange:
        monkeypatch.setattr(store, "_exchange", lambda a, b: False)
    target = path.with_name("target.trimtab")
    put(target)
    path.symlink_to(target.name)
    put(path, manifest=replace(manifest, name="new"), overwrite=True)
    assert store.read(target).manifest.name == "small"
    assert store.read(path).manifest.name == "new"
    assert names(path.parent) == ["small.trimtab", "target.trimtab"]


def test_another_writer_that_was_faster_is_not_replaced(
    path: Path, put: Put, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = store._flush

    def other_writes(folder: Path) -> None:
        flush(folder)
        monkeypatch.setattr(store, "_flush", flush)
        put(folder.parent / "other").path.rename(path)

    monkeypatch.setattr(store, "_flush", other_writes)
    with pytest.raises(BundleError, match="it exists, and bundles are never changed"):
        put(path, manifest=replace(manifest, name="late"))
    assert store.read(path).manifest.name == "small"
    assert names(path.parent) == ["small.trimtab"]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/b", "/etc/x", "", ".", "..", ".hidden", "a b", "a\n", "ä", "x" * 101,
     "manifest.json", "graph.json", "weights.safetensors", "sections.json"],
)  # fmt: skip
def test_an_extra_file_has_a_plain_name_of_its_own(
    path: Path, put: Put, name: str
) -> None:
    with pytest.raises(BundleError) as caught:
        put(path, extra={name: b""})
    assert str(caught.value) == (
        f"file {name!r}: a file of a bundle has a plain name of its own ({path}). Use "
        "letters, digits, _ . and -."
    )
    assert not path.parent.exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_writer_that_fails_leaves_what_was_there(
    path: Path, put: Put, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overwrite:
        put(path)

    def full(handle: int) -> None:
        raise OSError("no space left")

    before = contents(path) if overwrite else {}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        put(path, overwrite=overwrite)
    assert names(path.parent) == (["small.trimtab"] if overwrite else [])
    assert (contents(path) if overwrite else {}) == before


def test_numbers_without_json_leave_nothing(
    path: Path, put: Put, manifest: Manifest
) -> None:
    odd = replace(manifest, values={"accuracy_frac": math.nan})
    with pytest.raises(BundleError, match="its numbers must be finite: accuracy_frac"):
        put(path, manifest=odd)
    assert not path.parent.exists()


# Killed writers

KILLED = """
import os, signal, sys
from pathlib import Path

import torch
from torch import nn
from trimtab.bundle import store
from trimtab.bundle.manifest import FORMAT, Manifest
from trimtab.graph.capture import capture, weights_of

root = Path(sys.argv[1])
module = nn.Linear(2, 2).eval()
graph = capture(module, (torch.zeros(1, 2),))


def write(path, name, overwrite):
    manifest = Manifest(
        format=FORMAT, name=name, versions={}, seed=0, machine="m", threads=1, plan={},
        inputs={}, stages=(), values={}, verdicts=(), files={},
    )
    store.write(
        path, manifest, graph=graph, weights=weights_of(module, graph), sections=(),
        overwrite=overwrite,
    )


def die_after(function, calls):
    left = [calls]

    def count(*arguments):
        result = function(*arguments)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return count


def child(case, point):
    path = root / case / str(point) / "b.trimtab"
    if case != "fresh":
        write(path, "old", False)
    if os.fork():
        assert os.WIFSIGNALED(os.wait()[1])
        return
    if case == "renames":
        store._exchange = lambda a, b: False
        Path.rename = die_after(Path.rename, point)
    else:
        os.fsync = die_after(os.fsync, point)
    write(path, "new", True)
    os._exit(0)


for point in range(1, 8):
    child("fresh", point)
    child("replaced", point)
for point in (1, 2):
    child("renames", point)
"""

# Every file is flushed: four, the manifest, then the folder. Then it is put in place,
# and the folder around it is flushed.
FLUSHES = len(FILES) + 1 + 1


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Places of writers that were killed, each by signal 9 at another point."""
    root = tmp_path_factory.mktemp("killed")
    subprocess.run(
        [sys.executable, "-c", KILLED, str(root)],
        env={"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )
    return root


@pytest.mark.integration
@pytest.mark.parametrize("flushes", range(1, FLUSHES + 2))
def test_a_killed_writer_leaves_nothing_half_done(
    killed: Path, put: Put, flushes: int
) -> None:
    path = killed / "fresh" / str(flushes) / "b.trimtab"
    if flushes <= FLUSHES:
        assert not path.exists()
        with pytest.raises(BundleError, match="there is no such folder"):
            store.read(path)
        assert len(names(path.parent)) == 1  # what it was making
    else:
        assert store.read(path).manifest.name == "new"
    put(path, overwrite=True)
    assert store.read(path).manifest.name == "small"
    assert names(path.parent) == ["b.trimtab"]


@pytest.mark.integration
@pytest.mark.parametrize("flushes", range(1, FLUSHES + 2))
def test_a_killed_writer_leaves_the_old_or_the_new(
    killed: Path, put: Put, flushes: int
) -> None:
    path = killed / "replaced" / str(flushes) / "b.trimtab"
    expected = "old" if flushes <= FLUSHES else "new"
    assert store.read(path).manifest.name == expected
    with pytest.raises(BundleError, match="it exists, and bundles are never changed"):
        put(path)
    assert names(path.parent) == ["b.trimtab"]
    assert store.read(path).manifest.name == expected


@pytest.mark.integration
def test_where_folders_cannot_be_exchanged_the_next_writer_brings_back_the_old(
    killed: Path, put: Put
) -> None:
    path = killed / "renames" / "1" / "b.trimtab"
    assert not path.exists()
    with pytest.raises(BundleError, match="it exists, and bundles are never changed"):
        put(path)
    assert store.read(path).manifest.name == "old"
    assert names(path.parent) == ["b.trimtab"]


@pytest.mark.integration
def test_where_folders_cannot_be_exchanged_what_was_replaced_is_swept(
    killed: Path, put: Put
) -> None:
    path = killed / "renames" / "2" / "b.trimtab"
    assert store.read(path).manifest.name == "new"
    put(path, overwrite=True)
    assert names(path.parent) == ["b.trimtab"]


def _dead() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _leave(path: Path, kind: str, owner: object) -> Path:
    left = path.with_name(f".{path.name}.{kind}-{owner}")
    left.mkdir(parents=True)
    (left / "graph.json").write_text("{")
    return left


def test_what_a_living_writer_makes_is_left_alone(path: Path, put: Put) -> None:
    dead, living = _leave(path, "making", _dead()), _leave(path, "making", os.getppid())
    put(path)
    assert not dead.exists()
    assert names(living) == ["graph.json"]


def test_a_process_of_the_same_number_may_have_been_killed_before(
    path: Path, put: Put
) -> None:
    """In containers every run has the same number."""
    _leave(path, "making", os.getpid())
    put(path)
    assert names(path.parent) == ["small.trimtab"]


def test_what_others_left_is_not_touched(path: Path, put: Put) -> None:
    odd = path.with_name("[s]*.trimtab")
    others = [
        _leave(path.with_name("other.trimtab"), "making", _dead()),
        _leave(path, "making", "x"),
        _leave(path.with_name("s-any.trimtab"), "old", _dead()),
    ]
    mine = _leave(odd, "making", _dead())
    put(odd)
    assert not mine.exists()
    assert all(each.exists() for each in others)


# Damage


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((path / "manifest.json").read_text("utf-8"))
    change(record)
    (path / "manifest.json").write_text(json.dumps(record), "utf-8")


def damaged(path: Path, name: str, rule: str) -> str:
    return f"file {name!r} of the bundle: {rule} ({path}). {AGAIN}"


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        store.read(path)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_tampered_file_is_refused(path: Path, put: Put, name: str) -> None:
    put(path)
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    assert refused(path) == damaged(path, name, "its content is not what was written")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(path: Path, put: Put, name: str) -> None:
    put(path)
    os.truncate(path / name, (path / name).stat().st_size - 1)
    assert refused(path) == damaged(path, name, "its content is not what was written")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(path: Path, put: Put, name: str) -> None:
    put(path)
    (path / name).unlink()
    assert refused(path) == damaged(path, name, "it is missing")


def test_a_link_is_no_file(path: Path, put: Put) -> None:
    put(path)
    (path / "graph.json").rename(path.with_name("elsewhere"))
    (path / "graph.json").symlink_to("../elsewhere")
    assert refused(path) == damaged(path, "graph.json", "it is missing")


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/b", "..", ".", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(
    path: Path, put: Put, name: str
) -> None:
    put(path)
    (path.parent / "x").write_text("secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    edit(path, lambda record: record["files"].update({name: digest}))
    assert refused(path) == damaged(path, name, "that is no plain file name")


@pytest.mark.parametrize("name", ["graph.json", "weights.safetensors", "sections.json"])
def test_a_file_that_is_not_listed_is_not_read(path: Path, put: Put, name: str) -> None:
    put(path)
    edit(path, lambda record: record["files"].pop(name))
    assert refused(path) == damaged(path, name, "the manifest does not list it")


def test_an_unknown_key_of_the_manifest_is_refused(path: Path, put: Put) -> None:
    put(path)
    edit(path, lambda record: record.update(code="import os"))
    assert refused(path) == (
        "manifest: code: Unexpected keyword argument "
        f"({path / 'manifest.json'}). Make the bundle again with this version of "
        "trimtab."
    )


def test_a_manifest_that_is_no_text_is_refused(path: Path, put: Put) -> None:
    put(path)
    (path / "manifest.json").write_bytes(b"\xff\xfe\0")
    assert refused(path).startswith("manifest: it is no JSON: ")


def test_a_huge_manifest_is_not_even_read(
    path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path)
    size_bytes = (16 << 20) + 1
    os.truncate(path / "manifest.json", size_bytes)  # takes no room on the disk

    def read(*_: object, **__: object) -> str:
        raise AssertionError("it was read")

    monkeypatch.setattr(Path, "read_text", read)
    assert manifests.MAX_BYTES == 16 << 20
    assert refused(path) == damaged(
        path, "manifest.json", f"it has {size_bytes} bytes, at most {16 << 20}"
    )


def test_no_bundle(tmp_path: Path) -> None:
    for path, rule in (
        (tmp_path / "nowhere", "there is no such folder"),
        (tmp_path, "the folder has no manifest.json"),
    ):
        assert not store.is_bundle(path)
        assert refused(path) == (
            f"bundle {str(path)!r}: {rule}. Give the folder that `trimtab run` wrote."
        )


def rewritten(path: Path, name: str, content: bytes) -> store.Bundle:
    """Return the bundle after a file was replaced by one who knows of the hashes."""
    (path / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit(path, lambda record: record["files"].update({name: digest}))
    return store.read(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 16])
def test_weights_of_another_format_are_refused(
    path: Path, put: Put, content: bytes
) -> None:
    put(path)
    bundle = rewritten(path, "weights.safetensors", content)
    with pytest.raises(BundleError) as caught:
        bundle.weights()
    assert str(caught.value).startswith("weights: ")
    assert str(caught.value).endswith(
        f"({path / 'weights.safetensors'}). Make the bundle again."
    )


def test_a_pickle_is_no_weights_file(path: Path, put: Put) -> None:
    put(path)
    run_me = b"cos\nsystem\n(S'exit 1'\ntR."
    with pytest.raises(BundleError, match="weights: "):
        rewritten(path, "weights.safetensors", run_me).weights()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (b"{}", "Input should be a valid array"),
        (b'[{"name": "n"}]', "Field required"),
        (b"\xff", "Invalid JSON: expected value at line 1 column 1"),
    ],
)
def test_sections_of_another_shape_are_refused(
    path: Path, put: Put, content: bytes, rule: str
) -> None:
    put(path)
    bundle = rewritten(path, "sections.json", content)
    with pytest.raises(BundleError) as caught:
        _ = bundle.sections
    assert str(caught.value) == (
        f"sections: {rule} ({path / 'sections.json'}). Make the bundle again with this "
        "version of trimtab."
    )


def test_weights_are_never_more_than_tensors(path: Path, put: Put) -> None:
    put(path)
    other = save({"0.weight": torch.zeros(9)})
    assert list(rewritten(path, "weights.safetensors", other).weights()) == ["0.weight"]
