"""`trimtab partition study` and `replay`: what adapting is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.cluster import Cluster, executor_of
from trimtab.cli.output import console, print_json, progress_bar, table
from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.partition.answers import Answers
    from trimtab.partition.replay import Ran
    from trimtab.partition.sensitivity import Spread

__all__ = ["replay", "study"]


def study(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
            metavar="NET...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the answers.")
    ],
    edge: Annotated[
        list[str] | None,
        typer.Option(
            help="Machine, JSON of `trimtab profile`, or a folder of these; repeat."
        ),
    ] = None,
    cloud: Annotated[list[str] | None, typer.Option(help="The same.")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="latency, p95, throughput, energy; repeat."),
    ] = None,
    codec: Annotated[
        list[str] | None, typer.Option(help="As of `plan`; repeat.")
    ] = None,
    private_layers: Annotated[
        int, typer.Option(min=0, help="Layers with weights that stay on the edge.")
    ] = 0,
    points: Annotated[
        int, typer.Option(min=1, max=10**9, help="At least, of each objective.")
    ] = 8_000_000,
    noise: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Deviation of a measurement, relative."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="JSON of measured points.")
    ] = None,
    measured_on: Annotated[
        str, typer.Option(help="Machine or profiles of these points.")
    ] = "this",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE], of every network."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="One call may use.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of noise and intervals.")] = 0,
    cluster: Cluster = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask which conditions the best cut depends on, how much, and on what hardware."""
    with (
        executor_of(cluster) as executor,
        progress_bar(quiet=as_json) as progress,
    ):
        progress("capture", 0.0, "")
        from trimtab.partition.conditions import objective_of
        from trimtab.partition.study_files import FILES
        from trimtab.pipeline.study import CLOUDS, EDGES, StudyPlan
        from trimtab.pipeline.study import study as through

        plan = StudyPlan(
            networks=tuple(networks),
            inputs=tuple(inputs or ()),
            edges=tuple(edge or EDGES),
            clouds=tuple(cloud or CLOUDS),
            objectives=tuple(
                dict.fromkeys(map(objective_of, objective or ("latency", "throughput")))
            ),
            codecs=tuple(dict.fromkeys(codec or ("raw", "int8"))),
            private_layers=private_layers,
            threads=threads,
            points=points,
            noise_frac=noise,
            calibration=calibration,
            measured_on=measured_on,
            seed=seed,
        )
        found = through(plan, output, progress, executor)
    if as_json:
        print_json(
            {
                "folder": str(output),
                "prepare_cpu_s": found.prepare_cpu_s,
                "simulate_cpu_s": found.simulate_cpu_s,
                "answer_cpu_s": found.answer_cpu_s,
                **found.record,
            }
        )
        return
    out = console()
    for name in plan.objectives:
        mine = [each for each in found.found if each.objective == name]
        out.print(table(f"Best in {name}", _COLUMNS, [_row(each) for each in mine]))
        out.print(
            table(
                f"Elasticities of {name}, best cut everywhere",
                [("network", ""), *((x, "count") for x in _slopes(mine[0]))],
                [(each.network, *_slopes(each).values()) for each in mine],
            )
        )
    if found.calibrations:
        out.print(
            table(
                "Predicted against measured, at points not fitted to",
                [("network", ""), ("points", "count"), ("median error", "frac"),
                 ("p90 error", "frac")],
                [(x.network, x.tested, x.median_error_frac, x.p90_error_frac)
                 for x in found.calibrations],
            )
        )  # fmt: skip
    out.print(
        f"{found.points:,} points in {found.simulate_cpu_s:.2f} s of a core; networks "
        f"and machines took {found.prepare_cpu_s:.2f} s, statistics "
        f"{found.answer_cpu_s:.2f} s"
    )
    out.print(f"{', '.join(FILES)} in {output}", soft_wrap=True)


_COLUMNS = [
    ("network", ""), ("edge", "frac"), ("between", "frac"), ("cloud", "frac"),
    ("changed", "frac"), ("stay", "count"), ("static", "count"), ("ends", "count"),
    ("compressed", "count"), ("gain, naive", "count"), ("corrected", "count"),
    ("tau", "count"),
]  # fmt: skip


def _row(each: Answers) -> list[object]:
    shares = each.shares
    return [
        each.network, shares.edge_frac, shares.between_frac, shares.cloud_frac,
        shares.changed_frac, _mean(shares.stay_ratio), _mean(shares.static_ratio),
        _mean(shares.ends_ratio), _mean(each.compressed_ratio), each.gain.naive,
        each.gain.corrected.value, _mean(each.machines_tau),
    ]  # fmt: skip


def _slopes(each: Answers) -> dict[str, float | None]:
    return {
        effect.factor: _mean(effect.elasticity_best)
        for effect in each.effects
        if effect.elasticity_best is not None
    }


def _mean(each: Spread | None) -> float | None:
    return None if each is None else each.mean


def replay(
    trace: Annotated[
        str,
        typer.Argument(
            help="CSV with time_s, uplink_mbit_s[, rtt_ms, edge_load, cloud_load], or "
            "synthetic:4g-walk, regimes, flips, slow-fade, cloud-load, outages.",
            metavar="TRACE",
        ),
    ],
    network: Annotated[
        str,
        typer.Option(help="zoo:NAME, package.module:factory, a .py file, a bundle."),
    ],
    edge: Annotated[
        str, typer.Option(help="Machine, or the JSON of `trimtab profile`.")
    ] = "raspberry-pi-4",
    cloud: Annotated[str, typer.Option(help="The same of the cloud.")] = "turin",
    objective: Annotated[
        str, typer.Option(help="latency, p95, throughput, energy.")
    ] = "latency",
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 10.0,
    codec: Annotated[
        list[str] | None, typer.Option(help="As of `plan`; repeat.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="optimum, static, edge, cloud, compressed, adaptive, no-probes, "
            "pause-0.6, pause-6, p95; repeat. By default all."
        ),
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="After which a request is late, such as 200ms.")
    ] = None,
    private_layers: Annotated[
        int, typer.Option(min=0, help="Layers with weights that stay on the edge.")
    ] = 0,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="One call may use.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of noise, synthetic traces.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Report, an HTML file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what each policy would have done on a recorded trace."""
    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "")
        from trimtab.partition.conditions import Limits, objective_of
        from trimtab.partition.course import Pace
        from trimtab.partition.plan import image_bytes
        from trimtab.partition.replay import POLICIES
        from trimtab.partition.replay import replay as through
        from trimtab.partition.space import Space
        from trimtab.partition.traces import trace_of
        from trimtab.pipeline.network import open_graph
        from trimtab.pipeline.profiles import profile_of
        from trimtab.units import parse_duration

        if output is not None and not output.parent.is_dir():
            raise UsageError(
                f"report {str(output)!r}",
                rule="its folder does not exist",
                where="-o",
                remedy="make the folder, or give another place",
            )
        wanted = objective_of(objective)
        pace = Pace(
            rate_per_s=rate,
            deadline_s=None if deadline is None else parse_duration(deadline),
            seed=seed,
        )
        course = trace_of(trace, seed=seed)
        graph = open_graph(network, inputs=inputs or (), device="meta").graph
        progress("load", 1.0, f"{len(course)} rows, {len(graph.nodes)} operators")
        space = Space(
            graph,
            profile_of(edge, graph, threads=threads)[0],
            profile_of(cloud, graph, threads=threads)[0],
            codecs=tuple(dict.fromkeys(codec or ("raw",))),
            limits=Limits(private_layers=private_layers),
        )
        found = through(
            space, course, policies=tuple(dict.fromkeys(policy or POLICIES)),
            objective=wanted, pace=pace, compressed_bytes=image_bytes(graph),
            progress=lambda done, text: progress("replay", done, text),
        )  # fmt: skip
        facts = {
            "network": graph.name,
            "trace": course.name,
            "edge": space.edge.machine,
            "cloud": space.cloud.machine,
            "objective": wanted,
            "requests": str(len(found[0].costs_s)),
            "rate": f"{rate:g} a second",
            "seed": str(seed),
        }
        if output is not None:
            from trimtab.partition.replay_sections import replay_section
            from trimtab.report.html import render

            page = render(
                "What adapting would have done",
                [replay_section(graph.name, course, found, wanted)],
                [],
                facts,
                "",
            )
            draft = output.with_name(f".{output.name}.making")
            draft.write_text(page, "utf-8")
            draft.replace(output)
    if as_json:
        print_json({**facts, "policies": [_ran(each) for each in found]})
        return
    out = console()
    out.print(
        table(
            f"{graph.name} on {course.name}: edge {space.edge.machine}, cloud "
            f"{space.cloud.machine}",
            [("policy", ""), ("cut", ""), (f"mean {wanted}", "s"), ("p95", "s"),
             ("over the optimum", "frac"), ("changes", "count"), ("sent", "bytes"),
             ("probes", "bytes"), ("late", "frac"), ("recovery", "s")],
            [(x.policy, x.cut, x.mean_s, x.p95_s, x.ratio - 1, x.switches, x.sent_bytes,
              x.probe_bytes, x.late_frac, x.recovery_s) for x in found],
        )
    )  # fmt: skip
    if output is not None:
        out.print(f"report: {output}", soft_wrap=True)


def _ran(each: Ran) -> dict[str, object]:
    return {
        "policy": each.policy,
        "cut": each.cut,
        "mean_s": each.mean_s,
        "p95_s": each.p95_s,
        "ratio": each.ratio,
        "switches": each.switches,
        "sent_bytes": each.sent_bytes,
        "probe_bytes": each.probe_bytes,
        "late_frac": each.late_frac,
        "recovery_s": each.recovery_s,
    }
