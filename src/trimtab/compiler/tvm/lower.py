"""Loop nests to machine code through TVM.

Translates `trimtab.compiler.loops.Kernel` into a TIR function that takes raw pointers:
the shapes are compiled in, the caller has checked them, so TVM's checks of every
argument at every call, which are longer than a small kernel, are not generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import tvm
from tvm import tirx

from trimtab.compiler.functions import without_calls
from trimtab.compiler.loops import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    If,
    Kernel,
    Kind,
    Let,
    Load,
    Local,
    Loop,
    Number,
    Prefetch,
    Require,
    Select,
    Statement,
    Store,
    Var,
)
from trimtab.compiler.steps import in_buffers
from trimtab.compiler.tvm import floats

__all__ = ["Compiled", "compile_functions", "compile_kernels", "target_of"]

_KINDS = {
    Kind.SERIAL: tirx.ForKind.SERIAL,
    Kind.PARALLEL: tirx.ForKind.PARALLEL,
    Kind.UNROLLED: tirx.ForKind.UNROLLED,
    Kind.VECTOR: tirx.ForKind.VECTORIZED,
}

_BINARY = {
    "+": floats.total,
    "-": floats.difference,
    "*": floats.product,
    "/": floats.quotient,
    "//": tirx.floordiv,
    "%": tirx.floormod,
    "min": tirx.min,
    "max": tirx.max,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: tirx.EQ(a, b),
    "and": tirx.And,
    "or": tirx.Or,
    "&": tirx.bitwise_and,
    "<<": tirx.shift_left,
}


class _Translator:
    """One kernel's names as TVM's."""

    def __init__(self) -> None:
        self.buffers: dict[Buffer, Any] = {}
        self.vars: dict[Var, Any] = {}

    def function(self, kernel: Kernel) -> Any:
        handles, body = [], []
        for buffer in kernel.parameters:
            handle = tirx.Var(f"{buffer.name}_pointer", "handle")
            declared = tirx.decl_buffer(
                [buffer.elements], buffer.dtype, buffer.name, data_alignment=64
            )
            self.buffers[buffer] = declared
            handles.append(handle)
            body.append(
                tirx.DeclBuffer(
                    declared,
                    data=tirx.reinterpret(
                        tvm.ir.PointerType(tvm.ir.PrimType(buffer.dtype)), handle
                    ),
                )
            )
        body.extend(self.block(kernel.body))
        function = tirx.PrimFunc(handles, tirx.SeqStmt(body))
        return function.with_attr({"global_symbol": kernel.name, "tirx.noalias": True})

    def block(self, statements: Sequence[Statement]) -> list[Any]:
        return [self.statement(each) for each in statements]

    def one(self, statements: Sequence[Statement]) -> Any:
        found = self.block(statements)
        return found[0] if len(found) == 1 else tirx.SeqStmt(found)

    def statement(self, statement: Statement) -> Any:
        match statement:
            case Loop(var, extent, body, kind):
                counter = tirx.Var(var.name, "int32")
                outer = self.vars.get(var)
                self.vars[var] = counter
                inner = self.one(body)
                if outer is not None:
                    self.vars[var] = outer
                if kind is Kind.VECTOR and extent == 1:
                    kind = Kind.SERIAL  # TVM has no vectors of one element
                return tirx.For(counter, 0, extent, _KINDS[kind], inner)
            case Store(buffer, indices, value):
                return tirx.BufferStore(
                    self.buffers[buffer], self.expr(value), [self.flat(buffer, indices)]
                )
            case Let(var, value):
                bound = self.expr(value)
                name = tirx.Var(var.name, bound.ty.dtype)
                self.vars[var] = name
                return tirx.Bind(name, bound)
            case Local(buffer):
                declared = tirx.decl_buffer(
                    [buffer.elements],
                    buffer.dtype,
                    buffer.name,
                    data_alignment=64,
                )
                self.buffers[buffer] = declared
                # Without the mark TVM takes locals over 1 KiB from the heap, which
                # no optimiser turns into registers.
                return tirx.AllocBuffer(
                    declared, {"disable_lower_builtin": tirx.IntImm("bool", 1)}
                )
            case If(condition, body):
                return tirx.IfThenElse(self.expr(condition), self.one(body), None)
            case Require(condition, message):
                # TVM's wrapper names its arguments in another order than it hands on.
                return tirx.AssertStmt(
                    self.expr(condition),
                    tvm.ir.StringImm("ValueError"),
                    [tvm.ir.StringImm(message)],
                )
            case Prefetch(buffer, indices):
                address = tirx.address_of(
                    tirx.BufferLoad(self.buffers[buffer], [self.flat(buffer, indices)])
                )
                return tirx.Evaluate(
                    tirx.call_llvm_intrin("void", "llvm.prefetch", address, 0, 3, 1)
                )
        raise TypeError(f"statement {statement!r}")

    def flat(self, buffer: Buffer, indices: Sequence[Expr]) -> Any:
        """Return the place in memory: shapes are row-major."""
        place: Any = None
        for size, index in zip(buffer.shape, indices, strict=True):
            here = self.expr(index)
            place = here if place is None else place * size + here
        return place if place is not None else tirx.IntImm("int32", 0)

    def expr(self, value: Expr) -> Any:
        match value:
            case Var():
                return self.vars[value]
            case Number(number):
                if isinstance(number, int):
                    return tirx.IntImm("int32", number)
                return tirx.FloatImm("float32", number)
            case Binary(op, a, b):
                return _BINARY[op](self.expr(a), self.expr(b))
            case Load(buffer, indices):
                return tirx.BufferLoad(
                    self.buffers[buffer], [self.flat(buffer, indices)]
                )
            case Select(condition, a, b):
                return tirx.Select(self.expr(condition), self.expr(a), self.expr(b))
            case Cast(dtype, a, bits):
                inner = self.expr(a)
                return (
                    tirx.reinterpret(dtype, inner) if bits else tirx.Cast(dtype, inner)
                )
            case Call(name, arguments):
                inner = [self.expr(each) for each in arguments]
                return _CALLS[name](*inner)
        raise TypeError(f"expression {value!r}")


# Each is one instruction; all others are written out before they come here.
_CALLS: Mapping[str, Any] = {
    "sqrt": tirx.sqrt,
    "floor": tirx.floor,
    "abs": tirx.abs,
}


def target_of(llvm_cpu: str, triple: str = "", features: Sequence[str] = ()) -> Any:
    """Return TVM's target for a processor."""
    config: dict[str, Any] = {"kind": "llvm", "mcpu": llvm_cpu}
    if triple:
        config["mtriple"] = triple
    if features:
        config["mattr"] = list(features)
    return tvm.target.Target(config)


@final
@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code of some kernels."""

    module: Any

    def assembly(self) -> str:
        """Return the assembly; LLVM generates code once more for it."""
        return str(self.module.inspect_source("asm"))


def compile_kernels(
    kernels: Sequence[Kernel], target: Any, functions: Mapping[str, Any] | None = None
) -> Compiled:
    """Return the machine code of kernels, all in one module.

    Args:
        kernels: as loops.
        target: see `target_of`.
        functions: further ones, as those of `compile_functions`.
    """
    made = {
        kernel.name: _Translator().function(in_buffers(without_calls(kernel)))
        for kernel in kernels
    }
    return compile_functions({**made, **(functions or {})}, target)


def compile_functions(functions: Mapping[str, Any], target: Any) -> Compiled:
    """Return the machine code of TVM's functions, which take pointers, by name."""
    module = tvm.IRModule(dict(functions))
    module = tirx.transform.BindTarget(target.with_host(target))(module)
    module = _PASSES(module)
    build = tvm.get_global_func("target.build.llvm")
    return Compiled(build(module, target))


_PASSES = tvm.ir.transform.Sequential(
    [
        tirx.transform.StmtSimplify(),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.CommonSubexprElim(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.MakePackedAPI(),
        tirx.transform.LowerTVMBuiltin(),
        tirx.transform.LowerIntrin(),
    ]
)
