"""A network compiled: groups, tasks, schedules, machine code, a program a batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.compiler.emit import Chosen, constant_name, emit
from trimtab.compiler.groups import group
from trimtab.compiler.model import Timing, timing_of
from trimtab.compiler.plan import Packing, Plan, Task, plan
from trimtab.compiler.tune import Ranking, family_of, rank
from trimtab.graph.execute import Executor, run_node
from trimtab.graph.types import Graph, Ref
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Code, Program, Target

__all__ = ["Built", "Tuned", "build", "known_values"]

Progress = Callable[[float, str], None]

_WORKERS = 2  # code generation releases the interpreter; more than the cores wait


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """How one work came to its kernel.

    Attributes:
        work: what it computes.
        chosen: the kernel.
        ranking: of the schedules.
        place: of the chosen one in `ranking.points`.
        rejected: schedules that looked better, and why not they.
        code: the kernel's object file.
    """

    work: Any
    chosen: Chosen
    ranking: Ranking
    place: int
    rejected: tuple[tuple[Any, str], ...]
    code: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A network as code.

    Attributes:
        plans: the tasks, by batch size.
        programs: to run, by batch size.
        tuned: kernels, by work.
        constants: packed, by name, of all batch sizes.
        code: the library.
    """

    plans: Mapping[int, Plan]
    programs: Mapping[int, Program]
    tuned: Mapping[Any, Tuned]
    constants: Mapping[str, torch.Tensor]
    code: Code


def known_values(
    graph: Graph, weights: Mapping[str, torch.Tensor]
) -> dict[Ref, torch.Tensor]:
    """Return what does not depend on the input: constants and what follows from them."""
    executor = Executor(graph, weights)
    found = {ref: each.detach() for ref, each in executor.constants.items()}
    for node in graph.nodes:
        reads = node.inputs
        if Ref(node.name) in found or not reads or any(r not in found for r in reads):
            continue
        results = run_node(node, found)
        found.update((Ref(node.name, i), each) for i, each in enumerate(results))
    return found


def build(
    graphs: Mapping[int, Graph],
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    target: Target,
    *,
    seed: int = 0,
    progress: Progress = lambda done, text: None,
) -> Built:
    """Return a network as code.

    Args:
        graphs: the network, by batch size.
        weights: by target, one set for all.
        machine: to decide for.
        target: to make code for.
        seed: of the search.
        progress: told the share that is done.

    Raises:
        UsageError: no linker is there, or it failed.
    """
    timing = timing_of(machine)
    plans: dict[int, Plan] = {}
    for batch, graph in sorted(graphs.items(), reverse=True):
        grouping = group(graph, known_values(graph, weights))
        plans[batch] = plan(graph, grouping, lanes=timing.lanes)
    tuner = _Tuner(machine, timing, target, seed, progress)
    tuned = tuner.tune(plans)
    constants: dict[str, torch.Tensor] = {}
    kernels = {work: each.chosen for work, each in tuned.items()}
    programs = {
        batch: emit(each, kernels, constants) for batch, each in plans.items()
    }
    progress(0.95, "linking")
    return Built(
        plans=plans,
        programs=programs,
        tuned=tuned,
        constants=constants,
        code=tuner.link(list(tuned.values())),
    )


class _Tuner:
    """Chooses and compiles the kernels of some plans."""

    def __init__(
        self,
        machine: Machine,
        timing: Timing,
        target: Target,
        seed: int,
        progress: Progress,
    ) -> None:
        from trimtab.compiler.tvm.lower import target_of

        self.machine, self.timing, self.seed = machine, timing, seed
        self.threads = target.threads
        self.triple = target.triple
        self.target = target_of(target.llvm_cpu, target.triple)
        self.progress = progress

    def tune(self, plans: Mapping[int, Plan]) -> dict[Any, Tuned]:
        """Return a kernel for every work.

        The largest batch chooses first; others read its packed constants where they
        read the same weights, so that these are stored once.
        """
        tuned: dict[Any, Tuned] = {}
        orders: dict[str, str] = {}
        works = [list(_packings(each)) for each in plans.values()]
        total = sum(map(len, works))
        with ThreadPoolExecutor(_WORKERS) as pool:
            for items in works:
                fresh = [
                    (work, packings) for work, packings in items if work not in tuned
                ]
                jobs = pool.map(
                    lambda item: self.one(*item),
                    (
                        (len(tuned) + index, work, packings, dict(orders))
                        for index, (work, packings) in enumerate(fresh)
                    ),
                )
                for (work, packings), found in zip(fresh, jobs, strict=True):
                    tuned[work] = found
                    for each in packings:
                        orders.setdefault(each.key, each.order(found.chosen.point))
                    self.progress(0.9 * len(tuned) / total, found.chosen.function)
        return tuned

    def one(
        self,
        index: int,
        work: Any,
        packings: Sequence[Packing],
        orders: Mapping[str, str],
    ) -> Tuned:
        """Choose and compile the kernel of one work."""
        from trimtab.compiler.tvm.link import object_of
        from trimtab.compiler.tvm.lower import compile_kernels

        ranking = rank(
            work,
            self.machine,
            threads=self.threads,
            timing=self.timing,
            seed=self.seed,
        )
        place = next(
            (
                int(place)
                for place in ranking.order
                if all(
                    each.order(ranking.points[place]) == orders[each.key]
                    for each in packings
                    if each.key in orders
                )
            ),
            int(ranking.order[0]),
        )
        point = ranking.points[place]
        family = family_of(work, point)
        name = f"{family.name}_{index}"
        sizes = {"lanes": self.timing.lanes, "threads": self.threads}
        kernel = family.kernel(work, point, **sizes, name=name)
        chosen = Chosen(
            function=name,
            point=point,
            kernel=kernel,
            scratch_bytes=4 * family.scratch(work, point, **sizes),
        )
        return Tuned(
            work=work,
            chosen=chosen,
            ranking=ranking,
            place=place,
            rejected=(),
            code=object_of(compile_kernels([kernel], self.target)),
        )

    def link(self, tuned: Sequence[Tuned]) -> Code:
        """Return all kernels as one library."""
        from trimtab.compiler.tvm.link import as_text, find_linker, signatures_of
        from trimtab.compiler.tvm.lower import compile_kernels

        kernels = [each.chosen.kernel for each in tuned]
        signatures = signatures_of(kernels)
        linker = find_linker(self.triple)
        if linker is None:
            return as_text(compile_kernels(kernels, self.target), signatures)
        return linker.link([each.code for each in tuned], signatures)


def _packings(planned: Plan) -> Iterator[tuple[Any, list[Packing]]]:
    """Yield each work once, with the constants that its tasks read."""
    found: dict[Any, list[Packing]] = {}
    for task in planned.tasks:
        if isinstance(task, Task):
            some = [each for each in task.parameters if isinstance(each, Packing)]
            found.setdefault(task.work, []).extend(some)
    yield from found.items()


assert constant_name
