"""From data to a posterior over schemes; over 400 lines: rungs, restarts, shortlists.

Successive halving: every scheme is trained for a part of its steps, those far behind
are given up, the others trained on, the best two again from other starts. Held-out
likelihood checks what evidence says. A family too large for that is cut to a shortlist
by one training with a gate for each generator.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import torch

from trimtab.bundle.stage import Data
from trimtab.errors import DataError, UsageError
from trimtab.symmetry.evidence.elbo import elbo_fit
from trimtab.symmetry.evidence.heldout import Heldout, heldout
from trimtab.symmetry.evidence.laplace import Training, last_layer
from trimtab.symmetry.gates import Relaxed, relax
from trimtab.symmetry.network import Symmetric, retie, tied, verify
from trimtab.symmetry.posterior import Judged, Member, Posterior, contradicted
from trimtab.symmetry.schemes import Scheme
from trimtab.symmetry.train import Recipe, map_fit, prepared

__all__ = ["STEPS", "Search", "Way", "fit"]

Way = Literal["laplace", "elbo", "heldout"]
Progress = Callable[[float, str], None]

STEPS: Final[Mapping[str, int]] = {"laplace": 1200, "elbo": 5000, "heldout": 1200}
"""Of a training, by the way to compare: a bound ranks nothing until it converges."""

_FIRST: Final = 1 / 3  # of the steps, before anything is given up
_LASTS: Final = 0.6  # of what prior and volume cost then: precisions have yet to adapt
_MARGIN: Final = 0.15  # nats an example that a scheme may be behind then
_LEAST_MARGIN: Final = 30.0  # nats
_LEAST_KEPT: Final = 3
_RUNG: Final = 300  # examples of a block then
_MOST_ENTRIES: Final = 500_000_000  # of the derivatives of a block
_MOST_SEED: Final = 2**62  # starts and rounds add to it
_GATES: Final = 0.1  # of the work, where a family is put to gates
_HELD: Final = 0.5  # of the steps, for what is held out as a check


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a family is searched.

    Attributes:
        recipe: of each training.
        halving: whether schemes far behind are given up early.
        restarts: starts of the best two schemes.
        folds: parts of the examples, at least 2; one of them is held out as a check,
            all of them where held-out likelihood is the evidence.
        most_rows: of an exact determinant: examples times (classes - 1), or values of
            the scheme that shares nothing if these are fewer. With more, blocks of
            examples as large as this bound it, of every scheme the same ones, and so
            where rows times values are above 500 million. The matrix of 12,000 rows
            takes 2 GB, the derivatives it is made of 2 GB more.
        enumerated: schemes that are compared one by one. A family of more is first put
            to one training with a gate for each generator (`trimtab.symmetry.relax`);
            a search from what that says trains so many at most.

    Raises:
        UsageError: a number outside of its limits.
    """

    recipe: Recipe = field(default_factory=Recipe)
    halving: bool = True
    restarts: int = 2
    folds: int = 5
    most_rows: int = 12_000
    enumerated: int = 16

    def __post_init__(self) -> None:
        limits = ("restarts", 1), ("folds", 2), ("most_rows", 1), ("enumerated", 2)
        for name, least in limits:
            if getattr(self, name) < least:
                raise UsageError(
                    f"`Search({name}=...)` of {getattr(self, name)}",
                    rule=f"it must be at least {least}",
                    where="trimtab.symmetry",
                    remedy="give a larger number",
                )

    def block(self, network: Symmetric, data: Data) -> int | None:
        """Return the examples of a block; None where determinants are exact.

        Bounds are not compared with exact determinants: it is one for all schemes.

        Args:
            network: as `fit` takes it, tied by the scheme that shares nothing.
            data: that it learns.
        """
        count = len(data.train[0])
        rows = count * max(1, int(data.train[1].max()))
        free = sum(math.prod(each.shape) for _, each in tied(network))
        if min(rows, free) <= self.most_rows and rows * free <= _MOST_ENTRIES:
            return None
        most = min(self.most_rows, _MOST_ENTRIES // free)
        return max(1, most * count // rows)


def fit(
    network: Symmetric,
    data: Data,
    *,
    evidence: Way = "laplace",
    seed: int = 0,
    search: Search | None = None,
    progress: Progress = lambda done, text: None,
) -> Posterior:
    """Return a posterior over the schemes of a network's family.

    The global random state of torch is the same afterwards as before.

    Args:
        network: of tied layers; it is not changed.
        data: inputs (n, ...) and classes; only its training part is used.
        evidence: ``laplace``, ``elbo`` or ``heldout``, see `trimtab.symmetry.evidence`.
        seed: of everything random; equal seeds give equal results.
        search: how the family is searched; by default with `STEPS` of each training.
        progress: told the share that is done.

    Raises:
        UsageError: the network is not invariant where a scheme says so, an unknown
            way, or a family too large for both enumeration and gates.
        DataError: examples of another shape than the network takes.

    Example:
        >>> from trimtab.symmetry.backbone import tied_mlp
        >>> from trimtab.symmetry.schemes import flips
        >>> from trimtab.training.data import Dataset
        >>> x, y = torch.randn(20, 1, 4, 4), torch.arange(20) % 2
        >>> data = Dataset(name="noise", train=(x, y), test=(x, y), classes=2)
        >>> net = tied_mlp(flips(), (1, 4, 4), 2, channels=4)
        >>> found = fit(net, data, search=Search(recipe=Recipe(steps=8, rounds=2)))
        >>> round(sum(found.probabilities), 6)
        1.0
    """
    search = search or Search(recipe=Recipe(steps=STEPS.get(evidence, 1)))
    if evidence not in ("laplace", "elbo", "heldout"):
        raise UsageError(
            f"evidence {evidence!r}",
            rule="known are laplace, elbo, heldout",
            where="trimtab.symmetry.fit",
            remedy="choose one of these",
        )
    _check(network, data, seed)
    if evidence == "elbo" and search.recipe.steps < STEPS["elbo"]:
        warnings.warn(
            f"a variational bound with {search.recipe.steps} steps ranks schemes by "
            f"how fast they learn: give {STEPS['elbo']} or more",
            UserWarning,
            stacklevel=2,
        )
    with torch.random.fork_rng(devices=[]):
        return _Fit(network, data, evidence, seed, search, progress).posterior()


def _check(network: Symmetric, data: Data, seed: int) -> None:
    if not 0 <= seed < _MOST_SEED:
        raise UsageError(
            f"seed {seed}",
            rule="it is at least 0 and below 2^62",
            where="trimtab.symmetry.fit",
            remedy="give a smaller one",
        )
    if not network.family.generators:
        raise UsageError(
            f"a family of {len(network.family.schemes)} schemes of "
            f"{network.family.group.name}",
            rule="there is nothing that some of them have and others have not",
            where="trimtab.symmetry.fit",
            remedy="give a family with at least one subgroup to learn of",
        )
    shape = tuple(data.train[0].shape[1:])
    if shape != network.shape:
        raise DataError(
            f"examples of shape {shape}",
            rule=f"the network takes {network.shape}",
            where=f"data {data.name!r}",
            remedy="build the network for this shape",
        )
    if int(data.train[1].min()) == int(data.train[1].max()):
        raise DataError(
            f"{len(data.train[0])} examples of class {int(data.train[1][0])} alone",
            rule="what holds for one class says nothing of telling classes apart",
            where=f"data {data.name!r}",
            remedy="give examples of at least two classes",
        )
    for scheme in network.family.schemes:
        verify(retie(network, scheme, seed=0), data.train[0][:4])


class _Run:
    """One scheme from one start, trained in two parts.

    Attributes:
        seed: of its start.
    """

    def __init__(self, job: _Fit, scheme: Scheme, start: int) -> None:
        self.job, self.scheme, self.start = job, scheme, start
        self.seed = job.seed + 1000 * start
        self.network = retie(job.network, scheme, seed=self.seed)
        self.training: Training | None = None
        self.first: Member | None = None

    def member(self, *, whole: bool) -> Member:
        """Train the first part of the steps, or all of them; return what it led to."""
        if whole:
            return self._member(whole=True)
        if self.first is None:
            self.first = self._member(whole=False)
        return self.first

    def _member(self, *, whole: bool) -> Member:
        job, recipe = self.job, self.job.search.recipe
        told = job.told(self.scheme, self.start, 1.0 if whole else _FIRST)
        told(0.0)
        if job.way == "laplace":
            # What was trained goes on; other ways begin again.
            if self.training is None:
                self.training = Training(
                    self.network, job.data, recipe, seed=self.seed, block=job.block
                )
            first = max(1, round(_FIRST * recipe.rounds))
            self.training.advance(recipe.rounds if whole else first, progress=told)
            # Of a rung blocks will do: what is behind is far behind.
            found = self.training.evidence(block=None if whole else _RUNG)
            return Member(
                network=self.network,
                value=found.value,
                reach=None
                if whole
                else found.log_likelihood
                + _LASTS * (found.log_prior + found.log_volume),
                exact=found.exact,
                last=last_layer(
                    self.network, job.data.train[0], self.training.precisions
                )
                if whole
                else None,
            )
        if not whole:
            steps = max(1, round(recipe.steps * _FIRST))
            recipe = replace(recipe, steps=steps)
        self.network = retie(job.network, self.scheme, seed=self.seed)
        if job.way == "elbo":
            bound = elbo_fit(
                self.network, job.data, recipe, seed=self.seed, progress=told
            )
            return Member(
                network=self.network, value=bound.value, error=bound.error,
                sigmas=bound.sigmas, exact=False,
            )  # fmt: skip
        held = job.held(self, recipe, some=None, told=told)
        count = len(held.each)
        once = replace(recipe, rounds=1)
        map_fit(
            self.network,
            job.data,
            prepared(self.network, job.data, once),
            once.settings(len(job.data.train[0]), seed=self.seed),
        )
        return Member(
            network=self.network, value=held.mean * count, error=held.error * count,
            exact=False,
        )  # fmt: skip


@final
class _Fit:
    """The work of one fit."""

    def __init__(
        self,
        network: Symmetric,
        data: Data,
        way: Way,
        seed: int,
        search: Search,
        progress: Progress,
    ) -> None:
        self.network, self.data, self.way = network, data, way
        self.seed, self.search, self.tell = seed, search, progress
        self.family = network.family
        self.gates: Relaxed | None = None
        self.done, self.whole = 0.0, 1.0
        if len(self.family.schemes) > search.enumerated:
            self.gates = self.gated()
        self.block = search.block(network, data)
        schemes = min(len(self.family.schemes), search.enumerated)
        self.whole = schemes * (1.0 + _FIRST + _HELD) + search.restarts * 2
        if self.gates is not None:
            self.whole /= 1.0 - _GATES
            self.done = _GATES * self.whole

    def gated(self) -> Relaxed:
        """Return what one training with gates says of the generators."""
        some = replace(self.search.recipe, rounds=1)
        return relax(
            self.network, self.data, some, seed=self.seed,
            progress=lambda done: self.tell(_GATES * done, "gates"),
        )  # fmt: skip

    def shortlist(self, gates: Relaxed) -> dict[str, _Run]:
        """Return runs of the schemes that gates find likeliest, and of those around.

        Gates share one set of weights and a bound that favours large subgroups, so
        that they may be wrong: from what they say the best of the schemes trained so
        far is left for its neighbours in the lattice until none of them is better.
        """
        family = self.family

        def chance(scheme: Scheme) -> float:
            return sum(
                math.log(max(1e-6, gate if holds else 1.0 - gate))
                for element, gate in gates.gates.items()
                for holds in [family.group.index(element) in scheme.elements]
            )

        most = self.search.enumerated
        order = sorted(family.schemes, key=lambda each: -chance(each))
        # What shares nothing is one of them: evidence is read against it.
        new = list(dict.fromkeys([family.schemes[0], *order[: max(1, most // 4)]]))
        runs: dict[str, _Run] = {}
        members: dict[str, Member] = {}
        while new:
            for scheme in new[: most - len(runs)]:
                runs[scheme.name] = _Run(self, scheme, 0)
                members[scheme.name] = runs[scheme.name].member(whole=False)
            joint = self.joint(members)
            best = max(joint, key=lambda name: joint[name])
            new = [each for each in family.around(family[best])
                   if each.name not in runs and len(runs) < most]  # fmt: skip
        self.family = family.some(runs)
        return runs

    def posterior(self) -> Posterior:
        if self.gates is not None:
            runs = self.shortlist(self.gates)
        else:
            runs = {each.name: _Run(self, each, 0) for each in self.family.schemes}
        members = dict[str, list[Member]]()
        given_up = set[str]()
        if self.search.halving and len(runs) > _LEAST_KEPT:
            members = {name: [run.member(whole=False)] for name, run in runs.items()}
            given_up = self.behind({name: each[0] for name, each in members.items()})
        kept = [name for name in runs if name not in given_up]
        checks = {}
        for name in kept:
            members[name] = [runs[name].member(whole=True)]
            checks[name] = self.check(_Run(self, self.family[name], 0))
        joint = self.joint({name: members[name][0] for name in kept})
        out = contradicted(checks) if self.way != "heldout" else {}
        believed = [name for name in kept if name not in out]
        for name in sorted(believed, key=lambda each: -joint[each])[:2]:
            for start in range(1, self.search.restarts):
                run = _Run(self, self.family[name], start)
                members[name].append(run.member(whole=True))
        self.tell(1.0, "done")
        found = []
        for scheme in self.family.schemes:
            several = sorted(members[scheme.name], key=lambda each: -each.value)
            verify(several[0].network, self.data.train[0][:50])
            found.append(
                Judged(
                    scheme=scheme,
                    members=tuple(several),
                    heldout=checks.get(scheme.name),
                    given_up=scheme.name in given_up,
                )
            )
        return Posterior(
            family=self.family, judged=tuple(found), way=self.way, gates=self.gates
        )

    def behind(self, members: dict[str, Member]) -> set[str]:
        """Return the schemes that are too far behind to catch up."""
        margin = max(_LEAST_MARGIN, _MARGIN * len(self.data.train[0]))
        joint = self.joint(members)
        order = sorted(members, key=lambda name: -joint[name])
        best = order[0]
        y = self.data.train[1]
        counts = torch.bincount(y).double()
        constant = float(torch.xlogy(counts, counts / len(y)).sum())
        if members[best].value < constant:
            # It has learned nothing yet: ahead is who has least to unlearn.
            return set()
        return {
            name
            for name in order[_LEAST_KEPT:]
            if joint[best] - joint[name]
            > margin + 3.0 * (members[best].error + members[name].error)
        }

    def joint(self, members: dict[str, Member]) -> dict[str, float]:
        """Return log evidence and log prior together, by scheme.

        Of what was trained in part it is the evidence that it may reach: with few
        rounds, precisions are those that values were drawn with, and what shares little
        pays for that most.
        """
        priors = zip(self.family.schemes, self.family.log_prior(), strict=True)
        found = {}
        for each, prior in priors:
            if each.name in members:
                member = members[each.name]
                value = member.value if member.reach is None else member.reach
                found[each.name] = value + prior
        return found

    def told(self, scheme: Scheme, start: int, cost: float) -> Callable[[float], None]:
        """Return what takes the share of a training that is done."""
        which = f"{scheme.name}, start {start + 1}" if start else scheme.name
        begun = self.done
        self.done += cost

        def told(done: float) -> None:
            self.tell(min(0.99, (begun + cost * done) / self.whole), which)

        return told

    def held(
        self, run: _Run, recipe: Recipe, *, some: int | None,
        told: Callable[[float], None],
    ) -> Heldout:  # fmt: skip
        return heldout(
            self.network,
            run.scheme,
            self.data,
            recipe,
            seed=run.seed,
            folds=min(self.search.folds, len(self.data.train[0])),
            some=some,
            progress=told,
        )

    def check(self, run: _Run) -> Heldout:
        """Return what a scheme predicts of one part of the examples."""
        steps = max(2, round(self.search.recipe.steps * _HELD))
        rounds = max(2, self.search.recipe.rounds // 2)
        recipe = replace(self.search.recipe, steps=steps, rounds=rounds)
        return self.held(run, recipe, some=1, told=self.told(run.scheme, 0, _HELD))
