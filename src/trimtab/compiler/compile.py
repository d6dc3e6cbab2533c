"""nn.Module in, compiled network out; over 400 lines, half of them docstrings."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, final

import torch
from torch import nn
from torch.utils import _pytree as pytree

from trimtab.compiler.build import Built, build
from trimtab.compiler.explain import explain, explain_default
from trimtab.compiler.report import report_of
from trimtab.compiler.rows import batch_of, require_any_batch, resized
from trimtab.compiler.target import target_for, useful_threads
from trimtab.compiler.tasks import Task
from trimtab.compiler.written import refuse_written_inputs
from trimtab.errors import UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.types import Graph
from trimtab.hardware.load import THIS, machine_names
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.runtime import record as records
from trimtab.runtime.arguments import parameters_of
from trimtab.runtime.batches import Bucket
from trimtab.runtime.cache import Cache
from trimtab.runtime.compiled import CompiledNetwork
from trimtab.runtime.program import Target
from trimtab.runtime.store import PROGRAM, Request, versions
from trimtab.units import format_duration

__all__ = [
    "Compilation",
    "compile",
    "compile_again",
    "compile_graphs",
    "prepare",
]

Progress = Callable[[float, str], None]


def compile(
    model: nn.Module,
    example_inputs: Sequence[Any],
    example_keywords: Mapping[str, Any] | None = None,
    *,
    machine: str | Machine = "this",
    threads: int = 1,
    batch_sizes: Sequence[int] | None = None,
    seed: int = 0,
    cache: bool = True,
    winograd: bool = True,
    executor: Executor | None = None,
    progress: Progress = lambda done, text: None,
) -> CompiledNetwork:
    """Return a network as machine code whose schedules were chosen by analysis.

    Nothing is run to find out what is fast. The result is called like the module, with
    tensors of the shapes of the example inputs; nothing is copied on the way in.

    Args:
        model: in evaluation mode.
        example_inputs: positional arguments; their values do not matter.
        example_keywords: keyword arguments.
        machine: to decide for: a name of the catalogue, a file, or a description.
        threads: of a call, at most: what is too small for several takes one.
        batch_sizes: to compile for; then any batch is taken, filled up to the next size
            or done in parts. The first axis of every tensor that has the batch size of
            the first example input is the batch.
        seed: of the search, where a space is too large to judge whole.
        cache: whether schedules and machine code of earlier calls are used.
        winograd: whether a convolution may be one of Winograd's, which is faster, but
            computes a tile of pixels from sums over all of them: what is no number
            becomes that of its tile, and large numbers overflow sooner.
        executor: that kernels are chosen and compiled by, such as that of a cluster
            (`trimtab.runtime.cluster`); threads of this process by default.
        progress: told the share that is done and what is done now.

    Returns:
        A `trimtab.runtime.compiled.CompiledNetwork`.

    Raises:
        CaptureError: the module is in training mode, writes to its inputs, or cannot be
            captured.
        MachineError: the machine is no CPU, or of an architecture without kernels.
        MissingExtraError: TVM is not installed: the extra ``compile``.
        UsageError: an argument is of the wrong kind, a batch size is below 1, no input
            has a batch, or rows of a batch depend on each other.

    Example:
        >>> layer = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()).eval()
        >>> fast = compile(layer, (torch.zeros(2, 8),))  # doctest: +SKIP
        >>> fast(torch.ones(2, 8)).shape  # doctest: +SKIP
        torch.Size([2, 4])

    References:
        Tuna (arXiv 2104.14641): no candidate is run; features of loops and assembly.
    """
    return prepare(
        model,
        example_inputs,
        example_keywords,
        machine=machine,
        threads=threads,
        batch_sizes=batch_sizes,
        seed=seed,
        cache=cache,
        winograd=winograd,
        executor=executor,
        progress=progress,
    ).network()


@final
class Compilation:
    """A network with the kernels that were made for it, and how they were chosen.

    Args:
        graphs: the network, by batch size.
        weights: by target.
        machine: the kernels were chosen for.
        target: their code is for.
        built: the kernels.
        any_batch: whether other batch sizes are padded or done in parts.
        seed: of the search.
        parameters: of the module's ``forward`` that go by place and by name, in order.
    """

    def __init__(
        self,
        *,
        graphs: Mapping[int, Graph],
        weights: Mapping[str, torch.Tensor],
        machine: Machine,
        target: Target,
        built: Built,
        any_batch: bool,
        seed: int = 0,
        parameters: Sequence[str] = (),
    ) -> None:
        self.graphs, self.weights = graphs, weights
        self.machine, self.target, self.built = machine, target, built
        self.any_batch = any_batch
        self.seed, self.parameters = seed, tuple(parameters)
        self.report = report_of(built, machine, target)

    def network(self) -> CompiledNetwork:
        """Return what is called."""
        return CompiledNetwork(
            buckets=[
                Bucket(batch=batch, program=self.built.programs[batch], graph=graph)
                for batch, graph in self.graphs.items()
            ],
            weights=self.weights,
            target=self.target,
            constants=self.built.constants,
            code=self.built.code,
            any_batch=self.any_batch,
            report=self.report,
            versions=versions(),
            seed=self.seed,
            parameters=self.parameters,
        )

    def explain(self, which: str) -> list[str]:
        """Return why the kernels of a module or node look as they do.

        What several batch sizes have in common is told once, what differs for each.

        Args:
            which: path of a module, with all below it, or name of a node.

        Raises:
            UsageError: no task computes it.
        """
        found: dict[Any, dict[int, float]] = {}
        for batch, record in self._tasks():
            for task, told in record:
                if _is_of(told, which):
                    what = task.work if isinstance(task, Task) else task.operator
                    times = found.setdefault(what, {})
                    times[batch] = times.get(batch, 0.0) + told["latency_s"]
        if not found:
            raise UsageError(
                f"an explanation of {which!r}",
                rule="no task computes a module or node of that name",
                where="--explain",
                remedy=f"name one of {', '.join(self._names(which))}",
            )
        return [
            "\n".join([*self._shares(times), self._explained(what)])
            for what, times in found.items()
        ]

    def _tasks(self) -> Iterator[tuple[int, list[tuple[Any, Mapping[str, Any]]]]]:
        """Yield the tasks of each batch size, and what the report says of each."""
        for told in self.report["batches"]:
            planned = self.built.plans[told["batch"]]
            yield told["batch"], list(zip(planned.tasks, told["tasks"], strict=True))

    def _explained(self, what: Any) -> str:
        if what in self.built.tuned:
            return explain(self.built.tuned[what], self.machine, self.target)
        return explain_default(what, self.built.defaults[what])

    def _shares(self, times: Mapping[int, float]) -> Iterator[str]:
        """Yield a line for each batch size that a task is one of."""
        for told in self.report["batches"]:
            taken, total = times.get(told["batch"]), told["latency_s"]
            if taken is not None:
                share = 100 * taken / total if total else 0.0
                yield (
                    f"batch {told['batch']}: {share:.0f} % of the predicted "
                    f"{format_duration(total)}"
                )

    def _names(self, which: str) -> list[str]:
        """Return names that can be explained, those near to a wrong one."""
        tasks = [told for _, record in self._tasks() for _, told in record]
        modules = dict.fromkeys(told["module"] for told in tasks if told["module"])
        nodes = dict.fromkeys(node for told in tasks for node in told["nodes"])
        names = list(dict.fromkeys([*modules, *nodes]))
        near = difflib.get_close_matches(which, names, n=3, cutoff=0.4)
        return near or list(dict.fromkeys([*list(modules)[:3], *list(nodes)[:3]]))


def _is_of(told: Mapping[str, Any], which: str) -> bool:
    """Whether a task is of a module, or of one in it, or computes a node."""
    module = told["module"]
    return which in told["nodes"] or module == which or module.startswith(f"{which}.")


def prepare(
    model: nn.Module,
    example_inputs: Sequence[Any],
    example_keywords: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    machine: str | Machine = "this",
    threads: int = 1,
    batch_sizes: Sequence[int] | None = None,
    seed: int = 0,
    cache: bool = True,
    winograd: bool = True,
    executor: Executor | None = None,
    progress: Progress = lambda done, text: None,
) -> Compilation:
    """Return a network with its kernels, also for a machine that is not here.

    Args:
        model: in evaluation mode.
        example_inputs: positional arguments.
        example_keywords: keyword arguments.
        name: for people; the class of the module if empty.
        machine: to decide for.
        threads: of a call, at most: what is too small for several takes one.
        batch_sizes: to compile for, see `compile`.
        seed: of the search.
        cache: whether results of earlier calls are used.
        winograd: whether a convolution may be one of Winograd's.
        executor: that kernels are chosen and compiled by, see `compile`.
        progress: told the share that is done.

    Raises:
        TrimtabError: as `compile`.
    """
    _require_settings(
        example_inputs, example_keywords, machine, seed, cache=cache, winograd=winograd
    )
    found = machine if isinstance(machine, Machine) else find_machine(machine)
    target_for(found, threads=threads)  # refuses what it must before the work begins
    keywords = dict(example_keywords or {})
    title = name or type(model).__name__
    progress(0.0, "capturing")
    graphs: dict[int, Graph] = {}
    batch = batch_of(example_inputs)
    if batch_sizes is None:
        graphs[batch] = _captured(model, tuple(example_inputs), keywords, title)
    else:
        for size in _checked(batch_sizes):
            args, kwargs = resized((tuple(example_inputs), keywords), batch, size)
            graphs[size] = _captured(model, args, kwargs, title)
    threads = useful_threads(graphs.values(), found, threads)
    target = target_for(found, threads=threads)
    weights = weights_of(model, next(iter(graphs.values())))
    if batch_sizes is not None:
        require_any_batch(model, example_inputs, keywords, graphs)
    return _prepared(
        graphs,
        weights,
        found,
        target,
        any_batch=batch_sizes is not None,
        parameters=parameters_of(model),
        seed=seed,
        cache=cache,
        winograd=winograd,
        executor=executor,
        progress=progress,
    )


def compile_graphs(
    graphs: Mapping[int, Graph],
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    target: Target,
    *,
    any_batch: bool = False,
    parameters: Sequence[str] = (),
    seed: int = 0,
    cache: bool = True,
    winograd: bool = True,
    progress: Progress = lambda done, text: None,
) -> CompiledNetwork:
    """Return a compiled network for graphs that were captured before.

    Args:
        graphs: the network, by batch size.
        weights: by target, one set for all.
        machine: to decide for.
        target: to make code for.
        any_batch: whether other batch sizes are padded or done in parts.
        parameters: of the module's ``forward`` that go by place and by name, in order.
        seed: of the search.
        cache: whether schedules and machine code of earlier calls are used.
        winograd: whether a convolution may be one of Winograd's.
        progress: told the share that is done.

    Raises:
        MissingExtraError: TVM is not installed.
        UsageError: linking failed, or the network cannot be padded.
    """
    return _prepared(
        graphs,
        weights,
        machine,
        target,
        any_batch=any_batch,
        parameters=parameters,
        seed=seed,
        cache=cache,
        winograd=winograd,
        progress=progress,
    ).network()


def _prepared(
    graphs: Mapping[int, Graph],
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    target: Target,
    *,
    any_batch: bool,
    parameters: Sequence[str],
    seed: int,
    cache: bool,
    winograd: bool,
    progress: Progress,
    executor: Executor | None = None,
) -> Compilation:
    built = build(
        graphs,
        weights,
        machine,
        target,
        seed=seed,
        cache=Cache() if cache else None,
        winograd=winograd,
        executor=executor,
        progress=progress,
    )
    progress(1.0, f"{len(built.tuned)} kernels")
    return Compilation(
        graphs=graphs,
        weights=weights,
        machine=machine,
        target=target,
        built=built,
        any_batch=any_batch,
        seed=seed,
        parameters=parameters,
    )


def _require_settings(
    inputs: object, keywords: object, machine: object, seed: object, **flags: object
) -> None:
    """Refuse arguments of the wrong kind before anything is done with them."""
    wrong: list[tuple[str, object, str, str]] = []
    if not isinstance(inputs, tuple | list):
        remedy = "give (x,) where the network is called with x, () for none"
        rule = "they are the positional arguments, a tuple"
        wrong.append(("example_inputs", inputs, rule, remedy))
    if keywords is not None and not (
        isinstance(keywords, Mapping) and all(isinstance(key, str) for key in keywords)
    ):
        remedy = 'give {"mask": mask} where the network is called with mask=mask'
        rule = "they are arguments by name, a dict"
        wrong.append(("example_keywords", keywords, rule, remedy))
    if not isinstance(machine, str | Machine):
        remedy = 'give "this" for the machine that is here'
        rule = "it is a name of the catalogue, a file, or a description"
        wrong.append(("machine", machine, rule, remedy))
    if type(seed) is not int or seed < 0:  # to isinstance, True is an int
        rule = "it is a whole number, at least 0"
        wrong.append(("seed", seed, rule, "give a number such as 0"))
    for flag, value in flags.items():
        if type(value) is not bool:
            folder = "; the folder is set by TRIMTAB_CACHE" if flag == "cache" else ""
            remedy = f"give True or False{folder}"
            wrong.append((flag, value, "it is true or false", remedy))
    if wrong:
        name, value, rule, remedy = wrong[0]
        text = type(value).__name__ if isinstance(value, torch.Tensor) else repr(value)
        raise UsageError(
            f"{name} = {text}"[:200], rule=rule, where="compile", remedy=remedy
        )


def _captured(
    model: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], title: str
) -> Graph:
    if not isinstance(model, nn.Module):
        return capture(model, args, keywords, name=title)  # which says what is wrong
    # Tensors of inference mode do not tell whether they were written to.
    with torch.inference_mode(mode=False), torch.no_grad():
        args, keywords = pytree.tree_map(_told, (args, keywords))
        with refuse_written_inputs(model, title):
            return capture(model, args, keywords, name=title)


def _told(leaf: Any) -> Any:
    inference = isinstance(leaf, torch.Tensor) and leaf.is_inference()
    return leaf.clone() if inference else leaf


def _checked(sizes: Sequence[int]) -> list[int]:
    given = list(sizes) if isinstance(sizes, Sequence) else sizes
    if (
        not isinstance(given, list)
        or not given
        or any(type(size) is not int or size < 1 for size in given)
    ):
        raise UsageError(
            f"batch sizes {given!r}"[:200],
            rule="they are a list of whole numbers, none below 1",
            where="batch_sizes",
            remedy="give sizes such as [1, 16, 64]",
        )
    return sorted(set(given))


def compile_again(request: Request) -> CompiledNetwork:
    """Compile the network of a bundle whose machine code may not be used."""
    # A name that the catalogue lacks is of a file or a calibration: the code is for
    # here in any case.
    name = request.target.machine
    machine = find_machine(name if name in machine_names() else THIS)
    program = request.bundle.path / PROGRAM
    told = records.loads(program.read_text("utf-8"), str(program)).report
    return compile_graphs(
        request.graphs,
        request.bundle.weights(),
        machine,
        target_for(machine, threads=request.target.threads),
        any_batch=request.any_batch,
        parameters=request.parameters,
        seed=request.seed,
        winograd=told.get("winograd") is not False,
    )
