"""`trimtab partition`: which layers run at the edge, which in the cloud."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trimtab.cli.output import console, plain, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.partition.quality import Quality
    from trimtab.partition.space import Choice

__all__ = ["app", "rate"]

app = typer.Typer(
    help="Divide a network between an edge machine and the cloud.",
    no_args_is_help=True,
)

_RATE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[kMG]?(?:bit/s|B/s))")
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@app.callback()
def _room() -> None:
    """Keep the name of a single command."""


def rate(text: str) -> float:
    """Return bytes per second of ``20Mbit/s`` or ``2.5MB/s``.

    Raises:
        UsageError: no such rate.

    Example:
        >>> rate("20Mbit/s")
        2500000.0
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or float(match["number"]) == 0:
        raise UsageError(
            f"rate {text!r}",
            rule="it is a number above 0 with bit/s or B/s, with k, M or G before",
            where="command line",
            remedy="give 20Mbit/s",
        )
    prefix = match["unit"][0] if match["unit"][0] in "kMG" else ""
    bits = 8.0 if match["unit"].endswith("bit/s") else 1.0
    return float(match["number"]) * _PREFIX[prefix] / bits


@app.command("plan")
def plan_cut(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
            metavar="NET",
        ),
    ],
    edge: Annotated[
        str, typer.Option(help="Machine, or the JSON of `trimtab profile`.")
    ] = "raspberry-pi-4",
    cloud: Annotated[str, typer.Option(help="The same of the cloud.")] = "this",
    bandwidth: Annotated[
        str | None, typer.Option(help="Of the uplink, such as 20Mbit/s.")
    ] = None,
    downlink: Annotated[
        str | None, typer.Option(help="If it differs from the uplink.")
    ] = None,
    rtt: Annotated[str | None, typer.Option(help="Such as 40ms.")] = None,
    link: Annotated[
        str | None, typer.Option(help="Of the catalogue: wifi, 4g, 3g, ethernet-1g.")
    ] = None,
    fading: Annotated[
        float, typer.Option(min=1.0, help="Median over low goodput, of p95.")
    ] = 2.0,
    edge_load: Annotated[
        float, typer.Option(min=1.0, help="Times slower than unloaded.")
    ] = 1.0,
    cloud_load: Annotated[float, typer.Option(min=1.0, help="The same.")] = 1.0,
    queue: Annotated[str, typer.Option(help="Waiting in the cloud.")] = "0ms",
    objective: Annotated[
        Literal["latency", "p95", "throughput", "energy"],
        typer.Option(help="What is to be best."),
    ] = "latency",
    private_layers: Annotated[
        int, typer.Option(min=0, help="Layers with weights that stay on the edge.")
    ] = 0,
    max_bytes: Annotated[
        str | None, typer.Option(help="Of a request, such as 100kB.")
    ] = None,
    edge_memory: Annotated[
        str | None, typer.Option(help="For weights and activations.")
    ] = None,
    cloud_memory: Annotated[str | None, typer.Option(help="The same.")] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(help="raw, fp16, bf16, int8, int4, +zstd, +lz4; repeat."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="One call may use.")] = 1,
    carried: Annotated[
        str | None,
        typer.Option(help="`trimtab profile` of this machine; named ones are scaled."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Measures what codecs do on its examples.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="A .safetensors file to load, for --data.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Of the data.")] = 100,
    accuracy_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Share that a codec may cost.")
    ] = 0.005,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show cuts, predicted times and bytes, the best, and why."""
    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "capturing")
        from trimtab.hardware.detect import fingerprint
        from trimtab.partition.conditions import Conditions, Limits
        from trimtab.partition.plan import IMAGE_BYTES, image_bytes, plan
        from trimtab.partition.quality import measured
        from trimtab.partition.space import Space
        from trimtab.pipeline.network import open_graph
        from trimtab.pipeline.observed import correction_of
        from trimtab.pipeline.profiles import profile_of
        from trimtab.training.data import load
        from trimtab.units import format_duration, parse_bytes, parse_duration

        uplink, down, trip = _link(link, bandwidth, downlink, rtt)
        at = Conditions(
            uplink_bytes_per_s=uplink,
            downlink_bytes_per_s=down,
            rtt_s=trip,
            fading=fading,
            edge_slowdown=edge_load,
            cloud_slowdown=cloud_load,
            queue_s=parse_duration(queue),
        )
        limits = Limits(
            private_layers=private_layers,
            most_bytes=None if max_bytes is None else parse_bytes(max_bytes),
            edge_bytes=None if edge_memory is None else parse_bytes(edge_memory),
            cloud_bytes=None if cloud_memory is None else parse_bytes(cloud_memory),
            accuracy_loss_frac=accuracy_loss,
        )
        traced = open_graph(
            network,
            inputs=inputs or (),
            weights=weights,
            device="meta" if data is None else "cpu",
        )
        graph = traced.graph
        progress("load", 1.0, f"{len(graph.nodes)} operators")
        seen = correction_of(network, host=fingerprint(), threads=threads)
        sides = [
            profile_of(each, graph, threads=threads, carried=carried, seen=seen)
            for each in (edge, cloud)
        ]
        both = [each for each, _ in sides]
        corrected = seen is not None and any(
            each.source == "estimated" and where.fingerprint == seen.host
            for each, where in sides
        )
        codecs = tuple(codec or ("raw",))
        space = Space(graph, both[0], both[1], codecs=codecs, limits=limits)
        if data is not None:
            x, y = load(data).train
            quality = measured(
                graph, traced.weights,
                list({cut.position: cut for cut in space.cuts}.values()),
                codecs, x[:examples], y[:examples],
                progress=lambda done, text: progress("codecs", done, text),
            )  # fmt: skip
            space = Space(
                graph, both[0], both[1], codecs=codecs, limits=limits, quality=quality
            )
        found = plan(
            space, at, objective=objective, compressed_input_bytes=image_bytes(graph)
        )
    shown = {
        "best": found.best,
        "runner-up": found.runner_up,
        "edge only": found.edge_only,
        "cloud only": found.cloud_only,
        "cloud only, compressed input": found.cloud_compressed,
    }
    if as_json:
        print_json(
            {
                "network": graph.name,
                "edge": space.edge.machine,
                "cloud": space.cloud.machine,
                "objective": objective,
                "corrected": str(seen) if corrected else None,
                "conditions": {
                    key: value if math.isfinite(value) else None
                    for key, value in asdict(at).items()
                },
                "why": found.why,
                "bound_s": found.bound_s,
                "quality": [asdict(each) for each in space.quality],
                **{
                    name.replace(" ", "_").replace(",", "").replace("-", "_"): _record(
                        each
                    )
                    for name, each in shown.items()
                },
                "choices": [_record(each) for each in found.choices],
            }
        )
        return
    out = console()
    out.print(
        table(
            f"{graph.name}: edge {space.edge.machine}, cloud {space.cloud.machine}",
            _COLUMNS,
            [_row("", each) for each in found.choices[:12]],
        )
    )
    out.print(
        table(
            f"Best in {objective}, and what it is compared with",
            [("", ""), *_COLUMNS],
            [_row(name, each) for name, each in shown.items() if each is not None],
        )
    )
    if space.quality:
        out.print(
            table(
                f"Codecs on {space.quality[0].examples} examples of {data}",
                _QUALITY_COLUMNS,
                [_quality_row(each, allowed=accuracy_loss) for each in space.quality],
            )
        )
    out.print(plain(found.why), soft_wrap=True)
    if corrected:
        out.print(plain(f"times of this machine are corrected {seen}"), soft_wrap=True)
    if found.bound_s is not None:
        out.print(
            "no division of its operators, a prefix or not, is below "
            f"{format_duration(found.bound_s)} with values as they are computed "
            "(minimum cut)"
        )
    if found.cloud_compressed is not None:
        out.print(
            "an input that is compressed as an image is taken to have "
            f"{IMAGE_BYTES:g} bytes a number; its decoding is not counted"
        )


_COLUMNS = [
    ("cut", ""), ("codec", ""), ("sent", "bytes"), ("edge", "s"), ("link", "s"),
    ("cloud", "s"), ("latency", "s"), ("p95", "s"), ("requests/s", ""), ("energy", "s"),
]  # fmt: skip


_QUALITY_COLUMNS = [
    ("position", ""), ("codec", ""), ("compressed to", "frac"), ("same answer", "frac"),
    ("accuracy lost", "frac"), ("allowed", ""),
]  # fmt: skip


def _quality_row(each: Quality, *, allowed: float) -> list[object]:
    lost = each.accuracy_loss_frac
    worse = 1 - each.agreement_frac if lost is None else lost
    return [
        each.position, each.codec, each.ratio, each.agreement_frac,
        "" if lost is None else lost, "yes" if worse <= allowed else "no",
    ]  # fmt: skip


def _row(name: str, each: Choice) -> list[object]:
    cells = [
        each.name, each.codec, each.bytes, each.edge_s, each.link_s, each.cloud_s,
        each.latency_s, each.p95_s, round(each.throughput_per_s, 1), each.energy_s,
    ]  # fmt: skip
    return [name, *cells] if name else cells


def _record(each: Choice | None) -> dict[str, Any] | None:
    if each is None:
        return None
    return {
        "cut": each.name,
        "position": each.cut.position,
        "digest": each.cut.digest,
        "codec": each.codec,
        "bytes": each.bytes,
        "edge_s": each.edge_s,
        "link_s": each.link_s,
        "cloud_s": each.cloud_s,
        "latency_s": each.latency_s,
        "p95_s": each.p95_s,
        "throughput_per_s": each.throughput_per_s,
        "energy_s": each.energy_s,
    }


def _link(
    name: str | None, bandwidth: str | None, downlink: str | None, rtt: str | None
) -> tuple[float, float, float]:
    """Return uplink and downlink in bytes/s, and the round trip."""
    from trimtab.hardware.load import link as of_catalogue
    from trimtab.units import parse_duration

    if name is None and (bandwidth is None or rtt is None):
        raise UsageError(
            "a plan without a link",
            rule="what crosses takes its bandwidth and its round trip",
            where="command line",
            remedy="give --bandwidth 20Mbit/s --rtt 40ms, or --link wifi",
        )
    found = of_catalogue(name) if name is not None else None
    up = rate(bandwidth) if bandwidth else found.uplink_bytes_per_s if found else 0.0
    down = up
    if downlink:
        down = rate(downlink)
    elif found and not bandwidth:
        down = found.downlink_bytes_per_s
    trip = parse_duration(rtt) if rtt else found.rtt_s if found else 0.0
    return up, down, trip
