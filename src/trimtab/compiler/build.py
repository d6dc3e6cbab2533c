"""A network compiled: groups, tasks, schedules, machine code, a program a batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from trimtab.compiler.emit import Chosen, emit
from trimtab.compiler.groups import group
from trimtab.compiler.model import Timing, timing_of
from trimtab.compiler.plan import Packing, Plan, Task, plan
from trimtab.compiler.reading import Reading, read
from trimtab.compiler.tune import Ranking, family_of, rank
from trimtab.compiler.tvm.link import as_text, find_linker, object_of, signatures_of
from trimtab.compiler.tvm.lower import Compiled, compile_kernels, target_of
from trimtab.graph.execute import Executor, run_node
from trimtab.graph.types import Graph, Ref
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.machine import Machine
from trimtab.runtime.program import Code, Program, Target

__all__ = ["Built", "Tuned", "build", "known_values"]

Progress = Callable[[float, str], None]

_TRIED = 4  # schedules that are compiled, while their code disappoints
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
        limits_s: named, that of arithmetic from the machine code where that was read.
        latency_s: the largest of them.
        reading: of the machine code; None where the family does without.
        rejected: other schedules that were compiled, and why not they.
        module: the kernel as TVM has it.
        code: the kernel's object file.
    """

    work: Any
    chosen: Chosen
    ranking: Ranking
    place: int
    limits_s: Mapping[str, float]
    latency_s: float
    reading: Reading | None
    rejected: tuple[tuple[Any, str], ...]
    module: Compiled
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
        self.machine, self.timing, self.seed = machine, timing, seed
        self.threads = target.threads
        self.triple = target.triple
        self.core = microarchitecture(machine.core.llvm_cpu)
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
        ranking = rank(
            work,
            self.machine,
            threads=self.threads,
            timing=self.timing,
            seed=self.seed,
        )
        fits = [
            int(place)
            for place in ranking.order
            if all(
                each.order(ranking.points[place]) == orders[each.key]
                for each in packings
                if each.key in orders
            )
        ]
        best: Tuned | None = None
        rejected: list[tuple[Any, str]] = []
        for place in _distinct(work, ranking, fits or ranking.order.tolist()):
            found = self.candidate(index, work, ranking, place)
            if best is None or found.latency_s < best.latency_s:
                best, other = found, best
            else:
                other = found
            if other is not None:
                reason = other.reading.objection() if other.reading else ""
                slower = f"predicted {1e6 * other.latency_s:.0f} us"
                rejected.append((other.chosen.point, reason or slower))
            if not (found.reading and found.reading.objection()):
                break  # the code is what the closed form meant: none will do better
        assert best is not None
        return replace(best, rejected=tuple(rejected), code=object_of(best.module))

    def candidate(self, index: int, work: Any, ranking: Ranking, place: int) -> Tuned:
        """Compile one schedule and read its machine code."""
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
        module = compile_kernels([kernel], self.target)
        limits = {name: float(each[place]) for name, each in ranking.limits_s.items()}
        reading = None
        if family.reads_code:
            reading = read(module.assembly(), self.core)
            if reading.cycles is not None and self.threads == 1:
                limits["compute"] = reading.cycles / self.timing.frequency_hz
            else:  # how much longer a product takes than the ports allow
                stretch = reading.cycles_per_fma * self.timing.fmas
                limits["compute"] *= max(1.0, stretch)
        return Tuned(
            work=work,
            chosen=chosen,
            ranking=ranking,
            place=place,
            limits_s=limits,
            latency_s=max(limits.values()),
            reading=reading,
            rejected=(),
            module=module,
            code=b"",
        )

    def link(self, tuned: Sequence[Tuned]) -> Code:
        """Return all kernels as one library."""
        kernels = [each.chosen.kernel for each in tuned]
        signatures = signatures_of(kernels)
        linker = find_linker(self.triple)
        if linker is None:
            return as_text(compile_kernels(kernels, self.target), signatures)
        return linker.link([each.code for each in tuned], signatures)


def _distinct(work: Any, ranking: Ranking, places: Sequence[int]) -> Iterator[int]:
    """Yield the best schedules whose innermost code differs, a few."""
    seen: set[object] = set()
    for place in places:
        point = ranking.points[place]
        family = family_of(work, point)
        shape = (family.name, family.shape(point))
        if shape not in seen:
            seen.add(shape)
            yield place
        if len(seen) == _TRIED or not family.reads_code:
            return


def _packings(planned: Plan) -> Iterator[tuple[Any, list[Packing]]]:
    """Yield each work once, with the constants that its tasks read."""
    found: dict[Any, list[Packing]] = {}
    for task in planned.tasks:
        if isinstance(task, Task):
            some = [each for each in task.parameters if isinstance(each, Packing)]
            found.setdefault(task.work, []).extend(some)
    yield from found.items()

