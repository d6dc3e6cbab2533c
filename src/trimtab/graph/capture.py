"""nn.Module -> Graph, over 400 lines to be the only reader of `torch.export`.

The module is traced once with the example inputs (``strict=False``), every operator's
arguments are put under the names of its schema, and in-place operators become
functional: a value that is overwritten while a view of it is still in use sends the
whole program through ``run_decompositions({})``, which costs a second on ResNet-50,
all others are renamed for free. What the vocabulary lacks is taken apart by PyTorch or
kept as an opaque operator (`trimtab.graph.opaque`).
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch._dynamo
import torch._functorch.aot_autograd  # export imports both when it is first called
from torch import fx, nn
from torch._dynamo.convert_frame import compile_lock
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from trimtab.errors import CaptureError, UsageError
from trimtab.graph.convert import CONSTANT_KINDS, Reader
from trimtab.graph.inplace import (
    needs_decomposition,
    storage_of,
    storages,
    written_by,
)
from trimtab.graph.module import GraphModule
from trimtab.graph.opaque import all_kept, decompositions, overwrites
from trimtab.graph.tree import flatten
from trimtab.graph.types import ConstantKind, Graph

__all__ = ["capture", "quiet", "weights_of"]


_LOCK = compile_lock
# torch.export keeps its modes in the process, and so does what keeps it quiet. It also
# changes torch.nn for all threads while it traces, which Dynamo must not see: its lock.

_ROUNDS = 4
# An operator may be taken apart into others that are taken apart in turn.

_FAILURES = (Exception, SystemExit)
# A forward() that calls sys.exit() must not end the program with success.


def capture(
    module: nn.Module,
    example_inputs: tuple[object, ...],
    example_kwargs: Mapping[str, object] | None = None,
    *,
    name: str = "",
) -> Graph:
    """Return the network as a graph, specialised to the shapes of the inputs.

    The module is not changed. It may stand on the meta device, weights are not read.

    Args:
        module: in evaluation mode, every submodule too.
        example_inputs: positional arguments of one call.
        example_kwargs: keyword arguments of one call.
        name: for people; the class of the module by default.

    Raises:
        UsageError: the module or its arguments are of the wrong kind.
        CaptureError: it is in training mode, changes its own state, has control flow
            that depends on data, fails on these inputs, or uses an operator that is not
            in the vocabulary and neither pure nor made of such.

    Example:
        >>> graph = capture(nn.Linear(3, 2).eval(), (torch.zeros(1, 3),))
        >>> [node.op for node in graph.nodes], graph.parameters
        (['aten.linear.default'], 8)
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"network of type {type(module).__name__}",
            rule="only a torch.nn.Module can be captured",
            remedy="wrap the function in a module's `forward`",
        )
    if not isinstance(example_inputs, tuple):
        raise UsageError(
            f"example inputs of type {type(example_inputs).__name__}",
            rule="positional arguments come as a tuple",
            remedy="write (x,) for a single input",
        )
    title = name or type(module).__name__
    _require_evaluation(module, title)
    if isinstance(module, GraphModule):
        return _same_graph(module.graph, example_inputs, dict(example_kwargs or {}))
    args, kwargs = _distinct(example_inputs, dict(example_kwargs or {}), title)
    with _LOCK:
        program = _export(module, args, kwargs, title)
        if needs_decomposition(program):
            program = _decomposed(program, title)
        program = _in_vocabulary(program)
    _require_stateless(program, title)
    return Reader(module, program, title).graph()


def weights_of(module: nn.Module, graph: Graph) -> dict[str, torch.Tensor]:
    """Return the parameters and buffers a graph needs, by target, tied ones once.

    The tensors are the module's own, not copies.

    Raises:
        UsageError: the module lacks one of them, or its shape differs.

    Example:
        >>> layer = nn.Linear(3, 2).eval()
        >>> sorted(weights_of(layer, capture(layer, (torch.zeros(1, 3),))))
        ['bias', 'weight']
    """
    state: dict[str, torch.Tensor] = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    found = {}
    for constant in graph.tensors:
        if constant.kind is ConstantKind.TENSOR:
            continue
        tensor = state.get(constant.shares)
        if tensor is None or tuple(tensor.shape) != constant.type.shape:
            have = "none" if tensor is None else f"shape {tuple(tensor.shape)}"
            raise UsageError(
                f"weight {constant.shares!r}",
                rule=f"the graph needs {constant.type}, the module has {have}",
                where=f"graph {graph.name!r}",
                remedy="give the module that was captured",
            )
        found[constant.shares] = tensor.detach()
    return found


def _same_graph(
    graph: Graph, args: tuple[object, ...], kwargs: dict[str, object]
) -> Graph:
    """Return the graph that a module is, if it was captured for such inputs."""
    leaves = flatten((args, kwargs), graph.input_tree)
    for leaf, value in zip(graph.inputs, leaves, strict=True):
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        if shape != (leaf.type.shape if leaf.type else None):
            raise CaptureError(
                f"graph {graph.name!r} for input {leaf.name!r} of shape {shape}",
                rule=f"it was captured for {leaf.type}, and its shapes are fixed",
                where=f"input {leaf.name!r}",
                remedy="capture the network it came from for this shape",
            )
    return graph


def _distinct(
    args: tuple[object, ...], kwargs: dict[str, object], title: str
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the inputs with tensors that share memory copied.

    torch.export takes one tensor given twice for one input, and the graph would then
    ignore the other.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs))
    seen: set[int] = set()
    for index, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            _require_dense(leaf, title)
            storage = leaf.untyped_storage()._cdata
            if storage in seen:
                leaves[index] = leaf.detach().clone()
            seen.add(storage)
    found: tuple[tuple[object, ...], dict[str, object]] = pytree.tree_unflatten(
        leaves, spec
    )
    return found


def _require_dense(tensor: torch.Tensor, title: str) -> None:
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        kind = (
            "nested"
            if tensor.is_nested
            else "quantized"
            if tensor.is_quantized
            else str(tensor.layout).removeprefix("torch.")
        )
        raise CaptureError(
            f"a {kind} tensor as an example input",
            rule="a graph holds dense tensors of numbers",
            where=f"network {title!r}",
            remedy="give it dense: .to_dense(), .dequantize() or padded",
        )


def _require_evaluation(module: nn.Module, title: str) -> None:
    for path, each in module.named_modules():
        if each.training:
            raise CaptureError(
                f"network {title!r}",
                rule="a network in training mode cannot be captured",
                where=f"module {path or 'the network itself'!r}",
                remedy="call .eval() on the network first",
            )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch.export, and what is built on it, from printing and logging.

    What matters is raised. It warns of LSTM weights that are assigned to themselves,
    and prints graphs and hundreds of lines of traces before it raises.
    """
    level = logging.root.manager.disable
    collecting = gc.isenabled()
    logging.disable(logging.CRITICAL)
    gc.disable()  # a million short-lived objects, hardly a cycle: a third of the time
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        if collecting:
            gc.enable()


def _call_export(
    module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
) -> ExportedProgram:
    with quiet():
        return torch.export.export(module, args, kwargs, strict=False)


def _export(
    module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], title: str
) -> ExportedProgram:
    # The fast path of attention is one opaque operator with other roundings.
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _replaced_tensors(module) as replaced:
            program = _call_export(module, args, kwargs)
    except _FAILURES as error:
        path = _failing_module(module, args, kwargs)
        where = f"module {path!r}" if path else f"forward() of {title}"
        raise _explain(error, title, where) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
    # A tensor that is only left behind, such as a map of attention, is no state.
    read = {
        spec.target
        for spec in program.graph_signature.input_specs
        if spec.kind in CONSTANT_KINDS
    }
    for target in replaced:
        if target in read:
            raise _keeps_state(target, title)
    return program


def _tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return buffers and plain attributes that are tensors, by name."""
    return {
        name: value
        for name, value in (*vars(module).items(), *module._buffers.items())
        if isinstance(value, torch.Tensor)
    }


def _watched(
    module: nn.Module,
    enter: Callable[[nn.Module, Any], None],
    leave: Callable[[nn.Module, Any, Any], None],
) -> list[RemovableHandle]:
    """Call functions before and after each call of a submodule by this thread.

    Hooks of all modules would be called by modules that other threads run meanwhile.
    """
    owner = threading.get_ident()

    def before(each: nn.Module, inputs: Any) -> None:
        if threading.get_ident() == owner:
            enter(each, inputs)

    def after(each: nn.Module, inputs: Any, outputs: Any) -> None:
        if threading.get_ident() == owner:
            leave(each, inputs, outputs)

    return [
        handle
        for each in module.modules()
        for handle in (
            each.register_forward_pre_hook(before, prepend=True),
            each.register_forward_hook(after),
        )
    ]


@contextlib.contextmanager
def _replaced_tensors(module: nn.Module) -> Iterator[list[str]]:
    """Collect the tensors that modules assign anew: export forgets that, silently."""
    paths = {id(each): path for path, each in module.named_modules()}
    calls: list[tuple[nn.Module, dict[str, torch.Tensor]]] = []
    replaced: list[str] = []

    def enter(each: nn.Module, _: object) -> None:
        calls.append((each, _tensors_of(each)))

    def leave(each: nn.Module, _: object, __: object) -> None:
        called, before = calls.pop()
        while called is not each:  # calls that failed, and were caught
            called, before = calls.pop()
        after = _tensors_of(each)
        for name, old in before.items():
            new = after.get(name)
            if new is old or id(each) not in paths:
                continue
            if new is None or storage_of(new) != storage_of(old):
                path = paths[id(each)]
                replaced.append(f"{path}.{name}" if path else name)

    handles = _watched(module, enter, leave)
    try:
        yield replaced
    finally:
        for handle in handles:
            handle.remove()


def _decomposed(program: ExportedProgram, title: str) -> ExportedProgram:
    try:
        with quiet():
            decomposed: ExportedProgram = program.run_decompositions({})
            return decomposed
    except _FAILURES as error:
        raise CaptureError(
            f"network {title!r}",
            rule="it overwrites tensors in a way that PyTorch cannot make functional: "
            f"{(str(error).splitlines() or [type(error).__name__])[0][:300]}",
            where=f"forward() of {title}",
            remedy="write the in-place operators on views out of place",
        ) from error


def _in_vocabulary(program: ExportedProgram) -> ExportedProgram:
    """Return the program with operators taken apart that the vocabulary lacks.

    Each stays as it is where that leads to what no graph can hold.
    """
    with quiet():
        if overwrites(program):
            with contextlib.suppress(*_FAILURES):
                program = program.run_decompositions({})
        wanted = decompositions(program)
        if not wanted:
            return program
        found = _taken_apart(program, wanted)
        if found is not None or len(wanted) == 1:
            return found or program
        for each, function in wanted.items():
            program = _taken_apart(program, {each: function}) or program
        return program


def _taken_apart(
    program: ExportedProgram, table: dict[Any, Callable[..., Any]]
) -> ExportedProgram | None:
    """Return a program without some operators, nor what they lead to, if it is one."""
    before = set(decompositions(program))
    try:
        for _ in range(_ROUNDS):
            program = program.run_decompositions(dict(table))
            new = decompositions(program)
            table = {op: new[op] for op in new if op in table or op not in before}
            if not table:
                break
    except _FAILURES:
        return None
    return program if all_kept(program) else None


def _explain(error: BaseException, title: str, where: str) -> CaptureError:
    text = str(error).strip() or type(error).__name__
    reason = text.splitlines()[0][:300].rstrip(".")
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text:
        return CaptureError(
            f"network {title!r}",
            rule="control flow depends on the values of a tensor, so no fixed graph "
            f"exists ({reason})",
            where=where,
            remedy="replace the Python branch or .item() by torch.where, "
            "or capture the part without it",
        )
    return CaptureError(
        f"network {title!r}",
        rule=f"it fails on these inputs: {kind}: {reason}",
        where=where,
        remedy="call the network on the example inputs and mend what it raises; if "
        "that works, the module does something torch.export cannot follow",
    )


def _failing_module(
    module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
) -> str:
    """Return the path of the innermost module that a failing export was in."""
    paths = {id(each): path for path, each in module.named_modules()}
    stack: list[str] = []

    def enter(each: nn.Module, _: object) -> None:
        if id(each) in paths:
            stack.append(paths[id(each)])

    def leave(each: nn.Module, _: object, __: object) -> None:
        if id(each) in paths and stack:
            stack.pop()

    handles = _watched(module, enter, leave)
    try:
        _call_export(module, args, kwargs)
    except _FAILURES:
        return stack[-1] if stack else ""
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _copied(node: fx.Node) -> bool:
    """Whether every call starts with a copy: a tensor that forward() itself makes."""
    targets = {str(user.target) for user in node.users}
    return targets == {"aten.lift_fresh_copy.default"}


def _require_stateless(program: ExportedProgram, title: str) -> None:
    signature = program.graph_signature
    memory = storages(program)
    targets = {
        spec.arg.name: spec.target
        for spec in signature.input_specs
        if spec.kind in CONSTANT_KINDS
    }
    owned = {
        storage: targets[node.name]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in targets and not _copied(node)
        for storage in memory[node]
    }
    changed: str | None = None
    for spec in signature.output_specs:
        if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION):
            changed = spec.target
    for node in program.graph.nodes:
        written = written_by(node) if node.op == "call_function" else None
        # Also through a view that nothing reads again.
        for storage in memory[written] if written is not None else ():
            changed = owned.get(storage) or changed
    if changed is not None:
        raise _keeps_state(changed, title)


def _keeps_state(target: str, title: str) -> CaptureError:
    return CaptureError(
        f"network {title!r}",
        rule=f"it changes its own tensor {target!r} during the call; a graph "
        "keeps no state between calls",
        where=f"module {target.rpartition('.')[0] or 'the network itself'!r}",
        remedy="pass the state as an input and return it as an output",
    )
