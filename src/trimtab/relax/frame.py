"""The frame of an optimizer that moves once a round: its parts, its place, its state.

Gradients are taken at points around an iterate, and an inner and an outer optimizer
over the same groups take the steps; what a relaxation does with them is in
`trimtab.relax.relaxed`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from trimtab.errors import UsageError
from trimtab.relax.state import flattened, own, within

__all__ = ["Factory", "RoundOptimizer"]

Factory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class RoundOptimizer(torch.optim.Optimizer):
    """An optimizer with an iterate that moves once a round.

    Args:
        params: parameters or groups.
        defaults: of each group; counters are kept there too, as torch keeps what
            belongs to no parameter.

    Attributes:
        relaxation: what it is, for its state.
        inner: moves the points around the iterate, or None.
        outer: moves the iterate.
        generator: of its noise, or None for torch's own.
    """

    relaxation: str
    inner: torch.optim.Optimizer | None
    outer: torch.optim.Optimizer
    generator: torch.Generator | None

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.inner = None
        self._shown: dict[Tensor, Tensor] | None = None  # the points, in `at_iterate`
        self._told: set[str] = set()  # warnings that were given
        counters = {"position": 0, "rounds": 0, "evaluations": 0}
        super().__init__(params, {**defaults, **counters})

    def _shared(self, group: dict[str, Any]) -> dict[str, Any]:
        """Return what a group tells the inner and outer optimizers."""
        own = {*self.defaults, "differentiable"}
        return {key: value for key, value in group.items() if key not in own}

    def _made(self, name: str, factory: Factory) -> torch.optim.Optimizer:
        """Return an optimizer over the same groups."""
        made = factory([self._shared(group) for group in self.param_groups])
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

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, to the inner and outer optimizers as well."""
        super().add_param_group(param_group)
        if not hasattr(self, "outer"):  # torch's own, for the first groups
            return
        added = self.param_groups[-1]
        for key in self.defaults:
            added[key] = self.param_groups[0][key]
        for part in self._parts().values():
            part.add_param_group(self._shared(added))

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
    def away(self) -> bool:
        """Whether parameters are at another point than the iterate."""
        return self._shown is None and any(
            "iterate" in state and not torch.equal(each, state["iterate"])
            for each, state in self.state.items()
        )

    # Where the parameters are

    def _refuse_shown(self, what: str) -> None:
        if self._shown is None:
            return
        raise UsageError(
            f"{what} within `at_iterate`",
            rule="parameters are the iterate's there, not the point that the round is "
            "at",
            where="trimtab.relax.Relaxed",
            remedy="leave the block first",
        )

    @contextlib.contextmanager
    def at_iterate(self) -> Iterator[None]:
        """Put the iterate into the parameters, and where the round was back again."""
        if self._shown is not None:  # there already
            yield
            return
        with self._showing(
            {
                each: state["iterate"]
                for each, state in self.state.items()
                if "iterate" in state
            }
        ):
            yield

    @contextlib.contextmanager
    def _showing(self, values: Mapping[Tensor, Tensor]) -> Iterator[None]:
        """Put values into parameters, and what was there back again."""
        held = {each: each.detach().clone() for each in values}
        with torch.no_grad():
            for each, value in values.items():
                each.copy_(value)
        self._shown = held
        try:
            yield
        finally:
            self._shown = None
            with torch.no_grad():
                for each, point in held.items():
                    each.copy_(point)

    def watch(self, module: nn.Module) -> None:
        """Warn whenever the state of a module is taken that is not the iterate's."""

        def warn(*_: object) -> None:
            if self.away:
                warnings.warn(
                    f"weights are taken {self.position} steps into a round of "
                    f"{self.steps}, at a point around the iterate; take them within "
                    "`at_iterate`",
                    UserWarning,
                    stacklevel=4,
                )

        module.register_state_dict_pre_hook(warn)  # type: ignore[no-untyped-call]

    def _count(self, name: str) -> None:
        for group in self.param_groups:
            group[name] += 1

    @staticmethod
    def _to(parameters: list[Tensor], values: Iterable[Tensor]) -> None:
        if parameters:
            torch._foreach_copy_(parameters, list(values))

    def _tell(self, what: str, text: str) -> None:
        """Warn once."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(text, UserWarning, stacklevel=4)

    # State

    def _parts(self) -> dict[str, torch.optim.Optimizer]:
        inner = {"inner": self.inner} if self.inner is not None else {}
        return {**inner, "outer": self.outer}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all three optimizers, flat, of tensors and numbers alone.

        It holds where the round is, whatever the module's own weights are then, within
        `at_iterate` too: loading it puts the parameters back there.
        """
        found: dict[str, Any] = super().state_dict()
        order = [each for group in self.param_groups for each in group["params"]]
        held = self._shown or {}
        for number, state in found["state"].items():
            each = order[number]
            point = held.get(each, each).detach().clone()
            found["state"][number] = {**state, "point": point}
        flattened(found, self._parts())
        if self.generator is not None:
            found["param_groups"][0]["generator"] = self.generator.get_state()
        return found

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; the parameters go where the round was.

        Raises:
            UsageError: it is of another relaxation, or a call within `at_iterate`.
        """
        self._refuse_shown("loading a state")
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

    def __getstate__(self) -> dict[str, Any]:
        """Return all of it, for `copy.deepcopy`: torch's own leaves most out."""
        hooks = {"_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"}
        return {
            **super().__getstate__(),
            **{
                key: value
                for key, value in vars(self).items()
                if not key.startswith(
                    ("_optimizer", "_zero_grad", "_warned_capturable")
                )
                and key not in hooks
            },
        }
