"""What is known of a family once the data were seen; over 400 lines: all its words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import torch
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from trimtab.symmetry.collapse import collapse
from trimtab.symmetry.evidence.heldout import Heldout
from trimtab.symmetry.evidence.laplace import LastLayer
from trimtab.symmetry.gates import Relaxed
from trimtab.symmetry.network import Symmetric, tied
from trimtab.symmetry.schemes import Family, Scheme

__all__ = ["Finding", "Judged", "Member", "Posterior", "contradicted"]

_SURE: Final = 0.95
_UPPER: Final = 0.975  # both tails of that
_DISAGREES: Final = 2.0  # standard errors of a paired difference
_CONTRADICTS: Final = 3.0  # the same, beyond which evidence is not believed
_WORDS: Final = {
    "rot90": "rotation by 90 degrees",
    "rot180": "rotation by 180 degrees",
    "hflip": "left and right exchanged",
    "vflip": "top and bottom exchanged",
    "diagonal": "mirror at the diagonal",
    "antidiagonal": "mirror at the other diagonal",
}
_COUNTS: Final = 1e-3  # a scheme less probable takes no part in predictions


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One trained network.

    Attributes:
        network: in evaluation mode, tied by its scheme.
        value: its log evidence, nats.
        reach: what that may become with further rounds; None where there are none.
        error: of the estimate, nats; 0 where nothing was drawn.
        exact: whether the determinant is that of all examples together, not a bound.
        sigmas: standard deviations of values by path, where they are known.
        last: the posterior of the last layer, where that is known.
    """

    network: Symmetric
    value: float
    reach: float | None = None
    error: float = 0.0
    exact: bool = True
    sigmas: Mapping[str, Tensor] = field(default_factory=dict)
    last: LastLayer | None = None

    def draw(self, drawn: torch.Generator) -> dict[str, Tensor]:
        """Return values by path, drawn from what is known of them; none if nothing."""
        if self.last is not None:
            return self.last.draw(self.network, drawn)
        tensors = dict(tied(self.network))
        return {
            path: tensors[path].values.detach()
            + sigma * torch.randn(sigma.shape, generator=drawn)
            for path, sigma in self.sigmas.items()
        }


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
        note: why it is undecided, or what was not checked; or empty.
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
    trained for a part of the steps only. Nor have schemes that held-out examples
    contradict: evidence is an approximation, and where another scheme predicts these
    better by three standard errors it was a bad one.

    Attributes:
        family: of schemes, with its prior.
        judged: schemes in the order of the family.
        way: how evidence was estimated.
        gates: what one training said of a family too large to enumerate, of whose
            schemes these are a shortlist; None of others.
    """

    family: Family
    judged: tuple[Judged, ...]
    way: Literal["laplace", "elbo", "heldout"]
    gates: Relaxed | None = None

    @property
    def temperature(self) -> float:
        """Standard deviation of log evidence over starts and draws, at least 1 nat."""
        errors = [each.members[0].error for each in self.judged if not each.given_up]
        return max([1.0, self.spread or 0.0, *errors])

    @property
    def contradicted(self) -> Mapping[str, str]:
        """Schemes that held-out examples speak against, and the one that is better."""
        return contradicted(
            {
                each.scheme.name: each.heldout
                for each in self.judged
                if each.heldout is not None and not each.given_up
            }
            if self.way != "heldout"
            else {}
        )

    @property
    def spread(self) -> float | None:
        """Standard deviation of log evidence over starts, nats; None of one start.

        It is pooled over the schemes that were started more than once, and as few
        starts say little of it, taken as large as Student's distribution of so many
        has it.
        """
        several = [
            each
            for each in self.judged
            if len(each.members) > 1 and each.scheme.name not in self.contradicted
        ]
        freedom = sum(len(each.members) - 1 for each in several)
        if not freedom:
            return None
        total = sum(
            (each.spread or 0.0) ** 2 * (len(each.members) - 1) for each in several
        )
        wider = float(student.ppf(_UPPER, freedom) / norm.ppf(_UPPER))
        return math.sqrt(total / freedom) * wider

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
        out = self.contradicted
        raw = torch.tensor(
            [
                -math.inf
                if each.given_up or each.scheme.name in out
                else (each.value + log) / temperature
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
        out = self.contradicted
        best = [
            max(
                side,
                key=lambda each: (
                    not each.given_up,
                    each.scheme.name not in out,
                    each.value,
                ),
            )
            for side in sides
        ]
        nats = best[0].value - best[1].value
        holds = probability > 0.5
        ahead, behind = (best[0], best[1]) if holds else (best[1], best[0])
        note = self._doubt(ahead, behind) or self._overruled(ahead, element)
        if note or 1 - _SURE < probability < _SURE:
            note = note or self._why()
            verdict: Literal["holds", "rejected", "undecided"] = "undecided"
        else:
            verdict = "holds" if holds else "rejected"
            note = self._unchecked(ahead, behind, by_prior=(nats > 0) is not holds)
        return Finding(
            element=name, verdict=verdict, probability=probability, nats=nats, note=note
        )

    def _overruled(self, ahead: Judged, element: int) -> str:
        """Return what evidence would have said but for held-out examples."""
        out = self.contradicted
        side = element in ahead.scheme.elements
        other = [
            each
            for each in self.judged
            if each.scheme.name in out
            and (element in each.scheme.elements) is not side
            and each.value > ahead.value
        ]
        if not other:
            return ""
        most = max(other, key=lambda each: each.value)
        better = self._named(out[most.scheme.name])
        return self._doubt(most, better)

    def _named(self, name: str) -> Judged:
        return next(each for each in self.judged if each.scheme.name == name)

    def _why(self) -> str:
        """Return what leaves a finding undecided."""
        if self.temperature == 1.0:
            return "evidence is as good for both"
        if self.temperature == self.spread:
            return f"starts of a training differ by {self.temperature:.0f} nats"
        return f"estimates are off by {self.temperature:.0f} nats"

    def _unchecked(self, ahead: Judged, behind: Judged, *, by_prior: bool) -> str:
        """Return what a verdict rests on, where that is less than it could be."""
        notes = []
        if by_prior:
            notes.append("by the prior")
        if self.way != "heldout" and (ahead.heldout is None or behind.heldout is None):
            notes.append("given up early" if behind.given_up else "not held out")
        return ", ".join(notes)

    def _doubt(self, ahead: Judged, behind: Judged) -> str:
        """Return what held-out examples say against what evidence says."""
        if ahead.heldout is None or behind.heldout is None or self.way == "heldout":
            return ""
        mean, errors = _better(behind.heldout, ahead.heldout)
        if errors <= _DISAGREES:
            return ""
        return (
            f"{behind.scheme.name} predicts held-out examples better than "
            f"{ahead.scheme.name} by {mean:.3f} nats each"
        )

    def verdict(self) -> str:
        """Return the findings as one sentence."""
        by: dict[str, list[str]] = {}
        for each in self.findings():
            notes = [f"{each.nats:+.0f} nats", *([each.note] if each.note else [])]
            by.setdefault(each.verdict, []).append(
                f"{_WORDS.get(each.element, each.element)} ({', '.join(notes)})"
            )
        parts = [
            f"{verdict}: {', '.join(by[verdict])}"
            for verdict in ("holds", "rejected", "undecided")
            if verdict in by
        ]
        if self.spread is None and parts:
            parts.append("each of one start, so that their spread is unknown")
        return "; ".join(parts)

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
                "exact": each.members[0].exact,
                "prior": math.exp(prior),
                "posterior": chance,
                "posterior_untempered": bare,
                "heldout_nats": each.heldout and each.heldout.mean,
                "heldout_error_nats": each.heldout and _finite(each.heldout.error),
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
            samples: draws of the values of each network: of all with ``elbo``, of the
                last layer with ``laplace``, none with ``heldout``; 0 takes the best
                values.
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


def _better(one: Heldout, two: Heldout) -> tuple[float, float]:
    """Return by how much one predicts the same examples better: nats each, errors."""
    difference = one.each - two.each
    if len(difference) < 2:
        return 0.0, 0.0
    mean = float(difference.mean())
    error = float(difference.std()) / math.sqrt(len(difference))
    if not error:
        return mean, math.copysign(math.inf, mean) if mean else 0.0
    return mean, mean / error


def contradicted(found: Mapping[str, Heldout]) -> dict[str, str]:
    """Return schemes that another predicts better than, for sure, and that one.

    Args:
        found: held-out predictions of the same examples, by scheme.
    """
    out: dict[str, str] = {}
    for name, mine in found.items():
        ahead = {
            other: _better(theirs, mine)
            for other, theirs in found.items()
            if other != name
        }
        sure = [each for each, (_, errors) in ahead.items() if errors > _CONTRADICTS]
        if sure:
            out[name] = max(sure, key=lambda each: ahead[each][0])
    return out  # never all: none is ahead of what is best on average


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


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

    if not samples or not (member.last or member.sigmas):
        return scores({})
    total = torch.zeros(())
    for _ in range(samples):
        values = {f"{path}.values": each for path, each in member.draw(drawn).items()}
        total = total + scores(values) / samples
    return total
