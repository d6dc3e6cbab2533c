"""`trimtab inspect`: what a network asks of a machine, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import console, print_json, progress_bar, table

__all__ = ["inspect"]

# Title, unit, attribute of a row, and the least width of a terminal that has room.
_COLUMNS = (
    ("layer", "", "layer", 0),
    ("kind", "", "kind", 120),
    ("output", "", "shape", 90),
    ("parameters", "count", "parameters", 60),
    ("multiply-adds", "count", "multiply_adds", 0),
    ("flops", "count", "flops", 140),
    ("traffic", "bytes", "traffic_bytes", 130),
    ("time", "s", "latency_s", 0),
    ("bound by", "", "bottleneck", 70),
    ("share", "frac", "share_frac", 100),
    ("measured", "s", "measured_s", 0),
)


def inspect(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
            metavar="NET",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several.",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file to load.")
    ] = None,
    machine: Annotated[
        str, typer.Option(help="Name in the catalogue, `this`, or a .toml file.")
    ] = "this",
    threads: Annotated[int, typer.Option(min=1, help="One call may use.")] = 1,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time it on this host, beside.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="With --measure: run a bundle's code, whoever made it."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show parameters, work, memory and predicted time of every layer."""
    from dataclasses import asdict

    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "starting")
        from trimtab.cost.latency import Roofline
        from trimtab.graph.execute import Executor
        from trimtab.graph.types import Ref
        from trimtab.hardware.detect import fingerprint
        from trimtab.hardware.load import machine as find_machine
        from trimtab.hardware.machine import Origin
        from trimtab.hardware.measure import profile
        from trimtab.pipeline.inspection import rows, totals
        from trimtab.pipeline.network import open_graph
        from trimtab.pipeline.observed import correction_of
        from trimtab.zoo.inputs import example_values

        target = find_machine(machine)
        progress("load", 0.3, "capturing")
        traced = open_graph(
            network,
            inputs=inputs or (),
            weights=None if weights is None else str(weights),
            device="cpu" if measure else "meta",
        )
        graph = traced.graph
        progress("load", 0.9, "estimating")
        estimate = Roofline().estimate(graph, target, threads)
        here = fingerprint() if target.fingerprint == fingerprint() else ""
        observed = correction_of(network, host=here, threads=threads)
        progress("load", 1.0, f"{len(graph.nodes)} operators")
        measured, compiled_s = None, None
        if measure:
            executor = Executor(graph, traced.weights)
            measured = profile(
                executor,
                {Ref(name): each for name, each in example_values(graph).items()},
                threads=threads,
                progress=lambda done, text: progress("measure", done, text),
            )
            compiled_s = _compiled_s(network, trust=trust, progress=progress)
    layers = rows(graph, estimate, measured.nodes_s if measured else None)
    whole = totals(graph, estimate)
    if as_json:
        record = {
            "network": graph.name,
            "machine": target.name,
            "threads": threads,
            "totals": whole,
            "corrected_s": observed and whole["latency_s"] * observed.factor,
            "layers": [asdict(row) for row in layers],
        }
        if measured is not None:
            record["measured"] = {
                "latency_s": measured.latency_s,
                "interval_s": measured.interval_s,
                "calls": measured.calls,
                "clock": measured.clock,
                "compiled_s": compiled_s,
            }
        print_json(record)
        return
    out = console()
    columns = [
        (title, unit, attribute)
        for title, unit, attribute, least_width in _COLUMNS
        if out.width >= least_width and (measured or attribute != "measured_s")
    ]
    out.print(
        table(
            f"{graph.name} on {target.title}, {threads} thread(s)",
            [(title, unit) for title, unit, _ in columns],
            [
                # A zero says nothing; a time of zero does.
                [
                    value
                    if (value := getattr(row, name)) or name == "latency_s"
                    else None
                    for _, _, name in columns
                ]
                for row in layers
            ],
        )
    )
    from trimtab.units import format_bytes, format_count, format_duration

    out.print(
        f"total: {format_count(whole['parameters'])} parameters, "
        f"{format_bytes(whole['weight_bytes'])} of weights, "
        f"{format_count(whole['multiply_adds'])} multiply-adds, "
        f"{format_count(whole['flops'])} flops, "
        f"peak activations {format_bytes(whole['peak_bytes'])}"
    )
    out.print(f"predicted: {format_duration(whole['latency_s'])}")
    if observed is not None:
        corrected_s = whole["latency_s"] * observed.factor
        out.print(f"corrected: {format_duration(corrected_s)}, {observed}")
    if measured is not None:
        low, high = measured.interval_s
        out.print(
            f"measured:  {format_duration(measured.latency_s)} "
            f"(quartiles {format_duration(low)} to {format_duration(high)}, "
            f"{measured.calls} calls, {measured.clock}); "
            + (
                "the prediction is "
                f"{100 * (whole['latency_s'] / measured.latency_s - 1):+.0f} % off"
                if target.fingerprint == fingerprint()
                else f"the prediction is for {target.name}, which this host is not"
            )
        )
    if measured is not None and compiled_s is not None:
        out.print(
            f"compiled:  {format_duration(compiled_s)} measured, "
            f"{measured.latency_s / compiled_s:.2f}x as fast as through PyTorch"
        )
    if target.fingerprint and Origin.MEASURED not in {
        source.origin for source in target.sources.values()
    }:
        out.print(
            "this machine is not calibrated: `trimtab machine calibrate` takes ten "
            "seconds and makes the times right"
        )


def _compiled_s(
    network: str, *, trust: bool, progress: Callable[[str, float, str], None]
) -> float | None:
    """Return the time of a bundle's machine code; None where there is none."""
    from trimtab.bundle.store import is_bundle
    from trimtab.pipeline.load import load, measured_latency_s
    from trimtab.runtime.compiled import CompiledNetwork

    if not is_bundle(Path(network)):
        return None
    progress("machine code", 0.0, "loading")
    loaded = load(network, trust=trust)
    found = measured_latency_s(loaded) if isinstance(loaded, CompiledNetwork) else None
    progress("machine code", 1.0, "" if found else "the bundle holds none")
    return found
