"""`trimtab symmetry`: which invariances hold, learned from data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.bundle.section import Section
    from trimtab.symmetry.network import Symmetric
    from trimtab.symmetry.posterior import Posterior
    from trimtab.symmetry.schemes import Family
    from trimtab.training.data import Dataset

__all__ = ["app"]

app = typer.Typer(
    help="Learn which invariances hold, as a posterior over weight sharing.",
    no_args_is_help=True,
)


@app.callback()
def _room() -> None:
    """Keep the name of a single command."""


@app.command("fit")
def fit_family(
    data: Annotated[
        str,
        typer.Option(
            help="digits, an .npz, an image folder, or package.module:factory."
        ),
    ],
    family: Annotated[
        str,
        typer.Option(
            help="D4, D4:all, D4:C4,hflip (some subgroups), flips, shifts, or "
            "rotations:16, by a sixteenth of a turn, in polar coordinates."
        ),
    ] = "D4",
    network: Annotated[
        str | None,
        typer.Option(help="A CNN to tie; a group CNN of its own if not given."),
    ] = None,
    evidence: Annotated[
        Literal["laplace", "elbo", "heldout"],
        typer.Option(help="How schemes are compared."),
    ] = "laplace",
    prior: Annotated[
        Literal["uniform", "generators", "invariance"],
        typer.Option(help="Over schemes, ahead of the data."),
    ] = "uniform",
    strength: Annotated[
        float,
        typer.Option(help="Nats for each doubling of the subgroup, of `invariance`."),
    ] = 0.0,
    examples: Annotated[
        int | None,
        typer.Option(min=2, help="Learn from so many only, drawn."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of each training: 1200, with elbo 5000."),
    ] = None,
    restarts: Annotated[
        int, typer.Option(min=1, help="Starts of the best two schemes.")
    ] = 2,
    degrees: Annotated[
        bool,
        typer.Option(
            "--degrees", help="Also how far each element holds: one training for each."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31, help="Of everything random.")
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Bundle of the plain network to write."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML page of tables and figure to write.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit every scheme of a family; say which invariances hold, and how sure it is."""
    with progress_bar(quiet=as_json) as progress:
        progress("symmetry", 0.0, "loading")
        from torch import nn

        from trimtab.bundle.store import require_free
        from trimtab.symmetry.fitting import STEPS, Search, fit
        from trimtab.symmetry.metrics import quality
        from trimtab.symmetry.schemes import family_of
        from trimtab.symmetry.sections import posterior_section
        from trimtab.symmetry.train import Recipe
        from trimtab.training.data import load
        from trimtab.training.loop import evaluate

        steps = steps or STEPS[evidence]
        if output is not None:
            require_free(output, overwrite=overwrite)
        if report is not None:
            _require_free_page(report, overwrite=overwrite)
        dataset = _some(load(data, seed=seed), examples, seed)
        ahead = _ahead(family, network, dataset)
        seen = _through(ahead, dataset)
        schemes = family_of(family, tuple(seen.train[0].shape[1:]))
        schemes = schemes.with_prior(prior, strength)
        posterior = fit(
            _network(network, schemes, seen),
            seen,
            evidence=evidence,
            seed=seed,
            search=Search(recipe=Recipe(steps=steps), restarts=restarts),
            progress=lambda done, text: progress("symmetry", done, text),
        )
        held = _degrees(posterior, seen, steps, seed, progress) if degrees else []
        judged = quality(posterior.predict(seen.test[0]), seen.test[1])
        section = posterior_section(posterior, dataset.test[0][:500], ahead=ahead)
        plain_network = posterior.collapse(seen.test[0][:500])
        _, alone = evaluate(plain_network, *seen.test)
        if ahead is not None:
            plain_network = nn.Sequential(*ahead, plain_network).eval()
        if output is not None:
            _write(
                output, plain_network, dataset, section, seed=seed, overwrite=overwrite
            )
        if report is not None:
            _draw(report, section, dataset, seed)
    record: dict[str, Any] = {
        "data": dataset.name,
        "examples": len(dataset.train[0]),
        "evidence": evidence,
        "verdict": posterior.verdict(),
        "scheme": posterior.best.scheme.name,
        "temperature_nats": posterior.temperature,
        "findings": [
            {
                "element": each.element,
                "verdict": each.verdict,
                "probability": each.probability,
                "nats": each.nats,
                "note": each.note,
            }
            for each in posterior.findings()
        ],
        "degrees": held,
        "schemes": posterior.table(),
        "test": {
            "accuracy_frac": judged.accuracy_frac,
            "nll_nats": judged.nll,
            "ece_frac": judged.ece,
            "brier": judged.brier,
        },
        "plain": {"scheme": posterior.best.scheme.name, "accuracy_frac": alone},
    }
    if as_json:
        print_json(record)
        return
    from trimtab.units import format_percent

    out = console()
    for figure in reversed(section.figures):
        if figure.kind == "table":
            columns = list(zip(figure.columns, figure.units, strict=True))
            out.print(table(figure.title, columns, figure.rows))
    if held:
        columns = [("element", ""), ("degree", ""), ("log evidence, nats", "")]
        shown = [
            [
                each["element"],
                round(each["degree"], 3),
                round(each["log_evidence_nats"]),
            ]
            for each in held
        ]
        out.print(table("How far each holds, tied in part", columns, shown))
    out.print(plain(record["verdict"]), soft_wrap=True)
    out.print(
        f"of {len(dataset.test[0])} test examples "
        f"{format_percent(judged.accuracy_frac)} right, {judged.nll:.3f} nats, "
        f"calibration error {format_percent(judged.ece)}; the plain network of "
        f"{posterior.best.scheme.name} alone {format_percent(alone)}"
    )


def _some(dataset: Dataset, examples: int | None, seed: int) -> Dataset:
    if examples is None or examples >= len(dataset.train[0]):
        return dataset
    from dataclasses import replace

    import torch

    x, y = dataset.train
    drawn = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(x), generator=drawn)[:examples]
    return replace(dataset, train=(x[rows], y[rows]))


def _degrees(
    posterior: Posterior, dataset: Dataset, steps: int, seed: int, progress: Any
) -> list[dict[str, Any]]:
    """Return for each element in question how far it holds."""
    from trimtab.symmetry.fitting import Search
    from trimtab.symmetry.partial import fit_partial
    from trimtab.symmetry.schemes import Scheme
    from trimtab.symmetry.train import Recipe

    family = posterior.family
    network = posterior.judged[0].members[0].network
    found = []
    for number, element in enumerate(family.generators):
        name = family.group.elements[element]
        each = fit_partial(
            network,
            dataset,
            Scheme(
                name=name,
                generators=(element,),
                elements=family.group.closure([element]),
            ),
            recipe=Recipe(steps=steps),
            block=Search().block(network, dataset),
            seed=seed,
            progress=lambda done, name=name, at=number: progress(  # type: ignore[misc]
                "degrees", (at + done) / len(family.generators), name
            ),
        )
        found.append(
            {
                "element": name,
                "degree": each.degree,
                "log_evidence_nats": each.log_evidence,
            }
        )
    return found


def _ahead(family: str, network: str | None, dataset: Dataset) -> Any:
    """Return the layers that resample images for a family of rotations, or None."""
    name, _, angles = family.partition(":")
    shape = tuple(dataset.train[0].shape[1:])
    square = len(shape) == 3 and shape[1] == shape[2]
    if name != "rotations" or not angles.isdecimal() or not square:
        return None
    if network is not None:
        raise UsageError(
            f"network {network!r} tied by {family}",
            rule="it takes images, and rotations shift an axis of polar coordinates",
            where="trimtab symmetry fit",
            remedy="leave out --network, or take --family D4",
        )
    from trimtab.symmetry.resampling import polar_layers
    from trimtab.symmetry.schemes import rotations

    rotations(int(angles))  # refuses what is too large
    return polar_layers(shape, radii=max(1, shape[1] // 2), angles=int(angles))


def _through(ahead: Any, dataset: Dataset) -> Dataset:
    if ahead is None:
        return dataset
    from dataclasses import replace

    (x, y), (xt, yt) = dataset.train, dataset.test
    return replace(dataset, train=(ahead(x), y), test=(ahead(xt), yt))


def _require_free_page(report: Path, *, overwrite: bool) -> None:
    if (report.exists() and not (overwrite and report.is_file())) or (
        not report.parent.is_dir()
    ):
        raise UsageError(
            f"report {str(report)!r}",
            rule="its folder does not exist"
            if not report.parent.is_dir()
            else "it exists, or is no file",
            where="trimtab symmetry fit",
            remedy="give another place, or --overwrite",
        )


def _draw(report: Path, section: Section, dataset: Dataset, seed: int) -> None:
    from trimtab._version import __version__
    from trimtab.hardware.load import machine
    from trimtab.report.html import render

    facts = {
        "data": dataset.name,
        "examples": str(len(dataset.train[0])),
        "seed": str(seed),
        "trimtab": __version__,
    }
    page = render("Invariances", [section], [], facts, machine("this").title)
    draft = report.with_name(f".{report.name}.making")
    draft.write_text(page, "utf-8")
    draft.replace(report)


def _network(spec: str | None, family: Family, dataset: Dataset) -> Symmetric:
    from trimtab.symmetry.backbone import group_cnn, tied_mlp
    from trimtab.symmetry.tying import symmetrize
    from trimtab.zoo.resolve import resolve

    shape = tuple(dataset.train[0].shape[1:])
    if spec is not None:
        return symmetrize(resolve(spec).module, family, dataset.train[0][:1])
    if family.group.turns is not None and len(shape) == 3:
        return group_cnn(family, shape, dataset.classes)
    return tied_mlp(family, shape, dataset.classes)


def _write(
    output: Path,
    network: Any,
    dataset: Dataset,
    section: Section,
    *,
    seed: int,
    overwrite: bool,
) -> None:
    import torch

    from trimtab._version import __version__
    from trimtab.bundle import manifest as manifests
    from trimtab.bundle import store
    from trimtab.graph.capture import capture, weights_of
    from trimtab.graph.store import digest

    graph = capture(network, (dataset.train[0][:1],), name=output.stem)
    store.write(
        output,
        manifests.Manifest(
            format=manifests.FORMAT,
            name=output.stem,
            versions={"trimtab": __version__, "torch": torch.__version__},
            seed=seed,
            machine="",
            threads=1,
            plan={},
            inputs={"graph": digest(graph), "data": dataset.digest},
            stages=(),
            values={},
            verdicts=(),
            files={},
        ),
        graph=graph,
        weights=weights_of(network, graph),
        sections=[section],
        extra={},
        overwrite=overwrite,
    )
