"""A bundle on disk: a folder that is complete or absent, and checked when it is read.

    NAME.trimtab/
        manifest.json        what it is, and the SHA-256 of all other files
        graph.json           the network as data
        graph.txt            the same for people
        weights.safetensors  parameters and buffers, tied ones once
        sections.json        what the stages have to show
        ...                  what a stage added (compiled code, plans)

It is written into a folder of another name beside its place, flushed, and renamed. One
that it replaces is exchanged in the same step, where the system can do that (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trimtab.bundle import manifest as manifests
from trimtab.bundle.manifest import Manifest
from trimtab.bundle.section import Section
from trimtab.errors import BundleError
from trimtab.graph import store as graphs
from trimtab.graph.text import to_text
from trimtab.graph.types import Graph

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Bundle", "is_bundle", "read", "require_free", "require_writable", "write"]

MANIFEST = "manifest.json"
GRAPH = "graph.json"
TEXT = "graph.txt"
WEIGHTS = "weights.safetensors"
SECTIONS = "sections.json"

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SECTIONS: TypeAdapter[tuple[Section, ...]] = TypeAdapter(
    tuple[Section, ...],
    config=ConfigDict(ser_json_inf_nan="constants"),  # a heat map's empty cell is NaN
)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was read and whose files are as its manifest says.

    Attributes:
        path: of the folder.
        manifest: what stands in it.
    """

    path: Path
    manifest: Manifest

    def content(self, name: str, most_bytes: int | None = None) -> bytes:
        """Return what a file holds, checked as it is used: it may change meanwhile.

        Args:
            name: of the file.
            most_bytes: that it may have.

        Raises:
            BundleError: it is not what the manifest says, or too long.
        """
        expected = self.manifest.files.get(name)
        if expected is None:
            raise _damaged(self.path, name, "the manifest does not list it")
        try:
            with (self.path / name).open("rb") as file:
                content = file.read(-1 if most_bytes is None else most_bytes + 1)
        except OSError as error:
            raise _damaged(self.path, name, f"{error.strerror}") from error
        if most_bytes is not None and len(content) > most_bytes:
            raise _damaged(self.path, name, f"it has more than {most_bytes} bytes")
        if hashlib.sha256(content).hexdigest() != expected:
            raise _damaged(self.path, name, "its content is not what was written")
        return content

    @cached_property
    def graph(self) -> Graph:
        """The network."""
        text = self.content(GRAPH).decode("utf-8", "replace")
        return graphs.loads(text, str(self.path / GRAPH))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """What the stages have to show."""
        content = self.content(SECTIONS)
        try:
            return _SECTIONS.validate_json(content)
        except ValidationError as error:
            raise BundleError(
                "sections",
                rule=error.errors()[0]["msg"],
                where=str(self.path / SECTIONS),
                remedy="make the bundle again with this version of trimtab",
            ) from error

    def weights(self, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return parameters and buffers by target, for `graph.execute.Executor`.

        Args:
            names: of those that are wanted; the others take no memory.

        Raises:
            BundleError: they are not what the manifest says, or some are missing.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load

        try:
            if names is None:
                return load(self.content(WEIGHTS))
            _check(self.path, WEIGHTS, self.manifest.files[WEIGHTS])
            with safe_open(
                self.path / WEIGHTS, framework="pt"
            ) as file:  # copies: no file stays mapped
                return {name: file.get_tensor(name).clone() for name in names}
        except SafetensorError as error:
            raise BundleError(
                "weights", rule=str(error), where=str(self.path / WEIGHTS),
                remedy="make the bundle again",
            ) from error  # fmt: skip


def is_bundle(path: Path) -> bool:
    """Whether a folder claims to be a bundle, of whatever version."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return False
    with manifest.open("rb") as file:
        return b'"format": "trimtab-bundle-' in file.read(200)


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken, before any work is done for it.

    Raises:
        BundleError: something stands there that may not be replaced.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not is_bundle(path):
        raise BundleError(
            f"bundle {path.name!r}",
            rule="something that is no bundle stands there",
            where=str(path),
            remedy="give another place with -o",
        )
    if not overwrite:
        raise BundleError(
            f"bundle {path.name!r}",
            rule="it exists, and bundles are never changed",
            where=str(path),
            remedy="give another place with -o, or replace it whole with --overwrite",
        )


def require_writable(path: Path) -> None:
    """Refuse a place where no folder can be made, before any work is done for it.

    Raises:
        BundleError: the folder it is to stand in is no folder, or closed to us.
    """
    existing = path.parent
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:  # permissions alone do not say it: a system of files may take none
        tempfile.TemporaryDirectory(prefix=".trimtab-", dir=existing).cleanup()
    except OSError as error:
        raise BundleError(
            f"bundle {path.name!r}",
            rule=f"no folder can be made in {existing}: {error.strerror}",
            where=str(path),
            remedy="give another place with -o",
        ) from error


def write(
    path: Path,
    manifest: Manifest,
    *,
    graph: Graph,
    weights: Mapping[str, Tensor],
    sections: Sequence[Section],
    extra: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle whole and return it; a killed writer leaves nothing at `path`.

    Args:
        path: of the folder to make.
        manifest: its `files` are filled in here.
        graph: the network.
        weights: parameters and buffers by target.
        sections: what the stages have to show.
        extra: further files by name.
        overwrite: whether a bundle at `path` may be replaced.

    Raises:
        BundleError: the place is taken or cannot be written, or an extra file has no
            plain name.
    """
    from safetensors.torch import save

    require_writable(path)
    _sweep(path)
    require_free(path, overwrite=overwrite)
    files = {
        GRAPH: graphs.dumps(graph).encode(),
        TEXT: to_text(graph).encode(),
        WEIGHTS: save(_apart(weights)),
        SECTIONS: _SECTIONS.dump_json(tuple(sections)),
    }
    for name, content in (extra or {}).items():
        if not _FILE_NAME.fullmatch(name) or name in files or name == MANIFEST:
            raise BundleError(
                f"file {name!r}",
                rule="a file of a bundle has a plain name of its own",
                where=str(path),
                remedy="use letters, digits, _ . and -",
            )
        files[name] = content
    manifest = replace(
        manifest,
        files={
            name: hashlib.sha256(content).hexdigest()
            for name, content in sorted(files.items())
        },
    )
    files[MANIFEST] = manifests.dumps(manifest).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _workshop(path) as folder:
        for name, content in files.items():
            with (folder / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _flush(folder)
        _put(folder, path, overwrite=overwrite)
        _flush(path.parent)
    return Bundle(path=path, manifest=manifest)


def read(path: Path) -> Bundle:
    """Return the bundle at `path`; every file is there and as it was written.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    if not (path / MANIFEST).is_file():
        raise BundleError(
            f"bundle {str(path)!r}",
            rule=f"the folder has no {MANIFEST}"
            if path.is_dir()
            else "there is no such folder",
            remedy="give the folder that `trimtab run` wrote",
        )
    size_bytes = (path / MANIFEST).stat().st_size
    if size_bytes > manifests.MAX_BYTES:
        raise _damaged(
            path, MANIFEST, f"it has {size_bytes} bytes, at most {manifests.MAX_BYTES}"
        )
    manifest = manifests.loads(
        (path / MANIFEST).read_text("utf-8", errors="replace"), str(path / MANIFEST)
    )
    for name in (GRAPH, WEIGHTS, SECTIONS):
        if name not in manifest.files:
            raise _damaged(path, name, "the manifest does not list it")
    for name, expected in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            raise _damaged(path, name, "that is no plain file name")
        file = path / name
        if not file.is_file() or file.is_symlink():
            raise _damaged(path, name, "it is missing")
        _check(path, name, expected)
    return Bundle(path=path, manifest=manifest)


def _check(path: Path, name: str, expected: str) -> None:
    """Refuse a file that is not what the manifest says, without holding it."""
    try:
        with (path / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path, name, f"{error.strerror}") from error
    if found != expected:
        raise _damaged(path, name, "its content is not what was written")


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, each in memory of its own; safetensors refuses others."""
    owners = Counter(each.untyped_storage().data_ptr() for each in weights.values())
    return {
        name: each.clone().contiguous()
        if owners[each.untyped_storage().data_ptr()] > 1
        else each.contiguous()
        for name, each in weights.items()
    }


def _damaged(path: Path, name: str, rule: str) -> BundleError:
    return BundleError(
        f"file {name!r} of the bundle",
        rule=rule,
        where=str(path),
        remedy="copy the bundle again, or make it again with `trimtab run`",
    )


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


@contextlib.contextmanager
def _workshop(path: Path) -> Iterator[Path]:
    folder = _temporary(path, "making")
    folder.mkdir()
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    if folder.is_symlink():  # one to a bundle was replaced, not what it points to
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite and _exchange(folder, path):
        return  # what was replaced goes with the workshop
    if overwrite and path.exists():
        old = _temporary(path, "old")
        path.rename(old)
        try:
            folder.rename(path)
        except OSError:
            old.rename(path)
            raise
        _remove(old)
        return
    try:
        folder.rename(path)
    except OSError:
        require_free(path, overwrite=False)  # another writer was faster
        raise


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step; whether that was possible."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None or not b.exists():
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    done: int = rename(here, os.fsencode(a), here, os.fsencode(b), swap)
    return done == 0


def _flush(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove what killed writers left, and bring back what they were replacing."""
    for kind in ("old", "making"):
        for left in path.parent.glob(f".{glob.escape(path.name)}.{kind}-*"):
            owner = left.name.rpartition("-")[2]
            # Ours is left from an earlier process: containers number them alike.
            living = owner != str(os.getpid()) and Path(f"/proc/{owner}").exists()
            if living or not owner.isdecimal():
                continue
            if kind == "old" and not path.exists():
                left.rename(path)
            else:
                _remove(left)
