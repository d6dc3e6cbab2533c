"""A network compiled; over 400 lines: records of it, and one tuner."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as Tasks
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, final

import torch

from trimtab.compiler.defaults import defaults_of, functions_of
from trimtab.compiler.emit import Chosen, constant_name, emit
from trimtab.compiler.fallback import Default, Operator
from trimtab.compiler.groups import group
from trimtab.compiler.keys import key_of, sources_digest
from trimtab.compiler.model import Timing, timing_of
from trimtab.compiler.plan import plan
from trimtab.compiler.reading import read
from trimtab.compiler.tasks import FallbackTask, Packing, Plan, Task
from trimtab.compiler.tune import Family, Ranking, families_of, family_of, rank
from trimtab.compiler.tvm.link import as_text, find_linker, object_of, signatures_of
from trimtab.compiler.tvm.lower import Compiled, compile_kernels, target_of
from trimtab.errors import ExecutionError
from trimtab.graph.execute import Executor, run_node
from trimtab.graph.operators import OPERATORS
from trimtab.graph.operators import Family as Kind
from trimtab.graph.types import Graph, Node, Ref
from trimtab.hardware.cores import microarchitecture
from trimtab.hardware.machine import Machine
from trimtab.runtime.cache import Cache
from trimtab.runtime.program import Code, Program, Target
from trimtab.runtime.store import versions
from trimtab.units import format_duration

__all__ = ["Built", "Tuned", "assess", "build", "known_values"]

Progress = Callable[[float, str], None]

_TRIED = 4  # schedules that are compiled, while their code disappoints
_AS_MEANT = 1.02  # of the time by the closed form: what its rounding may add
_WORKERS = 2  # code generation releases the interpreter; more than the cores wait


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """How one work came to its kernel.

    Attributes:
        work: what it computes.
        chosen: the kernel.
        family: of the schedule.
        limits_s: named, that of arithmetic from the machine code where that was read.
        latency_s: the largest of them.
        judged: schedules that were compared.
        objection: what the machine code of this one is not; empty if it is as meant.
        rejected: other schedules that were compiled, in words, and why not they.
        code: the kernel's object file.
    """

    work: Any
    chosen: Chosen
    family: str
    limits_s: Mapping[str, float]
    latency_s: float
    judged: int
    objection: str
    rejected: tuple[tuple[Mapping[str, Any], str], ...]
    code: bytes


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A network as code.

    Attributes:
        plans: the tasks, by batch size.
        programs: to run, by batch size.
        tuned: kernels, by work.
        defaults: what became of operators that no family computes.
        constants: packed, by name, of all batch sizes.
        code: the library.
        winograd: whether a convolution could be one of Winograd's.
    """

    plans: Mapping[int, Plan]
    programs: Mapping[int, Program]
    tuned: Mapping[Any, Tuned]
    defaults: Mapping[Operator, Default]
    constants: Mapping[str, torch.Tensor]
    code: Code
    winograd: bool = True


def known_values(
    graph: Graph, weights: Mapping[str, torch.Tensor]
) -> dict[Ref, torch.Tensor]:
    """Return what does not depend on the input: constants, what follows from them."""
    executor = Executor(graph, weights)
    found = {ref: each.detach() for ref, each in executor.constants.items()}
    for node in graph.nodes:
        if Ref(node.name) in found or any(ref not in found for ref in node.inputs):
            continue
        if not node.inputs and not _is_fixed(node):
            continue
        results = run_node(node, found)
        found.update((Ref(node.name, i), each) for i, each in enumerate(results))
    return found


def _packed(
    plans: Iterable[Plan], kernels: Mapping[Any, Chosen]
) -> dict[str, torch.Tensor]:
    """Return all constants in the orders that kernels read, made side by side."""
    wanted: dict[str, tuple[Packing, Any]] = {}
    for each in plans:
        for task in each.tasks:
            if not isinstance(task, Task):
                continue
            point = kernels[task.work].point
            for value in task.parameters:
                if isinstance(value, Packing):
                    wanted.setdefault(constant_name(value, point), (value, point))
    with ThreadPoolExecutor(_WORKERS) as pool:
        made = pool.map(lambda pair: pair[0].make(pair[1]), wanted.values())
        return dict(zip(wanted, made, strict=True))


def assess(
    work: Any,
    points: Sequence[Any],
    machine: Machine,
    target: Target,
    *,
    cold: bool = True,
) -> list[float]:
    """Return the predicted times of schedules, assembly read where the family does.

    It is what decides between the few best when a network is compiled.

    Args:
        work: what they compute.
        points: schedules.
        machine: that runs them.
        target: their code is for.
        cold: whether weights have left the caches since the last call.
    """
    tuner = _Tuner(
        machine, timing_of(machine), target, 0, None, lambda done, text: None
    )
    ranking = rank(
        work,
        machine,
        threads=target.threads,
        timing=tuner.timing,
        points=points,
        cold=cold,
    )
    return [
        tuner.candidate(work, "0" * 64, ranking, place).latency_s
        for place in range(len(points))
    ]


def _is_fixed(node: Node) -> bool:
    """Whether an operator without inputs gives the same at every call."""
    return OPERATORS[node.op].family is Kind.CREATE and not any(
        word in node.op for word in ("rand", "empty", "bernoulli")
    )


def build(
    graphs: Mapping[int, Graph],
    weights: Mapping[str, torch.Tensor],
    machine: Machine,
    target: Target,
    *,
    seed: int = 0,
    cache: Cache | None = None,
    winograd: bool = True,
    executor: Tasks | None = None,
    progress: Progress = lambda done, text: None,
) -> Built:
    """Return a network as code.

    Args:
        graphs: the network, by batch size.
        weights: by target, one set for all.
        machine: to decide for.
        target: to make code for.
        seed: of the search.
        cache: where schedules and code of earlier calls are looked for and kept.
        winograd: whether a convolution may be one of Winograd's.
        executor: that kernels are chosen and compiled by, such as a cluster's; threads
            of this process by default.
        progress: told the share that is done.

    Raises:
        UsageError: no linker is there, or it failed.
    """
    timing = timing_of(machine)
    plans: dict[int, Plan] = {}
    for batch, graph in sorted(graphs.items(), reverse=True):
        grouping = group(graph, known_values(graph, weights))
        plans[batch] = plan(graph, grouping, lanes=timing.lanes)
    tuner = _Tuner(
        machine, timing, target, seed, cache, progress, winograd=winograd,
        executor=executor,
    )  # fmt: skip
    tuned = tuner.tune(plans)
    progress(0.9, "default schedules")
    defaults = defaults_of(_operators(plans), machine, timing, target, cache=cache)
    progress(0.92, "packing constants")
    kernels = {work: each.chosen for work, each in tuned.items()}
    constants = _packed(plans.values(), kernels)
    programs = {
        batch: emit(each, kernels, constants, defaults) for batch, each in plans.items()
    }
    progress(0.95, "linking")
    return Built(
        plans=plans,
        programs=programs,
        tuned=tuned,
        defaults=defaults,
        constants=constants,
        code=tuner.link(list(tuned.values()), defaults),
        winograd=winograd,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A schedule that was compiled."""

    chosen: Chosen
    limits_s: Mapping[str, float]
    latency_s: float
    objection: str
    module: Compiled


def _record(tuned: Tuned) -> dict[str, Any]:
    """Return what the cache keeps of a kernel."""
    return {
        "family": tuned.family,
        "point": dict(tuned.chosen.point._asdict()),
        "limits_s": dict(tuned.limits_s),
        "latency_s": tuned.latency_s,
        "judged": tuned.judged,
        "objection": tuned.objection,
        "rejected": [[dict(point), reason] for point, reason in tuned.rejected],
    }


class _Tuner:
    """Chooses and compiles the kernels of some plans."""

    def __init__(
        self,
        machine: Machine,
        timing: Timing,
        target: Target,
        seed: int,
        cache: Cache | None,
        progress: Progress,
        *,
        winograd: bool = True,
        executor: Tasks | None = None,
    ) -> None:
        self.cache, self.executor, self.whole = cache, executor, target
        self.winograd = winograd
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
                jobs = [
                    self.begun(pool, work, packings, dict(orders))
                    for work, packings in fresh
                ]
                for (work, packings), job in zip(fresh, jobs, strict=True):
                    found = job()
                    tuned[work] = found
                    for each in packings:
                        orders.setdefault(each.key, each.order(found.chosen.point))
                    self.progress(0.9 * len(tuned) / total, found.chosen.function)
        return tuned

    def begun(
        self,
        pool: ThreadPoolExecutor,
        work: Any,
        packings: Sequence[Packing],
        orders: Mapping[str, str],
    ) -> Callable[[], Tuned]:
        """Begin to choose and compile the kernel of one work; return who waits for it.

        It may be in the cache.
        """
        # What it must keep to: other batch sizes read the same packed constants.
        fixed = [
            (each.order, orders[each.key]) for each in packings if each.key in orders
        ]
        wanted = sorted({each for _, each in fixed})
        key = key_of(
            repr(work),
            machine=self.machine,
            versions=versions(),
            what=f"{self.triple} threads {self.threads} seed {self.seed} {wanted}"
            f"{'' if self.winograd else ' without winograd'}",
        )
        found = self.cached(work, key)
        if found is not None:
            return lambda: found
        if self.executor is None:
            return pool.submit(
                lambda: self.kept(key, self.search(work, key, fixed))
            ).result
        asked = _Asked(
            work=work, key=key, fixed=fixed, machine=self.machine, target=self.whole,
            seed=self.seed, winograd=self.winograd, made_by=_made_by(),
        )  # fmt: skip
        coming = self.executor.submit(_searched, asked)
        return lambda: self.kept(key, self.restored(work, key, *coming.result()))

    def kept(self, key: str, made: Tuned) -> Tuned:
        """Keep a kernel in the cache, and return it."""
        if self.cache is not None:
            self.cache.put(key, _record(made))
            self.cache.put_blob(key, made.code)
        return made

    def cached(self, work: Any, key: str) -> Tuned | None:
        """Return what was found before."""
        if self.cache is None:
            return None
        record, code = self.cache.get(key), self.cache.get_blob(key)
        if record is None or code is None:
            return None
        return self.restored(work, key, record, code)

    def restored(
        self, work: Any, key: str, record: Mapping[str, Any], code: bytes
    ) -> Tuned:
        """Return a kernel of what is kept of it."""
        family = next(
            each for each in families_of(work) if each.name == record["family"]
        )
        return Tuned(
            work=work,
            chosen=self.chosen(work, family, family.point(**record["point"]), key),
            family=family.name,
            limits_s=record["limits_s"],
            latency_s=record["latency_s"],
            judged=record["judged"],
            objection=record["objection"],
            rejected=tuple((point, reason) for point, reason in record["rejected"]),
            code=code,
        )

    def chosen(self, work: Any, family: Family, point: Any, key: str) -> Chosen:
        """Return the kernel of a schedule; its name says what it computes."""
        sizes = {"lanes": self.timing.lanes, "threads": self.threads}
        name = f"{family.name}_{key[:12]}"
        return Chosen(
            function=name,
            point=point,
            kernel=family.kernel(work, point, **sizes, name=name),
            scratch_bytes=4 * family.scratch(work, point, **sizes),
        )

    def search(
        self,
        work: Any,
        key: str,
        fixed: Sequence[tuple[Callable[[Any], str], str]],
    ) -> Tuned:
        """Choose and compile the kernel of one work.

        Args:
            work: what it computes.
            key: of the result.
            fixed: orders of its constants, and what they have to be.
        """
        ranking = rank(
            work,
            self.machine,
            threads=self.threads,
            timing=self.timing,
            seed=self.seed,
            winograd=self.winograd,
        )
        fits = [
            int(place)
            for place in ranking.order
            if all(order(ranking.points[place]) == each for order, each in fixed)
        ]
        best: _Candidate | None = None
        rejected: list[tuple[Mapping[str, Any], str]] = []
        for place in _distinct(work, ranking, fits or ranking.order.tolist()):
            found = self.candidate(work, key, ranking, place)
            if best is None:
                best = found
            else:
                better = _price(found) < _price(best)
                worse, best = (best, found) if better else (found, best)
                slower = f"predicted {format_duration(worse.latency_s)}"
                rejected.append(
                    (worse.chosen.point._asdict(), worse.objection or slower)
                )
            meant = max(ranking.limits(place).values())
            if not found.objection and found.latency_s <= _AS_MEANT * meant:
                break  # the code is what the closed form meant: none will do better
        assert best is not None
        return Tuned(
            work=work,
            chosen=best.chosen,
            family=family_of(work, best.chosen.point).name,
            limits_s=best.limits_s,
            latency_s=best.latency_s,
            judged=len(ranking.points),
            objection=best.objection,
            rejected=tuple(rejected),
            code=object_of(best.module),
        )

    def candidate(
        self, work: Any, key: str, ranking: Ranking, place: int
    ) -> _Candidate:
        """Compile one schedule and read its machine code."""
        point = ranking.points[place]
        family = family_of(work, point)
        chosen = self.chosen(work, family, point, key)
        module = compile_kernels([chosen.kernel], self.target)
        limits = ranking.limits(place)
        objection = ""
        if family.reads_code:
            reading = read(module.assembly(), self.core)
            objection = reading.objection()
            clock = self.timing.frequency_hz
            if reading.cycles is not None and self.threads == 1:
                exits = ranking.parts["exits_s"][place]
                limits = ranking.with_compute(
                    place, float(reading.cycles / clock + exits)
                )
            elif reading.cycles_per_fma:
                # The code does not say how often its loops run; the schedule does.
                inside = ranking.parts["products"][place] * reading.cycles_per_fma
                around = ranking.parts["around_s"][place]
                if reading.stores_inside:  # what the nest has around a tile is in it
                    around = around - ranking.parts["outside_s"][place]
                limits = ranking.with_compute(place, float(inside / clock + around))
        return _Candidate(
            chosen=chosen,
            limits_s=limits,
            latency_s=max(limits.values()),
            objection=objection,
            module=module,
        )

    def link(
        self, tuned: Sequence[Tuned], defaults: Mapping[Operator, Default]
    ) -> Code:
        """Return all kernels as one library."""
        kernels = [each.chosen.kernel for each in tuned]
        others = [each for each in defaults.values() if each.function]
        signatures = signatures_of(kernels)
        signatures.update((each.function, each.parameter_bytes) for each in others)
        linker = find_linker(self.triple)
        if linker is None:
            functions = functions_of(defaults, self.threads)
            return as_text(compile_kernels(kernels, self.target, functions), signatures)
        codes = [*(each.code for each in tuned), *(each.code for each in others)]
        return linker.link(codes, signatures)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A work whose kernel another process is to choose and compile."""

    work: Any
    key: str
    fixed: Sequence[tuple[Callable[[Any], str], str]]
    machine: Machine
    target: Target
    seed: int
    winograd: bool
    made_by: Mapping[str, str]


def _made_by() -> dict[str, str]:
    """Return what decides beside the work and the machine."""
    return {**versions(), "sources": sources_digest()}


def _searched(asked: _Asked) -> tuple[dict[str, Any], bytes]:
    """Return what is kept of a kernel, and its code; in another process.

    Raises:
        ExecutionError: it has other versions, and would make other code.
    """
    mine = _made_by()
    if mine != asked.made_by:
        other = sorted(name for name in mine if mine[name] != asked.made_by.get(name))
        raise ExecutionError(
            f"a kernel on {platform.node() or 'another machine'}",
            rule=f"it has another version of {', '.join(other)} than who asks",
            where="--cluster",
            remedy="install the same versions on all machines",
        )
    timing = timing_of(asked.machine)
    tuner = _Tuner(
        asked.machine, timing, asked.target, asked.seed, None,
        lambda done, text: None, winograd=asked.winograd,
    )  # fmt: skip
    made = tuner.search(asked.work, asked.key, asked.fixed)
    return _record(made), made.code


def _price(candidate: _Candidate) -> float:
    """Return the time that candidates are compared by.

    Of two that some other limit holds up alike, that is taken whose code is what was
    meant: what is wrong with the other may cost more than reading it tells.
    """
    return candidate.latency_s * (_AS_MEANT if candidate.objection else 1.0)


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


def _operators(plans: Mapping[int, Plan]) -> Iterator[Operator]:
    """Yield what no family computes."""
    for planned in plans.values():
        for task in planned.tasks:
            if isinstance(task, FallbackTask) and task.operator is not None:
                yield task.operator


def _packings(planned: Plan) -> Iterator[tuple[Any, list[Packing]]]:
    """Yield each work once, with the constants that its tasks read."""
    found: dict[Any, list[Packing]] = {}
    for task in planned.tasks:
        if isinstance(task, Task):
            some = [each for each in task.parameters if isinstance(each, Packing)]
            found.setdefault(task.work, []).extend(some)
    yield from found.items()
