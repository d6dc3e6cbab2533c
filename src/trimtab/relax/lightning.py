"""A callback of Lightning: a relaxed training is looked at where its iterate is.

Between the rounds of a relaxation the parameters are at the place where the next
gradient is taken. Lightning validates, tests and ends wherever it happens to be; with
this callback it does so at the iterate.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final, final

from trimtab.errors import MissingExtraError, UsageError
from trimtab.relax.frame import RoundOptimizer

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise MissingExtraError(
        "the callback `AtIterate`",
        rule="it takes the package lightning",
        remedy="install lightning, or call `at_iterate` and `settle` yourself",
    ) from error

__all__ = ["AtIterate"]

_PREFIX: Final = "relax/"


@final
class AtIterate(Callback):
    """Validation, tests and the end of a training see the iterate of a relaxation.

    At the end of a round it logs ``relax/rounds``, ``relax/gamma`` and, where it is
    known, ``relax/equilibration``. Checkpoints within a round hold the place and the
    optimizer's state, from which the training goes on; the last one holds the iterate.

    Args:
        settle: whether the iterate is put into the parameters at the end of `fit`.
        log: whether the numbers of rounds are logged.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(
        ...     max_epochs=1, callbacks=[AtIterate()], logger=False, accelerator="cpu",
        ...     enable_checkpointing=False, enable_progress_bar=False,
        ... )
    """

    def __init__(self, *, settle: bool = True, log: bool = True) -> None:
        super().__init__()
        self._settle = settle
        self._log = log
        self._shown: contextlib.ExitStack | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing: the optimizers come later."""
        del trainer, pl_module, stage
        self._close()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Require a relaxation.

        Raises:
            UsageError: none of the optimizers is one.
        """
        del pl_module
        if not _relaxed(trainer):
            raise UsageError(
                "the callback `AtIterate`",
                rule="none of the optimizers is a relaxation",
                where="configure_optimizers",
                remedy="return a `relax.Relaxed` there, or leave the callback out",
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        """Log the numbers of a round that has ended."""
        if not self._log:
            return
        for index, each in enumerate(_relaxed(trainer)):
            if each.position == 0 and each.rounds:
                prefix = f"{_PREFIX}{index}/" if index else _PREFIX
                numbers = {"rounds": float(each.rounds), "gamma": each.gamma}
                if each.equilibration is not None:
                    numbers["equilibration"] = each.equilibration
                pl_module.log_dict({prefix + k: v for k, v in numbers.items()})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the iterate."""
        del pl_module
        self._open(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Come back."""
        del trainer, pl_module
        self._close()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the iterate into the parameters."""
        del pl_module
        self._close()
        if self._settle:
            for each in _relaxed(trainer):
                each.settle()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Come back: what is saved now is where the training was."""
        del trainer, pl_module, exception
        self._close()

    def _open(self, trainer: Trainer) -> None:
        self._close()
        self._shown = contextlib.ExitStack()
        for each in _relaxed(trainer):
            self._shown.enter_context(each.at_iterate())

    def _close(self) -> None:
        if self._shown is not None:
            shown, self._shown = self._shown, None
            shown.close()


def _relaxed(trainer: Trainer) -> list[Any]:
    """Return the relaxations among the optimizers, whatever wraps them."""
    found = (getattr(each, "optimizer", each) for each in trainer.optimizers)
    return [each for each in found if isinstance(each, RoundOptimizer)]
