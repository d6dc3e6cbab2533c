"""Any operator as a kernel with a default schedule, where no family has a better one.

PyTorch takes the operator apart into its primitives, on tensors without memory: so what
the kernel computes, conversions of types included, is PyTorch's own definition. (TVM's
front end reads the operator itself; on 646 calls of the vocabulary it was wrong in 35:
arguments ignored, NaN lost, elements outside of the tensor read.) Each primitive is a
formula (`trimtab.compiler.tvm.primitives`), and TVM makes one function of all.

The schedule: what only maps elements is computed where it is read. Of a sum, the last
axis of the result goes inside, where that makes its operands neighbours: LLVM makes
vectors of it. With several threads the outer axes are shared among them. Nothing is
searched, and nothing is run.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
import tvm
import tvm_ffi
from torch import fx
from torch._decomp import decomposition_table
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from tvm import s_tir, te, tirx

from trimtab.compiler.tvm.primitives import PRIMITIVES, Check, Kind, Scope, Value
from trimtab.errors import ExecutionError
from trimtab.graph.execute import run_node
from trimtab.graph.types import ITEM_BYTES, Node, Ref, TensorType

__all__ = ["DefaultKernel", "default_kernel"]

_DTYPES = frozenset(ITEM_BYTES) - {"float16", "bfloat16"}
_MOST_ELEMENTS = 2**31 - 1  # indices are int32
_MOST_PRIMITIVES = 200  # of one operator: more take seconds to compile
_LONGEST_INSIDE = 4096  # elements of a sum's last axis, which stay in the first cache
_SHARED_STEPS = 1 << 15  # below, to wake threads takes longer than the work

_LOCK = threading.RLock()  # PyTorch keeps the modes of a trace in the process


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultKernel:
    """An operator as one function of raw pointers.

    Its pointers are to the tensors the node reads, each once in the order of
    `Node.inputs`, constants or not; to working memory; to its results. All are dense,
    row-major and aligned to 64 bytes.

    Attributes:
        name: of the function.
        function: TVM's.
        reads: what the first pointers are to.
        parameter_bytes: sizes of what all pointers are to.
        scratch_bytes: sizes of the working memory, one a pointer.
    """

    name: str
    function: Any
    reads: tuple[Ref, ...]
    parameter_bytes: tuple[int, ...]
    scratch_bytes: tuple[int, ...]


def default_kernel(
    node: Node, types: Mapping[Ref, TensorType], *, name: str, threads: int = 1
) -> DefaultKernel | str:
    """Return a kernel for one node, or why there is none.

    Args:
        node: of a graph.
        types: of the tensors it reads.
        name: of the function.
        threads: that share its loops.
    """
    reads = tuple(dict.fromkeys(node.inputs))
    kinds = [types[ref] for ref in reads]
    results = [kind for kind in node.outputs if kind is not None]
    for kind in (*kinds, *results):
        if kind.dtype not in _DTYPES:
            return f"there are no kernels of {kind.dtype}"
        if not 0 < kind.elements <= _MOST_ELEMENTS:
            return f"{kind} has {kind.elements} elements"
    try:
        graph = _primitives_of(node, kinds)
        given, made, checks = _expressions(graph, kinds, results)
        function = te.create_prim_func([*given, *made])
        function = _scheduled(function, threads)
        return _kernel(name, function, reads, len(made), checks)
    except NotImplementedError as error:
        return str(error)
    except ExecutionError as error:
        return f"PyTorch does not take it apart: {error.rule}"


# ------------------------------------------------------------ PyTorch's primitives


def _kind(value: torch.Tensor, op: str) -> Kind:
    return Kind(
        shape=tuple(int(each) for each in value.shape),
        dtype=str(value.dtype).removeprefix("torch."),
        op=op,
    )


@functools.cache
def _table() -> dict[Any, Any]:
    """Return how PyTorch takes operators apart, but those that have a formula."""
    return {
        operator: function
        for operator, function in decomposition_table.items()
        if str(operator) not in PRIMITIVES
    }


def _primitives_of(node: Node, kinds: Sequence[TensorType]) -> fx.GraphModule:
    reads = tuple(dict.fromkeys(node.inputs))

    def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
        values = run_node(node, dict(zip(reads, tensors, strict=True)))
        return [each for each in values if isinstance(each, torch.Tensor)]

    with _LOCK, torch.no_grad(), FakeTensorMode():
        given = [
            torch.empty(kind.shape, dtype=getattr(torch, kind.dtype)) for kind in kinds
        ]
        functional = torch.func.functionalize(run, remove="mutations")
        trace = make_fx(functional, decomposition_table=_table(), tracing_mode="real")
        graph: fx.GraphModule = trace(*given)
    graph.graph.eliminate_dead_code()
    return graph


def _expressions(
    graph: fx.GraphModule, kinds: Sequence[TensorType], results: Sequence[TensorType]
) -> tuple[list[Any], list[Any], list[Check]]:
    """Return tensors of TVM for what is given and what is made, and what to check."""
    nodes = list(graph.graph.nodes)
    if len(nodes) > _MOST_PRIMITIVES:
        raise NotImplementedError(f"it is {len(nodes)} primitives")
    scope = Scope()
    given: list[Any] = []
    values: dict[fx.Node, Any] = {}
    made: list[Any] = []

    def fill(argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return values[argument]
        if isinstance(argument, list | tuple):
            return [fill(each) for each in argument]
        return argument

    for node in nodes:
        if node.op == "placeholder":
            kind = kinds[len(given)]
            tensor = te.placeholder(kind.shape, kind.dtype, f"given_{len(given)}")
            values[node] = replace(scope.value(tensor), given=len(given))
            given.append(tensor)
        elif node.op == "output":
            for each, kind in zip(fill(node.args[0]), results, strict=True):
                if each.shape != kind.shape or each.dtype != kind.dtype:
                    raise NotImplementedError(f"it is {each.dtype}{each.shape}")
                made.append(_result(scope, each, [*given, *made]))
        elif node.op != "call_function":
            raise NotImplementedError("it holds a constant")
        elif node.target.__name__ == "getitem":
            values[node] = values[node.args[0]][node.args[1]]
        else:
            values[node] = _value(scope, node, fill)
    return given, made, scope.checks


def _result(scope: Scope, value: Value, taken: Sequence[Any]) -> Any:
    """Return a value as a tensor that is neither an input nor another result."""
    tensor = value.tensor
    if tensor is None or any(tensor.same_as(each) for each in taken):
        return scope.compute(value, "made")
    return tensor


def _value(scope: Scope, node: fx.Node, fill: Any) -> Any:
    """Return the value of a call of a primitive."""
    name = str(node.target)
    formula = PRIMITIVES.get(name)
    if formula is None:
        raise NotImplementedError(f"there is no formula for {name}")
    found = node.meta["val"]
    if name.startswith("aten.as_strided"):
        _require_own_memory(node.args[0])
    kind: Any = (
        _kind(found, name)
        if isinstance(found, torch.Tensor)
        else [_kind(each, name) for each in found]
    )
    result = formula(scope, kind, *map(fill, node.args), **dict(node.kwargs))
    if isinstance(result, Value):
        return scope.shared(result, len(node.users))
    return result


def _require_own_memory(node: Any) -> None:
    """Refuse to look at the memory of a value that shows another one's."""
    tensor = node.meta["val"]
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    if not tensor.is_contiguous() or tensor.storage_offset() or size != tensor.numel():
        raise NotImplementedError("a view of memory that is not dense")


# ------------------------------------------------------------ schedule


def _scheduled(function: Any, threads: int) -> Any:
    if not _has_root(function):
        return function
    schedule = s_tir.Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        stmt = schedule.get(block)
        loops = schedule.get_loops(block)
        kinds = [var.iter_type for var in stmt.iter_vars]
        spatial = sum(kind == tirx.IterVar.DataPar for kind in kinds)
        if not loops or len(loops) != len(kinds):
            continue  # loops written by hand, or a single number
        steps = math.prod(int(schedule.get(loop).extent) for loop in loops)
        outer, sums_ = loops[:spatial], loops[spatial:]
        if sums_ and outer and _neighbours(stmt, spatial, schedule, outer[-1]):
            schedule.reorder(*outer[:-1], *sums_, outer[-1])
            outer, inner = outer[:-1], outer[-1:]
        else:
            inner = []
        if not sums_ and len(outer) > 1:
            outer = outer[:-1]  # the last one is for vectors
        if threads > 1 and steps >= _SHARED_STEPS and outer:
            schedule.parallel(_wide_enough(schedule, outer, threads))
        if sums_:
            schedule.decompose_reduction(block, (sums_ + inner)[0])
    return schedule.mod["main"]


def _has_root(function: Any) -> bool:
    """Whether blocks stand in one block; a single one of loops of ours does not."""
    return bool(function.body.block.name_hint == "root")


def _wide_enough(schedule: Any, loops: Sequence[Any], threads: int) -> Any:
    """Return a loop with work for every thread, made of the first ones."""
    taken, wide = [], 1
    for loop in loops:
        taken.append(loop)
        wide *= int(schedule.get(loop).extent)
        if wide % threads == 0 or wide >= 8 * threads:
            break
    return schedule.fuse(*taken) if len(taken) > 1 else taken[0]


def _neighbours(stmt: Any, spatial: int, schedule: Any, loop: Any) -> bool:
    """Whether a step along the last axis of a sum reads neighbours, or the same."""
    if not 4 <= int(schedule.get(loop).extent) <= _LONGEST_INSIDE:
        return False
    var = stmt.iter_vars[spatial - 1].var
    for region in stmt.reads:
        places = [each.min for each in region.region]
        if any(_mentions(place, var) for place in places[:-1]):
            return False
    return True


def _mentions(expression: Any, var: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (tirx.Var, found.append), order="post")
    return any(each.same_as(var) for each in found)


# ------------------------------------------------------------ loops and pointers


def _without_stores(function: Any, results: int) -> tuple[Any, list[Any]]:
    """Return the function with its working memory as parameters before the results."""
    if not _has_root(function):
        return function.with_attr("global_symbol", "main"), []
    root = function.body.block
    scratch = list(root.alloc_buffers)
    block = s_tir.SBlock(
        root.iter_vars, root.reads, root.writes, root.name_hint, root.body,
        root.init, [], root.match_buffers, root.annotations,
    )  # fmt: skip
    params = list(function.params)
    cut = len(params) - results
    return (
        tirx.PrimFunc(
            [*params[:cut], *scratch, *params[cut:]],
            s_tir.SBlockRealize([], True, block),
        ).with_attr({"global_symbol": "main", "tirx.noalias": True, "s_tir": True}),
        scratch,
    )


def _kernel(
    name: str, function: Any, reads: tuple[Ref, ...], results: int, checks: list[Check]
) -> DefaultKernel:
    function, scratch = _without_stores(function, results)
    loops = _LOWER(tvm.IRModule({"main": function}))["main"]
    handles = [tirx.Var(f"pointer_{i}", "handle") for i in range(len(loops.params))]
    body = [
        tirx.DeclBuffer(
            buffer,
            data=tirx.reinterpret(
                tvm.ir.PointerType(tvm.ir.PrimType(str(buffer.dtype))), handle
            ),
        )
        for buffer, handle in zip(loops.params, handles, strict=True)
    ]
    body += _checked(loops.params, checks)
    whole = tirx.PrimFunc(handles, tirx.SeqStmt([*body, loops.body]))
    return DefaultKernel(
        name=name,
        function=whole.with_attr({"global_symbol": name, "tirx.noalias": True}),
        reads=reads,
        parameter_bytes=tuple(map(_size_bytes, loops.params)),
        scratch_bytes=tuple(map(_size_bytes, scratch)),
    )


def _size_bytes(buffer: Any) -> int:
    sizes = [int(each) for each in buffer.shape]
    return math.prod(sizes) * ITEM_BYTES[str(buffer.dtype)]


def _checked(buffers: Sequence[Any], checks: Sequence[Check]) -> Iterator[Any]:
    """Yield loops that refuse places outside of a tensor."""
    for check in dict.fromkeys(checks):
        buffer = buffers[check.given]
        count = math.prod(int(size) for size in buffer.shape)
        flat = tirx.decl_buffer([count], str(buffer.dtype), "places")
        good = tirx.decl_buffer([1], "int32", "good")
        index = tirx.Var("i", "int32")
        place = tirx.Cast("int64", tirx.BufferLoad(flat, [index]))
        inside = tirx.And(place >= check.low, place < check.high)
        so_far = tirx.BufferLoad(good, [0])
        yield tirx.DeclBuffer(flat, data=buffer.data)
        yield tirx.AllocBuffer(good)
        yield tirx.BufferStore(good, tirx.IntImm("int32", 1), [0])
        # With the assertion inside, TVM would unroll the loop: it counts only stores.
        both = tirx.bitwise_and(so_far, tirx.Cast("int32", inside))
        yield tirx.For(
            index, 0, count, tirx.ForKind.SERIAL, tirx.BufferStore(good, both, [0])
        )
        yield tirx.AssertStmt(
            # TVM's wrapper names its arguments in another order than it hands on.
            tirx.NE(so_far, 0),
            tvm.ir.StringImm("ValueError"),
            [tvm.ir.StringImm(f"a place is not in {check.low}..{check.high - 1}")],
        )


_LOWER = tvm.ir.transform.Sequential(
    [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.CompactBufferAllocation(),
        tirx.transform.StmtSimplify(),
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
    ]
)
