"""A callback of Lightning: a network that does not fit its budget is not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from trimtab.cost.latency import Roofline
from trimtab.cost.verdict import Budget, Verdict, fits
from trimtab.errors import BudgetInfeasibleError, MissingExtraError, UsageError
from trimtab.graph.capture import capture
from trimtab.hardware.load import machine as find_machine
from trimtab.hardware.machine import Machine
from trimtab.pipeline.inspection import totals

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MissingExtraError(
        "the callback `WithinBudget`",
        rule="it takes the package lightning",
        remedy="install lightning",
    ) from error

__all__ = ["WithinBudget"]


@final
class WithinBudget(Callback):
    """Ends `fit` before its first step if the network breaks a limit.

    The network is captured and its cost is told by analysis; nothing of it is run. What
    was found is in `verdicts`, and in the logger as ``budget/NAME``.

    Args:
        budget: the limits. What only a training can tell, accuracy, is not judged.
        machine: what the time is predicted for: a name, a file, or a description.
        threads: that one call may use.
        network: attribute of the LightningModule that is meant; itself by default.
        inputs: positional inputs of one call; ``example_input_array`` by default.

    Example:
        >>> small = WithinBudget(Budget(parameters=10_000), machine="raspberry-pi-4")
        >>> small.verdicts
        ()
    """

    def __init__(
        self,
        budget: Budget,
        *,
        machine: str | Machine = "this",
        threads: int = 1,
        network: str = "",
        inputs: Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        self._budget = budget
        self._machine = (
            machine if isinstance(machine, Machine) else find_machine(machine)
        )
        self._threads = threads
        self._network = network
        self._inputs = inputs
        self.verdicts: tuple[Verdict, ...] = ()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the network.

        Raises:
            BudgetInfeasibleError: it breaks a limit; `best` holds all verdicts.
            UsageError: no such attribute, or no inputs.
            CaptureError: it cannot become a graph.
        """
        module = self._module(pl_module)
        inputs = self._example(pl_module, module)
        training = [each for each in module.modules() if each.training]
        module.eval()
        try:
            graph = capture(module, inputs)
        finally:
            for each in training:
                each.training = True
        estimate = Roofline().estimate(graph, self._machine, self._threads)
        self.verdicts = self._budget.judge(totals(graph, estimate))
        if trainer.logger is not None:
            trainer.logger.log_metrics(
                {f"budget/{each.name}": each.value for each in self.verdicts}, step=0
            )
        if not fits(self.verdicts):
            worst = min(
                (each for each in self.verdicts if not each.fits),
                key=lambda each: each.slack / each.limit,
            )
            raise BudgetInfeasibleError(
                f"training {type(module).__name__} on {self._machine.title}",
                rule=str(worst),
                where="WithinBudget",
                remedy="make it smaller, or let `trimtab design optimize` do it",
                best=self.verdicts,
                binding=worst.name,
            )

    def _module(self, pl_module: LightningModule) -> nn.Module:
        try:
            found: nn.Module = pl_module.get_submodule(self._network)
        except AttributeError as error:
            raise UsageError(
                f"network {self._network!r}",
                rule=f"{type(pl_module).__name__} has no such module",
                where="WithinBudget",
                remedy="name an attribute of the LightningModule",
            ) from error
        return found

    def _example(
        self, pl_module: LightningModule, module: nn.Module
    ) -> tuple[Any, ...]:
        given = self._inputs
        if given is None:
            array: Any = pl_module.example_input_array
            given = (array,) if isinstance(array, Tensor) else array
        if given is None or isinstance(given, dict):
            raise UsageError(
                "judging a network without inputs",
                rule="a graph has fixed shapes",
                where="WithinBudget",
                remedy="give positional `inputs`, or set example_input_array",
            )
        device = next((each.device for each in module.parameters()), None)
        return tuple(
            each.to(device) if isinstance(each, Tensor) and device else each
            for each in given
        )
