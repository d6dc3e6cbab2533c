"""Loops written in assembly, run: what one instruction takes on the present core.

LLVM's text form carries assembly as it stands, so every loop is the instructions that
it names, nothing of it can be optimised away, and TVM loads it without a linker.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx

__all__ = ["Loop", "load_loops", "text_of"]

Loop = Callable[[int, int, int, int], None]
"""Runs the body so many times, from a place in memory, moving on by so many bytes each
time, and from the start again after so many, a power of two."""

_LINES = re.compile(r'^target (?:datalayout|triple) = "[^"]*"$', re.M)
_CLOBBERED = {
    "x86": (
        *(f"xmm{number}" for number in range(16)),
        *("rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11"),
        *("memory", "flags"),
    ),
    "arm": (
        *(f"v{number}" for number in range(32)),
        *(f"x{number}" for number in range(1, 16)),
        *("memory", "cc"),
    ),
}
_CLEARED = {
    "x86": tuple(f"xorps %xmm{number}, %xmm{number}" for number in range(16)),
    "arm": tuple(f"movi v{number}.2d, #0" for number in range(32)),
}
_POINTER = {"x86": "rdi", "arm": "x0"}


def load_loops(bodies: Mapping[str, Sequence[str]], llvm_cpu: str) -> dict[str, Loop]:
    """Return loops by their names, ready to run on this machine.

    Args:
        bodies: lines of assembly; ``%rdi`` or ``x0`` points to memory, the other
            registers that may be used are zero at the start.
        llvm_cpu: of this machine, so that the assembler knows its instructions.
    """
    host = _host(llvm_cpu)
    names = {name: f"loop_{number}" for number, name in enumerate(bodies)}
    text = text_of({names[name]: body for name, body in bodies.items()}, host, llvm_cpu)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loops.ll"
        path.write_text(text, encoding="ascii")
        module = tvm.runtime.load_module(str(path))
        return {name: _bound(module[symbol]) for name, symbol in names.items()}


def _bound(function: Any) -> Loop:
    def run(times: int, pointer: int, step_bytes: int, span_bytes: int) -> None:
        function(times, ctypes.c_void_p(pointer), step_bytes, span_bytes - 1)

    return run


def _host(llvm_cpu: str) -> str:
    """Return the lines that tell LLVM's layout of data on this machine."""
    module = tvm.IRModule(
        {
            "nothing": tirx.PrimFunc(
                [], tirx.Evaluate(tirx.IntImm("int32", 0))
            ).with_attr("global_symbol", "nothing")
        }
    )
    target = tvm.target.Target({"kind": "llvm", "mcpu": llvm_cpu})
    built = tvm.compile(module, target=target)
    source = str(getattr(built, "mod", built).inspect_source("ll"))
    return "\n".join(_LINES.findall(source))


def text_of(bodies: Mapping[str, Sequence[str]], host: str, llvm_cpu: str) -> str:
    """Return loops as LLVM's text.

    Args:
        bodies: lines of assembly by the name of the function.
        host: the lines of the layout and of the triple.
        llvm_cpu: whose instructions the assembler is to know.
    """
    kind = "arm" if re.search(r'triple = "(aarch64|arm64)', host) else "x86"
    clobbered = ",".join(f"~{{{name}}}" for name in _CLOBBERED[kind])
    pointer = f"{{{_POINTER[kind]}}},"
    cleared = _assembly(_CLEARED[kind], "", clobbered)
    functions = [
        f"""
define i32 @__tvm_ffi_{name}(ptr %self, ptr %args, i32 %count, ptr %result) #0 {{
enter:
  %times.at = getelementptr i8, ptr %args, i64 8
  %times = load i64, ptr %times.at
  %start.at = getelementptr i8, ptr %args, i64 24
  %start = load ptr, ptr %start.at
  %step.at = getelementptr i8, ptr %args, i64 40
  %step = load i64, ptr %step.at
  %mask.at = getelementptr i8, ptr %args, i64 56
  %mask = load i64, ptr %mask.at
  {cleared}()
  br label %loop
loop:
  %number = phi i64 [ 0, %enter ], [ %next, %loop ]
  %moved = phi i64 [ 0, %enter ], [ %further, %loop ]
  %offset = and i64 %moved, %mask
  %place = getelementptr i8, ptr %start, i64 %offset
  {_assembly(body, pointer, clobbered)}(ptr %place)
  %next = add i64 %number, 1
  %further = add i64 %moved, %step
  %more = icmp ult i64 %next, %times
  br i1 %more, label %loop, label %leave
leave:
  store i32 0, ptr %result
  ret i32 0
}}"""
        for name, body in bodies.items()
    ]
    attributes = f'attributes #0 = {{ nounwind "target-cpu"="{llvm_cpu}" }}'
    return "\n".join([host, *functions, attributes, ""])


def _assembly(lines: Sequence[str], inputs: str, clobbered: str) -> str:
    """Return the call of a piece of assembly, without its arguments."""
    text = "\\0A".join(line.replace("$", "$$") for line in lines)
    return f'call void asm sideeffect "{text}", "{inputs}{clobbered}"'
