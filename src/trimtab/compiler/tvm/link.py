"""Machine code to a library that loads anywhere, or LLVM's text where no linker is.

A library holds the kernels and `glue.cpp`: the loop that calls them, and the functions
that TVM's code expects of its runtime. So it needs libc alone. The linker is g++ where
it is installed and makes code for the target, else the one in the wheel `ziglang`,
which knows every target. Without either the kernels are kept as LLVM's text, which
LLVM turns into code when it is loaded; that takes TVM.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import tvm
from tvm.target.codegen import llvm_get_cpu_features

from trimtab.compiler.loops import Kernel
from trimtab.compiler.tvm.lower import Compiled
from trimtab.errors import UsageError
from trimtab.graph.types import ITEM_BYTES
from trimtab.runtime.program import Code
from trimtab.runtime.target import FEATURES

__all__ = [
    "Linker",
    "as_text",
    "features_of",
    "find_linker",
    "object_of",
    "signatures_of",
]

_GLUE = Path(__file__).with_name("glue.cpp")
_COMPILE = (
    "-c", "-fPIC", "-O2", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector",
)  # fmt: skip
_SECONDS = 120


def signatures_of(kernels: Sequence[Kernel]) -> dict[str, tuple[int, ...]]:
    """Return the sizes in bytes of the buffers of kernels, by name.

    Example:
        >>> from trimtab.compiler.loops import Buffer
        >>> x = Buffer("x", (2, 3))
        >>> signatures_of([Kernel(name="nothing", parameters=(x,), body=())])
        {'nothing': (24,)}
    """
    return {
        kernel.name: tuple(
            each.elements * ITEM_BYTES[each.dtype] for each in kernel.parameters
        )
        for kernel in kernels
    }


def features_of(llvm_cpu: str, triple: str) -> tuple[str, ...]:
    """Return the instruction sets that LLVM uses for a processor, as LLVM names them.

    For `trimtab.runtime.program.Target`: whoever loads the code needs them.

    Example:
        >>> "avx2" in features_of("haswell", "x86_64-linux-gnu")
        True
    """
    config = {"kind": "llvm", "mcpu": llvm_cpu, "mtriple": triple}
    found = llvm_get_cpu_features(tvm.target.Target(config))
    return tuple(sorted(str(each) for each in found if str(each) in FEATURES))


def object_of(compiled: Compiled) -> bytes:
    """Return an object file; LLVM generates code for it, without holding the GIL."""
    with tempfile.TemporaryDirectory(prefix="trimtab-") as folder:
        path = Path(folder) / "kernels.o"
        compiled.module.write_to_file(str(path), "obj")
        return path.read_bytes()


def as_text(compiled: Compiled, signatures: Mapping[str, Sequence[int]]) -> Code:
    """Return kernels as LLVM's text, for a place without a linker.

    Args:
        compiled: all kernels, in one module.
        signatures: sizes in bytes of their buffers.
    """
    text = f"; {_signatures(signatures)}\n{compiled.module.inspect_source('ll')}"
    return Code(kind="llvm", data=text.encode())


@final
class Linker:
    """Makes libraries for one target.

    Args:
        compile: the command that compiles C++.
        link: the command that links.
        libraries: what stands at the end of it.
        name: for people.
    """

    def __init__(
        self,
        name: str,
        *,
        compile: Sequence[str],
        link: Sequence[str],
        libraries: Sequence[str] = (),
    ) -> None:
        self.name = name
        self._compile = tuple(compile)
        self._link = tuple(link)
        self._libraries = tuple(libraries)

    def link(
        self, objects: Sequence[bytes], signatures: Mapping[str, Sequence[int]]
    ) -> Code:
        """Return a shared library.

        Args:
            objects: object files with the kernels, see `object_of`.
            signatures: sizes in bytes of their buffers, which the library tells.

        Raises:
            UsageError: the linker refuses them, or it failed.
        """
        with tempfile.TemporaryDirectory(prefix="trimtab-") as name:
            folder = Path(name)
            parts = [folder / "glue.o", folder / "signatures.o"]
            quoted = json.dumps(_signatures(signatures))
            (folder / "signatures.cpp").write_text(
                'extern "C" { extern const char trimtab_signatures[];\n'
                f"const char trimtab_signatures[] = {quoted}; }}\n",
                "utf-8",
            )
            self._run(self._compile, *_COMPILE, _GLUE, "-o", parts[0])
            self._run(
                self._compile, *_COMPILE, folder / "signatures.cpp", "-o", parts[1]
            )
            for index, content in enumerate(objects):
                parts.append(folder / f"{index}.o")
                parts[-1].write_bytes(content)
            library = folder / "kernels.so"
            self._run(self._link, "-o", library, *parts, self._libraries)
            return Code(kind="shared", data=library.read_bytes())

    def _run(self, *words: object) -> None:
        command = [
            str(each)
            for word in words
            for each in (word if isinstance(word, tuple) else (word,))
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
            said = done.stderr.strip() or f"it ended with {done.returncode}"
            failed = done.returncode != 0
        except (OSError, subprocess.TimeoutExpired) as error:
            said, failed = str(error), True
        if failed:
            raise UsageError(
                "a library of compiled kernels",
                rule="; ".join(said.splitlines()[:5])[:1000],
                where=f"linker {self.name}",
                remedy="install g++, or the wheel ziglang with the extra `compile`",
            )


@functools.cache
def find_linker(triple: str = "") -> Linker | None:
    """Return a linker for a target, or None where none is installed.

    Args:
        triple: of the target, such as ``aarch64-linux-gnu``; this host's by default.
    """
    architecture, _, rest = triple.partition("-")
    here = platform.machine()
    native = not triple or (architecture == here and "linux" in rest)
    found = shutil.which("g++") if native else None
    if found:
        return Linker(
            f"g++ ({found})",
            compile=[found],
            link=[found, "-shared", "-nodefaultlibs", "-Wl,-z,defs", "-Wl,-Bsymbolic"],
            libraries=["-lc", "-lm", "-lgcc"],
        )
    if importlib.util.find_spec("ziglang") is None:
        return None
    zig = (sys.executable, "-m", "ziglang")
    # Its driver would build libc's stubs, minutes the first time. The bare linker does
    # not, and the symbols of libc are found in the process that loads the library.
    target = f"{architecture or here}-linux-gnu"
    return Linker(
        f"ziglang for {target}",
        compile=[*zig, "c++", "-target", target],
        link=[*zig, "ld.lld", "-shared", "-Bsymbolic", "-z", "noexecstack"],
    )


def _signatures(signatures: Mapping[str, Sequence[int]]) -> str:
    return json.dumps(
        {name: list(sizes) for name, sizes in sorted(signatures.items())},
        separators=(",", ":"),
    )
