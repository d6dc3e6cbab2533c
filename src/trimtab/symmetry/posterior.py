"""What is known of a family's schemes once the data were seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.evidence.heldout import Heldout
from trimtab.symmetry.network import Symmetric
from trimtab.symmetry.schemes import Family, Scheme

__all__ = ["Finding", "Judged", "Member", "Posterior"]

_SURE: Final = 0.95
_DISAGREES: Final = 2.0  # standard errors of a paired difference
_COUNTS: Final = 1e-3  # a scheme less probable takes no part in predictions


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One trained network.

    Attributes:
        network: in evaluation mode, tied by its scheme.
        value: its log evidence, nats.
        error: of the estimate, nats; 0 where nothing was drawn.
        sigmas: standard deviations of values by path, where they are known.
    """

    network: Symmetric
    value: float
    error: float = 0.0
    sigmas: Mapping[str, Tensor] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A scheme and how well it explains the data.

    Attributes:
        scheme: it.
        members: networks from different starts, the best first.
        heldout: what it predicts of examples held out; None where it was given up.
        given_up: whether it was left behind on the way, with a short training only.
    """

    scheme: Scheme
    members: tuple[Member, ...]
    heldout: Heldout | None
    given_up: bool

    @property
    def value(self) -> float:
        """Log evidence, nats: that of the best start."""
        return self.members[0].value

    @property
    def spread(self) -> float | None:
        """Standard deviation over starts, nats; None of a single one."""
        values = [each.value for each in self.members]
        if len(values) < 2:
            return None
        mean = sum(values) / len(values)
        total = sum((each - mean) ** 2 for each in values)
        return math.sqrt(total / (len(values) - 1))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the data say of one element of the group.

    Attributes:
        element: its name.
        verdict: ``holds`` or ``rejected`` with 95 % of the tempered posterior, or
            ``undecided``.
        probability: that it holds, tempered.
        nats: log evidence of the best scheme with it over the best without.
        note: why it is undecided, or empty.
    """

    element: str
    verdict: Literal["holds", "rejected", "undecided"]
    probability: float
    nats: float
    note: str


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posterior:
    """A posterior over schemes of weight sharing.

    Differences of evidence grow with the examples, so that probabilities are all but 0
    or 1 whatever the noise of a training. They are tempered: log evidence and prior
    count in units of the standard deviation of evidence over starts, if that is above
    one nat. Schemes that were given up on the way have no probability: they were
    trained for a part of the steps only.

    Attributes:
        family: of schemes, with its prior.
        judged: schemes in the order of the family.
        way: how evidence was estimated.
    """

    family: Family
    judged: tuple[Judged, ...]
    way: Literal["laplace", "elbo", "heldout"]

    @property
    def temperature(self) -> float:
        """Standard deviation of log evidence over starts and draws, at least 1 nat."""
        spreads = [each.spread for each in self.judged if each.spread is not None]
        errors = [each.members[0].error for each in self.judged]
        return max([1.0, *spreads, *errors])

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The tempered posterior of each scheme."""
        return self._softmax(self.temperature)

    @property
    def untempered(self) -> tuple[float, ...]:
        """The posterior as if evidence had no error."""
        return self._softmax(1.0)

    @property
    def best(self) -> Judged:
        """The most probable scheme."""
        chances = self.probabilities
        return self.judged[chances.index(max(chances))]

    def _softmax(self, temperature: float) -> tuple[float, ...]:
        prior = self.family.log_prior()
        raw = torch.tensor(
            [
                (each.value + log) / temperature if not each.given_up else -math.inf
                for each, log in zip(self.judged, prior, strict=True)
            ],
            dtype=torch.float64,
        )
        return tuple(F.softmax(raw, 0).tolist())

    def probability(self, of: str) -> float:
        """Return how probable it is that an element, or a scheme, holds; tempered.

        Args:
            of: an element such as ``rot90``, whose probability is that of all schemes
                with it, or a scheme such as ``C4``.

        Raises:
            UsageError: there is neither.
        """
        chances = self.probabilities
        if of in self.family.group.elements:
            number = self.family.group.index(of)
            return sum(
                chance
                for each, chance in zip(self.judged, chances, strict=True)
                if number in each.scheme.elements
            )
        scheme = self.family[of]
        return chances[[each.scheme for each in self.judged].index(scheme)]

    def findings(self) -> tuple[Finding, ...]:
        """Return what the data say of each generator of the family."""
        return tuple(map(self._finding, self.family.generators))

    def _finding(self, element: int) -> Finding:
        name = self.family.group.elements[element]
        probability = self.probability(name)
        sides = [
            [each for each in self.judged if (element in each.scheme.elements) is side]
            for side in (True, False)
        ]
        best = [max(side, key=lambda each: each.value) for side in sides]
        nats = best[0].value - best[1].value
        ahead, behind = (best[0], best[1]) if nats > 0 else (best[1], best[0])
        note = self._doubt(ahead, behind)
        if note or 1 - _SURE < probability < _SURE:
            note = note or f"the starts of a training differ by {self.temperature:.0f}"
            return Finding(
                element=name, verdict="undecided", probability=probability, nats=nats,
                note=note,
            )  # fmt: skip
        return Finding(
            element=name,
            verdict="holds" if probability >= _SURE else "rejected",
            probability=probability,
            nats=nats,
            note="",
        )

    def _doubt(self, ahead: Judged, behind: Judged) -> str:
        """Return what held-out examples say against what evidence says."""
        if ahead.heldout is None or behind.heldout is None or self.way == "heldout":
            return ""
        difference = behind.heldout.each - ahead.heldout.each
        error = float(difference.std()) / math.sqrt(len(difference))
        mean = float(difference.mean())
        if mean <= _DISAGREES * error:
            return ""
        return (
            f"{behind.scheme.name} predicts held-out examples better than "
            f"{ahead.scheme.name} by {mean:.3f} nats each"
        )

    def verdict(self) -> str:
        """Return the findings as one sentence."""
        by: dict[str, list[str]] = {}
        for each in self.findings():
            text = f"{each.element} ({abs(each.nats):.0f} nats)"
            if each.note:
                text = f"{each.element} ({each.note})"
            by.setdefault(each.verdict, []).append(text)
        return "; ".join(
            f"{verdict}: {', '.join(by[verdict])}"
            for verdict in ("holds", "rejected", "undecided")
            if verdict in by
        )

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each scheme, such as `pandas.DataFrame` takes."""
        none = self.judged[0].value
        return [
            {
                "scheme": each.scheme.name,
                "elements": len(each.scheme),
                "log_evidence_nats": each.value,
                "against_none_nats": each.value - none,
                "spread_nats": each.spread,
                "error_nats": each.members[0].error,
                "prior": math.exp(prior),
                "posterior": chance,
                "posterior_untempered": bare,
                "heldout_nats": each.heldout and each.heldout.mean,
                "heldout_error_nats": each.heldout and each.heldout.error,
                "heldout_accuracy_frac": each.heldout and each.heldout.accuracy_frac,
                "values": sum(
                    parameter.numel()
                    for parameter in each.members[0].network.parameters()
                ),
                "given_up": each.given_up,
            }
            for each, prior, chance, bare in zip(
                self.judged,
                self.family.log_prior(),
                self.probabilities,
                self.untempered,
                strict=True,
            )
        ]

    @torch.no_grad()
    def predict(self, x: Tensor, *, samples: int = 0, seed: int = 0) -> Tensor:
        """Return probabilities (n, classes), averaged over schemes and starts.

        Args:
            x: examples (n, ...).
            samples: draws of the values of each network, where the fit knows how sure
                it is of them; 0 takes its best values.
            seed: of the draws.
        """
        total: Tensor | None = None
        drawn = torch.Generator().manual_seed(seed)
        for each, chance in zip(self.judged, self.probabilities, strict=True):
            if chance < _COUNTS:
                continue
            # Starts that a training got stuck from count as their evidence says.
            weights = F.softmax(
                torch.tensor([member.value for member in each.members]).double()
                / self.temperature,
                0,
            ).tolist()
            for member, weight in zip(each.members, weights, strict=True):
                if chance * weight < _COUNTS:
                    continue
                p = chance * weight * _predicted(member, x, samples, drawn)
                total = p if total is None else total + p
        assert total is not None
        return total / total.sum(1, keepdim=True)

    def collapse(self, x: Tensor | None = None) -> nn.Module:
        """Return the best network of the most probable scheme, of plain layers.

        Args:
            x: examples to verify it on; by default noise.

        Raises:
            UsageError: it is not exactly invariant.
        """
        return collapse(self.best.members[0].network, x)

    def __str__(self) -> str:
        """Return the verdict."""
        return self.verdict()


def _predicted(
    member: Member, x: Tensor, samples: int, drawn: torch.Generator
) -> Tensor:
    network = member.network.eval()

    def scores(values: Mapping[str, Tensor]) -> Tensor:
        parts = [
            functional_call(network, dict(values), (some,))
            for some in torch.split(x, 500)
        ]
        return F.softmax(torch.cat(parts), 1)

    if not samples or not member.sigmas:
        return scores({})
    total = torch.zeros(())
    means = dict(network.named_parameters())
    for _ in range(samples):
        values = {
            f"{path}.values": means[f"{path}.values"]
            + sigma * torch.randn(sigma.shape, generator=drawn)
            for path, sigma in member.sigmas.items()
        }
        total = total + scores(values) / samples
    return total
