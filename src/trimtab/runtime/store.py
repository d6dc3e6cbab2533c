"""A compiled network in a bundle: written, and loaded where that is safe.

Beside what every bundle holds (`trimtab.bundle.store`) stand

    kernels.so             the library, or kernels.ll where no linker was found
    program.json           target, programs, versions, the compiler's report
    constants.safetensors  packed weights
    graph-N.json           the graph for batch size N, where there are several
    seal                   says that the library was made here

To load a library is to run it. So it is loaded only if its bundle carries the seal of
this user's key (`trimtab.runtime.trust`) over the manifest, which names the SHA-256 of
every file, or if the caller trusts it. Otherwise the network is compiled again from its
graph and weights. The seal is not listed in the manifest: a bundle is the same for the
same plan, whoever makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import final

import torch

from trimtab._version import __version__
from trimtab.bundle import manifest as manifests
from trimtab.bundle import store as bundles
from trimtab.bundle.manifest import Manifest
from trimtab.bundle.section import Section
from trimtab.bundle.store import Bundle
from trimtab.errors import BundleError, TrimtabError, UsageError
from trimtab.graph import store as graphs
from trimtab.graph.types import Graph
from trimtab.runtime import record as records
from trimtab.runtime.batches import Bucket
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.runtime.program import Code, Target
from trimtab.runtime.record import Record, StoredBucket
from trimtab.runtime.target import why_not_here
from trimtab.runtime.trust import cache_folder, is_sealed, seal

__all__ = ["Request", "files_of", "is_compiled", "load", "save", "seal_bundle"]

PROGRAM = "program.json"
CONSTANTS = "constants.safetensors"
LIBRARIES = {"shared": "kernels.so", "llvm": "kernels.ll"}
SEAL = "seal"

_PURPOSE = "trimtab bundle 1"
_MAX_LIBRARY = 1 << 30
_REMEDY = "compile the network again on this machine"
_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to compile again, since its library may not be used.

    Attributes:
        bundle: with weights and graph.
        graphs: by batch size.
        target: that the bundle was made for.
        any_batch: whether batches of other sizes are padded.
        seed: of the search that chose the kernels.
        parameters: of the module's ``forward`` that go by place and by name, in order.
        reason: why the library may not be used.
    """

    bundle: Bundle
    graphs: Mapping[int, Graph]
    target: Target
    any_batch: bool
    seed: int
    parameters: tuple[str, ...]
    reason: str


# ---------------------------------------------------------------- writing


def files_of(
    network: CompiledNetwork, *, graph: Graph | None = None
) -> dict[str, bytes]:
    """Return the files of a bundle that hold the compiled part, by name.

    Args:
        network: to write.
        graph: that the bundle has; the network's own by default.

    Raises:
        UsageError: the kernels cannot be written, or a weight was written to since it
            was packed.
    """
    from safetensors.torch import save as serialize

    if network.code is None:
        raise UsageError(
            "saving a compiled network",
            rule="its kernels are in memory only",
            where=repr(network.graph.name),
            remedy="compile it with a linker: g++, or ziglang of the extra `compile`",
        )
    if network.weights_changed():
        raise UsageError(
            "saving a compiled network",
            rule="a weight was written to since it was packed for the kernels",
            where=repr(network.graph.name),
            remedy="compile the network again",
        )
    files: dict[str, bytes] = {}
    stored = []
    for batch, bucket in network.buckets.items():
        name = bundles.GRAPH
        if bucket.graph != (graph or network.graph):
            name = f"graph-{batch}.json"
            files[name] = graphs.dumps(bucket.graph).encode()
        stored.append(StoredBucket(batch=batch, graph=name, program=bucket.program))
    record = Record(
        versions=network.versions or versions(),
        code=network.code.kind,
        target=network.target,
        any_batch=network.any_batch,
        seed=network.seed,
        parameters=network.parameters,
        buckets=tuple(stored),
        report=network.report,
    )
    try:
        files[PROGRAM] = records.dumps(record).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(
            "report of the compiler",
            rule=f"JSON cannot hold it: {error}",
            where=repr(network.graph.name),
            remedy="give finite numbers, text, lists and mappings",
        ) from error
    files[LIBRARIES[network.code.kind]] = network.code.data
    files[CONSTANTS] = serialize(
        {name: each.clone() for name, each in network.constants.items()}
    )
    return files


def save(
    network: CompiledNetwork,
    path: Path,
    *,
    sections: Sequence[Section] = (),
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle with the network and return it.

    Args:
        network: to write.
        path: of the folder to make.
        sections: what the compiler has to show.
        overwrite: whether a bundle that stands there may be replaced.

    Raises:
        BundleError: the place is taken.
        UsageError: the kernels cannot be written, or a weight has changed.
    """
    bundles.require_free(path, overwrite=overwrite)
    files = files_of(network)
    manifest = Manifest(
        format=manifests.FORMAT,
        name=network.graph.name,
        versions=dict(sorted((network.versions or versions()).items())),
        seed=network.seed,
        machine=network.target.machine,
        threads=network.target.threads,
        plan={},
        inputs={"network": graphs.digest(network.graph)},
        stages=(("compile", repr(network)),),
        values={"parameters": float(network.graph.parameters)},
        verdicts=(),
        files={},
    )
    written = bundles.write(
        path,
        manifest,
        graph=network.graph,
        weights=network.weights,
        sections=sections,
        extra=files,
        overwrite=overwrite,
    )
    seal_bundle(written)
    return written


def seal_bundle(bundle: Bundle) -> None:
    """Say that a bundle was made here, by whom may read this user's key.

    Where no key can be kept that is impossible, and the log says so.
    """
    content = manifests.dumps(bundle.manifest).encode()
    found = seal(content, _PURPOSE)
    if found:
        (bundle.path / SEAL).write_text(found + "\n", "ascii")
    else:
        _log.warning(
            "%s carries no seal, since no key can be kept in %s: its machine code will "
            "be loaded with trust=True only, or compiled again",
            bundle.path,
            cache_folder(),
        )


def versions() -> dict[str, str]:
    """Return the versions of all that shapes machine code."""
    found = {"trimtab": __version__, "torch": str(torch.__version__)}
    for name in ("apache-tvm", "apache-tvm-ffi"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# ---------------------------------------------------------------- loading


def is_compiled(bundle: Bundle) -> bool:
    """Whether a bundle holds machine code."""
    return PROGRAM in bundle.manifest.files


def load(
    path: str | Path | Bundle,
    *,
    trust: bool = False,
    recompile: Callable[[Request], CompiledNetwork] | None = None,
) -> CompiledNetwork:
    """Return the compiled network of a bundle.

    Args:
        path: of the folder; or the bundle, where it was read already.
        trust: load a library that was not made here, too: that runs foreign code.
        recompile: compiles a network whose library may not be used.

    Raises:
        BundleError: there is no bundle, it is damaged, it is for another processor, or
            its library is foreign and there is no `recompile`.
    """
    bundle = path if isinstance(path, Bundle) else bundles.read(Path(path))
    where = str(bundle.path)
    if not is_compiled(bundle):
        raise BundleError(
            f"compiled network {bundle.path.name!r}",
            rule="the bundle holds no machine code",
            where=where,
            remedy="make one with `trimtab compile`",
        )
    record = records.loads(
        bundle.content(PROGRAM, records.MAX_BYTES), str(bundle.path / PROGRAM)
    )
    odd = why_not_here(record.target)
    if odd:
        raise BundleError(
            f"compiled network {bundle.path.name!r}",
            rule=odd,
            where=where,
            remedy="compile it for this machine: trimtab compile --machine this",
        )
    graphs_by_batch = {each.batch: _graph(bundle, each) for each in record.buckets}
    reason, remedy = _other_versions(record), _REMEDY
    if not reason and not trust:
        reason = _why_foreign(bundle)
        remedy = "pass trust=True if you know who made it, or compile it here"
    if not reason:
        return _assemble(bundle, record, graphs_by_batch)
    if recompile is None:
        raise BundleError(
            f"compiled network {bundle.path.name!r}",
            rule=reason,
            where=where,
            remedy=remedy,
        )
    _log.warning("%s is compiled again: %s", where, reason)
    return recompile(
        Request(
            bundle=bundle,
            graphs=graphs_by_batch,
            target=record.target,
            any_batch=record.any_batch,
            seed=record.seed,
            parameters=record.parameters,
            reason=reason,
        )
    )


def _assemble(
    bundle: Bundle, record: Record, graphs_by_batch: Mapping[int, Graph]
) -> CompiledNetwork:
    from safetensors import SafetensorError
    from safetensors.torch import load as deserialize

    library = LIBRARIES[record.code]
    for name in (library, CONSTANTS):
        if name not in bundle.manifest.files:
            raise _damaged(bundle, name, "the manifest does not list it")
    code = Code(kind=record.code, data=bundle.content(library, _MAX_LIBRARY))
    try:
        constants = deserialize(bundle.content(CONSTANTS))
    except SafetensorError as error:
        raise _damaged(bundle, CONSTANTS, str(error)) from error
    try:
        return CompiledNetwork(
            buckets=[
                Bucket(
                    batch=each.batch,
                    program=each.program,
                    graph=graphs_by_batch[each.batch],
                )
                for each in record.buckets
            ],
            weights=bundle.weights(),
            target=record.target,
            constants=constants,
            code=code,
            any_batch=record.any_batch,
            report=record.report,
            versions=record.versions,
            seed=record.seed,
            parameters=record.parameters,
        )
    except ImportError:  # MissingExtraError says what to install
        raise
    except TrimtabError as error:
        raise BundleError(
            f"compiled network {bundle.path.name!r}",
            rule=str(error).rstrip("."),
            where=str(bundle.path),
            remedy=_REMEDY,
        ) from error


def _graph(bundle: Bundle, bucket: StoredBucket) -> Graph:
    if bucket.graph == bundles.GRAPH:
        return bundle.graph
    if bucket.graph != f"graph-{bucket.batch}.json":
        raise _damaged(bundle, PROGRAM, f"it names the graph {bucket.graph!r}"[:200])
    content = bundle.content(bucket.graph, _MAX_LIBRARY)
    where = str(bundle.path / bucket.graph)
    return graphs.loads(content.decode("utf-8", "replace"), where)


def _why_foreign(bundle: Bundle) -> str:
    """Return why a library may be somebody else's; empty if it was made here."""
    path = bundle.path / SEAL
    found = ""
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            found = file.read(200).decode("ascii", "replace").strip()
    content = manifests.dumps(bundle.manifest).encode()
    if is_sealed(content, _PURPOSE, found):
        return ""
    if not seal(content, _PURPOSE):
        return (
            f"no key can be kept in {cache_folder()}, so nothing shows that its "
            "machine code was made here, and to load it is to run it"
        )
    if not found:
        return (
            "it carries no seal, so nothing shows that its machine code was made "
            "here, and to load it is to run it"
        )
    return "its machine code was not made here, and to load it is to run it"


def _other_versions(record: Record) -> str:
    """Return which version differs that the code depends on; empty if none does."""
    here = versions()
    needed = ["trimtab"]
    if record.code == "llvm" or record.target.threads > 1:
        # Which compile the text, or whose pool of threads the code takes.
        needed += ["apache-tvm", "apache-tvm-ffi"]
    for name in needed:
        made, found = record.versions.get(name, "none"), here.get(name)
        if found is not None and made != found:
            return f"it was made by {name} {made}, here is {found}"
    return ""


def _damaged(bundle: Bundle, name: str, rule: str) -> BundleError:
    return BundleError(
        f"file {name!r} of the bundle",
        rule=rule,
        where=str(bundle.path),
        remedy="copy the bundle again, or compile the network again",
    )
