"""The measured baseline, MetaSchedule; over 400 lines to be all that knows of it.

MetaSchedule searches by itself: its sketches, its evolution, its learned cost model.
What drives the search is replaced, in its favour: by default each batch of candidates
goes to fresh processes, every one of which imports TVM, and the first time is known
when 64 candidates are built. Here they are built on threads, few at once, and timed
when those are built. Of the tasks of a network each is searched once, then always the
one that takes most of a call, as its own scheduler would.

Weights may be repacked where the function says so (``layout_free_buffers``). The clock
of a tuning is the wall, imports excluded; candidates are timed one by one, by the CPU
time of the thread that runs them. A candidate that crashes takes the process with it:
call this in one of its own, with ``TVM_NUM_THREADS=1``.

TVM 0.27. With another version of its ffi library than the pinned one a tuning context
dies of a segmentation fault.
"""

from __future__ import annotations

import importlib
import logging
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import numpy.typing as npt
import tvm
from tvm.s_tir import meta_schedule

from trimtab.errors import UsageError
from trimtab.hardware.host import read_host

__all__ = [
    "Improvement",
    "NetworkTuning",
    "Strategy",
    "Task",
    "Tuning",
    "tune",
    "tune_network",
]

Strategy = Literal["evolutionary", "replay-trace"]
"""How MetaSchedule searches: evolution under a learned model, or random schedules. The
first candidates of evolution take seconds, those of random schedules milliseconds."""

_SEARCH_SHARE_S: Final = 0.03  # of timing one candidate; its default is 0.1 s
_FINAL_SHARE_S: Final = 0.5  # of timing what it found once more
_TRIALS_PER_ROUND: Final = {
    "evolutionary": 64,  # its default
    "replay-trace": 8,  # nothing is learned from round to round: few are known sooner
}
_WORKERS: Final = 2
_MOST_AT_ONCE: Final = 16  # built before they are timed; the first two come alone
_ENDLESS: Final = 10**6
_SILENT: Final = logging.getLogger(f"{__name__}.search")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """A candidate that was faster than all before it.

    Attributes:
        at_s: when its time was known, from the start of the tuning.
        candidates: timed until then, this one included.
        searched_s: its time as the search took it.
        measured_s: the same kernel timed again when the search was over; median.
    """

    at_s: float
    candidates: int
    searched_s: float
    measured_s: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What MetaSchedule found for one kernel.

    Attributes:
        candidates: built and timed.
        failures: candidates that could not be built or run, with the reason.
        seconds: spent, the batch that was being chosen at the end included.
        trace: improvements in order of time.
    """

    candidates: int
    failures: tuple[str, ...]
    seconds: float
    trace: tuple[Improvement, ...]

    def best_s(self, within_s: float = float("inf")) -> float | None:
        """Return the time of the best kernel known by then; None where there was none.

        Example:
            >>> print(Tuning(candidates=0, failures=(), seconds=1, trace=()).best_s())
            None
        """
        times = [each.measured_s for each in self.trace if each.at_s <= within_s]
        return min(times, default=None)

    def reached_s(self, goal_s: float) -> float | None:
        """Return after how many seconds a kernel that fast was known; None if never."""
        times = [each.at_s for each in self.trace if each.measured_s <= goal_s]
        return min(times, default=None)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kernel of a network.

    Attributes:
        name: TVM's.
        weight: how often a call of the network runs it.
        tuning: of this kernel; times count from the start of the network's tuning.
    """

    name: str
    weight: int
    tuning: Tuning


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTuning:
    """What MetaSchedule found for a network.

    Attributes:
        tasks: its kernels.
        seconds: spent, the batch that was being chosen at the end included.
        latency_s: of a call with these kernels, median; None where a task has no
            candidate yet.
    """

    tasks: tuple[Task, ...]
    seconds: float
    latency_s: float | None

    @property
    def without_candidate(self) -> tuple[str, ...]:
        """Names of the tasks that have no candidate yet."""
        return tuple(each.name for each in self.tasks if not each.tuning.trace)


def tune(
    function: Any,
    *,
    llvm_cpu: str,
    seconds: float,
    strategy: Strategy = "evolutionary",
    most_candidates: int = _ENDLESS,
    goal_s: float = 0.0,
    seed: int = 1,
) -> Tuning:
    """Let MetaSchedule tune one operator for one thread.

    Args:
        function: a TIR function with static shapes, as from ``te.create_prim_func``.
        llvm_cpu: LLVM's name of the present core.
        seconds: after which no candidate counts; a batch that is being chosen then is
            chosen to its end.
        strategy: of its search.
        most_candidates: stop when that many were timed.
        goal_s: stop when the search has timed a kernel that fast.
        seed: of its search, which runs on two threads: the result varies all the same.

    Raises:
        UsageError: no time is given.
    """
    _require_time(seconds)
    _name_intrinsics()
    watch = _Watch(seconds, most_candidates, goal_s)
    _search([function], [1.0], llvm_cpu, strategy, watch, seed)
    return watch.tuning(0, watch.elapsed_s())


def tune_network(
    module: Any,
    *,
    llvm_cpu: str,
    seconds: float,
    arguments: Sequence[npt.NDArray[Any]],
    strategy: Strategy = "evolutionary",
    most_candidates: int = _ENDLESS,
    seed: int = 1,
) -> NetworkTuning:
    """Let MetaSchedule divide seconds among the kernels of a network, for one thread.

    Args:
        module: a Relax module whose function ``main`` holds its weights as constants;
            convolutions become NHWC, on which MetaSchedule is faster.
        llvm_cpu: LLVM's name of the present core.
        seconds: for all kernels together, after they have been extracted.
        arguments: of one call of ``main``.
        strategy: of its search.
        most_candidates: stop when that many were timed, all kernels together.
        seed: of its search, which runs on two threads: the result varies all the same.

    Raises:
        UsageError: no time is given.
    """
    _require_time(seconds)
    _name_intrinsics()
    target = _target(llvm_cpu)
    with target:
        module = tvm.transform.Sequential(_prepare())(module)
    extracted = meta_schedule.relax_integration.extract_tasks(module, target)
    watch = _Watch(seconds, most_candidates)
    database = _search(
        [each.dispatched[0] for each in extracted],
        [float(each.weight) for each in extracted],
        llvm_cpu,
        strategy,
        watch,
        seed,
    )
    spent_s = watch.elapsed_s()
    tasks = tuple(
        Task(
            name=str(each.task_name),
            weight=int(each.weight),
            tuning=watch.tuning(index, spent_s),
        )
        for index, each in enumerate(extracted)
    )
    latency_s = None
    if all(each.tuning.trace for each in tasks):
        latency_s = _network_latency_s(module, target, database, arguments)
    return NetworkTuning(tasks=tasks, seconds=spent_s, latency_s=latency_s)


def _require_time(seconds: float) -> None:
    if not seconds > 0:
        raise UsageError(
            f"tuning for {seconds:g} s",
            rule="the time must be positive",
            where="trimtab.compiler.tvm.metaschedule",
            remedy="give the seconds that MetaSchedule may spend",
        )


def _name_intrinsics() -> None:
    """Import the intrinsics that MetaSchedule asks for by name where there is VNNI.

    It takes twenty seconds, so not before it must be, and no clock runs yet.
    """
    if {"avx512_vnni", "avx_vnni"} & read_host(Path("/")).flags:
        importlib.import_module("tvm.s_tir.tensor_intrin")


def _target(llvm_cpu: str) -> Any:
    # One core: its schedules are parallel for the cores of the target.
    return tvm.target.Target({"kind": "llvm", "mcpu": llvm_cpu, "num-cores": 1})


class _Watch:
    """The clock of a tuning, and what was found so far by task."""

    def __init__(
        self, seconds: float, most_candidates: int = _ENDLESS, goal_s: float = 0.0
    ) -> None:
        self.seconds = seconds
        self.most_candidates = most_candidates
        self.goal_s = goal_s
        self.timed: dict[int, int] = {}
        self.failures: dict[int, list[str]] = {}
        self.found: dict[int, list[tuple[float, int, float, Callable[[], object]]]] = {}
        self.start_s = time.perf_counter()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self.start_s

    def is_over(self) -> bool:
        """Whether the time is over, or enough is found."""
        return (
            self.elapsed_s() > self.seconds
            or sum(self.timed.values()) >= self.most_candidates
            or any(found[-1][2] <= self.goal_s for found in self.found.values())
        )

    def costliest(self, weights: Sequence[float]) -> int:
        """Return the task with candidates that takes most of a call."""
        return max(self.found, key=lambda task: weights[task] * self.found[task][-1][2])

    def add(self, task: int, time_s: float, call: Callable[[], object]) -> None:
        """Note a candidate that was timed; kept is its kernel where none was faster."""
        at_s = self.elapsed_s()
        if at_s > self.seconds:
            return
        self.timed[task] = self.timed.get(task, 0) + 1
        found = self.found.setdefault(task, [])
        if not found or time_s < found[-1][2]:
            found.append((at_s, self.timed[task], time_s, call))

    def tuning(self, task: int, spent_s: float) -> Tuning:
        """Return what was found for a task, each improvement timed again."""
        return Tuning(
            candidates=self.timed.get(task, 0),
            failures=tuple(self.failures.get(task, ())),
            seconds=spent_s,
            trace=tuple(
                Improvement(
                    at_s=at_s,
                    candidates=candidates,
                    searched_s=searched_s,
                    measured_s=_median_s(call, _FINAL_SHARE_S, least=3),
                )
                for at_s, candidates, searched_s, call in self.found.get(task, ())
            ),
        )


def _search(
    functions: Sequence[Any],
    weights: Sequence[float],
    llvm_cpu: str,
    strategy: Strategy,
    watch: _Watch,
    seed: int,
) -> Any:
    """Search for all tasks until the watch ends it; return TVM's database."""
    target = _target(llvm_cpu)
    database = meta_schedule.database.MemoryDatabase()
    model = meta_schedule.cost_model.CostModel.create(
        "xgb", num_tuning_cores=_WORKERS, tree_method="auto"
    )
    _use_one_thread()
    with _few_imports(), ThreadPoolExecutor(_WORKERS) as pool:
        contexts = []
        for index, function in enumerate(functions):
            context = meta_schedule.TuneContext(
                mod=function,
                target=target,
                space_generator="post-order-apply",
                search_strategy=strategy,
                task_name=f"task{index}",
                num_threads=_WORKERS,
                rand_state=seed,
                logger=_SILENT,
            )
            spaces = context.generate_design_space()
            trials = _TRIALS_PER_ROUND[strategy]
            context.pre_tuning(_ENDLESS, trials, spaces, database, model)
            contexts.append(context)
        waiting = list(range(len(contexts)))
        while not watch.is_over() and (waiting or watch.found):
            task = waiting.pop(0) if waiting else watch.costliest(weights)
            context = contexts[task]
            candidates = context.generate_measure_candidates() or ()
            times = _time_all(pool, task, candidates, watch, target)
            result = meta_schedule.runner.RunnerResult
            results = [
                result(None, "no time") if each is None else result([each], None)
                for each in times
            ]
            workload = database.commit_workload(context.mod)
            for candidate, time_s in zip(candidates, times, strict=True):
                if time_s is not None:
                    database.commit_tuning_record(
                        meta_schedule.database.TuningRecord(
                            candidate.sch.trace,
                            workload,
                            [time_s],
                            target,
                            candidate.args_info,
                        )
                    )
            if not watch.is_over():
                context.notify_runner_results(candidates, results)
                model.update(context, candidates, results)
    return database


def _time_all(
    pool: ThreadPoolExecutor,
    task: int,
    candidates: Sequence[Any],
    watch: _Watch,
    target: Any,
) -> list[float | None]:
    """Build and time candidates until the watch ends it; None for what has no time."""
    times: list[float | None] = []
    size = _WORKERS
    while len(times) < len(candidates) and not watch.is_over():
        batch = candidates[len(times) : len(times) + size]
        futures = [pool.submit(_build, each.sch.mod, target) for each in batch]
        for each in futures:
            each.exception()  # timing starts when nothing is being built
        for each in futures:
            times.append(None)
            if watch.is_over():
                continue
            try:
                call = each.result()
                time_s = _median_s(call, _SEARCH_SHARE_S, least=1)
            except Exception as error:
                text = f"{type(error).__name__}: {error}"[:500]
                watch.failures.setdefault(task, []).append(text)
                continue
            times[-1] = time_s
            watch.add(task, time_s, call)
        size = min(2 * size, _MOST_AT_ONCE)
    return times + [None] * (len(candidates) - len(times))


def _build(module: Any, target: Any) -> Callable[[], object]:
    """Return the call of a candidate with arguments of its own."""
    arguments = meta_schedule.arg_info.ArgInfo.from_entry_func(module, True)
    remove = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(
        skip_tensor_rewrite=True
    )
    function = tvm.compile(remove(module), target=target)["main"]
    rng = np.random.default_rng(0)
    given = [
        tvm.runtime.tensor(
            rng.standard_normal([int(size) for size in each.shape], dtype=np.float32)
        )
        for each in arguments
    ]
    return lambda: function(*given)


def _prepare() -> list[Any]:
    """Return TVM's passes for tuning with weights that may be repacked."""
    relax = tvm.relax
    return [
        relax.transform.DecomposeOpsForInference(),
        relax.transform.CanonicalizeBindings(),
        relax.transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "OHWI"]}),
        relax.get_pipeline("zero"),
        relax.transform.AttachAttrLayoutFreeBuffers(),
    ]


def _network_latency_s(
    module: Any, target: Any, database: Any, arguments: Sequence[npt.NDArray[Any]]
) -> float:
    """Return how long a call takes with the kernels of the database; median."""
    relax = tvm.relax
    with target, database:
        module = tvm.transform.Sequential(
            [
                relax.transform.MetaScheduleApplyDatabase(),
                relax.transform.SplitLayoutRewritePreproc(),
                relax.transform.FoldConstant(),
            ]
        )(module)
    _use_one_thread()
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    given = [tvm.runtime.tensor(each) for each in arguments]
    return _median_s(lambda: machine["main"](*given), _FINAL_SHARE_S, least=5)


def _median_s(call: Callable[[], object], share_s: float, *, least: int) -> float:
    """Return the median CPU time of a call, after one that warms up."""
    call()
    times: list[float] = []
    while len(times) < least or (sum(times) < share_s and len(times) < 1000):
        start = time.thread_time()
        call()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def _use_one_thread() -> None:
    """Let TVM run parallel loops on the calling thread alone, from here on."""
    tvm.get_global_func("runtime.config_threadpool")(1, 1)


@contextmanager
def _few_imports() -> Iterator[None]:
    """Keep a tuning context from importing the intrinsics of every accelerator.

    They take up to fifty seconds to parse and none is for float32 on a CPU.
    """
    name = "tvm.s_tir.tensor_intrin"
    present = name in sys.modules
    if not present:
        sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        if not present:
            del sys.modules[name]
