"""Stages one after another: done, or taken from an earlier run; what each bought."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, cast, final

import torch
from torch import nn

from trimtab._version import __version__
from trimtab.bundle.stage import Context, Stage, StageResult
from trimtab.cost.latency import LatencyModel
from trimtab.errors import PlanError
from trimtab.hardware.detect import fingerprint
from trimtab.pipeline import bought
from trimtab.pipeline.bought import START, Stand, accuracy_of
from trimtab.pipeline.identity import Seen, look
from trimtab.pipeline.inspection import totals
from trimtab.pipeline.kept import Done, Kept, key_of, now

__all__ = ["DECIDE", "Going", "Progress", "Watched", "sentence", "sha256"]

DECIDE: Final = ("design",)
"""Stages whose decisions rest on the latency of what later runs."""

_MOST: Final = 0.99

Progress = Callable[[str, float, str], None]


@final
class Watched:
    """A context that lets a stage read what it says it reads, and nothing else.

    What is kept of a stage is found by what it reads: were there more, a changed plan
    would get an old result.
    """

    def __init__(self, context: Context, name: str, reads: Sequence[str]) -> None:
        self._context, self._name = context, name
        self._open = {"name", "network", "inputs", "keywords", "folder", "progress",
                      *reads}  # fmt: skip

    def __getattr__(self, part: str) -> Any:
        if part not in self._open:
            raise AssertionError(f"stage [{self._name}] does not say it reads {part}")
        return getattr(self._context, part)


@final
class Going:
    """A run under way.

    Args:
        context: of the first stage.
        decides: the model of latency of stages that decide ahead of the compiler.
        kept: whether results are kept, and taken.
        again: the stage from which on nothing is taken, or None.
        progress: of the run.

    Attributes:
        context: of the next stage.
        seen: the network as it is now.
        results: of stages that are through.
        stands: the start, and one a stage.
        notes: for people.
    """

    def __init__(
        self,
        *,
        context: Context,
        decides: LatencyModel | None,
        kept: bool,
        again: str | None,
        progress: Progress,
    ) -> None:
        self.context = context
        self.results: list[Done] = []
        self.notes: list[str] = []
        self._decides, self._again, self._progress = decides, again, progress
        self._reached = again is None
        self._kept = Kept(self.notes.append) if kept else None
        progress("network", 0.0, "capturing")
        self.seen = self._look(context.network)
        progress("network", 0.5, "estimating")
        self._given: dict[str, float] = {}
        self._accuracy = self._measured()
        self.stands = [self._stand(START)]
        progress("network", 1.0, f"{context.name}, {len(self.seen.graph.nodes)} nodes")

    def do(self, name: str, stage: Stage[Any], settings: Any) -> None:
        """Do a stage, or take what an earlier run has led to.

        Raises:
            PlanError: it must be taken, and is not there.
            TrimtabError: it cannot be done.
        """

        def tell(done: float, text: str) -> None:
            self._progress(name, done, text)

        tell(0.0, "")
        # It is through when its result is kept, whatever it says itself.
        given = replace(
            self.context, progress=lambda done, text: tell(min(done, _MOST), text)
        )
        if self._decides is not None and name in DECIDE:
            given = replace(given, latency=self._decides)
        self._reached = self._reached or name == self._again
        key = None
        if self._kept is not None:
            key = key_of(name, stage, settings, given, self.seen)
        done, after = self._taken(key, name, stage, settings, given) or (None, None)
        if done is None or after is None:
            done, after = self._done(key, name, stage, settings, given)
        result = done.result
        self.context = replace(
            self.context,
            network=result.network,
            files={**self.context.files, **result.files},
        )
        changed = after.digest != self.seen.digest
        self.seen = after
        self.results.append(done)
        self._given.update(result.values)
        if "accuracy_frac" in result.values:
            self._accuracy = result.values["accuracy_frac"]
        elif changed:
            self._accuracy = self._measured()
        self.stands.append(self._stand(name, tuple(sorted(result.values))))
        tell(1.0, ("kept: " if done.kept else "") + sentence(result))

    def _taken(
        self,
        key: str | None,
        name: str,
        stage: Stage[Any],
        settings: Any,
        given: Context,
    ) -> tuple[Done, Seen] | None:
        found = None
        again = self._again is not None and self._reached
        if self._kept is not None and key is not None and not again:
            found = self._kept.get(
                key, name, stage, settings, given, self.seen, self._look
            )
        if found is None and not self._reached:
            raise PlanError(
                f"stage [{self._again}] alone",
                rule=f"what [{name}] before it leads to is not kept, or the plan has "
                "changed since" + "".join(f"; {each}" for each in self.notes),
                where="--from and --only",
                remedy="run the plan once without the option",
            )
        return found

    def _done(
        self,
        key: str | None,
        name: str,
        stage: Stage[Any],
        settings: Any,
        given: Context,
    ) -> tuple[Done, Seen]:
        torch.manual_seed(given.seed)  # whatever was done, or taken, before
        watched = cast(Context, Watched(given, name, stage.reads))
        result = stage.run(watched, settings)
        done = Done(
            name=name, result=result, date=now(), host=fingerprint(), kept=False
        )
        after = self.seen
        if result.network is not given.network:
            after = self._look(result.network)
        if self._kept is not None and key is not None and result.lasting:
            self._kept.put(key, done, stage, self.seen, after)
        return done, after

    def _look(self, network: nn.Module) -> Seen:
        given = self.context
        return look(network, given.inputs, given.keywords, given.name)

    def _measured(self) -> float | None:
        """Return the accuracy of the network as it is now."""
        network, given = self.seen.network, self.context

        def find() -> float | None:
            return accuracy_of(network, given.data, given.inputs)

        if self._kept is None or given.data is None:
            return find()
        words = f"accuracy {__version__} {self.seen.digest} {given.data.digest}"
        return self._kept.number(sha256(words), find)

    def _stand(self, name: str, found: tuple[str, ...] = ()) -> Stand:
        given = self.context
        estimate = given.latency.estimate(self.seen.graph, given.machine, given.threads)
        values = {**totals(self.seen.graph, estimate), **self._given}
        verdicts = given.budget.judge(values)
        if self._accuracy is not None:
            values["accuracy_frac"] = self._accuracy
        return Stand(
            stage=name,
            values={key: values[key] for key in bought.QUANTITIES if key in values},
            verdicts=verdicts,
            found=found,
        )


def sentence(result: StageResult) -> str:
    """Return how a stage ended: what was decided, then what was observed."""
    return "; ".join(filter(None, (result.summary, result.observed_summary)))


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
