"""`trimtab design`, over 400 lines: three commands that print the same things."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.design_check import check_networks
from trimtab.cli.output import (
    console,
    plain,
    print_json,
    progress_bar,
    table,
    verdict_records,
    verdict_table,
)
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.cost.latency import LatencyModel
    from trimtab.design.layers import Analysis
    from trimtab.design.search import Result
    from trimtab.design.values import Values
    from trimtab.graph.types import Graph

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Show what a network sees, and rewrite it within limits.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Network = Annotated[
    str,
    typer.Argument(
        help="zoo:NAME, package.module:factory, or a .py file.", metavar="NET"
    ),
]
_Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
]
_Weights = Annotated[Path | None, typer.Option(help="A .safetensors file to load.")]
_MachineName = Annotated[
    str, typer.Option(help="Name in the catalogue, `this`, or a .toml file.")
]
_Threads = Annotated[int, typer.Option(min=1, help="One call may use.")]
_Engine = Annotated[
    Literal["pytorch", "compiled"],
    typer.Option(help="Whose latency counts: PyTorch's, or that of `trimtab compile`."),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


app.command("check")(check_networks)


@app.command("explain")
def explain_network(
    network: _Network,
    inputs: _Inputs = None,
    weights: _Weights = None,
    machine: _MachineName = "this",
    threads: _Threads = 1,
    engine: _Engine = "pytorch",
    as_json: _AsJson = False,
) -> None:
    """Show receptive fields after every convolution, and what they tell."""
    with progress_bar(quiet=as_json) as progress:
        progress("explain", 0.0, "starting")
        from trimtab.design.analysis import analysis_of, windows_of
        from trimtab.design.explain import findings_of
        from trimtab.design.score import score
        from trimtab.hardware.load import machine as find_machine
        from trimtab.pipeline.network import open_network

        target = find_machine(machine)
        opened = open_network(
            _design(network), inputs=inputs or (), weights=_text(weights)
        )
        progress("explain", 0.3, "capturing")
        analysis, graph = analysis_of(
            opened.module, opened.args, opened.kwargs, name=opened.name
        )
        progress("explain", 0.8, "fields")
        model = _latency(engine)

        def latency_of(graph: Graph) -> float:
            return model.estimate(graph, target, threads).latency_s

        findings = findings_of(
            opened.module,
            analysis,
            graph,
            windows=windows_of(opened.module),
            latency_of=latency_of,
        )
        latency_s = latency_of(graph)
        progress("explain", 1.0, f"{len(analysis.layers)} convolutions")
    found = score(analysis)
    totals = _totals(analysis, latency_s)
    if as_json:
        from dataclasses import asdict

        print_json(
            {
                "network": opened.name,
                "machine": target.name,
                "image": list(analysis.image),
                "totals": totals,
                "stages": [
                    {"size": list(size), "mass": mass}
                    for size, mass in found.masses.items()
                ],
                "layers": [asdict(each) for each in analysis.layers],
                "findings": [
                    {**_plain(each), "modules": list(each.modules)} for each in findings
                ],
            }
        )
        return
    out = console()
    out.print(
        table(
            f"{opened.name}: what each convolution sees of {_size(analysis.image)}",
            [
                ("layer", ""), ("window", ""), ("result", ""), ("field", ""),
                ("narrowest", ""), ("channels", "count"), ("jump", ""),
                ("parameters", "count"), ("multiply-adds", "count"),
            ],
            [
                (
                    each.module or each.node,
                    _window(each.kernel, each.groups),
                    _size((each.outputs, *each.size)),
                    _size(each.field_out),
                    _size(each.least_out),
                    round(each.channels_out),
                    _size([f"{jump:g}" for jump in each.jump]),
                    each.parameters,
                    each.multiply_adds,
                )
                for each in analysis.layers
            ],
        )
    )  # fmt: skip
    if findings:
        out.print(
            table(
                "Findings",
                [
                    ("code", ""), ("what", ""), ("edit", ""), ("parameters", "count"),
                    ("multiply-adds", "count"), ("latency", "s"), ("score", ""),
                ],
                [
                    (
                        each.code, each.sentence, each.edit or None,
                        each.parameters, each.multiply_adds, each.latency_s,
                        None if each.score is None else f"{each.score:+.3f}",
                    )
                    for each in findings
                ],
            )
        )  # fmt: skip
    out.print(_sentence(totals))


@app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="A network.", metavar="A")],
    second: Annotated[str, typer.Argument(help="Another.", metavar="B")],
    inputs: _Inputs = None,
    machine: _MachineName = "this",
    threads: _Threads = 1,
    engine: _Engine = "pytorch",
    as_json: _AsJson = False,
) -> None:
    """Show the scores and the costs of two networks side by side."""
    with progress_bar(quiet=as_json) as progress:
        progress("compare", 0.0, "starting")
        from trimtab.design.analysis import analysis_of
        from trimtab.hardware.load import machine as find_machine
        from trimtab.pipeline.network import open_network

        target = find_machine(machine)
        both = []
        for number, spec in enumerate((first, second)):
            opened = open_network(_design(spec), inputs=inputs or ())
            analysis, graph = analysis_of(
                opened.module, opened.args, opened.kwargs, name=opened.name
            )
            latency_s = _latency(engine).estimate(graph, target, threads).latency_s
            both.append((spec, analysis, _totals(analysis, latency_s)))
            progress("compare", (number + 1) / 2, opened.name)
    if both[0][1].image != both[1][1].image:
        raise UsageError(
            f"images of {_size(both[0][1].image)} and {_size(both[1][1].image)} pixels",
            rule="scores compare networks for the same image",
            where="trimtab design compare",
            remedy="give the same --input for both",
        )
    if as_json:
        print_json(
            {
                "machine": target.name,
                "networks": [{"network": spec, **totals} for spec, _, totals in both],
            }
        )
        return
    (_, _, one), (_, _, two) = both
    units = {"parameters": "count", "multiply_adds": "count", "latency_s": "s"}
    from trimtab.units import format_value

    def shown(name: str, value: float) -> str:
        return format_value(value, units[name]) if name in units else f"{value:.3f}"

    console().print(
        table(
            f"{plain(first)} and {plain(second)} on {target.title}",
            [("quantity", ""), (plain(first), ""), (plain(second), ""), ("ratio", "")],
            [
                (
                    _NAMES.get(name, name), shown(name, one[name]),
                    shown(name, two[name]),
                    f"{two[name] / one[name]:.2f}" if one[name] else "",
                )
                for name in one
            ],
        )
    )  # fmt: skip


@app.command("optimize")
def optimize_network(
    network: _Network,
    inputs: _Inputs = None,
    weights: _Weights = None,
    max_params: Annotated[
        str, typer.Option(help="A number, a share such as 0.5x, or `none`.")
    ] = "1x",
    max_macs: Annotated[
        str, typer.Option(help="Multiply-adds: a number, a share, or `none`.")
    ] = "1x",
    max_latency: Annotated[
        str | None, typer.Option(help="Such as 3ms, or a share.")
    ] = None,
    level: Annotated[
        Literal["stage", "kernel", "both"],
        typer.Option(help="What may change: blocks of stages, kinds of kernels."),
    ] = "both",
    free: Annotated[
        bool, typer.Option("--free", help="Without the guard rails of robust designs.")
    ] = False,
    machine: _MachineName = "this",
    threads: _Threads = 1,
    engine: _Engine = "pytorch",
    seed: Annotated[int, typer.Option(help="Of weights that are drawn anew.")] = 0,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time both networks on this host.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a design that is there.")
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Rewrite a network so that it sees more within limits; it keeps its weights."""
    with progress_bar(quiet=as_json) as progress:
        progress("optimize", 0.0, "starting")
        from trimtab.design.search import Problem, optimize
        from trimtab.design.written import Written, require_free, write
        from trimtab.hardware.load import machine as find_machine
        from trimtab.pipeline.network import open_network

        if output is not None:
            require_free(output, overwrite=overwrite, network=network)
        target = find_machine(machine)
        opened = open_network(
            _design(network), inputs=inputs or (), weights=_text(weights)
        )

        result = optimize(
            Problem(
                model=opened.module,
                inputs=opened.args,
                keywords=opened.kwargs,
                machine=target,
                limits={
                    "parameters": _limit(max_params),
                    "multiply_adds": _limit(max_macs),
                    "latency_s": _limit(max_latency),
                },
                level=level,
                robust=not free,
                latency=_latency(engine),
                threads=threads,
                seed=seed,
            ),
            lambda done, text: progress("optimize", done, text),
        )
        measured = (
            _measured(opened.module, result.model, opened.args, opened.kwargs, threads)
            if measure
            else None
        )
        if output is not None:
            given = tuple(
                (str(each.dtype).removeprefix("torch."), tuple(each.shape))
                for each in opened.args
            )
            written = Written(
                network=network, rounds=result.edits, seed=seed, inputs=given
            )
            write(output, result.model, written, overwrite=overwrite)
    if as_json:
        print_json(_record(opened.name, target.name, result, measured, output))
        return
    _show(opened.name, target.title, result, measured, output)


def _record(
    name: str,
    machine: str,
    result: Result,
    measured: tuple[float, float] | None,
    output: Path | None,
) -> dict[str, Any]:
    from trimtab.design.edits import edits_to_json

    record: dict[str, Any] = {
        "network": name,
        "machine": machine,
        "before": _values(result.before),
        "after": _values(result.after),
        "verdicts": verdict_records(result.verdicts),
        "rounds": [edits_to_json(each) for each in result.edits],
        "steps": [
            {
                "edit": edits_to_json([each.edit])[0],
                "change": {
                    name: _values(each.values)[name] - before
                    for name, before in _values(each.before).items()
                },
            }
            for each in result.steps
        ],
        "pareto": [
            {
                **_values(each.values),
                "rounds": [edits_to_json(edits) for edits in each.edits],
            }
            for each in result.pareto
        ],
        "judged": result.judged,
    }
    if measured is not None:
        record["measured_s"] = {"before": measured[0], "after": measured[1]}
    if output is not None:
        record["folder"] = str(output)
    return record


def _show(
    name: str,
    machine: str,
    result: Result,
    measured: tuple[float, float] | None,
    output: Path | None,
) -> None:
    from trimtab.design.sections import edit_text
    from trimtab.units import format_duration, format_value

    out = console()
    out.print(
        table(
            f"{name} on {machine}: what each edit bought",
            [
                ("edit", ""), ("module", ""), ("score", ""), ("parameters", "count"),
                ("multiply-adds", "count"), ("latency", "s"),
            ],
            [
                (
                    edit_text(each.edit),
                    each.edit.module
                    if each.edit.edit == "replace"
                    else " ".join(each.edit.modules),
                    f"{each.values.score - each.before.score:+.3f}",
                    each.values.parameters - each.before.parameters,
                    each.values.multiply_adds - each.before.multiply_adds,
                    each.values.latency_s - each.before.latency_s,
                )
                for each in result.steps
            ],
        )
    )  # fmt: skip
    before, after = _values(result.before), _values(result.after)
    units = {"parameters": "count", "multiply_adds": "count", "latency_s": "s"}
    for quantity, was in before.items():
        now = after[quantity]
        if quantity in units:
            one, two = (format_value(each, units[quantity]) for each in (was, now))
            out.print(f"{_NAMES[quantity]}: {one} to {two} ({now / was:.2f}x)")
        else:
            out.print(f"{quantity}: {was:.3f} to {now:.3f}")
    if measured is not None:
        one, two = map(format_duration, measured)
        out.print(
            f"measured: {one} to {two} ({measured[1] / measured[0]:.2f}x), PyTorch here"
        )
    if result.verdicts:
        out.print(verdict_table(result.verdicts))
    out.print(
        f"{result.judged} designs judged, "
        f"{len(result.pareto)} that no other beats; a score is no accuracy: "
        "`trimtab design check` trains both"
    )
    if output is not None:
        out.print(f"written to {plain(str(output))}: network.py, edits.json, weights")


def _latency(engine: str) -> LatencyModel:
    """Return who predicts latencies."""
    if engine == "compiled":
        from trimtab.compiler.latency import ClosedForm

        return ClosedForm()
    from trimtab.cost.latency import Roofline

    return Roofline()


def _measured(
    before: Any,
    after: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    threads: int,
) -> tuple[float, float]:
    """Return the times of a call of two networks through PyTorch, in turns."""
    import torch

    from trimtab.hardware.measure import median_time_s

    times: list[list[float]] = [[], []]
    with torch.inference_mode():
        for _ in range(5):
            for place, module in enumerate((before, after)):
                call = functools.partial(module, *args, **kwargs)
                times[place].append(median_time_s(call, threads=threads))
    return sorted(times[0])[2], sorted(times[1])[2]


_NAMES = {
    "parameters": "parameters", "multiply_adds": "multiply-adds", "latency_s": "latency"
}  # fmt: skip


def _limit(asked: str | None) -> str | None:
    return None if asked == "none" else asked


def _design(spec: str) -> str:
    """Return the specification of a network; of the folder of a design its module."""
    inside = Path(spec) / "network.py"
    return str(inside) if (Path(spec) / "edits.json").is_file() else spec


def _values(values: Values) -> dict[str, float]:
    return {"score": values.score, **values.as_dict()}


def _totals(analysis: Analysis, latency_s: float) -> dict[str, float]:
    from trimtab.design.score import score

    return {
        "score": score(analysis).value,
        "parameters": analysis.parameters,
        "multiply_adds": analysis.multiply_adds,
        "entropy": analysis.entropy,
        "latency_s": latency_s,
    }


def _sentence(totals: Mapping[str, float]) -> str:
    from trimtab.units import format_count, format_duration

    return (
        f"score {totals['score']:.3f} (compares networks for this image, no accuracy); "
        f"{format_count(totals['parameters'])} parameters, "
        f"{format_count(totals['multiply_adds'])} multiply-adds, "
        f"entropy {totals['entropy']:.1f}, "
        f"predicted {format_duration(totals['latency_s'])}"
    )


def _plain(finding: Any) -> dict[str, Any]:
    from dataclasses import asdict

    record = asdict(finding)
    record["numbers"] = dict(finding.numbers)
    return record


def _size(sizes: Sequence[object]) -> str:
    return "x".join(map(str, sizes))


def _window(kernel: Sequence[int], groups: int) -> str:
    return _size(kernel) + (f" /{groups}" if groups > 1 else "")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
