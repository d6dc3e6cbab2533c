"""`trimtab run`: the stages of a plan, bundle, report; over 400 lines: all checks.

Nothing is written before every stage is through: a run that fails or is killed leaves
what was there before. What finished stages led to is kept in the cache folder
(`trimtab.pipeline.kept`), and the next run goes on from there.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from pydantic import ConfigDict, TypeAdapter, with_config

from trimtab._version import __version__
from trimtab.bundle import manifest as manifests
from trimtab.bundle import observations, store
from trimtab.bundle.section import Section
from trimtab.bundle.stage import Context, Stage
from trimtab.cost.latency import Corrected, LatencyModel, Roofline
from trimtab.cost.verdict import Verdict
from trimtab.errors import BundleError, PlanError, UsageError
from trimtab.graph.capture import weights_of
from trimtab.graph.store import digest
from trimtab.hardware import load
from trimtab.hardware.detect import fingerprint
from trimtab.hardware.machine import Machine
from trimtab.pipeline import bought
from trimtab.pipeline.bought import Stand
from trimtab.pipeline.going import DECIDE, Going, Progress, sentence, sha256
from trimtab.pipeline.inspection import totals
from trimtab.pipeline.kept import Done
from trimtab.pipeline.network import beside, open_network
from trimtab.pipeline.observed import Correction, correction_of
from trimtab.pipeline.plan import Plan, validated
from trimtab.report.html import render
from trimtab.runtime.store import is_compiled, seal_bundle
from trimtab.training.data import load as load_data

__all__ = ["STAGES", "RunResult", "run"]

STAGES: dict[str, str] = {
    "design": "trimtab.design.step:STAGE",
    "symmetry": "trimtab.symmetry.step:STAGE",
    "inspect": "trimtab.pipeline.steps.inspect:STAGE",
    "train": "trimtab.pipeline.steps.train:STAGE",
    "relax": "trimtab.relax.step:STAGE",
    "collapse": "trimtab.symmetry.collapse_step:STAGE",
    "verify": "trimtab.pipeline.steps.verify:STAGE",
    "compile": "trimtab.compiler.step:STAGE",
    "partition": "trimtab.partition.step:STAGE",
    "serve": "trimtab.pipeline.steps.serve:STAGE",
}
"""Where each stage stands, in the order they run; imported when a plan names it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run left.

    Attributes:
        bundle: folder of the bundle.
        report: the HTML page.
        stages: name and closing sentences of every stage.
        kept: stages that were taken from an earlier run.
        stands: where the network stood before the first stage and after each.
        verdicts: how the result stands to the budget.
        observed: how what was observed stands to it.
        notes: what could not be kept, or not be used.
    """

    bundle: Path
    report: Path
    stages: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    stands: tuple[Stand, ...]
    verdicts: tuple[Verdict, ...]
    observed: tuple[Verdict, ...]
    notes: tuple[str, ...]


def _stage(name: str, where: str) -> Stage[Any]:
    module, _, attribute = STAGES[name].partition(":")
    try:
        found: Stage[Any] = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("trimtab."):
            raise  # the stage is there, something it needs is not
        raise PlanError(
            f"stage [{name}]",
            rule="this version of trimtab does not have it",
            where=where,
            remedy="leave its table out",
        ) from error
    return found


def _require_training(plan: Plan) -> None:
    """Refuse a network that is drawn anew and that no stage trains."""
    drawn = plan.stages.get("symmetry", {}).get("judge") == "small"
    if drawn and not {"train", "relax"} & set(plan.stages):
        raise PlanError(
            'stage [symmetry] with judge = "small"',
            rule="it draws the weights of the network anew, and no stage trains them",
            where=plan.where,
            remedy="add a table [relax] or [train]",
        )


def _settings(stage: Stage[Any], name: str, plan: Plan) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(
        with_config(ConfigDict(extra="forbid"))(stage.settings)
    )
    return validated(adapter, plan.stages[name], plan.where, table=name)


def run(
    plan: Plan,
    *,
    overwrite: bool = False,
    latency: LatencyModel | None = None,
    cache: bool = True,
    only: str | None = None,
    first: str | None = None,
    progress: Progress = lambda stage, done, text: None,
) -> RunResult:
    """Do what the plan says and return where the result lies.

    Args:
        plan: from `trimtab.pipeline.plan`.
        overwrite: whether an existing bundle may be replaced.
        latency: predicts times; by default the roofline, for stages that decide ahead
            of ``[compile]`` the compiler's own model.
        cache: whether results of stages are kept, and taken from earlier runs.
        only: the stage that is done, again if need be; those before it are taken from
            an earlier run, those behind it left out.
        first: the stage from which on all are done, again if need be.
        progress: told the stage, the share of it that is done, and a short text.

    Raises:
        TrimtabError: the plan cannot be carried out; nothing was written.
        BudgetInfeasibleError: a limit cannot be met; carries the verdicts.
    """
    plan, again = _selected(plan, only=only, first=first, cache=cache)
    path = plan.output / f"{plan.name}.trimtab"
    store.require_free(path, overwrite=overwrite)
    stages = [
        (name, stage := _stage(name, plan.where), _settings(stage, name, plan))
        for name in STAGES
        if name in plan.stages
    ]
    if only is None:
        _require_training(plan)
        _require_values(plan, [stage for _, stage, _ in stages])
    report = plan.output / "report.html"
    _require_writable(plan.output, report, overwrite=overwrite)
    machine = load.machine(beside(plan.machine, plan.folder))
    torch.manual_seed(plan.seed)  # of weights that a factory draws
    opened = open_network(
        plan.network, inputs=plan.input, weights=plan.weights, folder=plan.folder
    )
    data = None
    if plan.data is not None:
        data = load_data(beside(plan.data, plan.folder), seed=plan.seed)
    observed = None
    if latency is None:
        spec = beside(plan.network, plan.folder)
        observed = correction_of(spec, host=_host_of(machine), threads=plan.threads)
    context = Context(
        name=opened.name,
        network=opened.module,
        inputs=opened.args,
        keywords=opened.kwargs,
        data=data,
        machine=machine,
        threads=plan.threads,
        latency=latency or _corrected(observed),
        budget=plan.budget,
        seed=plan.seed,
        folder=plan.folder,
        progress=lambda done, text: None,
    )
    going = Going(
        context=context,
        decides=latency or _of_code(plan),
        kept=cache,
        again=again,
        progress=progress,
    )
    if observed is not None:
        going.notes.append(
            f"times of {opened.name} in PyTorch are corrected {observed}"
        )
    for name, stage, settings in stages:
        going.do(name, stage, settings)
    results, context, seen = going.results, going.context, going.seen
    progress("bundle", 0.0, "capturing the result")
    weights = weights_of(context.network, seen.graph)
    files: dict[str, bytes] = {
        "machine.toml": load.to_toml(machine).encode(),
        bought.FILE: (
            json.dumps(bought.records(going.stands), indent=1) + "\n"
        ).encode(),
        **context.files,
    }
    values = totals(
        seen.graph, context.latency.estimate(seen.graph, machine, plan.threads)
    )
    for done in results:
        values.update(done.result.values)
    inputs = {"graph": digest(seen.graph), "plan": sha256(repr(plan.resolved()))}
    if data is not None:
        inputs["data"] = data.digest
    if observed is not None:
        inputs["observations"] = sha256(repr(observed.factor))
    manifest = manifests.Manifest(
        format=manifests.FORMAT,
        name=plan.name,
        versions={
            "trimtab": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        seed=plan.seed,
        machine=machine.name,
        threads=plan.threads,
        plan=plan.resolved(),
        inputs=inputs,
        stages=tuple((done.name, done.result.summary) for done in results),
        values=values,
        verdicts=plan.budget.judge(values),
        files={},
    )
    sections = [section for done in results for section in done.result.sections]
    sections.append(bought.section(going.stands))
    progress("bundle", 0.3, "writing")
    bundle = store.write(
        path,
        manifest,
        graph=seen.graph,
        weights=weights,
        sections=sections,
        extra=files,
        overwrite=overwrite,
    )
    if is_compiled(bundle):
        seal_bundle(bundle)
    _observe(path, results)
    progress("bundle", 0.6, "drawing the report")
    sections += [each for done in results for each in done.result.observed_sections]
    _write_report(report, bundle.manifest, sections, machine.title)
    progress("bundle", 1.0, "done")
    return RunResult(
        bundle=path,
        report=report,
        stages=tuple((done.name, sentence(done.result)) for done in results),
        kept=tuple(done.name for done in results if done.kept),
        stands=tuple(going.stands),
        verdicts=manifest.verdicts,
        observed=tuple(
            each for done in results for each in done.result.observed_verdicts
        ),
        notes=tuple(going.notes),
    )


def _selected(
    plan: Plan, *, only: str | None, first: str | None, cache: bool
) -> tuple[Plan, str | None]:
    """Return the plan that is carried out, and from which stage on it is done again.

    Raises:
        PlanError: it has no stages, or not the one that is asked for.
        UsageError: both are asked for, or earlier results without the cache.
    """
    if not plan.stages:
        raise PlanError(
            "a run without stages",
            rule="a stage runs if its table is there, and there is none",
            where=plan.where,
            remedy=f"add one of {', '.join(f'[{name}]' for name in STAGES)}",
        )
    asked, option = (first, "--from") if only is None else (only, "--only")
    if asked is None:
        return plan, None
    if only is not None and first is not None:
        raise UsageError(
            f"--only {only} with --from {first}",
            rule="each says which stages are done",
            remedy="leave out one of them",
        )
    if not cache:
        raise UsageError(
            f"{option} {asked} with --no-cache",
            rule="stages before it are taken from an earlier run",
            remedy="leave out one of them",
        )
    order = [name for name in STAGES if name in plan.stages]
    if asked not in order:
        raise PlanError(
            f"{option} {asked}",
            rule=f"the stages of the plan are {', '.join(order)}",
            where=plan.where,
            remedy="name one of these, or add its table",
        )
    if only is not None:
        order = order[: order.index(only) + 1]
    return replace(plan, stages={name: plan.stages[name] for name in order}), asked


_ALWAYS = ("parameters", "multiply_adds", "weight_bytes", "peak_bytes", "latency_s")
# Limits whose values follow from graph and machine, whatever stages run.


def _require_values(plan: Plan, stages: list[Stage[Any]]) -> None:
    """Refuse a limit that no stage of the plan finds a value for."""
    given = {*_ALWAYS, *(name for stage in stages for name in stage.gives)}
    for name in plan.resolved()["budget"]:
        if name not in given:
            raise PlanError(
                f"limit on {name}",
                rule="no stage of this plan finds a value for it, so it could not be "
                "judged",
                where=f"{plan.where}, table [budget]",
                remedy="add the stage that does ([train] for accuracy_frac), or leave "
                "the limit out",
            )


def _require_writable(folder: Path, report: Path, *, overwrite: bool) -> None:
    """Refuse a place that cannot be written, before any work is done for it."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise BundleError(
            f"output {str(folder)!r}",
            rule=f"{existing} is no folder that can be written",
            remedy="give another place with -o",
        )
    if report.exists() and not (overwrite and report.is_file()):
        raise BundleError(
            "report",
            rule="something of its name stands there",
            where=str(report),
            remedy="give another place with -o, or replace it with --overwrite",
        )


def _host_of(machine: Machine) -> str:
    """Return the fingerprint of this host, where the machine is this host."""
    here = fingerprint()
    return here if machine.fingerprint == here else ""


def _corrected(observed: Correction | None) -> LatencyModel:
    if observed is None:
        return Roofline()
    return Corrected(Roofline(), observed.factor, observed.host)


def _of_code(plan: Plan) -> LatencyModel | None:
    """Return the compiler's model of latency where the run makes machine code."""
    if "compile" not in plan.stages or not set(DECIDE) & set(plan.stages):
        return None
    from trimtab.compiler.latency import ClosedForm  # needs TVM

    return ClosedForm(seed=plan.seed)


def _observe(path: Path, results: list[Done]) -> None:
    """Write what was observed; once, also where its stage was taken from a run."""
    known = [(each.kind, each.date, each.host) for each in observations.read(path)]
    for done in results:
        for kind, values in done.result.observed.items():
            if done.kept and (kind, done.date, done.host) in known:
                continue
            observations.append(path, kind, values, date=done.date, host=done.host)


def _write_report(
    path: Path, manifest: manifests.Manifest, sections: list[Section], machine: str
) -> None:
    facts: Mapping[str, str] = {
        "network": str(manifest.plan["network"]),
        "data": str(manifest.plan["data"] or "none"),
        "threads": str(manifest.threads),
        "seed": str(manifest.seed),
        **manifest.versions,
    }
    page = render(manifest.name, sections, manifest.verdicts, facts, machine)
    draft = path.with_name(f".{path.name}.making")
    draft.write_text(page, "utf-8")
    draft.replace(path)
