"""Relaxations as a torch optimizer; over 400 lines: its state, its modes, their guards.

Every call of `Relaxed.step` uses one gradient. A round has `steps` of them, taken at
points y around the iterate x, and ends with an outer step along the slope of the
relaxed loss (arXiv 1704.04932, in the notation of `trimtab.relax.pde`)::

    local-entropy          y <- inner(y, grad f(y) + gamma (y - x) + sqrt(2 T / lr) z),
                           mu <- (1 - newest) mu + newest y,      x <- outer(x, x - mu)
    hopf-lax               the same without noise, mu = y: the proximal point
    hopf-lax-fixed-point   p <- b p + (1 - b) grad f(y), y <- x - p / gamma,
                           x <- outer(x, p)
    heat                   p = mean of grad f(x +- sqrt(T / gamma) z), in pairs, an odd
                           one out at x, as the very first,       x <- outer(x, p)

What readers of the sources trip over: the weight 0.75 of the paper's average is that of
the newest point, that of the authors' code is 0.25; their noise has the deviation
sqrt(2 lr) eps, so that T is the square of their eps; and at the numbers they publish
the tether does all but nothing, see `Relaxed.equilibration`. Momentum adds noise up as
it does slopes: lr is its effective rate, lr / (1 - momentum), so that y has the law of
temperature T whatever the momentum.

In memory a tethered relaxation keeps two copies of the weights beside what its inner
and outer optimizers keep, one where the newest point is the average; the others keep
the iterate and a slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from trimtab.errors import UsageError
from trimtab.relax.checks import TETHERED, check, check_gamma, damping_of, newest_of
from trimtab.relax.frame import Factory, RoundOptimizer
from trimtab.relax.rounds import (
    Equilibrated,
    Pace,
    equilibration,
    largest_gamma,
    paces,
)
from trimtab.relax.scopes import Constant, Scope

__all__ = ["Relaxation", "Relaxed"]

Relaxation = Literal["local-entropy", "hopf-lax", "hopf-lax-fixed-point", "heat"]

_GROWTH: Final = 100.0  # of a slope over the largest gradient: it is unstable
_GROWTH_TWICE: Final = 4.0  # the same, in two rounds one after the other
_LOOSE: Final = 0.1  # of `equilibration`, below which the tether does nothing
_STABLE: Final = 0.5  # of the gamma at which the tether would be unstable, at most


class Relaxed(RoundOptimizer):
    """An optimizer along the slope of a relaxed loss.

    Between steps the parameters are where the next gradient is taken, y; the iterate x,
    which is to be evaluated and kept, is had by `at_iterate`. Learning-rate schedules
    attach to `inner` and `outer`.

    Args:
        params: parameters or groups, as of every torch optimizer; keys of a group other
            than ``params`` go to both inner and outer.
        relaxation: which; see the module.
        inner: makes the optimizer of y from groups; of the two tethered relaxations.
            By default SGD with rate 0.1 and Nesterov momentum 0.9.
        outer: makes the optimizer of x. By default SGD with rate 1, or 0.1 for the two
            whose slope is a gradient.
        steps: gradients of a round; or `Equilibrated`, which makes a round as long as
            the tether needs, of the two tethered relaxations with SGD inside.
        scope: gamma = 1/t: a number, or how it changes from round to round. It is held
            at half of what SGD inside could not follow any more.
        temperature: T = 1/beta: of the noise, and of the smoothing of ``heat``.
        newest: weight of the newest point in the average; 1 takes the last.
        damping: b of the fixed point, which is stable up to t lambda = (1 + b)/(1 - b)
            for curvatures lambda of the loss.
        reset_inner: whether the inner optimizer forgets its momentum each round.
        generator: of the noise; None draws from torch's own.

    Attributes:
        last_equilibration: `equilibration` of the round that was ended last, or None.

    Raises:
        UsageError: a number outside of its limits, an unknown relaxation, what a
            relaxation does not use, or a factory that leaves parameters out.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([4.0]))
        >>> opt = Relaxed([x], relaxation="hopf-lax", scope=1.0, steps=40,
        ...               inner=lambda p: torch.optim.SGD(p, lr=0.2))
        >>> for _ in range(40):
        ...     opt.zero_grad()
        ...     (0.5 * x**2).sum().backward()
        ...     loss = opt.step()
        >>> round(x.item(), 3)  # the proximal point of 4 is 4 / (1 + t)
        2.0
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        relaxation: Relaxation = "local-entropy",
        inner: Factory | None = None,
        outer: Factory | None = None,
        steps: int | Equilibrated = 20,
        scope: Scope | float = 0.1,
        temperature: float = 0.0,
        newest: float | None = None,
        damping: float | None = None,
        reset_inner: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        if isinstance(scope, int | float):
            scope = Constant(scope)
        self.length: Equilibrated | None = None
        if isinstance(steps, Equilibrated):
            self.length, steps = steps, steps.most
        check(
            relaxation,
            steps=steps,
            equilibrated=self.length is not None,
            scope=scope,
            temperature=temperature,
            inner=inner is not None,
            newest=newest is not None,
            damping=damping is not None,
        )
        tethered = relaxation in TETHERED
        self.relaxation: Relaxation = relaxation
        self.scope: Scope = scope
        self.temperature = temperature
        self.newest = 1.0 if relaxation == "hopf-lax" else newest_of(newest)
        self.damping = damping_of(damping)
        self.reset_inner, self.generator = reset_inner, generator
        self.last_equilibration: float | None = None
        # The largest norm of a gradient so far, and rounds in a row whose slope grew.
        super().__init__(
            params,
            {"relaxation": relaxation, "steps": steps, "largest": 0.0, "grew": 0},
        )
        if tethered:
            self.inner = self._made("inner", inner or _inner)
            if temperature and paces(self.inner) is None:
                raise UsageError(
                    f"noise of temperature {temperature:g} for "
                    f"{type(self.inner).__name__}",
                    rule="what temperature a noise has is known of SGD alone",
                    where="trimtab.relax.Relaxed",
                    remedy="take SGD as inner, or leave temperature out",
                )
        rate = 1.0 if tethered else 0.1
        self.outer = self._made(
            "outer", outer or (lambda groups: torch.optim.SGD(groups, lr=rate))
        )

    # What is asked about it

    @property
    def gamma(self) -> float:
        """One over the time of smoothing of this round.

        Raises:
            UsageError: the scope gives what the relaxation cannot take.
        """
        gamma = check_gamma(self.scope, self.rounds, self.relaxation)
        some = paces(self.inner)
        if some is None:
            return gamma
        most = _STABLE * largest_gamma(some)
        if gamma > most:
            self._tell(
                "held",
                f"gamma {gamma:g} is held at {most:.3g}: with its rate the inner "
                "optimizer could not follow a tether twice as strong",
            )
        return min(gamma, most)

    @property
    def equilibration(self) -> float | None:
        """How far a round gets towards the law that the theory is about, 0 to 1.

        The share of its way that the tether takes y, of the slowest group, if the loss
        had no slope. The slope of a relaxed loss is x - mu only where this is near one;
        near zero the tether does nothing and the method is Lookahead. None where there
        is no tether, or the inner optimizer is not SGD.
        """
        some = paces(self.inner)
        return None if some is None else equilibration(some, self.gamma, self.steps)

    @property
    def scheduled(self) -> list[dict[str, Any]]:
        """Groups whose rates a schedule is meant to change: those of the outer steps.

        That of the inner loop stays as it is, as in arXiv 1611.01838, section 5.
        """
        return self.outer.param_groups

    # Steps

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Use the gradients that the parameters have; the last of a round moves x.

        Gradients are changed in place by the tether and by noise.

        Args:
            closure: computes the loss and its gradients once, of a new batch each time
                it is called; its result is returned.

        Raises:
            UsageError: sparse gradients, a call within `at_iterate`, or a fixed point
                that is unstable.
            ReplicaError: of `Parle`: it is not this replica's turn.
        """
        self._refuse_shown("a step")
        self._require_turn()
        if self.position == 0 and self.length is not None:
            self._begin(self.length)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [
            each
            for group in self.param_groups
            for each in group["params"]
            if each.grad is not None
        ]
        if any(each.grad.is_sparse for each in moving):
            raise UsageError(
                "a step with sparse gradients",
                rule="a relaxation moves every entry",
                where="trimtab.relax.Relaxed",
                remedy="make embeddings with sparse=False",
            )
        for each in moving:
            if "iterate" not in self.state[each]:
                self.state[each]["iterate"] = each.detach().clone()
        if moving:
            if self.relaxation in TETHERED:
                self._tethered(moving)
            elif self.relaxation == "heat":
                self._smoothed(moving)
            else:
                self._fixed_point(moving)
        self._count("evaluations")
        self._count("position")
        if self.position >= self.steps:
            self._outer_step()
        elif self.relaxation == "heat":
            self._scatter(self.steps - self.position)
        return loss

    def _require_turn(self) -> None:
        """Refuse a step while others are waited for."""

    def _begin(self, length: Equilibrated) -> None:
        """Decide how long the round will be."""
        some = paces(self.inner)
        if some is None:
            raise UsageError(
                f"equilibrated rounds of {type(self.inner).__name__}",
                rule="how far it takes the tether in a step is known of SGD alone",
                where="trimtab.relax.Relaxed",
                remedy="give a number of steps, or SGD as inner",
            )
        for group in self.param_groups:
            group["steps"] = length.of(some, self.gamma)

    def _of(self, name: str, moving: Iterable[Tensor]) -> list[Tensor]:
        return [self.state[each][name] for each in moving]

    def _tethered(self, moving: list[Tensor]) -> None:
        gamma = self.gamma
        gradients = [each.grad for each in moving if each.grad is not None]
        if gamma:
            pulls = torch._foreach_sub(moving, self._of("iterate", moving))
            torch._foreach_add_(gradients, pulls, alpha=gamma)
        assert self.inner is not None
        if self.temperature:
            self._shake()
        self.inner.step()
        for each in moving:
            self.state[each]["seen"] = True
        if self.newest == 1.0:
            return
        for each in moving:
            if "average" not in self.state[each]:
                self.state[each]["average"] = self.state[each]["iterate"].clone()
        torch._foreach_lerp_(self._of("average", moving), moving, self.newest)

    def _shake(self) -> None:
        """Add noise to gradients: of an effective rate r it has a variance of 2 T/r."""
        assert self.inner is not None
        some: tuple[Pace, ...] = paces(self.inner) or ()
        for group, pace in zip(self.inner.param_groups, some, strict=True):
            if not pace.effective:
                continue
            deviation = math.sqrt(2.0 * self.temperature / pace.effective)
            for each in group["params"]:
                if each.grad is not None:
                    each.grad.add_(self._noise(each), alpha=deviation)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(
            like.shape, dtype=like.dtype, device=like.device, generator=self.generator
        )

    def _fixed_point(self, moving: list[Tensor]) -> None:
        fresh = [each for each in moving if not self.state[each].get("seen")]
        for each in fresh:
            assert each.grad is not None
            state = self.state[each]
            state["slope"], state["seen"] = each.grad.detach().clone(), True
        known = {id(each) for each in fresh}
        rest = [each for each in moving if id(each) not in known]
        if rest:
            gradients = [each.grad for each in rest if each.grad is not None]
            slopes = self._of("slope", rest)
            torch._foreach_lerp_(slopes, gradients, 1.0 - self.damping)
        slopes = self._of("slope", moving)
        self._guard(float(torch.stack(torch._foreach_norm(slopes)).norm()))
        iterates = self._of("iterate", moving)
        self._to(moving, torch._foreach_add(iterates, slopes, alpha=-1.0 / self.gamma))

    def _guard(self, norm: float) -> None:
        """End an unstable fixed point: slopes far above any gradient at an iterate."""
        group = self.param_groups[0]
        largest, grew = float(group["largest"]), int(group["grew"])
        if not math.isfinite(norm):
            self._restart()
            raise UsageError(
                "a slope that is infinite or NaN",
                rule="a gradient was, or the fixed point is unstable",
                where="trimtab.relax.Relaxed",
                remedy="look at the loss; give a larger gamma; the parameters are "
                "those of the iterate, and the round begins again",
            )
        if self.position == 0:
            largest = max(largest, norm)
        last = self.position + 1 >= self.steps
        above = largest > 0 and norm > _GROWTH_TWICE * largest
        if last and self.position:
            grew = grew + 1 if above else 0
        for each in self.param_groups:
            each["largest"], each["grew"] = largest, grew
        if not largest or (norm <= _GROWTH * largest and grew < 2):
            return
        self._restart()
        limit = (1.0 + self.damping) / max(1e-12, 1.0 - self.damping)
        raise UsageError(
            f"a fixed point at time {1.0 / self.gamma:.3g} with damping "
            f"{self.damping:g}",
            rule=f"its slope came to {norm:.3g}, where no gradient was above "
            f"{largest:.3g}: t times the curvature of the loss is above {limit:.3g}",
            where="trimtab.relax.Relaxed",
            remedy='give a larger gamma or damping, or relaxation="hopf-lax"; the '
            "parameters are those of the iterate, and the round begins again",
        )

    def _smoothed(self, moving: list[Tensor]) -> None:
        for each in moving:
            state = self.state[each]
            if not state.get("seen"):
                state["slope"], state["seen"] = torch.zeros_like(each), True
        gradients = [each.grad for each in moving if each.grad is not None]
        torch._foreach_add_(
            self._of("slope", moving), gradients, alpha=1.0 / self.steps
        )

    def _scatter(self, left: int) -> None:
        """Move to a new draw, to the opposite of the last, or, at the end, to x.

        Args:
            left: gradients of the round that are to come.
        """
        width = math.sqrt(self.temperature / self.gamma)
        for each, state in self.state.items():
            if "iterate" not in state:
                continue
            each.copy_(state["iterate"])
            draw = state.pop("draw", None)
            if not each.requires_grad:  # frozen: at its weight
                continue
            if draw is not None:
                each.sub_(draw, alpha=width)
            elif left > 1:
                state["draw"] = self._noise(each)
                each.add_(state["draw"], alpha=width)

    def _restart(self) -> None:
        """Go back to the iterate; forget what the round has led to so far."""
        for group in self.param_groups:
            group["position"] = 0
        for each, state in self.state.items():
            if "iterate" not in state:
                continue
            each.copy_(state["iterate"])
            if "average" in state:
                state["average"].copy_(each)
            state["seen"] = False
            state.pop("slope", None)
            state.pop("draw", None)

    def _outer_step(self) -> None:
        """End a round; replicas wait for each other here."""
        self._finish()

    def _reached(self, parameter: Tensor) -> Tensor:
        """Return where the round of a tethered relaxation has led a parameter."""
        found: Tensor = self.state[parameter].get("average", parameter)
        return found

    def _finish(self, pull: Callable[[Tensor], Tensor] | None = None) -> None:
        """Take the outer step.

        Args:
            pull: what is added to the slope of a parameter.
        """
        self.last_equilibration = self.equilibration
        self._warn_if_loose()
        every = [each for group in self.param_groups for each in group["params"]]
        moved = [each for each in every if self.state.get(each, {}).get("seen")]
        gradients = [each.grad for each in every]
        slopes = [
            self.state[each]["iterate"] - self._reached(each)
            if self.relaxation in TETHERED
            else self.state[each]["slope"]
            for each in moved
        ]
        if pull is not None and moved:
            torch._foreach_add_(slopes, [pull(each) for each in moved])
        for each in every:
            each.grad = None
        for each, slope in zip(moved, slopes, strict=True):
            each.grad = slope
        self._to(moved, self._of("iterate", moved))
        self.outer.step()
        for each in moved:
            self.state[each]["iterate"].copy_(each)
        for each, gradient in zip(every, gradients, strict=True):
            each.grad = gradient
        self._restart()
        if self.reset_inner and self.inner is not None:
            self.inner.state.clear()
        self._count("rounds")
        if self.relaxation == "heat":
            self._scatter(self.steps)

    def _warn_if_loose(self) -> None:
        reached = self.last_equilibration
        if not self.gamma or reached is None or reached >= _LOOSE:
            return
        self._tell(
            "loose",
            f"the tether of {self.relaxation} has no effect: a round of {self.steps} "
            f"steps at gamma {self.gamma:g} takes it {100 * reached:.2g} % of its way, "
            "and the method is Lookahead. Give a gamma of about 3 (1 - momentum) / "
            "(lr steps), or 0 if that is what you want",
        )

    # Where the parameters are

    @torch.no_grad()
    def settle(self, *, finish: bool = True) -> None:
        """Put the iterate into the parameters for good, as at the end of a training.

        Args:
            finish: whether a round that has begun ends with its outer step; else what
                it has led to is dropped, as after an error. Replicas wait for each
                other at the end of a round, and only there.

        Raises:
            UsageError: a call within `at_iterate`.
        """
        self._refuse_shown("settling")
        if self.position and finish:
            if self.relaxation == "heat":  # the mean of fewer gradients
                for state in self.state.values():
                    if "slope" in state:
                        state["slope"].mul_(self.steps / self.position)
            self._outer_step()
        if not finish or self.relaxation == "heat":
            self._restart()


def _inner(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
