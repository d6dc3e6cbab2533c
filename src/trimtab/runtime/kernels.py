"""Libraries of compiled kernels, over 400 lines: load one, tell what is in it, call it.

A shared library made by `trimtab.compiler.tvm.link` needs libc alone, and a loop in it
calls one kernel after another, so that a whole network costs one call from Python and
other threads of Python run meanwhile. Kernels with parallel loops take TVM's pool of
threads from its runtime library (3.4 MB); neither TVM itself nor a compiler is loaded.
LLVM's text takes TVM's compiler library, and its kernels are called one by one.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import itertools
import json
import os
import struct
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from trimtab.errors import BundleError, ExecutionError, MissingExtraError
from trimtab.frozen import FrozenDict
from trimtab.runtime.program import Code

__all__ = [
    "AbstractBinding",
    "AbstractLibrary",
    "ModuleLibrary",
    "SharedLibrary",
    "load_code",
    "start_pool",
]

_POINTER = 4  # kTVMFFIOpaquePtr of tvm/ffi/c_api.h
_MAX_SIGNATURES = 16 << 20


class AbstractBinding(ABC):
    """Calls of kernels in a fixed order, whose pointers are filled in.

    Not for two threads at once.
    """

    @abstractmethod
    def set(self, position: int, address: int) -> None:
        """Let a pointer, counted over all calls, be an address."""

    @abstractmethod
    def run(self, first: int, last: int) -> None:
        """Do the calls ``first <= index < last``.

        Raises:
            ExecutionError: a kernel failed.
        """


class AbstractLibrary(ABC):
    """Compiled kernels.

    Attributes:
        signatures: sizes in bytes of the buffers of each kernel.
    """

    signatures: Mapping[str, tuple[int, ...]]

    @abstractmethod
    def bind(self, functions: Sequence[str]) -> AbstractBinding:
        """Return calls of these kernels, in this order, with empty pointers."""

    @abstractmethod
    def use_pool(self) -> None:
        """Let parallel loops use the pool of the thread that calls.

        Raises:
            MissingExtraError: TVM's runtime library is not there.
        """


def _failed(function: str, said: str) -> ExecutionError:
    kind, _, text = said.strip().partition(": ")
    if kind == "ValueError":  # a kernel refuses what it was given
        return ExecutionError(
            f"kernel {function!r}",
            rule=text,
            where="a compiled library",
            remedy="check the values of the inputs",
        )
    return ExecutionError(
        f"kernel {function!r}",
        rule=said.strip() or "it returned an error",
        where="a compiled library",
        remedy="compile the network again; if it stays, report it with the network",
    )


# ---------------------------------------------------------------- shared libraries


class _Step(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("count", ctypes.c_longlong),
    )


@final
class _SharedBinding(AbstractBinding):
    def __init__(self, library: SharedLibrary, functions: Sequence[str]) -> None:
        self._library = library
        self._functions = tuple(functions)
        counts = [len(library.signatures[name]) for name in functions]
        # An argument is a word that says "pointer", and the pointer.
        self._words = (ctypes.c_uint64 * (2 * sum(counts)))()
        for position in range(sum(counts)):
            self._words[2 * position] = _POINTER
        start = ctypes.addressof(self._words)
        firsts = itertools.accumulate(counts, initial=0)
        self._steps = (_Step * len(counts))(
            *(
                _Step(library.address(name), start + 16 * first, count)
                for name, first, count in zip(functions, firsts, counts, strict=False)
            )
        )
        self._run = library.run

    def set(self, position: int, address: int) -> None:
        self._words[2 * position + 1] = address

    def run(self, first: int, last: int) -> None:
        failed = self._run(self._steps, first, last)
        if failed:
            raise _failed(self._functions[failed - 1], self._library.message())


@final
class SharedLibrary(AbstractLibrary):
    """Kernels in a shared library. It stays loaded until the process ends.

    Args:
        path: of the file.

    Raises:
        BundleError: the system cannot load it, or it is none of trimtab's.
    """

    def __init__(self, path: Path) -> None:
        try:
            _require_whole(path)
            self._library = ctypes.CDLL(os.fspath(path))
        except OSError as error:
            raise _unusable(str(error), path.name) from error
        try:
            self.run: Any = self._library.trimtab_run
            self._message = self._library.trimtab_message
            self._use_pool = self._library.trimtab_use_pool
            signatures = ctypes.c_char.in_dll(self._library, "trimtab_signatures")
        except (AttributeError, ValueError) as error:
            raise _unusable(f"it is none of trimtab's: {error}", path.name) from error
        self.run.argtypes = (ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong)
        self.run.restype = ctypes.c_longlong
        self._message.restype = ctypes.c_char_p
        self._use_pool.argtypes = (ctypes.c_void_p,)
        self._use_pool.restype = None
        self.signatures = _signatures(
            ctypes.string_at(ctypes.addressof(signatures)), path.name
        )

    def address(self, function: str) -> int:
        """Return where a kernel starts.

        Raises:
            BundleError: the library does not have it.
        """
        try:
            found = getattr(self._library, f"__tvm_ffi_{function}")
        except AttributeError as error:
            raise _unusable(f"it has no kernel {function!r}", "library") from error
        return ctypes.cast(found, ctypes.c_void_p).value or 0

    def message(self) -> str:
        """Return why the last kernel failed that did, on this thread."""
        return (self._message() or b"").decode("utf-8", "replace")

    def bind(self, functions: Sequence[str]) -> AbstractBinding:
        """Return calls of these kernels."""
        return _SharedBinding(self, functions)

    def use_pool(self) -> None:
        """Let parallel loops use TVM's pool."""
        launch = ctypes.cast(_runtime().TVMBackendParallelLaunch, ctypes.c_void_p)
        self._use_pool(launch)


def _require_whole(path: Path) -> None:
    """Refuse a file that was cut: the system maps it and dies at the first access.

    Raises:
        OSError: it is no 64-bit ELF file, or shorter than its header says.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        size = file.seek(0, os.SEEK_END)
        if len(header) < _HEADER.size or not header.startswith(b"\x7fELF\x02\x01"):
            raise OSError("it is no shared library of a 64-bit system")
        _, segments, sections, width, count, section_width, section_count = (
            _HEADER.unpack(header)
        )
        ends = [sections + section_width * section_count, segments + width * count]
        if max(ends) <= size and width == _SEGMENT.size:
            file.seek(segments)
            for start, length in _SEGMENT.iter_unpack(file.read(width * count)):
                ends.append(start + length)
    if max(ends) > size:
        raise OSError(f"it has {size} bytes, its header says {max(ends)}")


# Of the header: where segments and sections begin, size and number of either. Of a
# segment: where in the file it begins, and how long it is there.
_HEADER = struct.Struct("<32s 2Q 6x 3H H 2x".replace(" ", ""))
_SEGMENT = struct.Struct("<8x Q 16x Q 16x".replace(" ", ""))


# ---------------------------------------------------------------- TVM's modules


@final
class _ModuleBinding(AbstractBinding):
    def __init__(self, library: ModuleLibrary, functions: Sequence[str]) -> None:
        self._functions = tuple(functions)
        self._calls = [
            (
                library.function(name),
                tuple(ctypes.c_void_p() for _ in library.signatures[name]),
            )
            for name in functions
        ]
        self._pointers = [each for _, pointers in self._calls for each in pointers]

    def set(self, position: int, address: int) -> None:
        self._pointers[position].value = address

    def run(self, first: int, last: int) -> None:
        for index in range(first, last):
            function, pointers = self._calls[index]
            try:
                function(*pointers)
            except (RuntimeError, TypeError, ValueError) as error:
                raise _failed(self._functions[index], str(error)) from error


@final
class ModuleLibrary(AbstractLibrary):
    """Kernels in modules of TVM: just compiled, or loaded from LLVM's text.

    Args:
        modules: of TVM, alike to ``tvm_ffi.Module``.
        signatures: sizes in bytes of the buffers of each kernel.
    """

    def __init__(
        self, modules: Sequence[Any], signatures: Mapping[str, Sequence[int]]
    ) -> None:
        self._modules = tuple(modules)
        self.signatures = FrozenDict(
            {name: tuple(sizes) for name, sizes in signatures.items()}
        )

    def function(self, name: str) -> Any:
        """Return a kernel.

        Raises:
            BundleError: no module has it.
        """
        for module in self._modules:
            with contextlib.suppress(AttributeError):  # not in this one
                return module.get_function(name)
        raise _unusable(f"it has no kernel {name!r}", "library")

    def bind(self, functions: Sequence[str]) -> AbstractBinding:
        """Return calls of these kernels."""
        return _ModuleBinding(self, functions)

    def use_pool(self) -> None:
        """Do nothing: TVM's code finds the pool by itself."""


# ---------------------------------------------------------------- loading


def load_code(code: Code, where: str = "library") -> AbstractLibrary:
    """Return the kernels of a library that may be trusted: this runs foreign code.

    Args:
        code: its content.
        where: for messages.

    Raises:
        BundleError: it cannot be loaded.
        MissingExtraError: it is LLVM's text, and TVM is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        # In a folder of our own, and from the bytes that were checked: the file they
        # came from may have changed since. Once loaded, the file is not needed.
        suffix = "so" if code.kind == "shared" else "ll"
        path = Path(folder) / f"kernels.{suffix}"
        path.write_bytes(code.data)
        if code.kind == "shared":
            return SharedLibrary(path)
        head, _, _ = code.data.partition(b"\n")
        signatures = _signatures(head.removeprefix(b"; "), where)
        _tvm_library("libtvm_compiler.so", "a library kept as LLVM's text")
        return ModuleLibrary([_ffi().load_module(str(path))], signatures)


def _signatures(text: bytes, where: str) -> FrozenDict[str, tuple[int, ...]]:
    try:
        record = json.loads(text[:_MAX_SIGNATURES])
        found = {
            name: tuple(size for size in sizes if type(size) is int and size >= 0)
            for name, sizes in record.items()
        }
        odd = [name for name in found if len(found[name]) != len(record[name])]
        if odd:
            raise ValueError(f"sizes of {odd[0]!r}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(
            f"its table of kernels cannot be read: {error}", where
        ) from error
    return FrozenDict(found)


def _unusable(rule: str, where: str) -> BundleError:
    return BundleError(
        "library of compiled kernels",
        rule=rule,
        where=where,
        remedy="compile the network again on this machine",
    )


# ---------------------------------------------------------------- TVM's runtime


def start_pool(threads: int) -> None:
    """Start TVM's pool for the thread that calls; no other thread may share it.

    Args:
        threads: that a parallel loop uses, the calling one among them.

    Raises:
        MissingExtraError: TVM's runtime library is not there.
    """
    _runtime()
    configure = _ffi().get_global_func("runtime.config_threadpool")
    # The pool has as many threads as this list is long. Its threads would be bound to
    # cores, in each process to the same ones: they are to go where the system wants.
    processors = sorted(os.sched_getaffinity(0))
    names = [str(processors[index % len(processors)]) for index in range(threads)]
    asked = os.environ.get("TVM_BIND_THREADS")
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    try:
        configure(-3, threads, names)  # kSpecifyThreadShareAllCore
    finally:
        if asked is None:
            del os.environ["TVM_BIND_THREADS"]


@functools.cache
def _runtime() -> ctypes.CDLL:
    return _tvm_library("libtvm_runtime.so", "more than one thread")


def _tvm_library(name: str, asked: str) -> ctypes.CDLL:
    spec = importlib.util.find_spec("tvm")  # finds, does not import
    folders = (spec.submodule_search_locations or []) if spec else []
    path = next(
        (path for each in folders if (path := Path(each) / "lib" / name).is_file()),
        None,
    )
    if path is None:
        raise MissingExtraError(
            asked,
            rule=f"it needs {name} of the package apache-tvm, which is not installed",
            where="trimtab.runtime",
            remedy="install the extra: pip install 'trimtab[compile]'",
        )
    _ffi()
    return ctypes.CDLL(os.fspath(path), mode=ctypes.RTLD_GLOBAL)


def _ffi() -> Any:
    # It imports torch and starts a runtime: only where it is needed.
    try:
        import tvm_ffi
    except ImportError as error:
        raise MissingExtraError(
            "compiled kernels",
            rule=f"they need the package apache-tvm-ffi: {error}",
            where="trimtab.runtime",
            remedy="install the extra: pip install 'trimtab[compile]'",
        ) from error
    return tvm_ffi
