"""`trimtab machine`: the catalogue, and the machine that is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.output import console, print_json, progress_bar, table

if TYPE_CHECKING:
    from trimtab.hardware.calibrate import Probe
    from trimtab.hardware.machine import Link, Machine

__all__ = ["app"]

app = typer.Typer(
    help="List, show, detect, calibrate and check machines.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_machines(as_json: Json = False) -> None:
    """List the machines and links of the catalogue."""
    from trimtab.hardware.load import link, link_names, machine, machine_names

    machines = [machine(name) for name in machine_names()]
    links = [link(name) for name in link_names()]
    if as_json:
        print_json(
            {
                "machines": [
                    {
                        "name": each.name,
                        "title": each.title,
                        "kind": str(each.kind),
                        "cores": each.cores,
                        "peak_flops_per_s": each.peak_flops_per_s(each.cores),
                        "bandwidth_bytes_per_s": each.memory.bandwidth_bytes_per_s,
                        "memory_bytes": each.memory.size_bytes,
                    }
                    for each in machines
                ],
                "links": [
                    {
                        "name": each.name,
                        "title": each.title,
                        "uplink_bytes_per_s": each.uplink_bytes_per_s,
                        "downlink_bytes_per_s": each.downlink_bytes_per_s,
                        "rtt_s": each.rtt_s,
                    }
                    for each in links
                ],
            }
        )
        return
    out = console()
    out.print(
        table(
            "Machines",
            [
                ("name", ""),
                ("title", ""),
                ("kind", ""),
                ("cores", "cores"),
                ("peak (float32)", "flops/s"),
                ("memory", "bytes"),
                ("bandwidth", "bytes/s"),
            ],
            [
                (
                    each.name,
                    each.title,
                    each.kind,
                    each.cores,
                    each.peak_flops_per_s(each.cores),
                    each.memory.size_bytes,
                    each.memory.bandwidth_bytes_per_s,
                )
                for each in machines
            ],
        )
    )
    out.print(
        table(
            "Links",
            [
                ("name", ""),
                ("title", ""),
                ("uplink", "bytes/s"),
                ("downlink", "bytes/s"),
                ("round trip", "s"),
            ],
            [
                (
                    each.name,
                    each.title,
                    each.uplink_bytes_per_s,
                    each.downlink_bytes_per_s,
                    each.rtt_s,
                )
                for each in links
            ],
        )
    )


@app.command("show")
def show_machine(
    name: Annotated[str, typer.Argument(help="Name, `this`, or a .toml file.")],
    as_json: Json = False,
) -> None:
    """Show every number of a machine and where it comes from."""
    from trimtab.hardware.load import machine

    _print_machine(machine(name), as_json=as_json)


@app.command("detect")
def detect_machine(as_json: Json = False) -> None:
    """Show the present machine as the operating system describes it."""
    from trimtab.hardware.detect import present

    _print_machine(present(), as_json=as_json)


@app.command("calibrate")
def calibrate_machine(as_json: Json = False) -> None:
    """Measure what the present machine achieves, and keep it in the cache folder."""
    with progress_bar(quiet=as_json) as progress:
        progress("calibrate", 0.0, "starting")
        from trimtab.hardware.calibrate import calibrate
        from trimtab.hardware.calibration import require_writable, save
        from trimtab.hardware.detect import present

        require_writable()
        probes, reason = _probes()
        measured = calibrate(
            present(),
            probes=probes,
            progress=lambda done, text: progress("calibrate", done, text),
        )
        path = save(measured)
    _print_machine(measured, as_json=as_json, only_measured=True)
    if not as_json:
        if reason:
            console().print(f"the clock and level 1 were not measured: {reason}")
        console().print(f"kept in {path}")


@app.command("check")
def check_machines(
    name: Annotated[
        str | None, typer.Argument(help="Name or file; all by default.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(help="Run loops on this machine and compare its core's table."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that machines and cores are plausible, and list what has no source."""
    from trimtab.hardware.check import Severity, check, check_link, unsourced
    from trimtab.hardware.check_cores import (
        check_core,
        check_core_of,
        core_for,
        unsourced_rows,
    )
    from trimtab.hardware.cores import core_names, core_table
    from trimtab.hardware.load import link, link_names, machine, machine_names

    compared = _compared(quiet=as_json) if measure else []
    machines = [machine(each) for each in ([name] if name else machine_names())]
    used = (core_for(each) for each in machines)
    cores = (
        [core for core in used if core is not None]
        if name
        else [core_table(each) for each in core_names()]
    )
    links = [] if name else [link(each) for each in link_names()]
    findings = [finding for each in machines for finding in check(each)]
    findings += [finding for each in links for finding in check_link(each)]
    findings += [finding for each in cores for finding in check_core(each)]
    findings += [finding for each in machines for finding in check_core_of(each)]
    described: list[Machine | Link] = [*machines, *links]
    notes = [
        (each.name, path, source)
        for each in described
        for path, source in unsourced(each).items()
    ]
    notes += [
        (f"core {core.name}", path, source)
        for core in cores
        for path, source in unsourced_rows(core).items()
    ]
    errors = [each for each in findings if each.severity is Severity.ERROR]
    if as_json:
        print_json(
            {
                "checked": [each.name for each in described],
                "cores": [each.name for each in cores],
                "measured": compared,
                "findings": [
                    {
                        "machine": each.machine,
                        "path": each.path,
                        "severity": str(each.severity),
                        "text": each.text,
                    }
                    for each in findings
                ],
                "unsourced": [
                    {
                        "machine": owner,
                        "path": path,
                        "origin": str(source.origin),
                        "text": source.text,
                    }
                    for owner, path, source in notes
                ],
            }
        )
    else:
        out = console()
        if findings:
            out.print(
                table(
                    "Findings",
                    [("machine", ""), ("number", ""), ("severity", ""), ("why", "")],
                    [(f.machine, f.path, f.severity, f.text) for f in findings],
                )
            )
        out.print(
            table(
                "Numbers that are derived or recalled, not found in a source",
                [("machine", ""), ("number", ""), ("origin", ""), ("how", "")],
                [(owner, path, s.origin, s.text) for owner, path, s in notes],
            )
        )
        if compared:
            out.print(
                table(
                    "Loops on this machine, operands in level 1",
                    [
                        ("loop", ""),
                        ("instructions", ""),
                        ("table", "cycles"),
                        ("measured", "cycles"),
                        ("ratio", ""),
                        ("limit", ""),
                    ],
                    [
                        (
                            each["name"],
                            each["instructions"],
                            each["predicted_cycles"],
                            each["measured_cycles"],
                            each["ratio"],
                            each["limit"],
                        )
                        for each in compared
                    ],
                )
            )
        out.print(
            f"{len(machines)} machines, {len(links)} links and {len(cores)} cores "
            f"checked: {len(errors)} errors, {len(notes)} numbers without a source"
        )
    if errors:
        raise typer.Exit(1)


def _probes() -> tuple[tuple[Probe, ...], str]:
    """Return what measures more than torch can, and why it does not."""
    try:
        from trimtab.compiler.probes import CodeProbe, why_not
    except ModuleNotFoundError as error:
        if error.name != "trimtab.compiler":
            raise
        return (), "the part `compiler` of trimtab is not here"
    reason = why_not()
    return (() if reason else (CodeProbe(),)), reason


def _compared(*, quiet: bool) -> list[dict[str, str | float]]:
    """Return loops as the table of this core says, and as they run."""
    from trimtab.compiler.probes import compare
    from trimtab.hardware.detect import present

    with progress_bar(quiet=quiet) as progress:
        progress("measure", 0.0, "starting")
        found = compare(
            present(), progress=lambda done, text: progress("measure", done, text)
        )
    return [
        {
            "name": each.name,
            "instructions": each.instructions,
            "predicted_cycles": each.predicted_cycles,
            "measured_cycles": each.measured_cycles,
            "ratio": each.ratio,
            "limit": each.limit,
        }
        for each in found
    ]


def _print_machine(
    found: Machine, *, as_json: bool, only_measured: bool = False
) -> None:
    from trimtab.hardware.machine import Origin, numbers_of
    from trimtab.units import format_value

    numbers = numbers_of(found)
    if as_json:
        print_json(
            {
                "name": found.name,
                "title": found.title,
                "kind": str(found.kind),
                "isa": found.core.isa,
                "llvm_cpu": found.core.llvm_cpu,
                "fingerprint": found.fingerprint,
                "numbers": {
                    path: {
                        "value": value,
                        "origin": str(found.sources[path].origin),
                        "source": found.sources[path].text,
                    }
                    for path, value in numbers.items()
                },
            }
        )
        return
    rows = [
        (
            path,
            format_value(value, _unit(path)),
            found.sources[path].origin,
            found.sources[path].text,
        )
        for path, value in numbers.items()
        if not only_measured or found.sources[path].origin is Origin.MEASURED
    ]
    console().print(
        table(
            f"{found.name}: {found.title} ({found.core.isa}, {found.core.llvm_cpu})",
            [("number", ""), ("value", ""), ("origin", ""), ("source", "")],
            rows,
        )
    )


def _unit(path: str) -> str:
    for suffix, unit in (
        ("bytes_per_s", "bytes/s"),
        ("_bytes", "bytes"),
        ("_s", "s"),
        ("_hz", "Hz"),
    ):
        if path.endswith(suffix):
            return unit
    return "frac" if path.startswith("efficiency") else ""
