"""Stage `symmetry`: the network with the invariances of its data, plain or tied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from trimtab.bundle.stage import Context, Data, StageResult
from trimtab.errors import PlanError
from trimtab.symmetry.backbone import group_cnn
from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.fitting import STEPS, Search, Way, fit
from trimtab.symmetry.network import Symmetric, batched, retie, settled
from trimtab.symmetry.schemes import Prior, Scheme, family_of
from trimtab.symmetry.sections import posterior_section
from trimtab.symmetry.train import Recipe
from trimtab.symmetry.tying import symmetrize
from trimtab.training.loop import evaluate
from trimtab.training.stage import data_of

__all__ = ["FILE", "STAGE", "Settings"]

FILE = "symmetry.json"
"""In the bundle: the scheme, and how all of them explain the data."""

_SHOWN = 500  # examples of the figure


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Keys of the table `[symmetry]`.

    Attributes:
        family: as `trimtab.symmetry.schemes.family_of` takes it.
        evidence: how schemes are compared.
        prior: of the schemes.
        strength: of prior ``invariance``, nats for each doubling of the subgroup.
        steps: of each training; None for as many as the way to compare needs.
        learning_rate: of Adam.
        batch_size: examples of a step.
        restarts: starts of the best two schemes.
        examples: of the data that it is fitted on, the first ones of a draw; all if
            left out.
        tied: whether the network is handed on as it is tied, for stages that train;
            ``[collapse]`` then makes it plain.
        judge: by which schemes are compared: the ``network`` itself, or a ``small`` one
            (`trimtab.symmetry.backbone.group_cnn`), whose choice a ``tied`` network of
            any size and depth then takes over, with batch norms and weights that are
            drawn anew: a stage behind it has to train it.
    """

    family: str = "D4"
    evidence: Way = "laplace"
    prior: Prior = "uniform"
    strength: float = 0.0
    steps: int | None = None
    learning_rate: float = 1e-2
    batch_size: int = 25
    restarts: int = 2
    examples: Annotated[int, Field(ge=1)] | None = None
    tied: bool = False
    judge: Literal["network", "small"] = "network"


@final
class _Symmetry:
    settings = Settings
    gives = ("accuracy_frac",)
    reads: tuple[str, ...] = ("data", "seed")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Tie a copy of the network, fit its family, and hand on the plain result.

        Raises:
            PlanError: there are no data, or the network cannot learn them.
            UsageError: the network or its shape does not fit the family.
        """
        data = data_of(context, "symmetry")
        family = family_of(settings.family, tuple(data.train[0].shape[1:]))
        family = family.with_prior(settings.prior, settings.strength)
        network = symmetrize(context.network, family, context.inputs[0])
        small = settings.judge == "small"
        if small and not settings.tied:
            raise PlanError(
                "schemes that a small network chooses",
                rule="the network itself is not trained by it",
                where="table [symmetry]",
                remedy="give tied = true, and train it in a stage [relax] or [train]",
            )
        shape, classes = tuple(data.train[0].shape[1:]), int(data.train[1].max()) + 1
        posterior = fit(
            group_cnn(family, shape, classes) if small else network,
            _some(data, settings.examples, context.seed),
            evidence=settings.evidence,
            seed=context.seed,
            search=Search(
                recipe=Recipe(
                    steps=settings.steps or STEPS[settings.evidence],
                    learning_rate=settings.learning_rate,
                    batch_size=settings.batch_size,
                ),
                restarts=settings.restarts,
            ),
            progress=context.progress,
        )
        found: nn.Module
        if small:
            found = _deep(network, posterior.best.scheme, data, context.seed)
        elif settings.tied:
            found = posterior.best.members[0].network.eval()
        else:
            found = posterior.collapse(data.test[0][:_SHOWN])
        _, accuracy = evaluate(found, *data.test)
        return StageResult(
            network=found,
            summary=f"scheme {posterior.best.scheme.name}; {posterior.verdict()}",
            sections=(posterior_section(posterior, data.test[0][:_SHOWN]),),
            values={"accuracy_frac": accuracy},
            files={FILE: (json.dumps(
                {"scheme": posterior.best.scheme.name, "schemes": posterior.table()},
                indent=1) + "\n").encode()},
        )  # fmt: skip

    def rebuild(
        self, context: Context, settings: Settings, files: Mapping[str, bytes]
    ) -> nn.Module:
        """Return the layers of the scheme that an earlier run has found."""
        example = context.inputs[0]
        family = family_of(settings.family, tuple(example.shape[1:]))
        tied = symmetrize(context.network, family, example)
        scheme = family[json.loads(files[FILE])["scheme"]]
        made = retie(tied, scheme, seed=0)
        if settings.judge == "small":
            return batched(made)
        return made if settings.tied else collapse(made)


def _deep(network: Symmetric, scheme: Scheme, data: Data, seed: int) -> Symmetric:
    """Return a network that shares by a scheme, ready to be trained."""
    made = retie(network, scheme, seed=seed)
    x = data.train[0]
    return batched(settled(made, x[:: -(-len(x) // _SHOWN)])).eval()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Some:
    """A part of a data set."""

    name: str
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    digest: str


def _some(data: Data, examples: int | None, seed: int) -> Data:
    x, y = data.train
    if examples is None or examples >= len(x):
        return data
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=drawn)[:examples]
    return _Some(
        name=data.name, train=(x[rows], y[rows]), test=data.test,
        digest=f"{data.digest} {examples} {seed}",
    )  # fmt: skip


STAGE = _Symmetry()
