"""From data to a posterior over schemes: all of a family, the promising ones whole.

Successive halving: every scheme is trained for a part of its steps, those far behind
are given up, the others trained whole, the best two again from other starts. Held-out
likelihood checks what evidence says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final

import torch

from trimtab.bundle.stage import Data
from trimtab.errors import DataError, UsageError
from trimtab.symmetry.evidence.elbo import elbo_fit
from trimtab.symmetry.evidence.heldout import Heldout, heldout
from trimtab.symmetry.evidence.laplace import evidence_fit
from trimtab.symmetry.network import Symmetric, retie, verify
from trimtab.symmetry.posterior import Judged, Member, Posterior
from trimtab.symmetry.schemes import Scheme
from trimtab.symmetry.train import Recipe, first_precisions, map_fit, prepared

__all__ = ["Search", "Way", "fit"]

Way = Literal["laplace", "elbo", "heldout"]
Progress = Callable[[float, str], None]

_FIRST: Final = 0.4  # of the steps, before anything is given up
_MARGIN: Final = 0.4  # nats an example that a scheme may be behind then
_LEAST_MARGIN: Final = 30.0  # nats
_LEAST_KEPT: Final = 3


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a family is searched.

    Attributes:
        recipe: of each training.
        halving: whether schemes far behind are given up early.
        restarts: starts of the best two schemes.
        folds: parts of the examples; one of them is held out as a check, all of them
            where held-out likelihood is the evidence.
        most_rows: of an exact determinant: examples times (classes - 1). With more,
            blocks of examples bound it, of every scheme the same ones.
        block_rows: of such a block.
    """

    recipe: Recipe = field(default_factory=Recipe)
    halving: bool = True
    restarts: int = 2
    folds: int = 5
    most_rows: int = 3000
    block_rows: int = 1500


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
        search: how the family is searched.
        progress: told the share that is done.

    Raises:
        UsageError: the network is not invariant where a scheme says so, or an unknown
            way.
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
    search = search or Search()
    if evidence not in ("laplace", "elbo", "heldout"):
        raise UsageError(
            f"evidence {evidence!r}",
            rule="known are laplace, elbo, heldout",
            where="trimtab.symmetry.fit",
            remedy="choose one of these",
        )
    _check(network, data)
    with torch.random.fork_rng(devices=[]):
        return _Fit(network, data, evidence, seed, search, progress).posterior()


def _check(network: Symmetric, data: Data) -> None:
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
        rows = len(data.train[0]) * max(1, int(data.train[1].max()))
        self.block = (
            None
            if rows <= search.most_rows
            else max(1, search.block_rows * len(data.train[0]) // rows)
        )
        schemes = len(network.family.schemes)
        self.done, self.whole = 0.0, schemes * (1.0 + _FIRST) + search.restarts * 2

    def posterior(self) -> Posterior:
        family = self.network.family
        runs = dict[str, Member]()
        given_up = set[str]()
        if self.search.halving and len(family.schemes) > _LEAST_KEPT:
            steps = max(1, round(self.search.recipe.steps * _FIRST))
            short = replace(self.search.recipe, steps=steps)
            for scheme in family.schemes:
                runs[scheme.name] = self.member(scheme, short, start=0, cost=_FIRST)
            given_up = self.behind(runs)
        for scheme in family.schemes:
            if scheme.name not in given_up:
                runs[scheme.name] = self.member(scheme, self.search.recipe, start=0)
        members = {name: [each] for name, each in runs.items()}
        kept = [each for each in family.schemes if each.name not in given_up]
        joint = self.joint(runs)
        order = sorted(kept, key=lambda each: -joint[each.name])
        for scheme in order[:2]:
            for start in range(1, self.search.restarts):
                made = self.member(scheme, self.search.recipe, start=start)
                members[scheme.name].append(made)
        checks = {scheme.name: self.check(scheme) for scheme in kept}
        self.tell(1.0, "done")
        found = []
        for scheme in family.schemes:
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
        return Posterior(family=family, judged=tuple(found), way=self.way)

    def behind(self, runs: dict[str, Member]) -> set[str]:
        """Return the schemes that are too far behind to catch up."""
        margin = max(_LEAST_MARGIN, _MARGIN * len(self.data.train[0]))
        joint = self.joint(runs)
        order = sorted(runs, key=lambda name: -joint[name])
        best = order[0]
        return {
            name
            for name in order[_LEAST_KEPT:]
            if joint[best] - joint[name]
            > margin + 3.0 * (runs[best].error + runs[name].error)
        }

    def joint(self, runs: dict[str, Member]) -> dict[str, float]:
        """Return log evidence and log prior together, by scheme."""
        family = self.network.family
        priors = zip(family.schemes, family.log_prior(), strict=True)
        return {each.name: runs[each.name].value + prior for each, prior in priors}

    def member(
        self, scheme: Scheme, recipe: Recipe, *, start: int, cost: float = 1.0
    ) -> Member:
        """Train a network of a scheme and estimate its evidence."""
        seed = self.seed + 1000 * start
        made = retie(self.network, scheme, seed=seed)
        which = f"{scheme.name}, start {start + 1}" if start else scheme.name

        def told(done: float) -> None:
            share = min(0.99, (self.done + cost * done) / self.whole)
            self.tell(share, which)

        told(0.0)
        if self.way == "laplace":
            found, _ = evidence_fit(
                made, self.data, recipe, seed=seed, block=self.block, progress=told
            )
            member = Member(network=made, value=found.value)
        elif self.way == "elbo":
            bound = elbo_fit(made, self.data, recipe, seed=seed, progress=told)
            member = Member(
                network=made, value=bound.value, error=bound.error, sigmas=bound.sigmas
            )
        else:
            held = self.held(scheme, recipe, seed=seed, some=None, told=told)
            count = len(held.each)
            once = replace(recipe, rounds=1)
            precisions = prepared(made, self.data, once)
            settings = once.settings(len(self.data.train[0]), seed=seed)
            map_fit(made, self.data, precisions, settings)
            member = Member(
                network=made, value=held.mean * count, error=held.error * count
            )
        self.done += cost
        return member

    def held(
        self, scheme: Scheme, recipe: Recipe, *, seed: int, some: int | None,
        told: Callable[[float], None],
    ) -> Heldout:  # fmt: skip
        return heldout(
            self.network,
            scheme,
            self.data,
            first_precisions(retie(self.network, scheme, seed=0)),
            recipe,
            seed=seed,
            folds=min(self.search.folds, len(self.data.train[0])),
            some=some,
            progress=told,
        )

    def check(self, scheme: Scheme) -> Heldout:
        """Return what a scheme predicts of one part of the examples."""
        return self.held(
            scheme, self.search.recipe, seed=self.seed, some=1, told=lambda done: None
        )
