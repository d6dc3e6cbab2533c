"""A better design within limits; over 400 lines: one search, and what it made.

What is searched is judged on graphs (`trimtab.design.variants`). What is chosen is made
of modules, captured again, and must then have the values that it was chosen for; its
weights that no edit touched are those of the network that was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from torch import nn

from trimtab.cost.latency import LatencyModel, Roofline
from trimtab.cost.verdict import Budget, Verdict
from trimtab.design.analysis import analysis_of, windows_of
from trimtab.design.blocks import blocks_of
from trimtab.design.edits import Remove, Repeat, Replace, apply, shared_modules
from trimtab.design.kernel_level import Kernels, choose
from trimtab.design.kernels import is_plain
from trimtab.design.stage_level import Organizer, organize
from trimtab.design.values import (
    Design,
    Judge,
    Values,
    excess,
    keeps,
    limits,
    pareto,
    within,
)
from trimtab.design.variants import Variant, with_blocks, with_kernels
from trimtab.errors import (
    BudgetInfeasibleError,
    GraphError,
    TrimtabError,
    UsageError,
)
from trimtab.frozen import FrozenDict
from trimtab.graph.capture import capture
from trimtab.graph.module import GraphModule
from trimtab.graph.types import Graph, Ref, TensorType
from trimtab.hardware.machine import Machine

__all__ = [
    "Level",
    "Problem",
    "Result",
    "Round",
    "Step",
    "optimize",
    "replay",
]

Round = tuple[Remove | Repeat | Replace, ...]
"""Edits of one network; those of the next round are of what they make."""

Level = Literal["stage", "kernel", "both"]
Progress = Callable[[float, str], None]
_TOLERANCE = 1e-6
_TRIED = 20  # designs, the best first, until one can be made of modules


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A network, and the limits that a better one must keep.

    Attributes:
        model: in evaluation mode; it is not changed.
        inputs: of one call.
        machine: that latencies are predicted for.
        limits: by quantity, a share of what the network has or a number, as
            `trimtab.design.values.limits` takes them.
        budget: limits in absolute numbers besides; of other quantities they are left
            to whom they concern.
        keywords: of the same call.
        level: what may change: blocks of stages, kinds of convolutions, or both.
        robust: whether a design must not lose at any exponent of the score, change no
            stage by more than half, and replace kernels only to save.
        latency: who predicts them.
        threads: of a call.
        seed: of the weights that are drawn anew.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    machine: Machine
    limits: Mapping[str, str | float | None] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    keywords: Mapping[str, Any] | None = None
    level: Level = "both"
    robust: bool = True
    latency: LatencyModel = field(default_factory=Roofline)
    threads: int = 1
    seed: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one edit bought, the edits before it made.

    Attributes:
        edit: it.
        values: with it.
        before: without it.
    """

    edit: Remove | Repeat | Replace
    values: Values
    before: Values


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """A network within its limits.

    Attributes:
        model: rewritten, in evaluation mode.
        edits: that it came of, round by round.
        before: values of the network that was given.
        after: of the rewritten one, captured again.
        verdicts: limit by limit.
        steps: what each edit bought.
        pareto: the designs that no other beats, within the limits.
        judged: designs that were looked at.
    """

    model: nn.Module
    edits: tuple[Round, ...]
    before: Values
    after: Values
    verdicts: tuple[Verdict, ...]
    steps: tuple[Step, ...]
    pareto: tuple[Design, ...]
    judged: int


def optimize(problem: Problem, progress: Progress = lambda done, text: None) -> Result:
    """Return a network with a better score within limits; the given one stays.

    Args:
        problem: the network and the limits.
        progress: told the share that is done.

    Raises:
        BudgetInfeasibleError: no edit meets a limit; the best found is with it.
        UsageError: it is a bundle, or there is no convolution of an image.

    Example:
        >>> import torch
        >>> from trimtab.hardware.load import machine
        >>> def block():
        ...     return nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), block(), block(), block()).eval()
        >>> found = optimize(
        ...     Problem(
        ...         model=net,
        ...         inputs=(torch.zeros(1, 3, 16, 16),),
        ...         machine=machine("milan"),
        ...         limits={"parameters": "0.5x"},
        ...     )
        ... )
        >>> found.after.parameters <= 0.5 * found.before.parameters
        True
    """
    model, inputs, keywords = problem.model, problem.inputs, problem.keywords
    if isinstance(model, GraphModule):
        raise UsageError(
            "a bundle to be rewritten",
            rule="edits are of modules, and a bundle is a graph",
            where="trimtab.design.optimize",
            remedy="give the network that it came from",
        )
    analysis, graph = analysis_of(model, inputs, keywords)
    judge = Judge(problem.machine, problem.latency, problem.threads)
    base = judge.values_of(analysis, judge.latency_s(_bare(model, graph)))
    search = _Search(
        problem=problem,
        outputs=[
            graph.type_of(each) for each in graph.outputs if isinstance(each, Ref)
        ],
        judge=judge,
        base=base,
        budget=_tighter(limits(base, problem.limits), problem.budget),
    )
    designs = [Design(edits=(), values=base)]
    runs = _RUNS[problem.level]
    for number, (order, shared) in enumerate(runs):

        def told(done: float, text: str, number: int = number) -> None:
            progress((number + done) / len(runs), text)

        designs += search.run(order, shared, told)
    allowed = [each for each in designs if within(search.budget, each.values)]
    kept = [each for each in allowed if search.keeps(each.values)]
    if not kept:
        raise _infeasible(search, designs, allowed)
    made, best, after = search.made(kept)
    return Result(
        model=made,
        edits=best.edits,
        before=base,
        after=after,
        verdicts=search.budget.judge(after.as_dict()),
        steps=tuple(search.steps(best)),
        pareto=pareto(kept),
        judged=len({each.edits for each in designs}),
    )


def _tighter(one: Budget, other: Budget) -> Budget:
    """Return the smaller of two limits, for the quantities that a design can change."""
    found: dict[str, Any] = {}
    for name in ("parameters", "multiply_adds", "latency_s"):
        both = (getattr(one, name), getattr(other, name))
        given = [each for each in both if each is not None]
        if given:
            found[name] = min(given)
    return Budget(**found)


def replay(model: nn.Module, edits: Sequence[Round], *, seed: int = 0) -> nn.Module:
    """Return a copy of a network with rounds of edits made, in evaluation mode.

    The paths of a round are those of the network that the rounds before have made.
    """
    made = model
    for each in edits:
        made = apply(made, each, seed=seed)
    return made.eval()


_RUNS: Mapping[Level, tuple[tuple[tuple[str, ...], bool], ...]] = {
    "stage": ((("stage",), False),),
    "kernel": ((("kernel",), False),),
    "both": tuple(
        (order, shared)
        for order in (("kernel", "stage"), ("stage", "kernel"))
        for shared in (False, True)
    ),
}
# What cheaper kernels save the stages may spend, or the other way round; the first goes
# all the way to the limits, or they share what must be saved.


def _bare(model: nn.Module, graph: Graph) -> Variant:
    return Variant(graph=graph, windows=FrozenDict(windows_of(model)))


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """A search within one budget."""

    problem: Problem
    outputs: list[TensorType]
    judge: Judge
    base: Values
    budget: Budget
    known: dict[tuple[Round, ...], dict[tuple[Replace, ...], Design | None]] = field(
        default_factory=dict
    )

    def graph_of(self, model: nn.Module) -> Graph:
        """Return the graph of a network that takes the inputs of the problem."""
        return capture(model, self.problem.inputs, self.problem.keywords)

    def keeps(self, values: Values) -> bool:
        """Whether a design may be offered, whatever it costs."""
        return keeps(values, self.base, robust=self.problem.robust)

    def run(
        self, order: Sequence[str], shared: bool, progress: Progress
    ) -> list[Design]:
        """Return all designs of searches one behind the other, each from the best."""
        rounds: tuple[Round, ...] = ()
        found: list[Design] = []
        for number, level in enumerate(order):
            last = number + 1 == len(order)
            budget = self._half_way() if shared and not last else self.budget
            at = self._edited(rounds)
            graph = self.graph_of(at)

            def told(done: float, text: str, number: int = number) -> None:
                progress((number + done) / len(order), text)

            replaced = {
                edit.module
                for edits in rounds
                for edit in edits
                if isinstance(edit, Replace)
            }
            designs = [
                Design(
                    edits=(*rounds, *each.edits)
                    if each.edits[0:1] != ((),)
                    else rounds,
                    values=each.values,
                )
                for each in (
                    self._stages(at, graph, budget, told, replaced)
                    if level == "stage"
                    else self._kernels(at, graph, budget, told, rounds)
                )
            ]
            found += designs
            # The next search goes on from what is nearest to the limits, then best.
            best = min(
                designs,
                key=lambda each: (
                    excess(budget, each.values),
                    not self.keeps(each.values),
                    -each.values.score,
                ),
                default=None,
            )
            if best is not None:
                rounds = best.edits
        return found

    def _half_way(self) -> Budget:
        """Return limits that leave the next level as large a share to save."""
        found: dict[str, Any] = {}
        for each in self.budget.judge(self.base.as_dict()):
            limit = each.limit if each.fits else math.sqrt(each.limit * each.value)
            found[each.name] = limit if each.unit == "s" else round(limit)
        return Budget(**found)

    def _edited(self, rounds: Sequence[Round]) -> nn.Module:
        model = self.problem.model
        return replay(model, rounds, seed=self.problem.seed) if rounds else model

    def _stages(
        self,
        model: nn.Module,
        graph: Graph,
        budget: Budget,
        progress: Progress,
        replaced: set[str],
    ) -> list[Design]:
        groups = blocks_of(model, graph)
        if not groups:
            return []
        movable: dict[str, list[int]] = {}
        for number, group in enumerate(groups):
            movable.setdefault(group.container, []).append(number)
        # Of containers that hold nothing else one block stays.
        fixed = {
            numbers[0]
            for container, numbers in movable.items()
            if len(list(model.get_submodule(container).children()))
            == sum(len(b.paths) for number in numbers for b in groups[number].blocks)
        }
        bare = _bare(model, graph)
        organizer = Organizer(
            bare=bare,
            groups=groups,
            fixed=frozenset(fixed),
            replaced=frozenset(
                number
                for number, group in enumerate(groups)
                if any(
                    f"{path}.".startswith(f"{block}.")
                    for path in replaced
                    for each in group.blocks
                    for block in each.paths
                )
            ),
            judge=self.judge,
            base=self.judge.values(bare),
            budget=budget,
            robust=self.problem.robust,
        )
        return organize(organizer, progress)

    def _kernels(
        self,
        model: nn.Module,
        graph: Graph,
        budget: Budget,
        progress: Progress,
        rounds: tuple[Round, ...],
    ) -> list[Design]:
        modules = _replaceable(model, graph)
        if not modules:
            return []
        bare = _bare(model, graph)
        kernels = Kernels(
            bare=bare,
            modules=modules,
            judge=self.judge,
            base=self.judge.values(bare),
            budget=budget,
            robust=self.problem.robust,
            known=self.known.setdefault(rounds, {}),
        )
        return choose(kernels, progress)

    def made(self, designs: Sequence[Design]) -> tuple[nn.Module, Design, Values]:
        """Return the best design that can be made of modules, and its values.

        Code that asks for its blocks by number, or for all of their results, may not
        do with fewer or more: then the next best is tried, and those that leave all
        blocks as they are.

        Raises:
            TrimtabError: none of the best can be made.
        """
        ranked = sorted(designs, key=lambda each: -each.values.score)
        still = [
            each
            for each in ranked
            if all(isinstance(edit, Replace) for some in each.edits for edit in some)
        ]
        ranked = [*ranked[:_TRIED], *still[:_TRIED]]
        failed: TrimtabError | None = None
        for best in ranked:
            try:
                made = replay(self.problem.model, best.edits, seed=self.problem.seed)
                return made, best, self.confirmed(made, best)
            except TrimtabError as error:
                failed = failed or error
        assert failed is not None
        raise failed

    def confirmed(self, made: nn.Module, design: Design) -> Values:
        """Return the values of a network that was made, captured again.

        Raises:
            GraphError: they are not those that it was chosen for, or its outputs have
                other shapes.
        """
        analysis, graph = analysis_of(made, self.problem.inputs, self.problem.keywords)
        outputs = [
            graph.type_of(each) for each in graph.outputs if isinstance(each, Ref)
        ]
        if outputs != self.outputs:
            raise GraphError(
                f"a rewritten network with outputs of {_shapes(outputs)}",
                rule=f"those of the given one are {_shapes(self.outputs)}",
                where="trimtab.design.search",
                remedy="its code may ask for its blocks by number: leave them alone",
            )
        values = self.judge.values_of(
            analysis, self.judge.latency_s(_bare(made, graph))
        )
        wanted = design.values
        if (
            values.parameters != wanted.parameters
            or values.multiply_adds != wanted.multiply_adds
            or abs(values.score - wanted.score) > _TOLERANCE
        ):
            raise GraphError(
                f"a rewritten network with {values}",
                rule=f"it was chosen for {wanted}",
                where="trimtab.design.search",
                remedy="report it with the network; `--level stage` may do without",
            )
        return values

    def steps(self, design: Design) -> Iterator[Step]:
        """Yield what each edit bought, in their order."""
        before = self.base
        for number, edits in enumerate(design.edits):
            at = self._edited(design.edits[:number])
            graph = self.graph_of(at)
            bare = _bare(at, graph)
            nodes = {
                path: each.nodes
                for group in blocks_of(at, graph)
                for each in group.blocks
                for path in each.paths
            }
            for count in range(1, len(edits) + 1):
                now = self.judge.values(variant_of(bare, edits[:count], nodes))
                yield Step(edit=edits[count - 1], values=now, before=before)
                before = now


def variant_of(
    bare: Variant, edits: Round, nodes: Mapping[str, tuple[str, ...]]
) -> Variant:
    """Return a graph with a round of edits.

    Args:
        bare: without them.
        edits: of modules of its network.
        nodes: of each module of a block, by path: those of the whole block.
    """
    times: dict[tuple[str, ...], int] = {}
    for edit in edits:
        if isinstance(edit, Remove):
            times[nodes[edit.modules[0]]] = 0
        elif isinstance(edit, Repeat):
            times[nodes[edit.modules[0]]] = 1 + edit.times
    kernels = [each for each in edits if isinstance(each, Replace)]
    return with_kernels(with_blocks(bare, times), kernels)


def _replaceable(model: nn.Module, graph: Graph) -> dict[str, nn.Conv2d]:
    """Return the convolutions that may be replaced: not the first, none with hooks."""
    called = [node.module for node in graph.nodes if node.op.startswith("aten.conv2d")]
    found: dict[str, nn.Conv2d] = {}
    shared = shared_modules(model)
    for path in dict.fromkeys(called[1:]):
        if path == called[0]:
            continue
        module = model.get_submodule(path)
        if isinstance(module, nn.Conv2d) and is_plain(module) and path not in shared:
            found[path] = module
    return found


def _shapes(types: Sequence[TensorType]) -> str:
    return ", ".join("x".join(map(str, each.shape)) for each in types)


def _infeasible(
    search: _Search, designs: Sequence[Design], allowed: Sequence[Design]
) -> BudgetInfeasibleError:
    """Return the error that names the binding limit and the nearest design."""
    best = min(designs, key=lambda each: excess(search.budget, each.values))
    verdicts = search.budget.judge(best.values.as_dict())
    worst = max(verdicts, key=lambda each: each.value / each.limit)
    if allowed:
        best = max(allowed, key=lambda each: each.values.score)
        return BudgetInfeasibleError(
            "a design that loses at no exponent of the score, with no more layers in "
            "line"
            if search.problem.robust
            else "a design with no more layers in line",
            rule=f"{len(allowed)} of {len(designs)} keep the limits, the best of them "
            f"with a score of {best.values.score:.3f} in place of "
            f"{search.base.score:.3f}",
            where="trimtab.design, robust mode",
            remedy="loosen a limit, or give --free",
            best=best,
            binding="score",
        )
    return BudgetInfeasibleError(
        "a design within the limits",
        rule=str(worst),
        where=f"the nearest of {len(designs)} designs",
        remedy="loosen that limit, or let both levels change",
        best=best,
        binding=worst.name,
    )
