"""Relaxations as a torch optimizer; over 400 lines: its state, its modes, their guards.

Every call of `Relaxed.step` uses one gradient. A round has `steps` of them, taken at
points y around the iterate x, and ends with an outer step along the slope of the
relaxed loss (arXiv 1704.04932, in the notation of `trimtab.relax.pde`):

    local-entropy          y <- inner(y, grad f(y) + gamma (y - x)) + sqrt(2 lr T) z,
                           mu <- (1 - newest) mu + newest y,      x <- outer(x, x - mu)
    hopf-lax               the same without noise, mu = y: the proximal point
    hopf-lax-fixed-point   p <- b p + (1 - b) grad f(y), y <- x - p / gamma,
                           x <- outer(x, p)
    heat                   p = mean of grad f(x +- sqrt(T / gamma) z), in pairs,
                           x <- outer(x, p)

What readers of the sources trip over: the weight 0.75 of the paper's average is that of
the newest point, that of the authors' code is 0.25; their noise has the deviation
sqrt(2 lr) eps, so that T is the square of their eps; and at the numbers they publish
the tether does all but nothing, see `Relaxed.equilibration`.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from trimtab.errors import UsageError
from trimtab.relax.checks import TETHERED, check, share
from trimtab.relax.rounds import Equilibrated, rate_of
from trimtab.relax.scopes import Constant, Scope
from trimtab.relax.state import flattened, own, within

__all__ = ["Factory", "Relaxation", "Relaxed"]

Relaxation = Literal["local-entropy", "hopf-lax", "hopf-lax-fixed-point", "heat"]
Factory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]

_GROWTH: Final = 100.0  # of the norm of p within a round: the fixed point is unstable
_LOOSE: Final = 0.1  # of `equilibration`, below which the tether does nothing


class Relaxed(torch.optim.Optimizer):
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
            the tether needs, of the two tethered relaxations.
        scope: gamma = 1/t: a number, or how it changes from round to round.
        temperature: T = 1/beta: of the noise, and of the smoothing of ``heat``.
        newest: weight of the newest point in the average; 1 takes the last.
        damping: b of the fixed point, which is stable up to t lambda = (1 + b)/(1 - b)
            for curvatures lambda of the loss.
        reset_inner: whether the inner optimizer forgets its momentum each round.
        generator: of the noise; None draws from torch's own.

    Raises:
        UsageError: a number outside of its limits, an unknown relaxation, what a
            relaxation does not use, or a factory that leaves parameters out.

    Example:
        >>> x = nn.Parameter(torch.tensor([4.0]))
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
            gamma=scope.at(0),
            temperature=temperature,
            inner=inner is not None,
            newest=newest is not None,
            damping=damping is not None,
        )
        tethered = relaxation in TETHERED
        self.relaxation: Relaxation = relaxation
        self.scope: Scope = scope
        self.temperature = temperature
        self.newest = share("newest", newest, 0.75, most=1.0)
        if relaxation == "hopf-lax":
            self.newest = 1.0
        self.damping = share("damping", damping, 0.75, most=0.999)
        self.reset_inner, self.generator = reset_inner, generator
        self._shown = False  # whether parameters are the iterate's, in `at_iterate`
        self._warned = False
        counters = {"position": 0, "rounds": 0, "evaluations": 0}
        # In every group, as torch keeps what belongs to no parameter; ``largest`` is
        # the norm of the first slope of a round.
        defaults = {"relaxation": relaxation, "steps": steps, "largest": 0.0}
        super().__init__(params, {**defaults, **counters})
        self.inner: torch.optim.Optimizer | None = None
        if tethered:
            self.inner = self._made("inner", inner or _inner)
        rate = 1.0 if tethered else 0.1
        self.outer: torch.optim.Optimizer = self._made(
            "outer", outer or (lambda groups: torch.optim.SGD(groups, lr=rate))
        )

    def _made(self, name: str, factory: Factory) -> torch.optim.Optimizer:
        """Return an optimizer over the same groups."""
        own = {*self.defaults, "differentiable"}
        groups = [
            {key: value for key, value in group.items() if key not in own}
            for group in self.param_groups
        ]
        made = factory(groups)
        mine = [[id(each) for each in group["params"]] for group in self.param_groups]
        theirs = [[id(each) for each in group["params"]] for group in made.param_groups]
        if mine != theirs:
            raise UsageError(
                f"the {name} optimizer of {sum(map(len, mine))} parameters in "
                f"{len(mine)} groups",
                rule=f"its factory made one of {sum(map(len, theirs))} in "
                f"{len(theirs)}, or in another order",
                where="trimtab.relax.Relaxed",
                remedy="hand on what the factory is given",
            )
        return made

    # What is asked about it

    @property
    def steps(self) -> int:
        """Gradients of a round."""
        return int(self.param_groups[0]["steps"])

    @property
    def position(self) -> int:
        """Gradients of this round that were taken."""
        return int(self.param_groups[0]["position"])

    @property
    def rounds(self) -> int:
        """Rounds that are done: outer steps."""
        return int(self.param_groups[0]["rounds"])

    @property
    def evaluations(self) -> int:
        """Gradients that were taken since the beginning."""
        return int(self.param_groups[0]["evaluations"])

    @property
    def gamma(self) -> float:
        """One over the time of smoothing of this round."""
        return self.scope.at(self.rounds)

    @property
    def equilibration(self) -> float | None:
        """How far a round gets towards the law that the theory is about, 0 to 1.

        1 - (1 - lr gamma / (1 - momentum))^steps: the share of its way that the tether
        takes y, of the slowest group. The slope of a relaxed loss is x - mu only where
        this is near one; near zero the tether does nothing and the method is Lookahead.
        None where the inner optimizer has no rate of that kind.
        """
        return self._equilibration(self.rounds)

    @property
    def reached(self) -> float | None:
        """`equilibration` of the last round that was ended; None before the first."""
        return self._equilibration(self.rounds - 1) if self.rounds else None

    def _equilibration(self, done: int) -> float | None:
        rate = rate_of(self.inner)
        if rate is None:
            return None
        left = max(0.0, 1.0 - rate * self.scope.at(done))
        return float(1.0 - left**self.steps)

    # Steps

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Use the gradients that the parameters have; the last of a round moves x.

        Gradients are changed in place by the tether.

        Args:
            closure: computes the loss and its gradients once, of a new batch each time
                it is called; its result is returned.

        Raises:
            UsageError: sparse gradients, a call within `at_iterate`, or a fixed point
                that is unstable.
        """
        if self._shown:
            raise UsageError(
                "a step within `at_iterate`",
                rule="the gradient there is that of the iterate, not of the point that "
                "the round is at",
                where="trimtab.relax.Relaxed",
                remedy="leave the block first",
            )
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
        return loss

    def _begin(self, length: Equilibrated) -> None:
        """Decide how long the round will be."""
        rate = rate_of(self.inner)
        if rate is None:
            raise UsageError(
                f"equilibrated rounds of {type(self.inner).__name__}",
                rule="how far it takes the tether in a step is known of rates without "
                "adaptive scales alone",
                where="trimtab.relax.Relaxed",
                remedy="give a number of steps, or SGD as inner",
            )
        for group in self.param_groups:
            group["steps"] = length.of(rate=rate, gamma=self.gamma)

    def _of(self, name: str, moving: Iterable[Tensor]) -> list[Tensor]:
        return [self.state[each][name] for each in moving]

    def _tethered(self, moving: list[Tensor]) -> None:
        gamma = self.gamma
        iterates = self._of("iterate", moving)
        gradients = [each.grad for each in moving if each.grad is not None]
        if gamma:
            pulls = torch._foreach_sub(moving, iterates)
            torch._foreach_add_(gradients, pulls, alpha=gamma)
        assert self.inner is not None
        self.inner.step()
        if self.temperature:
            self._shake()
        if self.newest == 1.0:
            for each in moving:
                self.state[each]["seen"] = True
            return
        fresh = [each for each in moving if "average" not in self.state[each]]
        for each in fresh:
            self.state[each]["average"] = self.state[each]["iterate"].clone()
        torch._foreach_lerp_(self._of("average", moving), moving, self.newest)
        for each in moving:
            self.state[each]["seen"] = True

    def _shake(self) -> None:
        assert self.inner is not None
        for group in self.inner.param_groups:
            deviation = math.sqrt(2.0 * float(group["lr"]) * self.temperature)
            for each in group["params"]:
                if each.grad is not None:
                    each.add_(self._noise(each), alpha=deviation)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(
            like.shape, dtype=like.dtype, device=like.device, generator=self.generator
        )

    def _fixed_point(self, moving: list[Tensor]) -> None:
        for each in moving:
            state = self.state[each]
            assert each.grad is not None
            if not state.get("seen"):
                state["slope"], state["seen"] = each.grad.detach().clone(), True
            else:
                state["slope"].lerp_(each.grad, 1.0 - self.damping)
        slopes = self._of("slope", moving)
        norm = float(torch.stack(torch._foreach_norm(slopes)).norm())
        largest = float(self.param_groups[0]["largest"])
        if self.position == 0:
            for group in self.param_groups:
                group["largest"] = max(norm, 1e-30)
        elif not norm <= _GROWTH * largest:
            self._restart()
            limit = (1.0 + self.damping) / max(1e-12, 1.0 - self.damping)
            raise UsageError(
                f"a fixed point at time {1.0 / self.gamma:.3g} with damping "
                f"{self.damping:g}",
                rule=f"its slope grew from {largest:.3g} to {norm:.3g} in one "
                f"round: t times the curvature of the loss is above {limit:.3g}",
                where="trimtab.relax.Relaxed",
                remedy='give a larger gamma or damping, or relaxation="hopf-lax"; the '
                "parameters are those of the iterate, and the round begins again",
            )
        iterates = self._of("iterate", moving)
        self._to(moving, torch._foreach_add(iterates, slopes, alpha=-1.0 / self.gamma))

    def _smoothed(self, moving: list[Tensor]) -> None:
        for each in moving:
            state = self.state[each]
            if not state.get("seen"):
                state["slope"], state["seen"] = torch.zeros_like(each), True
            state["slope"].add_(each.grad, alpha=1.0 / self.steps)
        if self.position + 1 < self.steps:  # else the outer step does it
            self._scatter(moving)

    def _scatter(self, moving: Iterable[Tensor]) -> None:
        """Move to a new draw, or to the opposite of the last one."""
        width = math.sqrt(self.temperature / self.gamma)
        for each in moving:
            state = self.state[each]
            if "draw" in state:
                each.copy_(state["iterate"]).sub_(state.pop("draw"), alpha=width)
            else:
                state["draw"] = self._noise(each)
                each.copy_(state["iterate"]).add_(state["draw"], alpha=width)

    def _restart(self) -> None:
        """Go back to the iterate; forget what the round has led to so far."""
        for group in self.param_groups:
            group["position"] = 0
            for each in group["params"]:
                state = self.state[each]
                if "iterate" not in state:
                    continue
                each.copy_(state["iterate"])
                if "average" in state:
                    state["average"].copy_(each)
                state["seen"] = False
                state.pop("slope", None)
                state.pop("draw", None)

    @staticmethod
    def _to(parameters: list[Tensor], values: Iterable[Tensor]) -> None:
        torch._foreach_copy_(parameters, list(values))

    def _outer_step(self) -> None:
        """End a round; replicas wait for each other here."""
        self._finish()

    def _moved(self) -> list[Tensor]:
        """Return the parameters that had a gradient in this round."""
        return [
            each
            for group in self.param_groups
            for each in group["params"]
            if self.state[each].get("seen")
        ]

    def _reached(self, parameter: Tensor) -> Tensor:
        """Return where the round of a tethered relaxation has led a parameter."""
        found: Tensor = self.state[parameter].get("average", parameter)
        return found

    def _finish(self, pull: Callable[[Tensor], Tensor] | None = None) -> None:
        """Take the outer step.

        Args:
            pull: what is added to the slope of a parameter.
        """
        every = [each for group in self.param_groups for each in group["params"]]
        moved = self._moved()
        self._warn_if_loose()
        gradients = [each.grad for each in every]
        slopes = [
            self.state[each]["iterate"] - self._reached(each)
            if self.relaxation in TETHERED
            else self.state[each]["slope"]
            for each in moved
        ]
        if pull is not None:
            torch._foreach_add_(slopes, [pull(each) for each in moved])
        for each in every:
            each.grad = None
        for each, slope in zip(moved, slopes, strict=True):
            each.grad = slope
        self._to(moved, self._of("iterate", moved))
        self.outer.step()
        for each in moved:
            state = self.state[each]
            state["iterate"].copy_(each)
            if "average" in state:
                state["average"].copy_(each)
            state["seen"] = False
            state.pop("slope", None)
            state.pop("draw", None)
        for each, gradient in zip(every, gradients, strict=True):
            each.grad = gradient
        if self.reset_inner and self.inner is not None:
            self.inner.state.clear()
        self._count("rounds")
        for group in self.param_groups:
            group["position"] = 0
        if self.relaxation == "heat":
            self._scatter(moved)

    def _count(self, name: str) -> None:
        for group in self.param_groups:
            group[name] += 1

    def _warn_if_loose(self) -> None:
        reached = self.equilibration
        if self._warned or not self.gamma or reached is None or reached >= _LOOSE:
            return
        self._warned = True
        warnings.warn(
            f"the tether of {self.relaxation} has no effect: a round of {self.steps} "
            f"steps at gamma {self.gamma:g} takes it {100 * reached:.2g} % of its way, "
            "and the method is Lookahead. Give a gamma of about 3 (1 - momentum) / "
            "(lr steps), or 0 if that is what you want",
            UserWarning,
            stacklevel=3,
        )

    # Where the parameters are

    @contextlib.contextmanager
    def at_iterate(self) -> Iterator[None]:
        """Put the iterate into the parameters, and where the round was back again."""
        if self._shown:  # there already
            yield
            return
        held = [
            (each, each.detach().clone())
            for group in self.param_groups
            for each in group["params"]
            if "iterate" in self.state[each]
        ]
        with torch.no_grad():
            for each, _ in held:
                each.copy_(self.state[each]["iterate"])
        self._shown = True
        try:
            yield
        finally:
            self._shown = False
            with torch.no_grad():
                for each, point in held:
                    each.copy_(point)

    @property
    def scheduled(self) -> list[dict[str, Any]]:
        """Groups whose rates a schedule is meant to change: those of the outer steps.

        That of the inner loop stays as it is, as in arXiv 1611.01838, section 5.
        """
        return self.outer.param_groups

    @torch.no_grad()
    def settle(self) -> None:
        """End the round where it is, and put the iterate into the parameters for good.

        A round of fewer gradients than it was meant to have ends with its outer step
        all the same. Replicas wait for each other here, as at the end of every round.
        """
        if self.position and self.relaxation == "heat":
            for each in self._moved():  # the mean of fewer gradients
                self.state[each]["slope"].mul_(self.steps / self.position)
        if self.position:
            self._outer_step()
        if self.relaxation == "heat":
            self._restart()

    def watch(self, module: nn.Module) -> None:
        """Warn whenever the state of a module is taken that is not the iterate's."""

        def warn(*_: object) -> None:
            if not self._shown and (self.position or self.relaxation == "heat"):
                warnings.warn(
                    f"weights are taken {self.position} steps into a round of "
                    f"{self.steps}, at a point around the iterate; take them within "
                    "`at_iterate`",
                    UserWarning,
                    stacklevel=4,
                )

        module.register_state_dict_pre_hook(warn)  # type: ignore[no-untyped-call]

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all three optimizers, flat, of tensors and numbers alone.

        It holds where the round is, whatever the module's own weights are then: loading
        it puts the parameters back there.
        """
        found: dict[str, Any] = super().state_dict()
        order = [each for group in self.param_groups for each in group["params"]]
        for number, state in found["state"].items():
            state = found["state"][number] = dict(state)
            if not self._shown:
                state["point"] = order[number].detach()
        flattened(found, self._parts())
        if self.generator is not None:
            found["param_groups"][0]["generator"] = self.generator.get_state()
        return found

    def _parts(self) -> dict[str, torch.optim.Optimizer]:
        inner = {"inner": self.inner} if self.inner is not None else {}
        return {**inner, "outer": self.outer}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; the parameters go where the round was.

        Raises:
            UsageError: it is of another relaxation.
        """
        given = state_dict["param_groups"]
        kind = given[0].get("relaxation") if given else None
        if kind != self.relaxation:
            raise UsageError(
                f"a state of {kind or 'another optimizer'} loaded into "
                f"relaxation {self.relaxation!r}",
                rule="modes keep other things from step to step",
                where="trimtab.relax.Relaxed",
                remedy="make the optimizer as it was when its state was taken",
            )
        parts = self._parts()
        for name, part in parts.items():
            part.load_state_dict(within(state_dict, name))
        super().load_state_dict(own(state_dict, parts, without={"point", "generator"}))
        mine = [each for group in self.param_groups for each in group["params"]]
        # Numbers, or names where torch.distributed.checkpoint has been at work.
        theirs = [each for group in given for each in group["params"]]
        for each, key in zip(mine, theirs, strict=True):
            point = state_dict["state"].get(key, {}).get("point")
            if point is not None:
                each.copy_(point)
        if self.generator is not None and "generator" in given[0]:
            self.generator.set_state(given[0]["generator"])


def _inner(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
