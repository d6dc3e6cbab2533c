"""Stage `train`: the training loop on a copy of the network.

A seed of 0 in its table means the run's.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import final

from trimtab.bundle.section import Line, Section, Series
from trimtab.bundle.stage import Context, StageResult
from trimtab.training.loop import History, Settings, fit
from trimtab.training.stage import data_of
from trimtab.units import format_percent

__all__ = ["STAGE"]


@final
class _Train:
    settings = Settings
    gives = ("accuracy_frac",)
    reads: tuple[str, ...] = ("data", "seed")

    def run(self, context: Context, settings: Settings) -> StageResult:
        """Train and judge on the held-out part of the data.

        Raises:
            PlanError: there are no data, or the network cannot learn them.
        """
        data = data_of(context, "train")
        network = copy.deepcopy(context.network)
        history = fit(
            network,
            data,
            replace(settings, seed=settings.seed or context.seed),
            progress=lambda now: context.progress(
                now.step / now.steps,
                f"epoch {now.epoch} of {now.epochs}, loss {now.loss:.3f}",
            ),
        )
        last = history.epochs[-1]
        return StageResult(
            network=network.eval(),
            summary=f"{len(history.epochs)} epochs on {data.name}: "
            f"{format_percent(last.test_accuracy_frac)} of the held-out examples right",
            sections=(_section(history),),
            values={"accuracy_frac": last.test_accuracy_frac},
            observed={"training": {"wall_s": sum(history.wall_s)}},
        )


def _section(history: History) -> Section:
    epochs = tuple(float(index + 1) for index in range(len(history.epochs)))

    def line(name: str, attribute: str) -> Line:
        return Line(
            name=name,
            x=epochs,
            y=tuple(float(getattr(each, attribute)) for each in history.epochs),
            mode="lines+markers",
        )

    return Section(
        name="train",
        title="Training",
        text="Loss is the mean cross-entropy; accuracy is the share of examples whose "
        "largest output is the right class. The held-out part was not trained on.",
        figures=(
            Series(
                title="Loss",
                x_title="epoch",
                y_title="cross-entropy (nats)",
                lines=(line("train", "train_loss"), line("held out", "test_loss")),
            ),
            Series(
                title="Accuracy",
                x_title="epoch",
                y_title="share of examples right",
                lines=(
                    line("train", "train_accuracy_frac"),
                    line("held out", "test_accuracy_frac"),
                ),
            ),
        ),
    )


STAGE = _Train()
